// What a peer's certificate must satisfy: OpenSSL judges the chain, this the rest, both within the handshake, so that a
// refused peer gets an alert.

import { createHash, X509Certificate } from 'node:crypto'
import { alternativeNames } from '../../../base/alternative-names.ts'
import { compileStringMatcher } from '../../route/string-matcher.ts'
import { tlsErrorText } from '../transport-error.ts'
import { derOf } from './certificates.ts'
import { signsOthers } from './key-usage.ts'
import { openssl, type Pointer } from './openssl/library.ts'
import { TrustAnchors } from './openssl/pem.ts'
import { otherNames } from './other-names.ts'
import type { SanMatcherConfig, SanType, TrustDomainConfig, ValidationConfig } from './tls-config.ts'
import { trustDomainOf } from './trust-domains.ts'

/** Which `ssl.` counter a refusal belongs to. */
export type VerifyCounter = 'fail_verify_error' | 'fail_verify_san' | 'fail_verify_cert_hash'

export interface VerifyFailure {
  readonly counter: VerifyCounter
  /** Envoy's transport failure text. */
  readonly text: string
  /** Counted, and accepted all the same: ACCEPT_UNTRUSTED. */
  readonly accepted: boolean
}

type SanMatch = (type: SanType, value: string, oid: string) => boolean

/** Checks made ready for many connections. */
export interface PeerVerifier {
  /** `store` is the X509_STORE_CTX of the handshake; null = accepted. Leaves in it the error that chooses the alert. */
  verify(store: Pointer): VerifyFailure | null
}

/** X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: the peer is accepted, not trusted. */
export const NOT_VALIDATED = 20
const CHAIN_TOO_LONG = 22
/** X509_V_ERR_ of revocation lists: there is none, it is broken, not in time, not for this; and "revoked". */
const ABOUT_LISTS: ReadonlySet<number> = new Set([3, 5, 8, 11, 12, 15, 16, 23, 33, 35, 36, 44, 54])
/** A code of nobody's: OpenSSL answers it with the alert certificate_unknown, as Envoy does for names and hashes. */
const REFUSED = 10_000

export function createPeerVerifier(config: ValidationConfig): PeerVerifier {
  const sanMatches = config.sanMatchers.map(compileSan)
  const hashesMatter = config.trustDomains === null && (config.hashes.length > 0 || config.spki.length > 0)
  const leafMatters = sanMatches.length > 0 || hashesMatter
  const domains = config.trustDomains === null ? null : new TrustDomains(config.trustDomains)
  return {
    verify(store) {
      const lib = openssl()
      const untrusted = domains === null ? chainFailure(config, store) : domains.failure(store)
      if ((untrusted !== null && !untrusted.accepted) || !leafMatters) return untrusted
      const leaf = lib.X509_STORE_CTX_get0_cert(store)
      const certificate = new X509Certificate(leaf === null ? Buffer.alloc(0) : derOf(leaf))
      const failure =
        domains === null
          ? (nameFailure(sanMatches, certificate) ?? hashFailure(config, certificate))
          : identityFailure(sanMatches, certificate)
      if (failure === null) return untrusted
      lib.X509_STORE_CTX_set_error(store, REFUSED)
      return failure
    },
  }
}

function chainFailure(config: ValidationConfig, store: Pointer): VerifyFailure | null {
  if (config.trustedCa === '') {
    openssl().X509_STORE_CTX_set_error(store, NOT_VALIDATED)
    return null
  }
  const failure = verifyChain(store)
  return failure === null ? null : { ...failure, accepted: config.acceptUntrusted }
}

function verifyChain(store: Pointer): VerifyFailure | null {
  const lib = openssl()
  if (lib.X509_verify_cert(store) === 1) return null
  const code = lib.X509_STORE_CTX_get_error(store)
  const depth = lib.X509_STORE_CTX_get_error_depth(store)
  const about = ABOUT_LISTS.has(code) ? 'certificate revocation check against provided CRLs failed: ' : ''
  // BoringSSL looks no further than it may and then knows no issuer.
  const text = about + lib.X509_verify_cert_error_string(code === CHAIN_TOO_LONG ? NOT_VALIDATED : code)
  const reason = `X509_verify_cert: certificate verification error at depth ${depth}: ${text}`
  return refusal('fail_verify_error', reason)
}

/** Gives certificates back when no verifier and no handshake can ask about them any more. */
const anchors = new FinalizationRegistry<readonly TrustAnchors[]>((stacks) => {
  for (const stack of stacks) stack.free()
})

/** The SPIFFE validator: the authorities of a peer's own trust domain, and no others. */
class TrustDomains {
  private readonly byName = new Map<string, TrustAnchors>()

  constructor(domains: readonly TrustDomainConfig[]) {
    const stacks = domains.map(({ name, bundle }) => {
      const stack = new TrustAnchors(bundle)
      this.byName.set(name, stack)
      return stack
    })
    anchors.register(this, stacks)
  }

  failure(store: Pointer): VerifyFailure | null {
    const lib = openssl()
    const leaf = lib.X509_STORE_CTX_get0_cert(store)
    const certificate = leaf === null ? null : new X509Certificate(derOf(leaf))
    if (certificate === null || mayNotBeIdentity(certificate)) return this.refuse(store, 'cert precheck')
    const { uri } = alternativeNames(certificate.subjectAltName)
    const trusted = uri.map((name) => this.byName.get(trustDomainOf(name))).find((found) => found !== undefined)
    if (trusted === undefined) return this.refuse(store, 'no trust bundle store')
    lib.X509_STORE_CTX_set0_trusted_stack(store, trusted.stack)
    const failure = verifyChain(store)
    if (failure !== null) lib.X509_STORE_CTX_set_error(store, REFUSED)
    return failure
  }

  private refuse(store: Pointer, reason: string): VerifyFailure {
    openssl().X509_STORE_CTX_set_error(store, REFUSED)
    return refusal('fail_verify_error', reason)
  }
}

/** The SPIFFE validator asks about URIs only. */
function identityFailure(matches: readonly SanMatch[], certificate: X509Certificate): VerifyFailure | null {
  const { uri } = alternativeNames(certificate.subjectAltName)
  const matched = matches.some((match) => uri.some((name) => match('URI', name, '')))
  return matched ? null : refusal('fail_verify_san', 'SAN match')
}

/** An authority's own certificate is nobody's identity (X509-SVID §5.2, §5.4). */
function mayNotBeIdentity(certificate: X509Certificate): boolean {
  return certificate.ca || signsOthers(certificate.raw)
}

function refusal(counter: VerifyCounter, reason: string): VerifyFailure {
  return { counter, text: tlsErrorText('CERTIFICATE_VERIFY_FAILED', `verify cert failed: ${reason}:`), accepted: false }
}

function nameFailure(matches: readonly SanMatch[], certificate: X509Certificate): VerifyFailure | null {
  if (matches.length === 0) return null
  const names = alternativeNames(certificate.subjectAltName)
  const others = otherNames(certificate.raw)
  for (const match of matches) {
    if (names.uri.some((name) => match('URI', name, ''))) return null
    if (names.dns.some((name) => match('DNS', name, ''))) return null
    if (names.ip.some((name) => match('IP_ADDRESS', name, ''))) return null
    if (names.email.some((name) => match('EMAIL', name, ''))) return null
    if (others.some(({ oid, value }) => match('OTHER_NAME', value, oid))) return null
  }
  return refusal('fail_verify_san', `SAN matcher, certificate SANs are [${names.all.join(', ')}]`)
}

function hashFailure(config: ValidationConfig, certificate: X509Certificate): VerifyFailure | null {
  if (config.hashes.length === 0 && config.spki.length === 0) return null
  if (config.hashes.includes(certificate.fingerprint256.replaceAll(':', '').toLowerCase())) return null
  if (config.spki.length > 0) {
    const key = certificate.publicKey.export({ type: 'spki', format: 'der' })
    if (config.spki.includes(createHash('sha256').update(key).digest('base64'))) return null
  }
  return refusal('fail_verify_cert_hash', 'cert hash and spki')
}

function compileSan(config: SanMatcherConfig): SanMatch {
  const match = compileStringMatcher(config.matcher)
  const { type, matcher } = config
  // An exact DNS name honours a certificate's wildcard (one label), as Envoy does.
  const exactDns = matcher.kind === 'exact' && (type === 'DNS' || type === 'ANY') ? matcher.value.toLowerCase() : null
  return (kind, value, oid) => {
    if (kind === 'OTHER_NAME') return type === kind && oid === config.oid && match(value)
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
