// Answers and their times as a cluster counts them: all, and those of canaries, internal and external requests, zones.

import type { Counter, Histogram, Scope } from '../observe/stats.ts'

/** Status codes a cluster has counted already: `upstream_rq_200` and so on are made when first seen. */
export class CodeCounters {
  private readonly scope: Scope
  private readonly prefix: string
  private readonly codes: (Counter | undefined)[] = []
  private readonly classes: (Counter | undefined)[] = []
  private completed: Counter | null = null
  private unknown: Counter | null = null

  constructor(scope: Scope, prefix: string) {
    this.scope = scope
    this.prefix = prefix
    // Envoy makes this one with the cluster, the others with the first answer.
    if (prefix === '') this.completed = scope.counter('upstream_rq_completed')
  }

  /** `excluded`: only that there was an answer. */
  count(status: number, excluded = false): void {
    this.completed ??= this.scope.counter(`${this.prefix}upstream_rq_completed`)
    this.completed.inc()
    if (excluded) return
    if (status >= 600) {
      this.unknown ??= this.scope.counter(`${this.prefix}upstream_rq_unknown`)
      this.unknown.inc()
      return
    }
    // Truncated as an integer: compiled code would else hold only while every status is a multiple of 100.
    const group = (status / 100) | 0
    this.classes[group] ??= this.scope.counter(`${this.prefix}upstream_rq_${group}xx`)
    this.classes[group].inc()
    this.codes[status] ??= this.scope.counter(`${this.prefix}upstream_rq_${status}`)
    this.codes[status].inc()
  }
}

/** `zone.<from>.<to>.*`: answers between two zones. */
class ZoneStats {
  readonly codes: CodeCounters
  private readonly scope: Scope
  private time: Histogram | null = null

  constructor(scope: Scope) {
    this.scope = scope
    this.codes = new CodeCounters(scope, '')
  }

  recordTime(ms: number): void {
    this.time ??= this.scope.histogram('upstream_rq_time', 'ms')
    this.time.record(ms)
  }
}

/** `upstream_rq_*` of a scope. */
export class ResponseStats {
  private readonly scope: Scope
  private readonly localZone: string
  private readonly all: CodeCounters
  private readonly canaryCodes: CodeCounters
  private readonly internalCodes: CodeCounters
  private readonly externalCodes: CodeCounters
  /** From this proxy's zone to the zone of hosts, by that zone. */
  private readonly zones = new Map<string, ZoneStats>()
  private allTime: Histogram | null = null
  private canaryTime: Histogram | null = null
  private internalTime: Histogram | null = null
  private externalTime: Histogram | null = null

  /** `localZone`: of this proxy, '' = unknown. */
  constructor(scope: Scope, localZone: string) {
    this.scope = scope
    this.localZone = localZone
    this.all = new CodeCounters(scope, '')
    this.canaryCodes = new CodeCounters(scope, 'canary.')
    this.internalCodes = new CodeCounters(scope, 'internal.')
    this.externalCodes = new CodeCounters(scope, 'external.')
  }

  /**
   * A response that went downstream. `zone`: of the host that gave it, '' = none or unknown. `excluded`: not by its status
   * among all (suppress_grpc_request_failure_code_stats).
   */
  countResponse(status: number, internal: boolean, canary: boolean, zone: string, excluded = false): void {
    if (zone !== '' && this.localZone !== '') this.zone(zone).codes.count(status)
    this.all.count(status, excluded)
    if (canary) this.canaryCodes.count(status)
    if (internal) this.internalCodes.count(status)
    else this.externalCodes.count(status)
  }

  private zone(zone: string): ZoneStats {
    let stats = this.zones.get(zone)
    if (stats === undefined) {
      stats = new ZoneStats(this.scope.scope(`zone.${this.localZone}.${zone}`))
      this.zones.set(zone, stats)
    }
    return stats
  }

  recordTime(ms: number, internal: boolean, canary: boolean, zone: string): void {
    ;(this.allTime ??= this.scope.histogram('upstream_rq_time', 'ms')).record(ms)
    if (zone !== '' && this.localZone !== '') this.zone(zone).recordTime(ms)
    if (canary) (this.canaryTime ??= this.scope.histogram('canary.upstream_rq_time', 'ms')).record(ms)
    if (internal) (this.internalTime ??= this.scope.histogram('internal.upstream_rq_time', 'ms')).record(ms)
    else (this.externalTime ??= this.scope.histogram('external.upstream_rq_time', 'ms')).record(ms)
  }
}
