// What outlier detection counts for each host (envoy-contract §15): in memory that all workers share, so that a host's
// failures add up wherever its requests ran.

import type { OutlierConfig } from './config.ts'

/** What can eject a host; the words are those of the stats. */
export const OUTLIER_KINDS = [
  'consecutive_5xx',
  'consecutive_gateway_failure',
  'consecutive_local_origin_failure',
  'success_rate',
  'local_origin_success_rate',
  'failure_percentage',
  'local_origin_failure_percentage',
] as const
export type OutlierKind = (typeof OUTLIER_KINDS)[number]

const EXTERNAL_TOTAL = 0
const EXTERNAL_SUCCESS = 1
const LOCAL_TOTAL = 2
const LOCAL_SUCCESS = 3
const CONSECUTIVE_5XX = 4
const CONSECUTIVE_GATEWAY_FAILURE = 5
const CONSECUTIVE_LOCAL_ORIGIN_FAILURE = 6
const SLOTS = 7

/** Thresholds that one count can reach; bits, in the order in which they are judged. */
const OFFENSES = ['consecutive_gateway_failure', 'consecutive_5xx', 'consecutive_local_origin_failure'] as const
const GATEWAY_FAILURES = 1
const FAILURES = 2
const LOCAL_FAILURES = 4

/** The kinds behind the bits that counting gives. */
export function offenseKinds(offenses: number): OutlierKind[] {
  return OFFENSES.filter((_, bit) => (offenses & (1 << bit)) !== 0)
}

/** Successes and all requests since the last look. */
export interface Interval {
  readonly success: number
  readonly total: number
}

/** The counts of one host. */
export class HostTally {
  private readonly counts: Int32Array

  /** `memory`: null = of this worker alone. */
  constructor(memory: SharedArrayBuffer | null) {
    this.counts = memory === null ? new Int32Array(SLOTS) : new Int32Array(memory)
  }

  static memory(): SharedArrayBuffer {
    return new SharedArrayBuffer(SLOTS * Int32Array.BYTES_PER_ELEMENT)
  }

  /** Counts an answer with HTTP `status` (gRPC failures mapped by the caller); which thresholds it reached, 0 = none. */
  countResponse(status: number, config: OutlierConfig): number {
    const { counts } = this
    Atomics.add(counts, EXTERNAL_TOTAL, 1)
    if (status < 500) {
      Atomics.add(counts, EXTERNAL_SUCCESS, 1)
      // Almost always 0 already: a read does not take the cache line from the other workers.
      if (Atomics.load(counts, CONSECUTIVE_5XX) !== 0) Atomics.store(counts, CONSECUTIVE_5XX, 0)
      this.endGatewayFailures()
      return 0
    }
    let offenses = 0
    if (status === 502 || status === 503 || status === 504) {
      if (this.reaches(CONSECUTIVE_GATEWAY_FAILURE, config.consecutiveGatewayFailure)) offenses |= GATEWAY_FAILURES
    } else this.endGatewayFailures()
    if (this.reaches(CONSECUTIVE_5XX, config.consecutive5xx)) offenses |= FAILURES
    return offenses
  }

  /** A failure of the proxy's own; `status` is what the client sees, which counts where origins are not told apart. */
  countLocalFailure(status: 503 | 504, config: OutlierConfig): number {
    if (!config.splitExternalLocalOriginErrors) return this.countResponse(status, config)
    Atomics.add(this.counts, LOCAL_TOTAL, 1)
    return this.reaches(CONSECUTIVE_LOCAL_ORIGIN_FAILURE, config.consecutiveLocalOriginFailure) ? LOCAL_FAILURES : 0
  }

  /** A connection was made. Only split mode cares: otherwise the answer decides. */
  countLocalSuccess(config: OutlierConfig): void {
    if (!config.splitExternalLocalOriginErrors) return
    const { counts } = this
    Atomics.add(counts, LOCAL_TOTAL, 1)
    Atomics.add(counts, LOCAL_SUCCESS, 1)
    if (Atomics.load(counts, CONSECUTIVE_LOCAL_ORIGIN_FAILURE) !== 0)
      Atomics.store(counts, CONSECUTIVE_LOCAL_ORIGIN_FAILURE, 0)
  }

  /** What was counted since the last call. */
  takeInterval(origin: 'external' | 'local'): Interval {
    const { counts } = this
    const success = Atomics.exchange(counts, origin === 'external' ? EXTERNAL_SUCCESS : LOCAL_SUCCESS, 0)
    const total = Atomics.exchange(counts, origin === 'external' ? EXTERNAL_TOTAL : LOCAL_TOTAL, 0)
    return { success, total }
  }

  /** A host that comes back starts anew. */
  endConsecutive(): void {
    for (let slot = CONSECUTIVE_5XX; slot < SLOTS; slot++) Atomics.store(this.counts, slot, 0)
  }

  private endGatewayFailures(): void {
    const { counts } = this
    if (Atomics.load(counts, CONSECUTIVE_GATEWAY_FAILURE) !== 0) Atomics.store(counts, CONSECUTIVE_GATEWAY_FAILURE, 0)
  }

  /** One more in a row; true for the one that makes it `threshold`, after which the count starts again. */
  private reaches(slot: number, threshold: number): boolean {
    if (Atomics.add(this.counts, slot, 1) + 1 !== threshold) return false
    Atomics.store(this.counts, slot, 0)
    return true
  }
}
