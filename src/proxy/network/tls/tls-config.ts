// DownstreamTlsContext and UpstreamTlsContext → plain data (envoy-contract §16). Files are read here, on the main thread.

import { randomBytes } from 'node:crypto'
import { getCiphers } from 'node:tls'
import {
  type CertificateValidationContext,
  CertificateValidationContext_TrustChainVerification,
  CertificateValidationContextSchema,
  SubjectAltNameMatcher_SanType,
  type TlsCertificate,
  TlsCertificateSchema,
  type TlsParameters,
  TlsParameters_TlsProtocol,
  TlsParametersSchema,
  type TlsSessionTicketKeys,
} from '../../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  type CommonTlsContext,
  CommonTlsContextSchema,
  type DownstreamTlsContext,
  DownstreamTlsContext_OcspStaplePolicy,
  DownstreamTlsContextSchema,
  type UpstreamTlsContext,
  UpstreamTlsContextSchema,
} from '../../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { ConfigError } from '../../../base/errors.ts'
import { dataSourceOrigin, readDataSource } from '../../config/data-source.ts'
import { durationMsOr } from '../../config/duration.ts'
import type { ParseContext } from '../../config/extension.ts'
import { refuseUnsupported } from '../../config/supported-fields.ts'
import { parseStringMatcher, type StringMatcherData } from '../../route/string-matcher.ts'
import { type OcspStaple, parseOcspStaple } from './ocsp.ts'
import { TICKET_KEY_BYTES } from './ticket-keys.ts'
import { parseTrustDomains } from './trust-domains.ts'

/** PEM texts. */
export interface CertificateConfig {
  readonly certificateChain: string
  /** Its file, or `<inline>`. */
  readonly certificateOrigin: string
  readonly privateKey: string
  readonly password: string
  /** An OCSP response for the certificate; null = none. */
  readonly ocspStaple: OcspStaple | null
}

export type SanType = 'URI' | 'DNS' | 'EMAIL' | 'IP_ADDRESS' | 'OTHER_NAME' | 'ANY'

export interface SanMatcherConfig {
  readonly type: SanType
  readonly matcher: StringMatcherData
  /** Of an OTHER_NAME: its type must be this one; '' for the others. */
  readonly oid: string
}

/** What a peer certificate must satisfy. Lists: one entry must match; empty = not checked. */
export interface ValidationConfig {
  /** PEM, or '' = the chain is not verified. */
  readonly trustedCa: string
  /** Its file, or `<inline>`; '' = none. */
  readonly trustedCaOrigin: string
  readonly crl: string
  /** The lists are asked about the peer's certificate only, not about those above it. */
  readonly leafCrlOnly: boolean
  readonly sanMatchers: readonly SanMatcherConfig[]
  /** Base64 SHA-256 of the SubjectPublicKeyInfo. */
  readonly spki: readonly string[]
  /** Lower-case hex SHA-256 of the certificate. */
  readonly hashes: readonly string[]
  readonly allowExpired: boolean
  readonly acceptUntrusted: boolean
  /** Certificates between the peer's and the trust anchor. */
  readonly maxVerifyDepth: number
  /** SPIFFE validator: whom to trust for which identities, instead of `trustedCa`; null = the default validator. */
  readonly trustDomains: readonly TrustDomainConfig[] | null
}

export interface TrustDomainConfig {
  readonly name: string
  /** PEM. */
  readonly bundle: string
  /** Its file, or `<inline>`. */
  readonly origin: string
}

export interface CommonTlsConfig {
  readonly minVersion: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'
  readonly maxVersion: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'
  /** OpenSSL's list. */
  readonly ciphers: string
  /** OpenSSL's list of key exchange groups; '' = Envoy's default. */
  readonly curves: string
  /** '' = OpenSSL's default. */
  readonly signatureAlgorithms: string
  readonly certificates: readonly CertificateConfig[]
  /** Keys of secrets (config/secret-key.ts); not mixed with `certificates`. */
  readonly certificateSecrets: readonly string[]
  /** Static, or what the secret is merged into; null = peers are not asked about. */
  readonly validation: ValidationConfig | null
  /** Key of a secret; '' = none. */
  readonly validationSecret: string
  readonly alpnProtocols: readonly string[]
}

export interface DownstreamTlsConfig {
  readonly common: CommonTlsConfig
  readonly requireClientCertificate: boolean
  readonly requireSni: boolean
  /** 80 bytes each (ticket-keys.ts); the first one encrypts. Empty = no session tickets. */
  readonly ticketKeys: readonly Uint8Array[]
  /** Key of a secret; '' = none. */
  readonly ticketKeysSecret: string
  readonly statefulResumption: boolean
  /** Seconds; null = OpenSSL's default. */
  readonly sessionTimeoutS: number | null
  /** A name that no certificate is for: the first certificate of the client's key type, not just the first. */
  readonly fullScanCertsOnSniMismatch: boolean
  /** Of several ciphers that both know, the client's first one is used, not ours. */
  readonly preferClientCiphers: boolean
  readonly ocspPolicy: OcspPolicy
}

/** What to do without a valid OCSP staple, for clients that take one. */
export type OcspPolicy = 'LENIENT_STAPLING' | 'STRICT_STAPLING' | 'MUST_STAPLE'

export interface UpstreamTlsConfig {
  readonly common: CommonTlsConfig
  readonly sni: string
  /** Sessions kept for resumption; 0 = never resume. */
  readonly maxSessionKeys: number
}

const VERSION = {
  [TlsParameters_TlsProtocol.TLSv1_0]: 'TLSv1',
  [TlsParameters_TlsProtocol.TLSv1_1]: 'TLSv1.1',
  [TlsParameters_TlsProtocol.TLSv1_2]: 'TLSv1.2',
  [TlsParameters_TlsProtocol.TLSv1_3]: 'TLSv1.3',
} as const

const TLS13_CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256'
const DEFAULT_CIPHERS =
  'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:' +
  'ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384'

/** Shared by all listeners and workers of this process, so that a session resumes whichever worker accepts it. */
const processTicketKey = randomBytes(TICKET_KEY_BYTES)

const OCSP_POLICY: Readonly<Record<DownstreamTlsContext_OcspStaplePolicy, OcspPolicy>> = {
  [DownstreamTlsContext_OcspStaplePolicy.LENIENT_STAPLING]: 'LENIENT_STAPLING',
  [DownstreamTlsContext_OcspStaplePolicy.STRICT_STAPLING]: 'STRICT_STAPLING',
  [DownstreamTlsContext_OcspStaplePolicy.MUST_STAPLE]: 'MUST_STAPLE',
}

const DOWNSTREAM_FIELDS = new Set([
  'common_tls_context',
  'require_client_certificate',
  'require_sni',
  'session_ticket_keys',
  'session_ticket_keys_sds_secret_config',
  'disable_stateless_session_resumption',
  'disable_stateful_session_resumption',
  'session_timeout',
  'ocsp_staple_policy',
  'full_scan_certs_on_sni_mismatch',
  'prefer_client_ciphers',
])

/** Throws ConfigError. Secrets named in it are reported to `context`. */
export function parseDownstreamTls(message: DownstreamTlsContext, context: ParseContext): DownstreamTlsConfig {
  refuseUnsupported(DownstreamTlsContextSchema, message, DOWNSTREAM_FIELDS, context.path)
  const common = parseCommon(message.commonTlsContext, context.at('common_tls_context'), 'TLSv1.3')
  if (common.certificates.length === 0 && common.certificateSecrets.length === 0) {
    throw new ConfigError(
      context.at('common_tls_context').path,
      'No TLS certificates found for server context; set tls_certificates or tls_certificate_sds_secret_configs',
    )
  }
  const tickets = message.sessionTicketKeysType
  let ticketKeys: Uint8Array[] = [processTicketKey]
  let ticketKeysSecret = ''
  if (tickets.case === 'sessionTicketKeys')
    ticketKeys = parseTicketKeys(tickets.value, context.at('session_ticket_keys').path)
  else if (tickets.case === 'sessionTicketKeysSdsSecretConfig') {
    ticketKeysSecret = context.needsSecret(tickets.value.name, tickets.value.sdsConfig)
  } else if (tickets.case === 'disableStatelessSessionResumption' && tickets.value) ticketKeys = []
  const timeoutMs = durationMsOr(message.sessionTimeout, null)
  return {
    common,
    requireClientCertificate: message.requireClientCertificate ?? false,
    requireSni: message.requireSni ?? false,
    ticketKeys,
    ticketKeysSecret,
    statefulResumption: !message.disableStatefulSessionResumption,
    sessionTimeoutS: timeoutMs === null ? null : Math.floor(timeoutMs / 1000),
    fullScanCertsOnSniMismatch: message.fullScanCertsOnSniMismatch ?? false,
    preferClientCiphers: message.preferClientCiphers,
    ocspPolicy: OCSP_POLICY[message.ocspStaplePolicy],
  }
}

/** Throws ConfigError for a key that is not of Envoy's form. */
export function parseTicketKeys(message: TlsSessionTicketKeys, path: string): Uint8Array[] {
  return message.keys.map((source, i) => {
    const key = readDataSource(source, `${path}.keys[${i}]`)
    if (key.length !== TICKET_KEY_BYTES)
      throw new ConfigError(
        `${path}.keys[${i}]`,
        `Incorrect TLS session ticket key length. Length ${key.length}, expected length ${TICKET_KEY_BYTES}.`,
      )
    return key
  })
}

const UPSTREAM_FIELDS = new Set(['common_tls_context', 'sni', 'max_session_keys', 'enforce_rsa_key_usage'])

/** Throws ConfigError. */
export function parseUpstreamTls(message: UpstreamTlsContext, context: ParseContext): UpstreamTlsConfig {
  refuseUnsupported(UpstreamTlsContextSchema, message, UPSTREAM_FIELDS, context.path)
  if (Buffer.byteLength(message.sni) > 255) throw new ConfigError(context.at('sni').path, 'longer than 255 bytes')
  const common = parseCommon(message.commonTlsContext, context.at('common_tls_context'), 'TLSv1.2')
  if (common.certificates.length > 1 || common.certificateSecrets.length > 1) {
    throw new ConfigError(
      context.at('common_tls_context').path,
      'Multiple TLS certificates are not supported for client contexts',
    )
  }
  return { common, sni: message.sni, maxSessionKeys: message.maxSessionKeys ?? 1 }
}

const COMMON_FIELDS = new Set([
  'tls_params',
  'tls_certificates',
  'tls_certificate_sds_secret_configs',
  'validation_context',
  'validation_context_sds_secret_config',
  'combined_validation_context',
  'alpn_protocols',
])
const PARAMS_FIELDS = new Set([
  'tls_minimum_protocol_version',
  'tls_maximum_protocol_version',
  'cipher_suites',
  'ecdh_curves',
  'signature_algorithms',
])

function parseCommon(
  message: CommonTlsContext | undefined,
  context: ParseContext,
  defaultMax: CommonTlsConfig['maxVersion'],
): CommonTlsConfig {
  if (message) refuseUnsupported(CommonTlsContextSchema, message, COMMON_FIELDS, context.path)
  const certificates = (message?.tlsCertificates ?? []).map((c, i) =>
    parseCertificate(c, context.at(`tls_certificates[${i}]`).path),
  )
  const fromSds = message?.tlsCertificateSdsSecretConfigs ?? []
  if (certificates.length > 0 && fromSds.length > 0) {
    throw new ConfigError(context.path, 'SDS and non-SDS TLS certificates may not be mixed in server contexts')
  }
  const certificateSecrets = fromSds.map((s) => context.needsSecret(s.name, s.sdsConfig))
  const { validation, validationSecret } = parseValidationChoice(message, context)
  return {
    ...parseParams(message?.tlsParams, context.at('tls_params').path, defaultMax),
    certificates,
    certificateSecrets,
    validation,
    validationSecret,
    alpnProtocols: parseAlpnProtocols(message?.alpnProtocols ?? [], context.at('alpn_protocols').path),
  }
}

/**
 * An entry may list several protocols, as Envoy joins all entries by commas and splits the result: `["h2,http/1.1"]` stands
 * in its own example of an edge proxy. Throws ConfigError for a name that is longer than TLS can say (RFC 7301 §3.1).
 */
export function parseAlpnProtocols(entries: readonly string[], path: string): readonly string[] {
  const names = entries.flatMap((entry) => entry.split(',')).filter((name) => name !== '')
  for (const name of names) {
    if (Buffer.byteLength(name) > 255)
      throw new ConfigError(path, 'Invalid ALPN protocol string: longer than 255 bytes')
  }
  return names
}

function parseParams(
  params: TlsParameters | undefined,
  path: string,
  defaultMax: CommonTlsConfig['maxVersion'],
): Pick<CommonTlsConfig, 'minVersion' | 'maxVersion' | 'ciphers' | 'curves' | 'signatureAlgorithms'> {
  if (params) refuseUnsupported(TlsParametersSchema, params, PARAMS_FIELDS, path)
  const min = params?.tlsMinimumProtocolVersion ?? TlsParameters_TlsProtocol.TLS_AUTO
  const max = params?.tlsMaximumProtocolVersion ?? TlsParameters_TlsProtocol.TLS_AUTO
  const minVersion = min === TlsParameters_TlsProtocol.TLS_AUTO ? 'TLSv1.2' : VERSION[min]
  const maxVersion = max === TlsParameters_TlsProtocol.TLS_AUTO ? defaultMax : VERSION[max]
  // Empty names are passed over, as BoringSSL does.
  const listed = (params?.cipherSuites ?? [])
    .flatMap((entry) => entry.replaceAll(/[[\]]/g, '').split('|'))
    .filter((name) => name !== '')
  const known = getCiphers()
  for (const cipher of listed) {
    if (!known.includes(cipher.toLowerCase())) {
      throw new ConfigError(
        `${path}.cipher_suites`,
        `unknown cipher ${cipher}; \`openssl ciphers\` lists the known ones`,
      )
    }
  }
  const old = listed.length > 0 ? listed.join(':') : DEFAULT_CIPHERS
  return {
    minVersion,
    maxVersion,
    ciphers: maxVersion === 'TLSv1.3' ? `${TLS13_CIPHERS}:${old}` : old,
    curves: (params?.ecdhCurves ?? []).join(':'),
    signatureAlgorithms: (params?.signatureAlgorithms ?? []).join(':'),
  }
}

const CERTIFICATE_FIELDS = new Set(['certificate_chain', 'private_key', 'password', 'ocsp_staple', 'watched_directory'])

/** Throws ConfigError when a file is missing or a part is absent. */
export function parseCertificate(message: TlsCertificate, path: string): CertificateConfig {
  refuseUnsupported(TlsCertificateSchema, message, CERTIFICATE_FIELDS, path)
  if (!message.certificateChain) throw new ConfigError(`${path}.certificate_chain`, 'is missing')
  if (!message.privateKey) throw new ConfigError(`${path}.private_key`, 'is missing')
  const certificateChain = readDataSource(message.certificateChain, `${path}.certificate_chain`).toString('latin1')
  const staple = message.ocspStaple ? readDataSource(message.ocspStaple, `${path}.ocsp_staple`) : Buffer.alloc(0)
  return {
    certificateChain,
    certificateOrigin: dataSourceOrigin(message.certificateChain),
    privateKey: readDataSource(message.privateKey, `${path}.private_key`).toString('latin1'),
    password: message.password ? readDataSource(message.password, `${path}.password`).toString('utf8') : '',
    ocspStaple: staple.length > 0 ? parseOcspStaple(staple, certificateChain, `${path}.ocsp_staple`) : null,
  }
}

function parseValidationChoice(
  message: CommonTlsContext | undefined,
  context: ParseContext,
): { validation: ValidationConfig | null; validationSecret: string } {
  const choice = message?.validationContextType
  switch (choice?.case) {
    case 'validationContext':
      return {
        validation: parseOwnValidation(choice.value, context.at('validation_context').path),
        validationSecret: '',
      }
    case 'validationContextSdsSecretConfig':
      return { validation: null, validationSecret: context.needsSecret(choice.value.name, choice.value.sdsConfig) }
    case 'combinedValidationContext': {
      const path = context.at('combined_validation_context.default_validation_context').path
      const fallback = choice.value.defaultValidationContext
      const secret = choice.value.validationContextSdsSecretConfig
      return {
        validation: fallback ? parseValidation(fallback, path) : null,
        validationSecret: secret ? context.needsSecret(secret.name, secret.sdsConfig) : '',
      }
    }
    default:
      return { validation: null, validationSecret: '' }
  }
}

const VALIDATION_FIELDS = new Set([
  'trusted_ca',
  'watched_directory',
  'crl',
  'verify_certificate_spki',
  'verify_certificate_hash',
  'match_typed_subject_alt_names',
  'match_subject_alt_names',
  'allow_expired_certificate',
  'trust_chain_verification',
  'only_verify_leaf_cert_crl',
  'max_verify_depth',
  'custom_validator_config',
])
/** Envoy's. */
export const DEFAULT_VERIFY_DEPTH = 100

const SAN_TYPE: Readonly<Partial<Record<SubjectAltNameMatcher_SanType, SanType>>> = {
  [SubjectAltNameMatcher_SanType.EMAIL]: 'EMAIL',
  [SubjectAltNameMatcher_SanType.DNS]: 'DNS',
  [SubjectAltNameMatcher_SanType.URI]: 'URI',
  [SubjectAltNameMatcher_SanType.IP_ADDRESS]: 'IP_ADDRESS',
  [SubjectAltNameMatcher_SanType.OTHER_NAME]: 'OTHER_NAME',
}

/** A context that no secret adds to. */
function parseOwnValidation(message: CertificateValidationContext, path: string): ValidationConfig {
  const validation = parseValidation(message, path)
  if (validation.allowExpired && validation.trustedCa === '' && validation.trustDomains === null)
    throw new ConfigError(
      `${path}.allow_expired_certificate`,
      'Certificate validity period is always ignored without trusted CA',
    )
  return validation
}

/** Throws ConfigError. */
export function parseValidation(message: CertificateValidationContext, path: string): ValidationConfig {
  refuseUnsupported(CertificateValidationContextSchema, message, VALIDATION_FIELDS, path)
  const typed = message.matchTypedSubjectAltNames.map((m, i): SanMatcherConfig => {
    const at = `${path}.match_typed_subject_alt_names[${i}]`
    const type = SAN_TYPE[m.sanType]
    if (type === undefined)
      throw new ConfigError(`${at}.san_type`, 'must be one of EMAIL, DNS, URI, IP_ADDRESS, OTHER_NAME')
    if (type === 'OTHER_NAME' && !/^\d+(\.\d+)+$/.test(m.oid))
      throw new ConfigError(
        `${at}.oid`,
        'OTHER_NAME needs the object identifier of the name, such as 1.3.6.1.4.1.311.20.2.3',
      )
    return { type, matcher: parseStringMatcher(m.matcher!, `${at}.matcher`), oid: m.oid }
  })
  const untyped = message.matchSubjectAltNames.map(
    (m, i): SanMatcherConfig => ({
      type: 'ANY',
      matcher: parseStringMatcher(m, `${path}.match_subject_alt_names[${i}]`),
      oid: '',
    }),
  )
  return {
    trustedCa: message.trustedCa ? readDataSource(message.trustedCa, `${path}.trusted_ca`).toString('latin1') : '',
    trustedCaOrigin: dataSourceOrigin(message.trustedCa),
    crl: message.crl ? readDataSource(message.crl, `${path}.crl`).toString('latin1') : '',
    leafCrlOnly: message.onlyVerifyLeafCertCrl,
    sanMatchers: [...typed, ...untyped],
    spki: message.verifyCertificateSpki,
    hashes: message.verifyCertificateHash.map((hash) => hash.replaceAll(':', '').toLowerCase()),
    allowExpired: message.allowExpiredCertificate,
    acceptUntrusted:
      message.trustChainVerification === CertificateValidationContext_TrustChainVerification.ACCEPT_UNTRUSTED,
    maxVerifyDepth: message.maxVerifyDepth ?? DEFAULT_VERIFY_DEPTH,
    trustDomains: message.customValidatorConfig
      ? parseTrustDomains(message.customValidatorConfig, `${path}.custom_validator_config`)
      : null,
  }
}
