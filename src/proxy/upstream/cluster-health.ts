// The health of a cluster's hosts in a worker: active checks, outlier detection, and what workers tell each other of both.

import type { RuntimeSnapshot } from '../config/extension.ts'
import type { StreamResetReason } from '../http/codec.ts'
import type { Scope } from '../observe/stats.ts'
import type { Cluster } from './cluster.ts'
import { ClusterOutliers } from './cluster-outliers.ts'
import type { ClusterData, EndpointData } from './config.ts'
import { HealthChecker } from './health-checker.ts'
import { Health, HealthFlag, type Host, type HostJudge, SHARED_HEALTH } from './host.ts'
import type { HostSharing } from './host-sharing.ts'
import type { OutlierConfig } from './outlier/config.ts'
import type { OutlierDetector } from './outlier/detector.ts'
import type { ClusterNews, HostNews } from './peers.ts'
import type { ClusterContext } from './worker-clusters.ts'

/** What only active checks say of a host. */
const FROM_CHECKS = SHARED_HEALTH & ~HealthFlag.FailedOutlierCheck
/** Hosts with one of these go when they leave. */
const NOT_KEPT = HealthFlag.FailedActiveHc | HealthFlag.FailedEdsHealth

/** Whose hosts they are. */
export interface HealthOwner {
  hostByKey(key: string): Host | undefined
  /** The flags of some host are others now. */
  onHealthChange(): void
  /** A host that only its passing health checks kept is to go. */
  removeHost(host: Host): void
}

export class ClusterHealth implements HostJudge {
  private readonly data: ClusterData
  private readonly owner: HealthOwner
  private readonly sharing: HostSharing
  private readonly outliers: ClusterOutliers | null
  private readonly checkers: readonly HealthChecker[]
  /** Checks that are to end before the first round is over. */
  private awaited = 0
  private onRoundEnd: (() => void) | null = null

  constructor(cluster: Cluster & HealthOwner, sharing: HostSharing, scope: Scope, context: ClusterContext) {
    const { data } = cluster
    this.data = data
    this.owner = cluster
    this.sharing = sharing
    this.outliers = data.outlierDetection && this.createOutliers(data.outlierDetection, context.runtime, scope)
    this.checkers = sharing.leads
      ? data.healthChecks.map(
          (check) =>
            new HealthChecker(
              check,
              cluster,
              scope,
              context.log,
              check.eventLogs.map((path) => context.openLog(path)),
              (host, healthy) => this.onHealthCheck(host, healthy),
              () => this.onCheckEnd(),
            ),
        )
      : []
  }

  private createOutliers(config: OutlierConfig, runtime: RuntimeSnapshot, scope: Scope): ClusterOutliers {
    if (this.sharing.leads) return ClusterOutliers.judging(config, runtime, scope, (host) => this.onEjection(host))
    return ClusterOutliers.reporting(config, runtime, (host, offenses) =>
      this.sharing.reportOffenses(host.key, offenses),
    )
  }

  start(): void {
    this.outliers?.start()
    for (const checker of this.checkers) checker.start()
  }

  stop(): void {
    this.sharing.tellEnd()
    this.outliers?.stop()
    for (const checker of this.checkers) checker.stop()
  }

  /** Calls back once as many checks have ended as there are hosts to check now (Envoy); at once where there is none. */
  afterFirstRound(callback: () => void): void {
    if (!this.checks) {
      callback()
      return
    }
    this.onRoundEnd = callback
    if (this.sharing.leads) this.awaited = this.checkers.reduce((sum, checker) => sum + checker.sessionCount, 0)
    if (this.sharing.leads ? this.awaited === 0 : this.sharing.checked) this.endRound()
  }

  private onCheckEnd(): void {
    if (this.awaited > 0 && --this.awaited === 0) this.endRound()
  }

  private endRound(): void {
    const callback = this.onRoundEnd
    this.onRoundEnd = null
    if (callback === null) return
    this.sharing.tellChecked()
    callback()
  }

  /** null: there is no outlier detection, or another worker judges. */
  get detector(): OutlierDetector | null {
    return this.outliers?.detector ?? null
  }

  /** Puts a new host under outlier detection and active health checks. */
  add(host: Host): void {
    host.judge = this
    this.outliers?.add(host, this.sharing.tells)
    if (this.checks && !host.endpoint.disableActiveHealthCheck) this.awaitFirstCheck(host)
    this.tell(host)
    const news = this.sharing.known(host.key)
    if (news === null) return
    host.flags = (host.flags & ~SHARED_HEALTH) | news.flags
    this.countFor(host, news)
  }

  /** Until its first check has passed a host is not used. */
  private awaitFirstCheck(host: Host): void {
    host.setFlag(HealthFlag.FailedActiveHc, true)
    if (this.data.ignoreNewHostsUntilFirstHc) host.setFlag(HealthFlag.PendingActiveHc, true)
  }

  /** Leading: an update may say otherwise whether a known host is checked, and where. `before`: what it was until now. */
  onEndpointUpdate(host: Host, before: EndpointData): void {
    if (!this.checks || !this.sharing.leads) return
    const { endpoint } = host
    if (endpoint.disableActiveHealthCheck !== before.disableActiveHealthCheck) {
      if (endpoint.disableActiveHealthCheck) host.setFlag(FROM_CHECKS, false)
      else {
        this.awaitFirstCheck(host)
        this.onUnhealthy(host)
      }
      this.tell(host)
    } else if (!checkedAlike(endpoint, before)) for (const checker of this.checkers) checker.restart(host)
  }

  /** Takes back `add`. */
  remove(host: Host): void {
    this.outliers?.remove(host)
    if (this.shares) this.sharing.forget(host.key)
  }

  /** Hosts that leave stay while their active checks pass, unless configured otherwise. */
  keeps(host: Host): boolean {
    const { ignoreHealthOnHostRemoval, type } = this.data
    if (!this.checks || ignoreHealthOnHostRemoval || (type !== 'EDS' && type !== 'STRICT_DNS')) return false
    if (host.endpoint.disableActiveHealthCheck || (host.flags & NOT_KEPT) !== 0) return false
    return !this.sharing.isGone(host.key)
  }

  private get checks(): boolean {
    return this.data.healthChecks.length > 0
  }

  /** There is something about hosts that workers tell each other. */
  private get shares(): boolean {
    return this.outliers !== null || this.checks
  }

  private tell(host: Host): void {
    if (this.shares) this.sharing.tellHost(host.key, host)
  }

  private countFor(host: Host, news: HostNews): void {
    if (news.tally !== null) this.outliers?.countIn(host, news.tally)
  }

  // What is found out here.

  private onHealthCheck(host: Host, healthy: boolean): void {
    this.tell(host)
    this.afterHealthCheck(host, healthy)
    if (healthy) this.outliers?.onActiveHealthCheckSuccess(host)
    this.owner.onHealthChange()
  }

  private afterHealthCheck(host: Host, healthy: boolean): void {
    if (healthy) {
      host.slowStartSince = performance.now()
      return
    }
    this.onUnhealthy(host)
    if ((host.flags & HealthFlag.PendingDynamicRemoval) !== 0) this.owner.removeHost(host)
  }

  private onEjection(host: Host): void {
    if (host.health === Health.Unhealthy) this.onUnhealthy(host)
    this.tell(host)
    this.owner.onHealthChange()
  }

  /** Connections to a bad host are not kept for later. */
  private onUnhealthy(host: Host): void {
    for (const pool of host.pools) {
      if (this.data.closeConnectionsOnHostHealthFailure) pool.closeAll()
      else pool.drainConnections()
    }
  }

  onResponse(host: Host, status: number): void {
    this.outliers?.onResponse(host, status)
  }

  onConnected(host: Host, final: boolean): void {
    this.outliers?.onConnected(host, final)
  }

  onReset(host: Host, reason: StreamResetReason): void {
    this.outliers?.onReset(host, reason)
  }

  /** A response says that its host must not be used any more (x-envoy-immediate-health-check-fail). */
  onImmediateFailure(host: Host): void {
    if (!this.checks) return
    if (!this.sharing.leads) {
      this.sharing.reportFailure(host.key)
      return
    }
    const changed = host.setFlag(HealthFlag.FailedActiveHc | HealthFlag.ExcludedViaImmediateHcFail, true)
    if (!changed) return
    for (const checker of this.checkers) checker.onPassiveFailure(host)
    this.onHealthCheck(host, false)
  }

  // What other workers tell.

  /** The leader knows more; the board has it already. */
  onNews(news: ClusterNews): void {
    if (news.kind === 'checked') this.endRound()
    if (news.kind !== 'host' && news.kind !== 'host-gone') return
    const host = this.owner.hostByKey(news.host)
    if (news.kind === 'host-gone') {
      if (host === undefined) this.sharing.forgetUnknown(news.host)
      else if ((host.flags & HealthFlag.PendingDynamicRemoval) !== 0) this.owner.removeHost(host)
      return
    }
    if (host === undefined) return
    this.countFor(host, { ...news, gone: false })
    const before = host.flags
    const { health } = host
    host.flags = (before & ~SHARED_HEALTH) | news.flags
    if (host.flags === before) return
    const failing = (host.flags & HealthFlag.FailedActiveHc) !== 0
    if (failing !== ((before & HealthFlag.FailedActiveHc) !== 0)) this.afterHealthCheck(host, !failing)
    else if (health !== Health.Unhealthy && host.health === Health.Unhealthy) this.onUnhealthy(host)
    this.owner.onHealthChange()
  }

  /** Leading: another worker's counts for a host reached thresholds. */
  onOffenses(key: string, offenses: number): void {
    const host = this.owner.hostByKey(key)
    if (host !== undefined) this.outliers?.onReport(host, offenses)
  }

  /** Leading: answers that another worker got say that the host fails. */
  onReportedFailure(key: string): void {
    const host = this.owner.hostByKey(key)
    if (host !== undefined) this.onImmediateFailure(host)
  }
}

/** Both are checked at the same place, under the same name. */
function checkedAlike(a: EndpointData, b: EndpointData): boolean {
  return (
    a.healthCheckPort === b.healthCheckPort &&
    a.healthCheckHostname === b.healthCheckHostname &&
    a.healthCheckAddress?.text === b.healthCheckAddress?.text
  )
}
