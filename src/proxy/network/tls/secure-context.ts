// OpenSSL contexts from configuration and secrets. A context is immutable: a rotation makes a new one for new
// connections, the old one lives until its last connection is gone.

import { createHash, X509Certificate } from 'node:crypto'
import { mustStaple } from './ocsp.ts'
import { nativeCallbacks, type TicketKey } from './openssl/callbacks.ts'
import { configurationError } from './openssl/errors.ts'
import { openssl, type Pointer } from './openssl/library.ts'
import { announce, trust, useCertificate, useRevocationLists } from './openssl/pem.ts'
import type { SecretStore } from './secret-store.ts'
import { splitTicketKey, useTicketKeys } from './ticket-keys.ts'
import {
  type CertificateConfig,
  type CommonTlsConfig,
  DEFAULT_VERIFY_DEPTH,
  type DownstreamTlsConfig,
  type OcspPolicy,
  type ValidationConfig,
} from './tls-config.ts'

/** Configuration with its secrets filled in; null while one is missing. */
export interface ResolvedTls {
  readonly certificates: readonly CertificateConfig[]
  readonly validation: ValidationConfig | null
}

export function resolveTls(config: CommonTlsConfig, secrets: Pick<SecretStore, 'get'>): ResolvedTls | null {
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
    trustedCaOrigin: over.trustedCaOrigin || base.trustedCaOrigin,
    crl: over.crl || base.crl,
    leafCrlOnly: base.leafCrlOnly || over.leafCrlOnly,
    sanMatchers: [...base.sanMatchers, ...over.sanMatchers],
    spki: [...base.spki, ...over.spki],
    hashes: [...base.hashes, ...over.hashes],
    allowExpired: base.allowExpired || over.allowExpired,
    acceptUntrusted: base.acceptUntrusted || over.acceptUntrusted,
    maxVerifyDepth: over.maxVerifyDepth === DEFAULT_VERIFY_DEPTH ? base.maxVerifyDepth : over.maxVerifyDepth,
    trustDomains: over.trustDomains ?? base.trustDomains,
  }
}

// Numbers of openssl/ssl.h and openssl/x509_vfy.h: macros there, so no symbol carries them.
const CTRL_MODE = 33
const CTRL_SET_SESS_CACHE_SIZE = 42
const CTRL_SET_SESS_CACHE_MODE = 44
const CTRL_SET_TLSEXT_STATUS_REQ_CB = 63
const CTRL_SET_GROUPS_LIST = 92
const CTRL_SET_SIGALGS_LIST = 98
const CTRL_SET_MIN_PROTO_VERSION = 123
const CTRL_SET_MAX_PROTO_VERSION = 124
const MODE_ACCEPT_MOVING_WRITE_BUFFER = 0x02
/** Buffers are given back while a connection is idle: 34 KB of it. */
const OP_NO_TICKET = 1 << 14
const OP_CIPHER_SERVER_PREFERENCE = 1 << 22
const OP_NO_RENEGOTIATION = 1 << 30
const SESS_CACHE_OFF = 0
const SESS_CACHE_CLIENT = 1
const SESS_CACHE_SERVER = 2
const SESS_CACHE_NO_INTERNAL = 0x300
const VERIFY_NONE = 0
const VERIFY_PEER = 1
const VERIFY_FAIL_IF_NO_PEER_CERT = 2
const X509_V_FLAG_CRL_CHECK = 0x4
const X509_V_FLAG_CRL_CHECK_ALL = 0x8
const X509_V_FLAG_PARTIAL_CHAIN = 0x80000
const PROTOCOL = { TLSv1: 0x301, 'TLSv1.1': 0x302, 'TLSv1.2': 0x303, 'TLSv1.3': 0x304 } as const
/** Envoy's default; a client sends key shares for the marked ones, as BoringSSL does. OpenSSL before 3.5 has no ML-KEM. */
const DEFAULT_CURVES = ['*X25519MLKEM768:*X25519:P-256', 'X25519:P-256']
/** Sessions that a server context keeps for clients that take no tickets; more push the oldest out. */
const SERVER_SESSIONS = 1024

/** An SSL_CTX. `free` it once when no new connection is to use it. */
export class SslContext {
  readonly pointer: Pointer
  readonly ticketKeys: readonly TicketKey[]
  private readonly chain: string
  private leaf: X509Certificate | null | undefined
  private freed = false

  constructor(pointer: Pointer, chain: string, ticketKeys: readonly TicketKey[]) {
    this.pointer = pointer
    this.chain = chain
    this.ticketKeys = ticketKeys
  }

  /** The certificate that this side shows. */
  get localCertificate(): X509Certificate | null {
    this.leaf ??= this.chain === '' ? null : new X509Certificate(this.chain)
    return this.leaf
  }

  /** Connections that use it keep it alive inside OpenSSL. */
  free(): void {
    if (this.freed) return
    this.freed = true
    openssl().SSL_CTX_free(this.pointer)
  }
}

/** Throws what OpenSSL says about a certificate, key or list that it refuses. */
export function createServerContext(
  config: DownstreamTlsConfig,
  resolved: ResolvedTls,
  certificate: CertificateConfig | null,
  ticketKeys: readonly Uint8Array[],
): SslContext {
  const lib = openssl()
  const pointer = newContext(lib.TLS_server_method())
  try {
    applyCommon(pointer, config.common, resolved.validation, true)
    if (certificate !== null)
      useCertificate(pointer, certificate.certificateChain, certificate.privateKey, certificate.password)
    const wish = clientCertificateWish(config.requireClientCertificate, resolved.validation)
    const required = wish === 'required' ? VERIFY_FAIL_IF_NO_PEER_CERT : 0
    lib.SSL_CTX_set_verify(pointer, wish === 'none' ? VERIFY_NONE : VERIFY_PEER | required, null)
    if (!config.preferClientCiphers) lib.SSL_CTX_set_options(pointer, OP_CIPHER_SERVER_PREFERENCE)
    if (certificate !== null) checkStaple(certificate, config.ocspPolicy)
    if ((certificate?.ocspStaple ?? null) !== null)
      lib.SSL_CTX_callback_ctrl(pointer, CTRL_SET_TLSEXT_STATUS_REQ_CB, nativeCallbacks().ocspStatus)
    if (config.common.alpnProtocols.length > 0) lib.SSL_CTX_set_alpn_select_cb(pointer, nativeCallbacks().alpn, null)
    applyResumption(pointer, config, sessionIdContext(config, resolved, certificate), ticketKeys)
    return new SslContext(pointer, certificate?.certificateChain ?? '', ticketKeys.map(splitTicketKey))
  } catch (error) {
    lib.SSL_CTX_free(pointer)
    throw error
  }
}

/**
 * Whether clients are asked for a certificate. As in Envoy, who may come is said by names, hashes or a SPIFFE validator, too:
 * nobody is let in without one then, also where require_client_certificate is not set, unless strangers are accepted.
 */
function clientCertificateWish(
  require: boolean,
  validation: ValidationConfig | null,
): 'none' | 'optional' | 'required' {
  if (require) return 'required'
  if (validation === null) return 'none'
  if (validation.trustDomains !== null) return 'required'
  const { sanMatchers, hashes, spki } = validation
  const named = sanMatchers.length + hashes.length + spki.length > 0
  if (named && !validation.acceptUntrusted) return 'required'
  return named || validation.trustedCa !== '' ? 'optional' : 'none'
}

/** Throws what OpenSSL says about a certificate, key or list that it refuses. */
export function createClientContext(
  config: CommonTlsConfig,
  resolved: ResolvedTls,
  keepsSessions: boolean,
): SslContext {
  const lib = openssl()
  const pointer = newContext(lib.TLS_client_method())
  try {
    applyCommon(pointer, config, resolved.validation, false)
    const certificate = resolved.certificates[0]
    if (certificate !== undefined)
      useCertificate(pointer, certificate.certificateChain, certificate.privateKey, certificate.password)
    lib.SSL_CTX_set_verify(pointer, VERIFY_PEER, null)
    lib.SSL_CTX_ctrl(
      pointer,
      CTRL_SET_SESS_CACHE_MODE,
      keepsSessions ? SESS_CACHE_CLIENT | SESS_CACHE_NO_INTERNAL : SESS_CACHE_OFF,
      null,
    )
    if (keepsSessions) lib.SSL_CTX_sess_set_new_cb(pointer, nativeCallbacks().newSession)
    return new SslContext(pointer, certificate?.certificateChain ?? '', [])
  } catch (error) {
    lib.SSL_CTX_free(pointer)
    throw error
  }
}

let rejecting: SslContext | undefined

/** For connections that are refused for what their client hello asks, or does not: one for the thread. */
export function rejectingContext(): SslContext {
  if (rejecting === undefined) {
    rejecting = new SslContext(newContext(openssl().TLS_server_method()), '', [])
    openssl().SSL_CTX_set_client_hello_cb(rejecting.pointer, nativeCallbacks().rejectHello, null)
  }
  return rejecting
}

/** Throws what Envoy says about a certificate that lacks its staple. */
function checkStaple(certificate: CertificateConfig, policy: OcspPolicy): void {
  if (certificate.ocspStaple !== null) return
  if (mustStaple(new X509Certificate(certificate.certificateChain)))
    throw new Error('OCSP response is required for must-staple certificate')
  if (policy === 'MUST_STAPLE') throw new Error('Required OCSP response is missing from TLS context')
}

/** Throws when a certificate and its key do not load or do not fit. */
export function checkCertificate(certificate: CertificateConfig): void {
  const lib = openssl()
  const pointer = newContext(lib.TLS_server_method())
  try {
    useCertificate(pointer, certificate.certificateChain, certificate.privateKey, certificate.password)
  } finally {
    lib.SSL_CTX_free(pointer)
  }
}

/** Throws when trust anchors or revocation lists do not load. */
export function checkTrust(validation: ValidationConfig): void {
  const lib = openssl()
  const pointer = newContext(lib.TLS_client_method())
  try {
    applyValidation(pointer, validation, false)
  } finally {
    lib.SSL_CTX_free(pointer)
  }
}

function newContext(method: Pointer): Pointer {
  const pointer = openssl().SSL_CTX_new(method)
  if (pointer === null) throw configurationError('SSL_CTX_new')
  return pointer
}

function applyCommon(
  pointer: Pointer,
  config: CommonTlsConfig,
  validation: ValidationConfig | null,
  server: boolean,
): void {
  const lib = openssl()
  lib.SSL_CTX_ctrl(pointer, CTRL_MODE, MODE_ACCEPT_MOVING_WRITE_BUFFER, null)
  lib.SSL_CTX_set_options(pointer, OP_NO_RENEGOTIATION)
  // TLS 1.0 and 1.1 need SHA-1, which OpenSSL allows at level 0 only.
  if (PROTOCOL[config.minVersion] < PROTOCOL['TLSv1.2']) lib.SSL_CTX_set_security_level(pointer, 0)
  lib.SSL_CTX_ctrl(pointer, CTRL_SET_MIN_PROTO_VERSION, PROTOCOL[config.minVersion], null)
  lib.SSL_CTX_ctrl(pointer, CTRL_SET_MAX_PROTO_VERSION, PROTOCOL[config.maxVersion], null)
  const ciphers = config.ciphers.split(':')
  const old = ciphers.filter((cipher) => !cipher.startsWith('TLS_')).join(':')
  const new13 = ciphers.filter((cipher) => cipher.startsWith('TLS_')).join(':')
  if (old !== '' && lib.SSL_CTX_set_cipher_list(pointer, old) !== 1)
    throw configurationError(`Failed to initialize cipher suites ${old}`)
  if (new13 !== '' && lib.SSL_CTX_set_ciphersuites(pointer, new13) !== 1)
    throw configurationError(`Failed to initialize cipher suites ${new13}`)
  const groups = config.curves === '' ? DEFAULT_CURVES : [config.curves]
  // As in BoringSSL a server's first choice is worth a round trip to a client that has guessed another one: each group is a
  // tuple of its own, which OpenSSL before 3.5 does not know.
  const lists = server ? groups.flatMap((list) => [list.replaceAll(':', '/'), list]) : groups
  if (!lists.some((list) => lib.SSL_CTX_ctrl(pointer, CTRL_SET_GROUPS_LIST, 0, list) === 1))
    throw configurationError(`Failed to initialize ECDH curves ${config.curves}`)
  lib.ERR_clear_error()
  if (config.signatureAlgorithms !== '') {
    if (lib.SSL_CTX_ctrl(pointer, CTRL_SET_SIGALGS_LIST, 0, config.signatureAlgorithms) !== 1)
      throw configurationError(`Failed to initialize signature algorithms ${config.signatureAlgorithms}`)
  }
  lib.SSL_CTX_set_cert_verify_callback(pointer, nativeCallbacks().verify, null)
  if (validation !== null) applyValidation(pointer, validation, server)
}

/** What OpenSSL itself checks; names and hashes are in verify.ts. */
function applyValidation(pointer: Pointer, validation: ValidationConfig, server: boolean): void {
  const lib = openssl()
  const store = lib.SSL_CTX_get_cert_store(pointer)
  // BoringSSL counts the trust anchor too.
  lib.SSL_CTX_set_verify_depth(pointer, Math.max(0, validation.maxVerifyDepth - 1))
  if (validation.allowExpired) lib.X509_STORE_set_verify_cb(store, nativeCallbacks().forgiveExpiry)
  if (validation.trustDomains !== null) {
    // Whom to trust depends on the peer: verify.ts.
    if (server) for (const { bundle } of validation.trustDomains) announce(pointer, bundle)
    return
  }
  if (validation.trustedCa === '') return
  // Envoy's trust store may hold an intermediate as anchor.
  let flags = X509_V_FLAG_PARTIAL_CHAIN
  if (validation.crl !== '') flags |= X509_V_FLAG_CRL_CHECK | (validation.leafCrlOnly ? 0 : X509_V_FLAG_CRL_CHECK_ALL)
  lib.X509_STORE_set_flags(store, flags)
  trust(pointer, validation.trustedCa, server)
  if (validation.crl !== '') useRevocationLists(pointer, validation.crl)
}

function applyResumption(
  pointer: Pointer,
  config: DownstreamTlsConfig,
  id: Buffer,
  ticketKeys: readonly Uint8Array[],
): void {
  const lib = openssl()
  lib.SSL_CTX_set_session_id_context(pointer, id, id.length)
  lib.SSL_CTX_ctrl(
    pointer,
    CTRL_SET_SESS_CACHE_MODE,
    config.statefulResumption ? SESS_CACHE_SERVER : SESS_CACHE_OFF,
    null,
  )
  lib.SSL_CTX_ctrl(pointer, CTRL_SET_SESS_CACHE_SIZE, SERVER_SESSIONS, null)
  if (config.sessionTimeoutS !== null) lib.SSL_CTX_set_timeout(pointer, config.sessionTimeoutS)
  if (ticketKeys.length > 0) useTicketKeys(pointer)
  else {
    lib.SSL_CTX_set_options(pointer, OP_NO_TICKET)
    lib.SSL_CTX_set_num_tickets(pointer, 0)
  }
}

/** A session resumes only where the same certificate is shown and peers are judged the same way. */
function sessionIdContext(
  config: DownstreamTlsConfig,
  resolved: ResolvedTls,
  certificate: CertificateConfig | null,
): Buffer {
  const what = [certificate?.certificateChain, resolved.validation, config.requireClientCertificate]
  return createHash('sha256').update(JSON.stringify(what)).digest()
}
