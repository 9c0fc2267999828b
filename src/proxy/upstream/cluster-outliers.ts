// Outlier detection of one cluster: feeds the detector and turns its verdicts into health flags.

import { StreamResetReason } from '../http/codec.ts'
import type { Scope } from '../observe/stats.ts'
import { now } from '../stream-info.ts'
import { HealthFlag, type Host } from './host.ts'
import type { OutlierConfig } from './outlier/config.ts'
import { type HostMonitor, OutlierDetector } from './outlier/detector.ts'

export class ClusterOutliers {
  readonly detector: OutlierDetector
  private readonly intervalMs: number
  private readonly hosts = new Map<HostMonitor, Host>()
  private timer: NodeJS.Timeout | null = null

  /** `onChange`: a host was ejected or taken back. */
  constructor(config: OutlierConfig, scope: Scope, onChange: (host: Host) => void) {
    this.intervalMs = config.intervalMs
    this.detector = new OutlierDetector(config, scope, {
      nowMs: now,
      random: Math.random,
      onChange: (monitor) => {
        const host = this.hosts.get(monitor)
        if (host?.setFlag(HealthFlag.FailedOutlierCheck, monitor.ejected)) onChange(host)
      },
    })
  }

  start(): void {
    this.timer = setInterval(() => this.detector.onInterval(), this.intervalMs)
    this.timer.unref()
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer)
  }

  add(host: Host): void {
    const monitor = this.detector.addHost()
    host.monitor = monitor
    this.hosts.set(monitor, host)
  }

  remove(host: Host): void {
    if (host.monitor === null) return
    this.detector.removeHost(host.monitor)
    this.hosts.delete(host.monitor)
    host.monitor = null
  }

  onResponse(host: Host, status: number): void {
    if (host.monitor === null) return
    this.detector.onLocalOriginSuccess(host.monitor)
    this.detector.onResponse(host.monitor, status)
  }

  /** Overflow and our own resets say nothing about the host. */
  onReset(host: Host, reason: StreamResetReason): void {
    if (host.monitor === null) return
    switch (reason) {
      case StreamResetReason.Overflow:
      case StreamResetReason.LocalReset:
      case StreamResetReason.LocalRefusedStreamReset:
        return
      case StreamResetReason.ConnectionTimeout:
        this.detector.onLocalOriginFailure(host.monitor, 504)
        return
      default:
        this.detector.onLocalOriginFailure(host.monitor, 503)
    }
  }

  onActiveHealthCheckSuccess(host: Host): void {
    if (host.monitor !== null) this.detector.onActiveHealthCheckSuccess(host.monitor)
  }
}
