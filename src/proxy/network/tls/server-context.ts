// The TLS side of a filter chain's transport socket: one context for each certificate and version of its secrets.

import { X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import { errorText } from '../../../base/errors.ts'
import type { Scope } from '../../observe/stats.ts'
import { alternativeNames } from '../ssl-info.ts'
import type { SecretStore } from './secret-store.ts'
import { createServerSecureContext, type ResolvedTls, resolveTls } from './secure-context.ts'
import type { CertificateConfig, DownstreamTlsConfig } from './tls-config.ts'
import { createPeerVerifier, dnsNameMatches, type PeerVerifier } from './verify.ts'

interface Identity {
  /** DNS SANs, or the subject's common name when there is none; lower case. */
  readonly names: readonly string[]
  readonly ecdsa: boolean
  readonly context: SecureContext
}

/** Chooses and builds what a downstream handshake needs. */
export class DownstreamTlsFactory {
  readonly config: DownstreamTlsConfig
  private readonly secrets: SecretStore
  private readonly stats: Scope
  private readonly unwatch: (() => void)[] = []
  private identities: readonly Identity[] = []
  verifier: PeerVerifier | null = null
  failure = ''

  constructor(config: DownstreamTlsConfig, secrets: SecretStore, sslScope: Scope) {
    this.config = config
    this.secrets = secrets
    this.stats = sslScope
    const { common } = config
    const rebuild = (): void => this.rebuild()
    for (const name of new Set([...common.certificateSecrets, common.validationSecret, config.ticketKeysSecret])) {
      if (name !== '') this.unwatch.push(secrets.watch(name, rebuild))
    }
    this.rebuild()
  }

  get ready(): boolean {
    return this.identities.length > 0
  }

  /** Client certificates are asked for when something is to be checked in them, or they are required. */
  get requestsClientCertificate(): boolean {
    return this.config.requireClientCertificate || this.verifier !== null
  }

  /** Exact name, one-level wildcard, else the first certificate; ECDSA before RSA where the client can (envoy-contract §16.1). */
  contextFor(serverName: string, clientTakesEcdsa: boolean): SecureContext | null {
    const identities = this.identities
    if (identities.length <= 1) return identities[0]?.context ?? null
    const exact = identities.filter((identity) => serverName !== '' && identity.names.includes(serverName))
    const wildcard = identities.filter((identity) =>
      identity.names.some((n) => n.startsWith('*') && dnsNameMatches(serverName, n)),
    )
    for (const list of [exact, wildcard, identities]) {
      const chosen = list.find((identity) => identity.ecdsa === clientTakesEcdsa) ?? list[0]
      if (chosen !== undefined) return chosen.context
    }
    return null
  }

  /** Envoy's choice: the server's first protocol that the client offers; none in common goes on without ALPN. */
  chooseAlpn(offered: readonly string[]): string | null {
    for (const protocol of this.config.common.alpnProtocols) if (offered.includes(protocol)) return protocol
    return null
  }

  close(): void {
    for (const end of this.unwatch) end()
  }

  private rebuild(): void {
    const resolved = resolveTls(this.config.common, this.secrets)
    const ticketKeys =
      this.config.ticketKeysSecret === ''
        ? this.config.ticketKeys
        : this.secrets.get(this.config.ticketKeysSecret)?.ticketKeys
    if (resolved === null || !ticketKeys) {
      this.identities = []
      return
    }
    try {
      this.identities = resolved.certificates.map((certificate) => this.identity(resolved, certificate, ticketKeys))
      this.verifier = resolved.validation === null ? null : createPeerVerifier(resolved.validation)
      this.failure = ''
      if (this.unwatch.length > 0) this.stats.counter('context_update_by_sds').inc()
    } catch (error) {
      // A bad rotation: the contexts in use stay.
      this.failure = errorText(error)
    }
  }

  private identity(resolved: ResolvedTls, certificate: CertificateConfig, ticketKeys: readonly Uint8Array[]): Identity {
    const parsed = new X509Certificate(certificate.certificateChain)
    const { dns } = alternativeNames(parsed.subjectAltName)
    const commonName = /(?:^|\n)CN=([^\n]+)/.exec(parsed.subject)?.[1]
    return {
      names: (dns.length > 0 ? dns : commonName ? [commonName] : []).map((name) => name.toLowerCase()),
      ecdsa: parsed.publicKey.asymmetricKeyType === 'ec',
      context: createServerSecureContext(this.config, resolved, certificate, ticketKeys),
    }
  }
}

/** Throws what OpenSSL refuses, before any worker meets it. */
export function checkServerTls(config: DownstreamTlsConfig): void {
  const { common } = config
  for (const certificate of common.certificates) {
    createServerSecureContext(
      config,
      { certificates: common.certificates, validation: common.validation },
      certificate,
      config.ticketKeys,
    )
  }
  if (common.certificates.length === 0) createSecureContext({ ciphers: common.ciphers, ecdhCurve: common.curves })
}
