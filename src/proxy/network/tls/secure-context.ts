// node:tls contexts from configuration and secrets.

import { constants, createHash } from 'node:crypto'
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import type { SecretStore } from './secret-store.ts'
import type { CertificateConfig, CommonTlsConfig, DownstreamTlsConfig, ValidationConfig } from './tls-config.ts'

/** Configuration with its secrets filled in; null while one is missing. */
export interface ResolvedTls {
  readonly certificates: readonly CertificateConfig[]
  readonly validation: ValidationConfig | null
}

export function resolveTls(config: CommonTlsConfig, secrets: SecretStore): ResolvedTls | null {
  const certificates: CertificateConfig[] = [...config.certificates]
  for (const name of config.certificateSecrets) {
    const certificate = secrets.get(name)?.certificate
    if (!certificate) return null
    certificates.push(certificate)
  }
  if (config.validationSecret === '') return { certificates, validation: config.validation }
  const fromSecret = secrets.get(config.validationSecret)?.validation
  if (!fromSecret) return null
  return { certificates, validation: mergeValidation(config.validation, fromSecret) }
}

/** combined_validation_context: the secret is merged into the default as protobuf merges (lists append). */
function mergeValidation(base: ValidationConfig | null, over: ValidationConfig): ValidationConfig {
  if (base === null) return over
  return {
    trustedCa: over.trustedCa || base.trustedCa,
    crl: over.crl || base.crl,
    sanMatchers: [...base.sanMatchers, ...over.sanMatchers],
    spki: [...base.spki, ...over.spki],
    hashes: [...base.hashes, ...over.hashes],
    allowExpired: base.allowExpired || over.allowExpired,
    acceptUntrusted: base.acceptUntrusted || over.acceptUntrusted,
  }
}

function commonOptions(config: CommonTlsConfig, validation: ValidationConfig | null): SecureContextOptions {
  return {
    minVersion: config.minVersion,
    maxVersion: config.maxVersion,
    ciphers: config.ciphers,
    ecdhCurve: config.curves,
    ...(config.signatureAlgorithms === '' ? {} : { sigalgs: config.signatureAlgorithms }),
    // Never the system's roots: without trusted_ca nothing is verified.
    ca: validation && validation.trustedCa !== '' ? validation.trustedCa : [],
    ...(validation && validation.crl !== '' ? { crl: validation.crl } : {}),
    // Envoy's trust store may hold an intermediate as anchor.
    allowPartialTrustChain: true,
  }
}

function certificateOptions(certificate: CertificateConfig | undefined): SecureContextOptions {
  if (certificate === undefined) return {}
  return {
    cert: certificate.certificateChain,
    key: certificate.privateKey,
    ...(certificate.password === '' ? {} : { passphrase: certificate.password }),
  }
}

/** Throws what OpenSSL says about a certificate, key or list that it refuses. */
export function createServerSecureContext(
  config: DownstreamTlsConfig,
  resolved: ResolvedTls,
  certificate: CertificateConfig,
  ticketKeys: readonly Uint8Array[],
): SecureContext {
  const sessionIdContext = createHash('sha256').update(certificate.certificateChain).digest('hex').slice(0, 32)
  return createSecureContext({
    ...commonOptions(config.common, resolved.validation),
    ...certificateOptions(certificate),
    honorCipherOrder: true,
    sessionIdContext,
    ...(ticketKeys.length > 0
      ? { ticketKeys: Buffer.from(ticketKeys[0]!) }
      : { secureOptions: constants.SSL_OP_NO_TICKET }),
    ...(config.sessionTimeoutS === null ? {} : { sessionTimeout: config.sessionTimeoutS }),
  })
}

export function createClientSecureContext(config: CommonTlsConfig, resolved: ResolvedTls): SecureContext {
  return createSecureContext({
    ...commonOptions(config, resolved.validation),
    ...certificateOptions(resolved.certificates[0]),
  })
}
