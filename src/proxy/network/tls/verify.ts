// What a peer's certificate must satisfy beyond a valid chain. OpenSSL checks the chain, this the rest.

import { createHash, X509Certificate } from 'node:crypto'
import type { PeerCertificate, TLSSocket } from 'node:tls'
import { compileStringMatcher } from '../../route/string-matcher.ts'
import { alternativeNames, verifyError } from '../ssl-info.ts'
import { tlsErrorText } from '../transport-error.ts'
import type { SanMatcherConfig, SanType, ValidationConfig } from './tls-config.ts'

/** Which `ssl.` counter a refusal belongs to. */
export type VerifyCounter = 'fail_verify_no_cert' | 'fail_verify_error' | 'fail_verify_san' | 'fail_verify_cert_hash'

export interface VerifyFailure {
  readonly counter: VerifyCounter
  /** Envoy's transport failure text. */
  readonly text: string
}

type SanMatch = (type: SanType, value: string) => boolean

/** Checks made ready for many connections. */
export interface PeerVerifier {
  /** null = accepted. A peer without certificate is accepted unless `required`. */
  verify(socket: TLSSocket, required: boolean): VerifyFailure | null
}

/** OpenSSL codes that allow_expired_certificate forgives. */
const EXPIRY = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'])
/** OpenSSL's X509_verify_cert_error_string by Node's code, for the codes that Envoy's users meet. */
const VERIFY_TEXT: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'certificate has expired',
  CERT_NOT_YET_VALID: 'certificate is not yet valid',
  CERT_REVOKED: 'certificate revoked',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'self-signed certificate',
  SELF_SIGNED_CERT_IN_CHAIN: 'self-signed certificate in certificate chain',
  UNABLE_TO_GET_ISSUER_CERT: 'unable to get issuer certificate',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'unable to get local issuer certificate',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'unable to verify the first certificate',
  INVALID_PURPOSE: 'unsupported certificate purpose',
}

export function createPeerVerifier(config: ValidationConfig): PeerVerifier {
  const sanMatches = config.sanMatchers.map(compileSan)
  return {
    verify(socket, required) {
      const certificate = socket.getPeerCertificate(false)
      if (!certificate || Object.keys(certificate).length === 0) {
        if (!required) return null
        return { counter: 'fail_verify_no_cert', text: tlsErrorText('PEER_DID_NOT_RETURN_A_CERTIFICATE') }
      }
      return chainFailure(config, socket) ?? nameFailure(sanMatches, certificate) ?? hashFailure(config, certificate)
    },
  }
}

function chainFailure(config: ValidationConfig, socket: TLSSocket): VerifyFailure | null {
  if (config.trustedCa === '' || config.acceptUntrusted) return null
  const error = verifyError(socket)
  if (error === null || (config.allowExpired && EXPIRY.has(error.code ?? ''))) return null
  const text = VERIFY_TEXT[error.code ?? ''] ?? error.message
  // OpenSSL's depth is not to be had from Node; faults of the chain beyond the leaf say so in their names.
  const depth = error.code === 'SELF_SIGNED_CERT_IN_CHAIN' ? 1 : 0
  return refusal('fail_verify_error', `X509_verify_cert: certificate verification error at depth ${depth}: ${text}`)
}

function refusal(counter: VerifyCounter, reason: string): VerifyFailure {
  return { counter, text: tlsErrorText('CERTIFICATE_VERIFY_FAILED', `verify cert failed: ${reason}:`) }
}

function nameFailure(matches: readonly SanMatch[], certificate: PeerCertificate): VerifyFailure | null {
  if (matches.length === 0) return null
  const names = alternativeNames(certificate.subjectaltname)
  for (const match of matches) {
    if (names.uri.some((name) => match('URI', name))) return null
    if (names.dns.some((name) => match('DNS', name))) return null
    if (names.ip.some((name) => match('IP_ADDRESS', name))) return null
    if (names.email.some((name) => match('EMAIL', name))) return null
  }
  return refusal('fail_verify_san', `SAN matcher, certificate SANs are [${names.all.join(', ')}]`)
}

function hashFailure(config: ValidationConfig, certificate: PeerCertificate): VerifyFailure | null {
  if (config.hashes.length === 0 && config.spki.length === 0) return null
  if (config.hashes.includes(certificate.fingerprint256.replaceAll(':', '').toLowerCase())) return null
  if (config.spki.length > 0) {
    const key = new X509Certificate(certificate.raw).publicKey.export({ type: 'spki', format: 'der' })
    if (config.spki.includes(createHash('sha256').update(key).digest('base64'))) return null
  }
  return refusal('fail_verify_cert_hash', 'cert hash and spki')
}

function compileSan(config: SanMatcherConfig): SanMatch {
  const match = compileStringMatcher(config.matcher)
  const { type, matcher } = config
  // An exact DNS name honours a certificate's wildcard (one label), as Envoy does.
  const exactDns = matcher.kind === 'exact' && (type === 'DNS' || type === 'ANY') ? matcher.value.toLowerCase() : null
  return (kind, value) => {
    if (type !== 'ANY' && type !== kind) return false
    if (kind === 'DNS' && exactDns !== null) return dnsNameMatches(exactDns, value.toLowerCase())
    return match(value)
  }
}

/** RFC 6125 §6.4.3: `*` stands for the whole first label. */
export function dnsNameMatches(name: string, pattern: string): boolean {
  if (name === pattern) return true
  if (!pattern.startsWith('*.')) return false
  const dot = name.indexOf('.')
  return dot > 0 && name.slice(dot) === pattern.slice(1)
}
