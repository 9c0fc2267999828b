// The TLS side of an upstream transport socket: one context for each version of its secrets.

import type { Scope } from '../../observe/stats.ts'
import type { ClientTls } from '../connect.ts'
import type { SocketConnectionInfo } from '../connection-info.ts'
import { reportFault } from '../fault.ts'
import { negotiatedAlpn } from './handshake-facts.ts'
import { openssl, type Pointer } from './openssl/library.ts'
import type { SecretStore } from './secret-store.ts'
import { createClientContext, resolveTls, type SslContext } from './secure-context.ts'
import { SslSocket } from './ssl-socket.ts'
import { SslStats } from './ssl-stats.ts'
import type { UpstreamTlsConfig } from './tls-config.ts'
import { createPeerVerifier, type PeerVerifier } from './verify.ts'

/** Sessions of this version and later are for one use (RFC 8446 §C.4). */
const TLS_1_3 = 0x304

interface KeptSession {
  readonly pointer: Pointer
  /** The name that was asked for: the server's certificate was for that one (RFC 6066 §3). */
  readonly serverName: string
}

export class UpstreamTlsFactory {
  readonly config: UpstreamTlsConfig
  readonly stats: SslStats
  private readonly secrets: SecretStore
  private readonly unwatch: (() => void)[] = []
  private context: SslContext | null = null
  private verifier: PeerVerifier | null = null
  /** Oldest first; owned. */
  private sessions: KeptSession[] = []
  private closed = false

  constructor(config: UpstreamTlsConfig, secrets: SecretStore, clusterScope: Scope) {
    this.config = config
    this.secrets = secrets
    this.stats = new SslStats(clusterScope, 'client')
    const rebuild = (): void => this.rebuild()
    for (const name of new Set([...config.common.certificateSecrets, config.common.validationSecret])) {
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

  /** Its secrets have come and OpenSSL takes them. */
  get ready(): boolean {
    return this.context !== null
  }

  /** What one connection uses; null while not ready. The overrides replace sni and alpn_protocols of the configuration. */
  clientTls(sni: string | null, alpn: readonly string[] | null, alpnFallback: readonly string[]): ClientTls | null {
    if (this.context === null) return null
    const { alpnProtocols } = this.config.common
    const offered = alpn ?? (alpnProtocols.length > 0 ? alpnProtocols : alpnFallback)
    return new ConnectionTls(this, sni ?? this.config.sni, offered)
  }

  /** Connections go on; no new one is made. */
  close(): void {
    this.closed = true
    for (const end of this.unwatch) end()
    this.replaceContext(null)
  }

  /** null = the context has gone since clientTls(). */
  createSocket(serverName: string, alpnProtocols: readonly string[]): SslSocket | null {
    const { context, verifier } = this
    if (context === null) return null
    const session = this.takeSession(serverName)
    const keepSession =
      this.config.maxSessionKeys > 0 ? (kept: Pointer) => this.keepSession(context, serverName, kept) : null
    const socket = SslSocket.client({ context, verifier, alpnProtocols, serverName, session, keepSession })
    if (session !== null && !this.sessions.some(({ pointer }) => pointer === session))
      openssl().SSL_SESSION_free(session)
    return socket
  }

  /** The newest of this name; one of TLS 1.3 is taken out of the list and the caller frees it. */
  private takeSession(serverName: string): Pointer | null {
    const at = this.sessions.findLastIndex((kept) => kept.serverName === serverName)
    if (at < 0) return null
    const { pointer } = this.sessions[at]!
    if (openssl().SSL_SESSION_get_protocol_version(pointer) >= TLS_1_3) this.sessions.splice(at, 1)
    return pointer
  }

  private keepSession(context: SslContext, serverName: string, pointer: Pointer): boolean {
    // A session of an older context says nothing about what the secrets want now.
    if (this.context !== context) return false
    this.sessions.push({ pointer, serverName })
    if (this.sessions.length > this.config.maxSessionKeys) openssl().SSL_SESSION_free(this.sessions.shift()!.pointer)
    return true
  }

  private replaceContext(context: SslContext | null): void {
    this.context?.free()
    this.context = context
    for (const { pointer } of this.sessions) openssl().SSL_SESSION_free(pointer)
    this.sessions = []
  }

  /** Throws what OpenSSL refuses; the context in use stays. */
  private rebuild(): void {
    const resolved = resolveTls(this.config.common, this.secrets)
    if (this.closed) return
    if (resolved === null) {
      this.replaceContext(null)
      return
    }
    const verifier = resolved.validation === null ? null : createPeerVerifier(resolved.validation)
    this.replaceContext(createClientContext(this.config.common, resolved, this.config.maxSessionKeys > 0))
    this.verifier = verifier
    this.stats.showExpiration(this.config.common, resolved)
    if (this.unwatch.length > 0 && this.secrets.countsUpdates) this.stats.contextUpdates.inc()
  }
}

class ConnectionTls implements ClientTls {
  readonly serverName: string
  readonly alpnProtocols: readonly string[]
  private readonly factory: UpstreamTlsFactory

  constructor(factory: UpstreamTlsFactory, serverName: string, alpn: readonly string[]) {
    this.factory = factory
    this.serverName = serverName
    this.alpnProtocols = alpn
  }

  createSocket(): SslSocket | null {
    return this.factory.createSocket(this.serverName, this.alpnProtocols)
  }

  onHandshake(ssl: SslSocket, info: SocketConnectionInfo): void {
    this.factory.stats.countHandshake(ssl)
    info.requestedServerName = this.serverName
    info.applicationProtocols = this.alpnProtocols
    info.negotiatedProtocol = negotiatedAlpn(ssl.pointer!)
  }

  onFailure(ssl: SslSocket): void {
    this.factory.stats.countFailure(ssl)
  }
}

/** Throws what OpenSSL refuses, before any worker meets it. */
export function checkClientTls(config: UpstreamTlsConfig): void {
  const { certificates, validation } = config.common
  createClientContext(config.common, { certificates, validation }, false).free()
}
