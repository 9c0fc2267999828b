// What the pools of one cluster share.

import type { ConnectOptions } from '../network/connect.ts'
import { openConnection } from '../network/connect.ts'
import type { Connection } from '../network/connection.ts'
import { type UpstreamFilter, withUpstreamFilters } from '../network/upstream-filters.ts'
import type { ResourceManager } from './circuit-breakers.ts'
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
}

export const DEFAULT_TRANSPORT: TransportChoice = { alpn: null, sni: null }

/** Why no connection was even tried. */
export const SECRETS_NOT_READY = 'TLS_error:Secret is not supplied by SDS'

/** Opens a connection to `host`; null when its transport socket waits for a secret. */
export function connectTo(host: Host, environment: PoolEnvironment, choice: TransportChoice): Connection | null {
  const { data } = environment
  if (!host.transportSocket.ready) return null
  const options: ConnectOptions = {
    bindSource: data.bindSource,
    tls: host.transportSocket.clientTls(choice.sni, choice.alpn),
    connectTimeoutMs: data.connectTimeoutMs,
    keepalive: data.keepalive,
    socketOptions: data.socketOptions,
    bufferLimitBytes: data.bufferLimitBytes,
  }
  return withUpstreamFilters(
    openConnection(host.address, options),
    environment.upstreamFilters,
    options.tls?.alpnProtocols ?? [],
  )
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
