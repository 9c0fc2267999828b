// How many downstream connections may stand: of the whole process and of one listener (envoy-contract §4.5). Counts are
// shared by all workers.

import type { RuntimeSnapshot } from '../config/extension.ts'
import type { ExactBalance } from './connection-balance.ts'
import type { OverloadState } from './overload-state.ts'

/** Which limit forbids a connection. */
export type AdmitRefusal = 'global' | 'listener' | 'overload'

/** Read at every accept, so that an admin may change it. */
const GLOBAL_KEY = 'overload.global_downstream_max_connections'

/** Room for one count; made on the main thread, seen by every worker. */
export function sharedCount(): SharedArrayBuffer {
  return new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
}

export class ConnectionLimits {
  private readonly runtime: RuntimeSnapshot
  private readonly active: Int32Array
  private readonly globalMax: number | null
  private readonly overload: OverloadState | null

  /** `globalMax`: of the overload manager's monitor, which wins over the runtime key; null = there is none. */
  constructor(
    runtime: RuntimeSnapshot,
    active: SharedArrayBuffer,
    globalMax: number | null = null,
    overload: OverloadState | null = null,
  ) {
    this.runtime = runtime
    this.active = new Int32Array(active)
    this.globalMax = globalMax
    this.overload = overload
  }

  /** One connection more: where it counts, or which limit forbids it. */
  admit(listener: ListenerLimit, ignoreGlobal: boolean, bypassOverload: boolean): ConnectionSlot | AdmitRefusal {
    if (this.overload?.rejectConnections && !bypassOverload) return 'overload'
    const globalMax = this.globalMax ?? this.runtime.number(GLOBAL_KEY, Number.POSITIVE_INFINITY)
    if (!ignoreGlobal && Atomics.load(this.active, 0) >= globalMax) return 'global'
    const max = this.runtime.number(listener.key, Number.POSITIVE_INFINITY)
    if (Atomics.load(listener.active, 0) >= max) return 'listener'
    return new ConnectionSlot(ignoreGlobal ? null : this.active, listener.active)
  }
}

/** The count of one listener, and the runtime key of its limit. */
export class ListenerLimit {
  readonly key: string
  readonly active: Int32Array
  constructor(name: string, active: SharedArrayBuffer) {
    this.key = `envoy.resource_limits.listener.${name}.connection_limit`
    this.active = new Int32Array(active)
  }
}

/** Counts a connection until it is released. */
export class ConnectionSlot {
  private readonly global: Int32Array | null
  private readonly listener: Int32Array
  private released = false
  private balance: ExactBalance | null = null
  private worker = 0

  constructor(global: Int32Array | null, listener: Int32Array) {
    this.global = global
    this.listener = listener
    if (global !== null) Atomics.add(global, 0, 1)
    Atomics.add(listener, 0, 1)
  }

  /** It counts as one of `worker` as well. */
  share(balance: ExactBalance, worker: number): void {
    this.balance = balance
    this.worker = worker
  }

  release(): void {
    if (this.released) return
    this.released = true
    this.balance?.release(this.worker)
    if (this.global !== null) Atomics.sub(this.global, 0, 1)
    Atomics.sub(this.listener, 0, 1)
  }
}
