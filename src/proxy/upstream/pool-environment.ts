// What the pools of one cluster share.

import { isIPv6 } from 'node:net'
import type { ConnectOptions } from '../network/connect.ts'
import { openConnection } from '../network/connect.ts'
import type { Connection, UpstreamSource } from '../network/connection.ts'
import { type DownstreamProxyHeader, proxyHeader } from '../network/proxy-protocol.ts'
import { IP_TRANSPARENT, IPV6_TRANSPARENT, SO_MARK, SOL_SOCKET, type SocketOption } from '../network/socket-options.ts'
import { type UpstreamFilter, withUpstreamFilters } from '../network/upstream-filters.ts'
import type { ResourceManager } from './circuit-breakers.ts'
import { PoolFailureReason } from './cluster-manager.ts'
import type { ClusterStats } from './cluster-stats.ts'
import type { ClusterData } from './config.ts'
import type { Host } from './host.ts'

export interface PoolEnvironment {
  readonly data: ClusterData
  readonly stats: ClusterStats
  readonly upstreamFilters: readonly UpstreamFilter[]
  /** The cluster lost its last pool or connection: a drained one may go. */
  onIdle(): void
}

/** Per-request transport choices that connections of a pool have in common. */
export interface TransportChoice {
  readonly alpn: readonly string[] | null
  readonly sni: string | null
  /** What else sets its connections apart: the downstream they are made for; '' = nothing. */
  readonly key: string
  /** For a PROXY header; null = a connection of the proxy's own. */
  readonly downstream: DownstreamProxyHeader | null
  readonly source: UpstreamSource | null
}

export const DEFAULT_TRANSPORT: TransportChoice = { alpn: null, sni: null, key: '', downstream: null, source: null }

/** Why no connection was even tried. */
export const SECRETS_NOT_READY = 'TLS_error:Secret is not supplied by SDS'

/**
 * Opens a connection to `host`; null when its transport socket waits for a secret. `alpnFallback`: what is offered where the
 * configuration names no protocol.
 */
export function connectTo(
  host: Host,
  environment: PoolEnvironment,
  choice: TransportChoice,
  alpnFallback: readonly string[] = [],
): Connection | null {
  const { data } = environment
  if (!host.transportSocket.ready) return null
  const { proxyProtocol } = host.transportSocket
  const options: ConnectOptions = {
    bindSource: choice.source?.address ?? data.bindSource,
    tls: host.transportSocket.clientTls(choice.sni, choice.alpn, alpnFallback),
    connectTimeoutMs: data.connectTimeoutMs,
    keepalive: data.keepalive,
    socketOptions: choice.source === null ? data.socketOptions : sourceOptions(choice.source, data.socketOptions),
    bufferLimitBytes: data.bufferLimitBytes,
    additionalAddresses: host.additionalAddresses,
    families: data.families,
    preamble:
      proxyProtocol === null ? null : (local, remote) => proxyHeader(proxyProtocol, choice.downstream, local, remote),
  }
  return withUpstreamFilters(
    openConnection(host.address, options),
    environment.upstreamFilters,
    options.tls?.alpnProtocols ?? [],
  )
}

/** Whose failure a connection's end before it stood is. `remote`: the peer ended it; `details`: why, '' = nobody says. */
export function connectFailureReason(connection: Connection, remote: boolean, details: string): PoolFailureReason {
  if (connection.connectTimedOut) return PoolFailureReason.Timeout
  return !connection.bindFailed && (remote || details !== '')
    ? PoolFailureReason.RemoteConnectionFailure
    : PoolFailureReason.LocalConnectionFailure
}

/** The socket may take an address that is not this machine's, and its packets can be told apart. */
function sourceOptions(source: UpstreamSource, others: readonly SocketOption[]): readonly SocketOption[] {
  const transparent = isIPv6(source.address.ip) ? IPV6_TRANSPARENT : IP_TRANSPARENT
  const options: SocketOption[] = [...others, { ...transparent, value: 1 }]
  if (source.mark !== 0) options.push({ level: SOL_SOCKET, name: SO_MARK, value: source.mark })
  return options
}

/** At least one connection is always allowed, so that a limit of others' making cannot starve a host for ever. */
export function mayConnect(
  host: Host,
  open: number,
  resources: ResourceManager,
  environment: PoolEnvironment,
): boolean {
  if (open === 0) return true
  const perHost = environment.data.circuitBreakers.perHostMaxConnections
  return resources.connections.canCreate() && (perHost === null || host.stats.cxActive < perHost)
}
