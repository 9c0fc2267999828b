// connection_balance_config: a connection goes to the worker that has the fewest of its listener, whichever accepted it.

import type { MessagePort } from 'node:worker_threads'
import type { Address } from './connection.ts'

/** More workers than any machine has processors for. */
const MAX_WORKERS = 1024
/** Counts by worker follow. */
const LOCK = 0
const COUNTS = 1

/** Room for the counts of one listener; made on the main thread, seen by every worker. */
export function sharedBalance(): SharedArrayBuffer {
  return new SharedArrayBuffer((COUNTS + MAX_WORKERS) * Int32Array.BYTES_PER_ELEMENT)
}

/** Connections of one listener by worker. */
export class ExactBalance {
  private readonly counts: Int32Array
  private readonly worker: number
  private readonly workers: number

  constructor(shared: SharedArrayBuffer, worker: number, workers: number) {
    this.counts = new Int32Array(shared)
    this.worker = worker
    this.workers = workers
  }

  /** The worker with the fewest connections, this one when it is among them or must be; it has one more now. */
  pick(movable: boolean): number {
    const { counts } = this
    while (Atomics.compareExchange(counts, LOCK, 0, 1) !== 0);
    let best = this.worker
    for (let i = 0; movable && i < this.workers; i++) if (counts[COUNTS + i]! < counts[COUNTS + best]!) best = i
    counts[COUNTS + best]!++
    Atomics.store(counts, LOCK, 0)
    return best
  }

  /** A connection of `worker` has ended, or did not get there. */
  release(worker: number): void {
    const { counts } = this
    while (Atomics.compareExchange(counts, LOCK, 0, 1) !== 0);
    counts[COUNTS + worker]!--
    Atomics.store(counts, LOCK, 0)
  }
}

/** A connection on its way to another worker of the process. */
export interface MovedConnection {
  readonly listener: string
  /** Owned by the receiver. */
  readonly fd: number
  /** Read already. */
  readonly bytes: Uint8Array
  /** Where the client wanted to go, when a listener filter has found it out. */
  readonly restored: Address | null
}

/** Ways to the other workers, by their index. */
export class WorkerPorts {
  private readonly ports: readonly (MessagePort | null)[]

  /** null: this worker itself. */
  constructor(ports: readonly (MessagePort | null)[]) {
    this.ports = ports
  }

  move(connection: MovedConnection, worker: number): void {
    this.ports[worker]!.postMessage(connection)
  }

  /** Called once. */
  listen(onConnection: (connection: MovedConnection) => void): void {
    for (const port of this.ports) {
      port?.on('message', onConnection)
      // Listeners keep a worker alive; these ports alone do not.
      port?.unref()
    }
  }
}
