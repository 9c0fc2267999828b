// Circuit breakers (envoy-contract §12.3): limits of a cluster for each priority, counted across all workers.

import type { RuntimeSnapshot } from '../config/extension.ts'
import type { Gauge, Scope } from '../observe/stats.ts'
import type { CircuitBreakersData, ThresholdsData } from './config.ts'

/** Slots of one priority in the shared counts. */
const SLOTS = 5
const CONNECTIONS = 0
const PENDING = 1
const REQUESTS = 2
const RETRIES = 3
const POOLS = 4
/** After those of both priorities: 1 when the cluster has ever had a connection. */
const HAD_TRAFFIC = 2 * SLOTS

/** Of a retry budget, what is not said. */
export const DEFAULT_BUDGET_PERCENT = 20
export const DEFAULT_MIN_CONCURRENCY = 3

/** Made with the cluster's configuration, so that every worker gets the same memory. */
export function createSharedCounts(): SharedArrayBuffer {
  return new SharedArrayBuffer((2 * SLOTS + 1) * Int32Array.BYTES_PER_ELEMENT)
}

/** One kind of resource: how many there may be and how many there are. */
export class Resource {
  private readonly counts: Int32Array
  private readonly slot: number
  private readonly limit: number
  private readonly runtime: RuntimeSnapshot
  private readonly runtimeKey: string
  private readonly open: Gauge
  private readonly remaining: Gauge | null
  private budgeted = false

  constructor(
    counts: Int32Array,
    slot: number,
    limit: number,
    runtime: RuntimeSnapshot,
    runtimeKey: string,
    open: Gauge,
    remaining: Gauge | null,
  ) {
    this.counts = counts
    this.slot = slot
    this.limit = limit
    this.runtime = runtime
    this.runtimeKey = runtimeKey
    this.open = open
    this.remaining = remaining
    this.remaining?.set(limit)
  }

  get max(): number {
    return this.runtime.number(this.runtimeKey, this.limit)
  }

  get count(): number {
    return Atomics.load(this.counts, this.slot)
  }

  canCreate(): boolean {
    return this.count < this.max
  }

  inc(): void {
    this.report(Atomics.add(this.counts, this.slot, 1) + 1)
  }

  dec(): void {
    this.report(Atomics.sub(this.counts, this.slot, 1) - 1)
  }

  private report(count: number): void {
    const { max } = this
    this.open.set(count < max ? 0 : 1)
    this.remaining?.set(this.budgeted ? 0 : Math.max(0, max - count))
  }

  /** A retry budget decides in place of this limit, from now on: nothing is told to remain (Envoy). */
  hideRemaining(): void {
    this.budgeted = true
    this.remaining?.set(0)
  }
}

/** The resources of one priority. */
export class ResourceManager {
  readonly connections: Resource
  readonly pendingRequests: Resource
  readonly requests: Resource
  readonly retries: Resource
  readonly connectionPools: Resource
  private readonly budget: ThresholdsData['retryBudget']
  private readonly counts: Int32Array
  private readonly runtime: RuntimeSnapshot
  private readonly percentKey: string
  private readonly minConcurrencyKey: string

  constructor(
    name: 'default' | 'high',
    cluster: string,
    data: CircuitBreakersData,
    scope: Scope,
    runtime: RuntimeSnapshot,
  ) {
    const counts = new Int32Array(data.shared)
    this.counts = counts
    const thresholds = data[name]
    const stats = scope.scope(`circuit_breakers.${name}`)
    const base = name === 'default' ? 0 : SLOTS
    const resource = (slot: number, limit: number, key: string, gauge: string, remaining: string): Resource =>
      new Resource(
        counts,
        base + slot,
        limit,
        runtime,
        `circuit_breakers.${cluster}.${name}.${key}`,
        stats.gauge(gauge),
        thresholds.trackRemaining ? stats.gauge(remaining) : null,
      )
    this.connections = resource(CONNECTIONS, thresholds.maxConnections, 'max_connections', 'cx_open', 'remaining_cx')
    this.pendingRequests = resource(
      PENDING,
      thresholds.maxPendingRequests,
      'max_pending_requests',
      'rq_pending_open',
      'remaining_pending',
    )
    this.requests = resource(REQUESTS, thresholds.maxRequests, 'max_requests', 'rq_open', 'remaining_rq')
    this.retries = resource(RETRIES, thresholds.maxRetries, 'max_retries', 'rq_retry_open', 'remaining_retries')
    this.connectionPools = resource(
      POOLS,
      thresholds.maxConnectionPools,
      'max_connection_pools',
      'cx_pool_open',
      'remaining_cx_pools',
    )
    this.budget = thresholds.retryBudget
    this.runtime = runtime
    this.percentKey = `circuit_breakers.${cluster}.${name}.retry_budget.budget_percent`
    this.minConcurrencyKey = `circuit_breakers.${cluster}.${name}.retry_budget.min_retry_concurrency`
  }

  /** One connection more, in whatever worker. */
  addConnection(): void {
    this.connections.inc()
    Atomics.store(this.counts, HAD_TRAFFIC, 1)
  }

  /** Some worker has had a connection of this cluster. */
  get hadTraffic(): boolean {
    return Atomics.load(this.counts, HAD_TRAFFIC) === 1
  }

  /** By the retry budget where the configuration or the runtime has one, else by max_retries. */
  canRetry(): boolean {
    const { budget, runtime } = this
    const percent = runtime.number(this.percentKey, budget?.percent ?? Number.NaN)
    const minConcurrency = runtime.number(this.minConcurrencyKey, budget?.minConcurrency ?? Number.NaN)
    if (Number.isNaN(percent) && Number.isNaN(minConcurrency)) return this.retries.canCreate()
    this.retries.hideRemaining()
    const current = this.requests.count + this.pendingRequests.count
    const share = Math.floor(((Number.isNaN(percent) ? DEFAULT_BUDGET_PERCENT : percent) / 100) * current)
    return this.retries.count < Math.max(share, Number.isNaN(minConcurrency) ? DEFAULT_MIN_CONCURRENCY : minConcurrency)
  }
}
