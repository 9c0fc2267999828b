// A filter chain in a worker: its filters, its TLS, its connections.

import { NumberedTable } from '../../base/numbered-table.ts'
import type { NetworkFilterExtension, WorkerContext } from '../config/extension.ts'
import type { ExtensionRegistry } from '../config/extension-registry.ts'
import type { AcceptedSocket } from './accepted-socket.ts'
import { CloseType } from './connection.ts'
import type { WorkerPorts } from './connection-balance.ts'
import type { ConnectionLimits } from './connection-limits.ts'
import { ChainDrain, type ServerDrain } from './drain.ts'
import type { NetworkFilterFactory, NetworkFilterManager } from './filter-manager.ts'
import type { FilterChainConfig, ListenerConfig } from './listener-config.ts'
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
  /** null: there is only this one. */
  readonly ports: WorkerPorts | null
}

export class WorkerFilterChain {
  readonly config: FilterChainConfig
  readonly drain: ChainDrain
  readonly tls: DownstreamTlsFactory | null
  readonly factories: readonly NetworkFilterFactory[]
  readonly connections = new NumberedTable<NetworkFilterManager>()
  /** Sockets of this chain whose client hello has not come in. */
  private readonly arriving = new NumberedTable<AcceptedSocket>()
  private held = false
  private drainTimer: NodeJS.Timeout | null = null
  private onDrained: (() => void) | null = null

  constructor(
    config: FilterChainConfig,
    environment: ListenerEnvironment,
    listener: NonNullable<WorkerContext['listener']>,
    { drainType, trafficDirection }: Pick<ListenerConfig, 'drainType' | 'trafficDirection'>,
  ) {
    this.config = config
    this.drain = new ChainDrain(environment.drain, drainType === 'DEFAULT', trafficDirection === 'INBOUND')
    this.tls = createDownstreamTransportSocket(config.transportSocket, environment.secrets, listener.stats)
    const context: WorkerContext = { ...environment.base, drain: this.drain, listener }
    this.factories = config.filters.map((filter) => {
      const extension = environment.registry.get('network_filter', filter.typeUrl) as unknown as NetworkFilterExtension
      return extension.create(filter.config, context)
    })
  }

  /**
   * No new sockets are accepted for it; what is left after `drainTimeMs` is closed for `reason`. `onDrained` is called
   * once, when nothing is left.
   */
  startDrain(drainTimeMs: number, reason: string, onDrained: () => void): void {
    this.drain.start()
    this.onDrained = onDrained
    this.drainTimer = setTimeout(() => this.close(reason), drainTimeMs)
    this.checkDrained()
  }

  add(manager: NetworkFilterManager): void {
    this.connections.add(manager)
  }

  remove(manager: NetworkFilterManager): void {
    if (this.connections.delete(manager.id)) this.checkDrained()
  }

  /** `accepted` will be a connection of this chain, or ended. */
  expect(accepted: AcceptedSocket): void {
    this.arriving.add(accepted)
  }

  arrived(accepted: AcceptedSocket): void {
    this.arriving.delete(accepted.id)
    this.checkDrained()
  }

  /** Connections may come yet, although nobody knows of which chain. */
  hold(): void {
    this.held = true
  }

  unhold(): void {
    this.held = false
    this.checkDrained()
  }

  /** Ends everything now. `reason`: for logs of requests under way. */
  close(reason: string): void {
    this.held = false
    for (const accepted of this.arriving.all()) {
      accepted.destroy()
      this.arriving.delete(accepted.id)
    }
    for (const { connection } of this.connections.all()) {
      connection.localCloseReason = reason
      connection.close(CloseType.NoFlush)
    }
    this.end()
  }

  private checkDrained(): void {
    if (this.onDrained !== null && this.connections.size === 0 && this.arriving.size === 0 && !this.held) this.end()
  }

  private end(): void {
    if (this.drainTimer !== null) clearTimeout(this.drainTimer)
    this.drainTimer = null
    this.tls?.close()
    const { onDrained } = this
    this.onDrained = null
    onDrained?.()
  }
}
