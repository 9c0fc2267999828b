// Outlier detection (envoy-contract §15): counts what each host answers and ejects the ones that stand out.
// No clock and no timer of its own: the cluster calls onInterval() every `intervalMs`, tests call it when they like.

import type { Counter, Gauge, Scope } from '../../observe/stats.ts'
import type { OutlierConfig } from './config.ts'
import { HostTally, OUTLIER_KINDS, type OutlierKind, offenseKinds } from './tally.ts'

/** One host's state. The owner keeps it beside the host and asks `ejected` when it chooses. */
export class HostMonitor {
  ejected = false
  /** Percent of the last interval, -1 = too few requests. */
  successRate = -1
  localOriginSuccessRate = -1
  /** Ejections so far minus healthy intervals since: the multiplier of the ejection time. */
  ejectTimeBackoff = 0
  ejectedAtMs = 0
  /** null = it has never been ejected, or is for the first time. */
  unejectedAtMs: number | null = null
  jitterMs = 0
  readonly tally: HostTally
  /** The tally's, where other workers count in it too. */
  readonly memory: SharedArrayBuffer | null

  constructor(memory: SharedArrayBuffer | null) {
    this.memory = memory
    this.tally = new HostTally(memory)
  }
}

interface JudgedHost {
  readonly monitor: HostMonitor
  /** Percent of the interval's requests that succeeded. */
  readonly rate: number
}

export interface DetectorHooks {
  readonly nowMs: () => number
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** A host was ejected or may serve again. */
  readonly onChange: (monitor: HostMonitor) => void
}

/** By how much an interval's timer may be early. */
const EARLY_MS = 1

export class OutlierDetector {
  readonly monitors = new Set<HostMonitor>()
  /** Thresholds of the last interval for `/clusters`, -1 = none. */
  successRateAverage = -1
  successRateEjectionThreshold = -1
  localOriginSuccessRateAverage = -1
  localOriginSuccessRateEjectionThreshold = -1
  private readonly config: OutlierConfig
  private readonly hooks: DetectorHooks
  private readonly enforcedTotal: Counter
  private readonly overflow: Counter
  /** Deprecated names that Envoy still counts. */
  private readonly total: Counter
  private readonly total5xx: Counter
  private readonly totalSuccessRate: Counter
  private readonly active: Gauge
  private readonly enforced: Record<OutlierKind, Counter>
  private readonly detected: Record<OutlierKind, Counter>

  constructor(config: OutlierConfig, scope: Scope, hooks: DetectorHooks) {
    this.config = config
    this.hooks = hooks
    const stats = scope.scope('outlier_detection')
    this.enforcedTotal = stats.counter('ejections_enforced_total')
    this.overflow = stats.counter('ejections_overflow')
    this.total = stats.counter('ejections_total')
    this.total5xx = stats.counter('ejections_consecutive_5xx')
    this.totalSuccessRate = stats.counter('ejections_success_rate')
    this.active = stats.gauge('ejections_active')
    const counters = (prefix: string): Record<OutlierKind, Counter> =>
      Object.fromEntries(OUTLIER_KINDS.map((kind) => [kind, stats.counter(`${prefix}_${kind}`)])) as Record<
        OutlierKind,
        Counter
      >
    stats.counter('ejections_detected_degradation')
    this.enforced = counters('ejections_enforced')
    this.detected = counters('ejections_detected')
  }

  /** `memory`: of HostTally, where several workers count; null = this one alone. */
  addHost(memory: SharedArrayBuffer | null): HostMonitor {
    const monitor = new HostMonitor(memory)
    this.monitors.add(monitor)
    return monitor
  }

  removeHost(monitor: HostMonitor): void {
    if (this.monitors.delete(monitor) && monitor.ejected) this.active.dec()
  }

  /** A host's counts reached thresholds, in whatever worker (HostTally). */
  onOffenses(monitor: HostMonitor, offenses: number): void {
    for (const kind of offenseKinds(offenses)) {
      if (monitor.ejected) return
      this.detected[kind].inc()
      if (kind === 'consecutive_5xx') this.total5xx.inc()
      this.eject(monitor, kind)
    }
  }

  /** An active health check passed: an ejected host may serve at once if so configured. */
  onActiveHealthCheckSuccess(monitor: HostMonitor): void {
    if (monitor.ejected && this.config.successfulActiveHealthCheckUnejectHost) this.uneject(monitor, this.hooks.nowMs())
  }

  /** Unejects whose time is over, then judges the interval's rates. */
  onInterval(): void {
    const now = this.hooks.nowMs()
    for (const monitor of this.monitors) {
      if (!monitor.ejected) continue
      if (now - monitor.ejectedAtMs >= this.ejectionTimeMs(monitor) + monitor.jitterMs) this.uneject(monitor, now)
    }
    this.judgeRates('external')
    if (this.config.splitExternalLocalOriginErrors) this.judgeRates('local')
    // Who has behaved for a whole interval is ejected for less time than before when it happens again.
    for (const monitor of this.monitors) {
      if (monitor.ejected || monitor.unejectedAtMs === null || monitor.ejectTimeBackoff === 0) continue
      if (now - monitor.unejectedAtMs >= this.config.intervalMs - EARLY_MS) monitor.ejectTimeBackoff--
    }
  }

  private ejectionTimeMs(monitor: HostMonitor): number {
    return Math.min(this.config.baseEjectionTimeMs * monitor.ejectTimeBackoff, this.config.maxEjectionTimeMs)
  }

  private judgeRates(origin: 'external' | 'local'): void {
    const { config } = this
    const volume = config.successRateRequestVolume
    const percentageVolume = config.failurePercentageRequestVolume
    const enough =
      this.monitors.size >= config.successRateMinimumHosts || this.monitors.size >= config.failurePercentageMinimumHosts
    const hosts: { monitor: HostMonitor; rate: number; volume: number }[] = []
    for (const monitor of this.monitors) {
      const { success, total } = monitor.tally.takeInterval(origin)
      const counts = enough && !monitor.ejected && total > 0
      const rate = counts ? (100 * success) / total : -1
      const shown = total >= Math.min(volume, percentageVolume) ? rate : -1
      if (origin === 'external') monitor.successRate = shown
      else monitor.localOriginSuccessRate = shown
      if (counts) hosts.push({ monitor, rate, volume: total })
    }
    this.judgeSuccessRates(
      origin,
      hosts.filter((host) => host.volume >= volume),
    )
    this.judgeFailurePercentages(
      origin,
      hosts.filter((host) => host.volume >= percentageVolume),
    )
  }

  private judgeSuccessRates(origin: 'external' | 'local', hosts: readonly JudgedHost[]): void {
    const threshold = successRateThreshold(
      hosts.map((host) => host.rate),
      this.config,
    )
    if (origin === 'external') {
      this.successRateAverage = threshold?.average ?? -1
      this.successRateEjectionThreshold = threshold?.threshold ?? -1
    } else {
      this.localOriginSuccessRateAverage = threshold?.average ?? -1
      this.localOriginSuccessRateEjectionThreshold = threshold?.threshold ?? -1
    }
    if (threshold === null) return
    const kind = origin === 'external' ? 'success_rate' : 'local_origin_success_rate'
    for (const { monitor, rate } of hosts) {
      if (rate >= threshold.threshold) continue
      this.totalSuccessRate.inc()
      this.detected[kind].inc()
      this.eject(monitor, kind)
    }
  }

  /** Also of those that their success rate has just ejected: both are told of (Envoy). */
  private judgeFailurePercentages(origin: 'external' | 'local', hosts: readonly JudgedHost[]): void {
    if (hosts.length < this.config.failurePercentageMinimumHosts) return
    const kind = origin === 'external' ? 'failure_percentage' : 'local_origin_failure_percentage'
    for (const { monitor, rate } of hosts) {
      if (100 - rate < this.config.failurePercentageThreshold) continue
      this.detected[kind].inc()
      this.eject(monitor, kind)
    }
  }

  private enforcingPercent(kind: OutlierKind): number {
    const { config } = this
    switch (kind) {
      case 'consecutive_5xx':
        return config.enforcingConsecutive5xx
      case 'consecutive_gateway_failure':
        return config.enforcingConsecutiveGatewayFailure
      case 'consecutive_local_origin_failure':
        return config.enforcingConsecutiveLocalOriginFailure
      case 'success_rate':
        return config.enforcingSuccessRate
      case 'local_origin_success_rate':
        return config.enforcingLocalOriginSuccessRate
      case 'failure_percentage':
        return config.enforcingFailurePercentage
      case 'local_origin_failure_percentage':
        return config.enforcingFailurePercentageLocalOrigin
    }
  }

  /** Where the share of ejected hosts and the enforcing percentage let it. */
  private eject(monitor: HostMonitor, kind: OutlierKind): void {
    const { config, hooks } = this
    const ejected = this.active.value
    const share = (100 * (ejected + 1)) / this.monitors.size
    const allowed = (config.alwaysEjectOneHost && ejected === 0) || share <= Math.min(100, config.maxEjectionPercent)
    if (!allowed) {
      this.overflow.inc()
      return
    }
    // As ever: counted before it is known whether the ejection is enforced, and for these two kinds alone.
    if (kind === 'consecutive_5xx' || kind === 'success_rate') this.total.inc()
    if (monitor.ejected || hooks.random() * 100 >= this.enforcingPercent(kind)) return
    monitor.ejected = true
    monitor.ejectedAtMs = hooks.nowMs()
    monitor.jitterMs = Math.floor(hooks.random() * (config.maxEjectionTimeJitterMs + 1))
    // The multiplier stops growing once the cap is reached, so that it also shrinks again in time.
    if (config.baseEjectionTimeMs * monitor.ejectTimeBackoff < config.maxEjectionTimeMs + config.baseEjectionTimeMs) {
      monitor.ejectTimeBackoff++
    }
    this.active.inc()
    this.enforcedTotal.inc()
    this.enforced[kind].inc()
    hooks.onChange(monitor)
  }

  private uneject(monitor: HostMonitor, now: number): void {
    monitor.ejected = false
    monitor.unejectedAtMs = now
    monitor.tally.endConsecutive()
    this.active.dec()
    this.hooks.onChange(monitor)
  }
}

/** Mean − stdev × factor over hosts with enough requests; null when there are too few of them. */
function successRateThreshold(
  rates: readonly number[],
  config: Pick<OutlierConfig, 'successRateMinimumHosts' | 'successRateStdevFactor'>,
): { average: number; threshold: number } | null {
  if (rates.length === 0 || rates.length < config.successRateMinimumHosts) return null
  let sum = 0
  for (const rate of rates) sum += rate
  const average = sum / rates.length
  let variance = 0
  for (const rate of rates) variance += (rate - average) ** 2
  const deviation = Math.sqrt(variance / rates.length)
  return { average, threshold: average - deviation * (config.successRateStdevFactor / 1000) }
}
