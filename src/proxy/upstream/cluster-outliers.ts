// Outlier detection of one cluster in a worker: every worker counts what its requests meet; the leading one judges and
// turns verdicts into health flags.

import type { RuntimeSnapshot } from '../config/extension.ts'
import { StreamResetReason } from '../http/codec.ts'
import type { Scope } from '../observe/stats.ts'
import { now } from '../stream-info.ts'
import { HealthFlag, type Host } from './host.ts'
import { type OutlierConfig, underRuntime } from './outlier/config.ts'
import { HostMonitor, OutlierDetector } from './outlier/detector.ts'
import { HostTally } from './outlier/tally.ts'

/** Who judges offenses: bits of HostTally. */
type Judge = (host: Host, offenses: number) => void

export class ClusterOutliers {
  /** null = another worker judges. */
  readonly detector: OutlierDetector | null
  private readonly config: OutlierConfig
  private readonly judge: Judge
  private readonly hosts = new Map<HostMonitor, Host>()
  private timer: NodeJS.Timeout | null = null

  private constructor(config: OutlierConfig, detector: OutlierDetector | null, judge: Judge) {
    this.config = config
    this.detector = detector
    this.judge = judge
  }

  /** `onChange`: a host was ejected or taken back. */
  static judging(
    data: OutlierConfig,
    runtime: RuntimeSnapshot,
    scope: Scope,
    onChange: (host: Host) => void,
  ): ClusterOutliers {
    const config = underRuntime(data, runtime)
    const detector = new OutlierDetector(config, scope, {
      nowMs: now,
      random: Math.random,
      onChange: (monitor) => {
        const host = outliers.hosts.get(monitor)
        if (host?.setFlag(HealthFlag.FailedOutlierCheck, monitor.ejected)) onChange(host)
      },
    })
    const outliers: ClusterOutliers = new ClusterOutliers(config, detector, (host, offenses) => {
      if (host.monitor !== null) detector.onOffenses(host.monitor, offenses)
    })
    return outliers
  }

  /** For a worker that only counts: `report` tells the one that judges. */
  static reporting(data: OutlierConfig, runtime: RuntimeSnapshot, report: Judge): ClusterOutliers {
    return new ClusterOutliers(underRuntime(data, runtime), null, report)
  }

  start(): void {
    const { detector } = this
    if (detector === null) return
    this.timer = setTimeout(() => {
      detector.onInterval()
      this.start()
    }, this.config.intervalMs)
    this.timer.unref()
  }

  stop(): void {
    if (this.timer !== null) clearTimeout(this.timer)
  }

  /** Judging: begins to watch a host. `shared`: other workers count for it too. */
  add(host: Host, shared: boolean): void {
    if (this.detector === null) return
    const monitor = this.detector.addHost(shared ? HostTally.memory() : null)
    host.monitor = monitor
    this.hosts.set(monitor, host)
  }

  /** Reporting: counts where the judging worker looks. */
  countIn(host: Host, memory: SharedArrayBuffer): void {
    if (host.monitor?.memory !== memory) host.monitor = new HostMonitor(memory)
  }

  remove(host: Host): void {
    if (host.monitor === null) return
    this.detector?.removeHost(host.monitor)
    this.hosts.delete(host.monitor)
    host.monitor = null
  }

  onResponse(host: Host, status: number): void {
    if (host.monitor === null) return
    const offenses = host.monitor.tally.countResponse(status, this.config)
    if (offenses !== 0) this.judge(host, offenses)
  }

  /** A connection serves: a success of the proxy's own part, and `final` where no answer will say more (TCP). */
  onConnected(host: Host, final: boolean): void {
    if (host.monitor === null) return
    host.monitor.tally.countLocalSuccess(this.config)
    if (final && !this.config.splitExternalLocalOriginErrors) host.monitor.tally.countResponse(200, this.config)
  }

  /** Overflow and our own resets say nothing about the host. */
  onReset(host: Host, reason: StreamResetReason): void {
    switch (reason) {
      case StreamResetReason.Overflow:
      case StreamResetReason.LocalReset:
      case StreamResetReason.LocalRefusedStreamReset:
        return
      case StreamResetReason.ConnectionTimeout:
        this.onLocalFailure(host, 504)
        return
      default:
        this.onLocalFailure(host, 503)
    }
  }

  private onLocalFailure(host: Host, status: 503 | 504): void {
    if (host.monitor === null) return
    const offenses = host.monitor.tally.countLocalFailure(status, this.config)
    if (offenses !== 0) this.judge(host, offenses)
  }

  /** Another worker's counts reached thresholds. */
  onReport(host: Host, offenses: number): void {
    this.judge(host, offenses)
  }

  onActiveHealthCheckSuccess(host: Host): void {
    if (host.monitor !== null) this.detector?.onActiveHealthCheckSuccess(host.monitor)
  }
}
