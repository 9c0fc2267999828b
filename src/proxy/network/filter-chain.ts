// A filter chain in a worker: its filters, its TLS, its connections.

import type { NetworkFilterExtension, WorkerContext } from '../config/extension.ts'
import type { ExtensionRegistry } from '../config/extension-registry.ts'
import { CloseType } from './connection.ts'
import type { ConnectionLimits } from './connection-limits.ts'
import { ChainDrain, type ServerDrain } from './drain.ts'
import type { NetworkFilterFactory, NetworkFilterManager } from './filter-manager.ts'
import type { FilterChainConfig } from './listener-config.ts'
import type { SecretStore } from './tls/secret-store.ts'
import type { DownstreamTlsFactory } from './tls/server-context.ts'
import { createDownstreamTransportSocket } from './transport-socket.ts'

/** What a worker gives its listeners. `base.drain` and `base.listener` are replaced for each chain. */
export interface ListenerEnvironment {
  readonly base: WorkerContext
  readonly registry: ExtensionRegistry
  readonly secrets: SecretStore
  readonly drain: ServerDrain
  readonly limits: ConnectionLimits
}

export class WorkerFilterChain {
  readonly config: FilterChainConfig
  readonly drain: ChainDrain
  readonly tls: DownstreamTlsFactory | null
  readonly factories: readonly NetworkFilterFactory[]
  readonly connections = new Set<NetworkFilterManager>()
  private drainTimer: NodeJS.Timeout | null = null

  constructor(
    config: FilterChainConfig,
    environment: ListenerEnvironment,
    listener: NonNullable<WorkerContext['listener']>,
    followsHealth: boolean,
  ) {
    this.config = config
    this.drain = new ChainDrain(environment.drain, followsHealth)
    this.tls = createDownstreamTransportSocket(config.transportSocket, environment.secrets, listener.stats)
    const context: WorkerContext = { ...environment.base, drain: this.drain, listener }
    this.factories = config.filters.map((filter) => {
      const extension = environment.registry.get('network_filter', filter.typeUrl) as unknown as NetworkFilterExtension
      return extension.create(filter.config, context)
    })
  }

  /** Nobody new comes; what is left after `drainTimeMs` is closed, then `onDrained` is called once. */
  startDrain(drainTimeMs: number, onDrained: () => void): void {
    this.drain.start()
    if (this.connections.size === 0) {
      this.release()
      onDrained()
      return
    }
    this.drainTimer = setTimeout(() => {
      this.closeConnections()
      this.release()
      onDrained()
    }, drainTimeMs)
    this.onEmpty = () => {
      this.release()
      onDrained()
    }
  }

  add(manager: NetworkFilterManager): void {
    this.connections.add(manager)
  }

  remove(manager: NetworkFilterManager): void {
    if (!this.connections.delete(manager) || this.connections.size > 0) return
    this.onEmpty?.()
  }

  closeConnections(): void {
    this.onEmpty = null
    for (const manager of [...this.connections]) manager.connection.close(CloseType.NoFlush)
  }

  private onEmpty: (() => void) | null = null

  private release(): void {
    if (this.drainTimer !== null) clearTimeout(this.drainTimer)
    this.drainTimer = null
    this.onEmpty = null
    this.tls?.close()
  }
}
