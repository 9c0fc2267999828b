// The TLS side of a filter chain's transport socket: one context for each certificate and version of its secrets.

import { X509Certificate } from 'node:crypto'
import { alternativeNames } from '../../../base/alternative-names.ts'
import type { Scope } from '../../observe/stats.ts'
import type { ClientHello } from '../client-hello.ts'
import type { SocketConnectionInfo } from '../connection-info.ts'
import { reportFault } from '../fault.ts'
import type { SecureTransport } from '../secure-transport.ts'
import { negotiatedAlpn } from './handshake-facts.ts'
import { mustStaple, type OcspStaple, ocspAction } from './ocsp.ts'
import type { SecretStore } from './secret-store.ts'
import { createServerContext, type ResolvedTls, resolveTls, type SslContext } from './secure-context.ts'
import { SslSocket } from './ssl-socket.ts'
import { SslStats } from './ssl-stats.ts'
import type { CertificateConfig, DownstreamTlsConfig, OcspPolicy } from './tls-config.ts'
import { createPeerVerifier, dnsNameMatches, type PeerVerifier } from './verify.ts'

interface Identity {
  /** DNS SANs, or the subject's common name when there is none; lower case. */
  readonly names: readonly string[]
  readonly ecdsa: boolean
  readonly context: SslContext
  readonly staple: OcspStaple | null
  readonly ocspPolicy: OcspPolicy
}

/** Chooses and builds what a downstream handshake needs. */
export class DownstreamTlsFactory implements SecureTransport {
  private readonly config: DownstreamTlsConfig
  private readonly secrets: SecretStore
  private readonly stats: SslStats
  private readonly unwatch: (() => void)[] = []
  private identities: readonly Identity[] = []
  private verifier: PeerVerifier | null = null
  private closed = false

  constructor(config: DownstreamTlsConfig, secrets: SecretStore, listenerScope: Scope) {
    this.config = config
    this.secrets = secrets
    this.stats = new SslStats(listenerScope, 'server')
    const { common } = config
    const rebuild = (): void => this.rebuild()
    for (const name of new Set([...common.certificateSecrets, common.validationSecret, config.ticketKeysSecret])) {
      if (name !== '') this.unwatch.push(secrets.watch(name, rebuild))
    }
    try {
      this.rebuild()
    } catch (error) {
      // Configuration and secrets are sound each for itself; together they are not (a certificate without the staple that
      // the policy asks for). It is as if the secret had not come.
      reportFault(error, 'TLS context')
    }
  }

  get ready(): boolean {
    return this.identities.length > 0
  }

  /** TLS of one connection; null = refused before the handshake, which a counter says. `hello` null = none was sent. */
  createSocket(hello: ClientHello | null): SslSocket | null {
    const tls13 = (hello?.tls13 ?? false) && this.config.common.maxVersion === 'TLSv1.3'
    const ecdsa = hello === null || (tls13 ? hello.ecdsaSignature : hello.ecdsaSuite)
    const identity = this.identityFor(hello?.serverName ?? '', ecdsa)
    if (identity === null) {
      this.stats.secretsNotReady.inc()
      return null
    }
    if (this.config.requireSni && hello !== null && hello.serverName === '') return SslSocket.rejecting()
    const ocsp = ocspAction(hello?.statusRequest ?? false, identity.staple, identity.ocspPolicy, Date.now())
    this.stats.countOcsp(ocsp)
    if (ocsp === 'fail') return SslSocket.rejecting()
    const { context } = identity
    // Envoy's choice of a protocol: the server's first that the client offers; none in common goes on without.
    const { alpnProtocols } = this.config.common
    // As BoringSSL: in TLS 1.3 the client's order of ciphers decides.
    const suites = tls13 ? hello!.tls13Suites : ''
    const socket = SslSocket.server({ context, verifier: this.verifier, alpnProtocols }, suites)
    if (ocsp === 'staple') socket.staple(identity.staple!.response)
    return socket
  }

  onHandshake(ssl: SslSocket, info: SocketConnectionInfo): void {
    this.stats.countHandshake(ssl)
    info.negotiatedProtocol = negotiatedAlpn(ssl.pointer!)
  }

  onFailure(ssl: SslSocket): void {
    this.stats.countFailure(ssl)
  }

  /**
   * Exact name, then one-level wildcard, then (without a name, or with `full_scan_certs_on_sni_mismatch`) any: of each, ECDSA
   * before RSA where the client can, and RSA alone where it cannot. Nothing chosen = the first certificate, as in Envoy.
   */
  private identityFor(serverName: string, clientTakesEcdsa: boolean): Identity | null {
    const identities = this.identities
    if (identities.length <= 1) return identities[0] ?? null
    const exact = identities.filter((identity) => serverName !== '' && identity.names.includes(serverName))
    const wildcard = identities.filter((identity) =>
      identity.names.some((n) => n.startsWith('*') && dnsNameMatches(serverName, n)),
    )
    const any = serverName === '' || this.config.fullScanCertsOnSniMismatch ? identities : []
    for (const list of [exact, wildcard, any]) {
      const chosen = list.find(({ ecdsa }) => ecdsa === clientTakesEcdsa) ?? (clientTakesEcdsa ? list[0] : undefined)
      if (chosen !== undefined) return chosen
    }
    return identities[0]!
  }

  /** Connections go on; no new one is made. */
  close(): void {
    this.closed = true
    for (const end of this.unwatch) end()
    this.replace([])
  }

  private replace(identities: readonly Identity[]): void {
    const old = this.identities
    this.identities = identities
    for (const { context } of old) context.free()
  }

  /** Throws what OpenSSL refuses; the contexts in use stay. */
  private rebuild(): void {
    const resolved = resolveTls(this.config.common, this.secrets)
    const ticketKeys =
      this.config.ticketKeysSecret === ''
        ? this.config.ticketKeys
        : this.secrets.get(this.config.ticketKeysSecret)?.ticketKeys
    if (this.closed) return
    if (resolved === null || !ticketKeys) {
      this.replace([])
      return
    }
    const verifier = resolved.validation === null ? null : createPeerVerifier(resolved.validation)
    this.replace(this.createIdentities(resolved, ticketKeys))
    this.verifier = verifier
    this.stats.showExpiration(this.config.common, resolved)
    if (this.unwatch.length > 0 && this.secrets.countsUpdates) this.stats.contextUpdates.inc()
  }

  private createIdentities(resolved: ResolvedTls, ticketKeys: readonly Uint8Array[]): Identity[] {
    const identities: Identity[] = []
    try {
      for (const certificate of resolved.certificates)
        identities.push(this.createIdentity(resolved, certificate, ticketKeys))
      return identities
    } catch (error) {
      for (const { context } of identities) context.free()
      throw error
    }
  }

  private createIdentity(
    resolved: ResolvedTls,
    certificate: CertificateConfig,
    ticketKeys: readonly Uint8Array[],
  ): Identity {
    const parsed = new X509Certificate(certificate.certificateChain)
    const { dns } = alternativeNames(parsed.subjectAltName)
    const commonName = /(?:^|\n)CN=([^\n]+)/.exec(parsed.subject)?.[1]
    const must = mustStaple(parsed)
    return {
      names: (dns.length > 0 ? dns : commonName ? [commonName] : []).map((name) => name.toLowerCase()),
      ecdsa: parsed.publicKey.asymmetricKeyType === 'ec',
      context: createServerContext(this.config, resolved, certificate, ticketKeys),
      staple: certificate.ocspStaple,
      ocspPolicy: must ? 'MUST_STAPLE' : this.config.ocspPolicy,
    }
  }
}

/** Throws what OpenSSL refuses, before any worker meets it. */
export function checkServerTls(config: DownstreamTlsConfig): void {
  const { certificates, validation } = config.common
  const resolved = { certificates, validation }
  for (const certificate of certificates.length > 0 ? certificates : [null])
    createServerContext(config, resolved, certificate, config.ticketKeys).free()
}
