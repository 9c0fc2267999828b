// envoy.filters.network.connection_limit: at most so many connections of a filter chain, counted across all workers.

import {
  type ConnectionLimit,
  ConnectionLimitSchema,
} from '../../../../api/gen/envoy/extensions/filters/network/connection_limit/v3/connection_limit_pb.js'
import { durationMsOr } from '../../../config/duration.ts'
import type { NetworkFilterExtension, WorkerContext } from '../../../config/extension.ts'
import { type RuntimeFlag, runtimeFlag } from '../../../config/runtime-flag.ts'
import { CloseType, ConnectionEvent } from '../../../network/connection.ts'
import { sharedCount } from '../../../network/connection-limits.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import type { Counter, Gauge } from '../../../observe/stats.ts'

interface ConnectionLimitConfig {
  readonly statPrefix: string
  readonly maxConnections: number
  /** How long a connection too many stays open, unread; 0 = it closes at once. */
  readonly delayMs: number
  readonly enabled: RuntimeFlag
  /** Connections of all workers. */
  readonly count: SharedArrayBuffer
}

interface Shared {
  readonly config: ConnectionLimitConfig
  readonly context: WorkerContext
  readonly count: Int32Array
  readonly active: Gauge
  readonly limited: Counter
}

class ConnectionLimitFilter implements NetworkFilter {
  private readonly shared: Shared
  private readonly callbacks: ReadFilterCallbacks
  private counted = false
  private rejected = false
  private timer: NodeJS.Timeout | null = null

  constructor(shared: Shared, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    const { config, context, count, active, limited } = this.shared
    const { enabled } = config
    if (!context.runtime.bool(enabled.key, enabled.value)) return FilterStatus.Continue
    active.inc()
    this.counted = true
    if (Atomics.add(count, 0, 1) < config.maxConnections) return FilterStatus.Continue
    Atomics.sub(count, 0, 1)
    limited.inc()
    this.rejected = true
    if (config.delayMs > 0) this.timer = setTimeout(closeRejected, config.delayMs, this.callbacks)
    else closeRejected(this.callbacks)
    return FilterStatus.StopIteration
  }

  onData(): FilterStatus {
    return this.rejected ? FilterStatus.StopIteration : FilterStatus.Continue
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected || !this.counted) return
    if (this.timer !== null) clearTimeout(this.timer)
    this.counted = false
    this.shared.active.dec()
    if (!this.rejected) Atomics.sub(this.shared.count, 0, 1)
  }
}

function closeRejected(callbacks: ReadFilterCallbacks): void {
  callbacks.connection.close(CloseType.NoFlush)
}

export const connectionLimit: NetworkFilterExtension<ConnectionLimitConfig> = {
  name: 'envoy.filters.network.connection_limit',
  desc: ConnectionLimitSchema,
  parse(message) {
    const config = message as ConnectionLimit
    return {
      statPrefix: config.statPrefix,
      maxConnections: Number(config.maxConnections ?? 0n),
      delayMs: durationMsOr(config.delay, 0),
      enabled: runtimeFlag(config.runtimeEnabled),
      count: sharedCount(),
    }
  },
  create(config, context) {
    const scope = context.stats.scope(`connection_limit.${config.statPrefix}`)
    const shared: Shared = {
      config,
      context,
      count: new Int32Array(config.count),
      active: scope.gauge('active_connections'),
      limited: scope.counter('limited_connections'),
    }
    return (callbacks) => new ConnectionLimitFilter(shared, callbacks)
  },
}
