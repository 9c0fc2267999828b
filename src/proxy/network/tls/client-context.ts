// The TLS side of an upstream transport socket: one context for each version of its secrets.

import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import { errorText } from '../../../base/errors.ts'
import type { Counter, Scope } from '../../observe/stats.ts'
import type { ClientTls } from '../connect.ts'
import type { SslInfo } from '../connection.ts'
import { readSslInfo, resumedSslInfo, tlsSslInfo } from '../ssl-info.ts'
import type { SecretStore } from './secret-store.ts'
import { createClientSecureContext, resolveTls } from './secure-context.ts'
import type { UpstreamTlsConfig } from './tls-config.ts'
import { createPeerVerifier, type PeerVerifier } from './verify.ts'

export class UpstreamTlsFactory {
  private readonly config: UpstreamTlsConfig
  private readonly secrets: SecretStore
  private readonly stats: Scope
  private readonly unwatch: (() => void)[] = []
  private context: SecureContext | null = null
  private verifier: PeerVerifier | null = null
  private sessions: KeptSession[] = []
  private readonly handshakes: Counter
  private readonly reused: Counter
  /** Why there is no context although the secrets are there. */
  failure = ''

  constructor(config: UpstreamTlsConfig, secrets: SecretStore, clusterScope: Scope) {
    this.config = config
    this.secrets = secrets
    this.stats = clusterScope.scope('ssl')
    this.handshakes = this.stats.counter('handshake')
    this.reused = this.stats.counter('session_reused')
    const rebuild = (): void => this.rebuild()
    for (const name of new Set([...config.common.certificateSecrets, config.common.validationSecret])) {
      if (name !== '') this.unwatch.push(secrets.watch(name, rebuild))
    }
    this.rebuild()
  }

  /** Its secrets have come and OpenSSL takes them. */
  get ready(): boolean {
    return this.context !== null
  }

  /** What one connection uses; null while not ready. The overrides replace sni and alpn_protocols of the configuration. */
  clientTls(sni: string | null, alpn: readonly string[] | null): ClientTls | null {
    if (this.context === null) return null
    return new ConnectionTls(this, this.context, sni ?? this.config.sni, alpn ?? this.config.common.alpnProtocols)
  }

  close(): void {
    for (const end of this.unwatch) end()
  }

  takeSession(): KeptSession | null {
    // TLS 1.3 tickets are for one use (RFC 8446 §C.4); the server sends new ones.
    return this.sessions.pop() ?? null
  }

  keepSession(kept: KeptSession): void {
    this.sessions.push(kept)
    if (this.sessions.length > this.config.maxSessionKeys) this.sessions.shift()
  }

  get keepsSessions(): boolean {
    return this.config.maxSessionKeys > 0
  }

  /** `resumed`: the peer was verified when the session began, under this very context. */
  verify(socket: TLSSocket, resumed: boolean): string {
    this.handshakes.inc()
    if (resumed) {
      this.reused.inc()
      return ''
    }
    const failure = this.verifier === null ? null : this.verifier.verify(socket, true)
    if (failure === null) return ''
    this.stats.counter(failure.counter).inc()
    return failure.text
  }

  private rebuild(): void {
    const resolved = resolveTls(this.config.common, this.secrets)
    if (resolved === null) {
      this.context = null
      return
    }
    this.sessions = []
    try {
      this.context = createClientSecureContext(this.config.common, resolved)
      this.verifier = resolved.validation === null ? null : createPeerVerifier(resolved.validation)
      this.failure = ''
      if (this.unwatch.length > 0) this.stats.counter('context_update_by_sds').inc()
    } catch (error) {
      // A bad rotation: the context in use stays.
      this.failure = errorText(error)
    }
  }
}

/** A session with what its first handshake told of the peer. */
interface KeptSession {
  readonly session: Buffer
  readonly peer: SslInfo
}

class ConnectionTls implements ClientTls {
  readonly secureContext: SecureContext
  readonly serverName: string
  readonly alpnProtocols: readonly string[]
  private readonly factory: UpstreamTlsFactory
  private resumed: KeptSession | null = null
  /** Set once the peer is accepted: only then its sessions are worth keeping. */
  private peer: SslInfo | null = null
  private early: Buffer | null = null

  constructor(factory: UpstreamTlsFactory, context: SecureContext, serverName: string, alpn: readonly string[]) {
    this.factory = factory
    this.secureContext = context
    this.serverName = serverName
    this.alpnProtocols = alpn
  }

  session(): Buffer | undefined {
    this.resumed = this.factory.takeSession()
    return this.resumed?.session
  }

  onSession(session: Buffer): void {
    if (!this.factory.keepsSessions) return
    if (this.peer === null) this.early = session
    else this.factory.keepSession({ session, peer: this.peer })
  }

  verify(socket: TLSSocket): string {
    return this.factory.verify(socket, this.resumed !== null && socket.isSessionReused())
  }

  sslInfo(socket: TLSSocket): () => SslInfo {
    const resumed = socket.isSessionReused() ? this.resumed : null
    if (!this.factory.keepsSessions) return tlsSslInfo(socket)
    const peer = resumed?.peer ?? readSslInfo(socket)
    this.peer = peer
    if (this.early !== null) this.factory.keepSession({ session: this.early, peer })
    this.early = null
    return resumed === null ? () => peer : resumedSslInfo(socket, peer)
  }
}

/** Throws what OpenSSL refuses, before any worker meets it. */
export function checkClientTls(config: UpstreamTlsConfig): void {
  if (config.common.certificateSecrets.length > 0 || config.common.validationSecret !== '') {
    createSecureContext({ ciphers: config.common.ciphers, ecdhCurve: config.common.curves })
  } else
    createClientSecureContext(config.common, {
      certificates: config.common.certificates,
      validation: config.common.validation,
    })
}
