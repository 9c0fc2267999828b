// Clusters and their endpoints on the main thread: parse, warm, hand to the workers.

import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import type { DumpedResource } from '../admin/source.ts'
import { createParseContext, type ExtensionRegistry, noDependencies } from '../config/extension-registry.ts'
import type { Counter, Gauge, Scope } from '../observe/stats.ts'
import type { ClusterData, EndpointsData } from '../upstream/config.ts'
import { parseCluster } from '../upstream/parse-cluster.ts'
import { parseEndpoints } from '../upstream/parse-endpoints.ts'
import type { ClusterFacts } from './cluster-status.ts'
import { type FileSources, filePath } from './file-source.ts'
import type { GrpcCluster } from './grpc-transport.ts'
import {
  decodeResource,
  dumped,
  fetchTimeoutMs,
  type IncomingResource,
  joinErrors,
  sameBytes,
  type UnknownFields,
} from './resource.ts'
import type { SecretResources } from './secrets.ts'
import { NamedSubscriptions } from './subscription-stats.ts'
import type { Need, Warming } from './warming.ts'
import type { Workers } from './workers.ts'

interface KnownCluster {
  readonly data: ClusterData
  readonly resource: IncomingResource
  readonly dump: DumpedResource
  readonly fixed: boolean
  /** As configured, which the cluster's name stands in for. */
  readonly serviceName: string
}

/** Which assignments to ask for. `add` asks anew for a name that is known. */
export interface EndpointSubscription {
  add(names: Iterable<string>): void
  remove(names: Iterable<string>): void
}

export class ClusterResources {
  private readonly registry: ExtensionRegistry
  private readonly workers: Workers
  private readonly warming: Warming
  private readonly secrets: SecretResources
  private readonly files: FileSources
  private readonly unknown: UnknownFields
  private readonly log: Logger
  private readonly active = new Map<string, KnownCluster>()
  private readonly warmingClusters = new Map<string, KnownCluster>()
  /** Versions that the workers have and that do not serve yet. */
  private readonly warmingInWorkers = new Set<KnownCluster>()
  private readonly assignments = new Map<string, { data: EndpointsData; dump: DumpedResource }>()
  private readonly changes: { readonly added: Counter; readonly modified: Counter; readonly removed: Counter }
  private readonly activeGauge: Gauge
  private readonly warmingGauge: Gauge
  /** Envoy's main thread has every cluster too. */
  private readonly inflated: Gauge
  /** What this thread counts of each cluster. */
  private readonly scopes = new Map<string, Scope>()
  private onIdle: (() => void)[] = []
  private readonly followers = new Set<(name: string) => void>()
  /** Of EDS, by cluster. */
  readonly subscriptions = new NamedSubscriptions()
  /** Cluster → assignment. */
  private readonly subscribed = new Map<string, string>()
  private readonly stats: Scope
  private nextId = 1
  eds: EndpointSubscription | null = null
  versionInfo = ''

  constructor(
    registry: ExtensionRegistry,
    workers: Workers,
    warming: Warming,
    secrets: SecretResources,
    files: FileSources,
    unknown: UnknownFields,
    log: Logger,
    stats: Scope,
  ) {
    this.registry = registry
    this.workers = workers
    this.warming = warming
    this.secrets = secrets
    this.files = files
    this.unknown = unknown
    this.log = log
    this.stats = stats
    const scope = stats.scope('cluster_manager')
    this.changes = {
      added: scope.counter('cluster_added'),
      modified: scope.counter('cluster_modified'),
      removed: scope.counter('cluster_removed'),
    }
    for (const name of [
      'cluster_updated',
      'cluster_updated_via_merge',
      'update_merge_cancelled',
      'update_out_of_merge_window',
    ])
      scope.counter(name)
    this.inflated = stats.scope('thread_local_cluster_manager.main_thread').gauge('clusters_inflated')
    this.activeGauge = scope.gauge('active_clusters')
    this.warmingGauge = scope.gauge('warming_clusters')
  }

  /** A cluster of the bootstrap; one that waits for endpoints or secrets follows later. Rejects with ConfigError. */
  async addStatic(resource: IncomingResource): Promise<void> {
    const { known, needs } = this.parse(resource, true)
    if (this.active.has(known.data.name) || this.warmingClusters.has(known.data.name))
      throw new ConfigError('', `cluster manager: duplicate cluster '${known.data.name}'`)
    const warm = this.warm(known, needs)
    if (needs.length === 0) await warm
    else
      warm.catch((error: unknown) =>
        this.log.error({ cluster: resource.name, reason: errorText(error) }, 'cluster could not be applied'),
      )
  }

  /** Serving or on its way. */
  knows(name: string): boolean {
    return this.active.has(name) || this.warmingClusters.has(name)
  }

  /** The version that serves, for a gRPC channel to it. */
  forGrpc(name: string): GrpcCluster | undefined {
    const known = this.active.get(name)
    if (known === undefined) return undefined
    const endpoints = this.assignmentOf(known.data) ?? known.data.endpoints
    const byPriority = [...(endpoints?.localities ?? [])].sort((a, b) => a.priority - b.priority)
    const addresses = byPriority.flatMap((group) => group.endpoints.map(({ address }) => address))
    return { message: decodeResource(ClusterSchema, known.resource), addresses }
  }

  /** Calls back with the name of each cluster that is replaced or removed from now on; returns what ends it. */
  onChange(callback: (name: string) => void): () => void {
    this.followers.add(callback)
    return () => void this.followers.delete(callback)
  }

  /** One CDS response; returns the NACK reason or null. Good clusters of a bad response are applied all the same. */
  async update(
    added: readonly IncomingResource[],
    removed: readonly string[],
    version: string,
  ): Promise<string | null> {
    const errors: string[] = []
    const jobs: Promise<void>[] = []
    for (const resource of added) {
      try {
        const current = this.warmingClusters.get(resource.name) ?? this.active.get(resource.name)
        if (current !== undefined && sameBytes(current.resource.body, resource.body)) continue
        if (current?.fixed) throw new ConfigError('', 'a static cluster cannot be replaced by CDS')
        const { known, needs } = this.parse(resource, false)
        const warm = this.warm(known, needs)
        // What waits for nothing can still be refused by a worker: then the response is refused.
        if (needs.length === 0)
          jobs.push(warm.catch((error: unknown) => void errors.push(`${resource.name}: ${errorText(error)}`)))
        else
          warm.catch((error: unknown) =>
            this.log.error({ cluster: resource.name, reason: errorText(error) }, 'cluster could not be applied'),
          )
      } catch (error) {
        errors.push(`${resource.name}: ${errorText(error)}`)
      }
    }
    await Promise.all(jobs)
    for (const name of removed) await this.remove(name)
    if (errors.length === 0) this.versionInfo = version
    return joinErrors(errors.length === 0 ? errors : [`Error adding/updating cluster(s) ${errors.join(', ')}`])
  }

  /** One EDS response; returns the NACK reason or null. */
  async updateEndpoints(added: readonly IncomingResource[]): Promise<string | null> {
    const errors: string[] = []
    const startedMs = performance.now()
    for (const resource of added) {
      try {
        const message = decodeResource(ClusterLoadAssignmentSchema, resource)
        this.unknown.check(ClusterLoadAssignmentSchema, message, resource.name)
        const data = parseEndpoints(message, false, createParseContext(this.registry))
        this.assignments.set(resource.name, { data, dump: dumped(ClusterLoadAssignmentSchema, resource) })
        await this.tellEndpoints(resource.name, data)
        for (const name of this.clustersOf(resource.name)) this.subscriptions.success(name, resource.version, startedMs)
        this.warming.satisfied(`endpoints:${resource.name}`)
      } catch (error) {
        for (const name of this.clustersOf(resource.name)) this.subscriptions.rejected(name)
        errors.push(`${resource.name}: ${errorText(error)}`)
      }
    }
    return joinErrors(errors)
  }

  /** To every version of a cluster that the workers have. */
  private async tellEndpoints(service: string, endpoints: EndpointsData): Promise<void> {
    const versions = [...this.active.values(), ...this.warmingInWorkers]
    const meant = versions.filter(({ data }) => data.type === 'EDS' && data.edsServiceName === service)
    for (const cluster of new Set(meant.map(({ data }) => data.name)))
      await this.workers.apply({ kind: 'endpoints', cluster, service, endpoints })
  }

  /** Names of the clusters that subscribe to this assignment. */
  private clustersOf(assignment: string): string[] {
    return [...this.subscribed].filter(([, name]) => name === assignment).map(([cluster]) => cluster)
  }

  /** Resolves when the clusters of the bootstrap that workers warm (DNS, health checks) serve. */
  async firstServe(): Promise<void> {
    const waiting = [...this.warmingInWorkers].filter((cluster) => cluster.fixed)
    await Promise.all(waiting.map((cluster) => this.workers.whenWarm(cluster.data.name)))
  }

  /** Resolves when no cluster warms. */
  settled(): Promise<void> {
    if (this.warmingClusters.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.onIdle.push(resolve))
  }

  /** What the admin pages add to the workers' view of a cluster. */
  facts(name: string): ClusterFacts {
    const known = this.active.get(name)
    return {
      // What the bootstrap does not have came by CDS, or is the sub cluster of a dynamic forward proxy.
      addedViaApi: known === undefined || !known.fixed,
      outlierDetection: known !== undefined && known.data.outlierDetection !== null,
      edsServiceName: known?.serviceName ?? '',
    }
  }

  dump(): {
    versionInfo: string
    static: readonly DumpedResource[]
    active: readonly DumpedResource[]
    warming: readonly DumpedResource[]
  } {
    const all = [...this.active.values()]
    return {
      versionInfo: this.versionInfo,
      static: all.filter((c) => c.fixed).map((c) => c.dump),
      active: all.filter((c) => !c.fixed).map((c) => c.dump),
      warming: [...this.warmingClusters.values()].map((c) => c.dump),
    }
  }

  activeData(): ClusterData[] {
    return [...this.active.values()].map(({ data }) => data)
  }

  /** EDS tells its endpoints. */
  isDiscovered(name: string): boolean {
    return this.active.get(name)?.data.type === 'EDS'
  }

  /** Assignments of EDS: as Envoy counts them, static ones are those of the bootstrap's clusters. */
  dumpEndpoints(): { static: readonly DumpedResource[]; dynamic: readonly DumpedResource[] } {
    const fixed = new Set([...this.active.values()].filter((c) => c.fixed).map((c) => c.data.edsServiceName))
    const all = [...this.assignments]
    return {
      static: all.filter(([name]) => fixed.has(name)).map(([, { dump }]) => dump),
      dynamic: all.filter(([name]) => !fixed.has(name)).map(([, { dump }]) => dump),
    }
  }

  /** From then on the version is a user of its secrets. Throws ConfigError, and nothing stays. */
  private parse(resource: IncomingResource, fixed: boolean): { known: KnownCluster; needs: Need[] } {
    try {
      return this.read(resource, fixed)
    } catch (error) {
      this.secrets.release(resource)
      throw error
    }
  }

  private read(resource: IncomingResource, fixed: boolean): { known: KnownCluster; needs: Need[] } {
    const message = decodeResource(ClusterSchema, resource)
    if (!fixed) this.unknown.check(ClusterSchema, message, resource.name)
    const dependencies = noDependencies()
    const parsed = parseCluster(message, createParseContext(this.registry, dependencies))
    // Hosts that requests bring are each worker's own.
    const data = { ...parsed, id: hostsOfRequests(parsed) ? 0 : this.nextId++ }
    const needs: Need[] = []
    this.secrets.use(resource, dependencies.secrets)
    for (const [key, source] of dependencies.secrets)
      if (!this.secrets.has(key)) needs.push({ key: `secret:${key}`, timeoutMs: fetchTimeoutMs(source) })
    if (data.type === 'EDS') {
      const source = message.edsClusterConfig?.edsConfig
      const path = filePath(source)
      this.subscribed.set(data.name, data.edsServiceName)
      this.subscriptions.begin(data.name, () => this.stats.scope(`cluster.${data.statName}`), path)
      if (path !== null) this.useFile(path)
      else if (this.eds === null) {
        throw new ConfigError(
          'eds_cluster_config',
          'there is no ADS to ask for endpoints; set dynamic_resources.ads_config or a path_config_source',
        )
      }
      // A file says what it has when it changes, not when it is asked.
      const known = path !== null && this.assignments.has(data.edsServiceName)
      if (!known)
        needs.push({
          key: `endpoints:${data.edsServiceName}`,
          timeoutMs: fetchTimeoutMs(source),
          onTimeout: () => this.subscriptions.fetchTimeout(data.name),
        })
    }
    const serviceName = message.edsClusterConfig?.serviceName ?? ''
    return { known: { data, resource, dump: dumped(ClusterSchema, resource), fixed, serviceName }, needs }
  }

  private useFile(path: string): void {
    this.files.use('endpoints', path, (resources) => this.updateEndpoints(resources), {
      attempt: () => this.subscriptions.attempt(path),
      failure: () => this.subscriptions.failure(path),
    })
  }

  /** Resolves when the workers have the cluster; rejects when one refuses it. */
  private warm(known: KnownCluster, needs: readonly Need[]): Promise<void> {
    const { name } = known.data
    this.warmingState(known.data).set(1)
    ;(this.active.has(name) || this.warmingClusters.has(name) ? this.changes.modified : this.changes.added).inc()
    const replaced = this.warmingClusters.get(name)
    this.warmingClusters.set(name, known)
    if (replaced !== undefined) this.letGo(replaced, known)
    this.countClusters()
    return new Promise((resolve, reject) => {
      // The old version's assignment does not do: a changed cluster asks anew and waits for the answer.
      this.warming.wait(`cluster ${name}`, needs, () => void this.activate(known, resolve).catch(reject))
      if (known.data.type === 'EDS') this.eds?.add([known.data.edsServiceName])
    })
  }

  private async activate(known: KnownCluster, applied: () => void): Promise<void> {
    const { name } = known.data
    let endpoints = this.assignmentOf(known.data)
    try {
      await this.workers.apply({ kind: 'cluster', cluster: known.data, endpoints })
      // What came while the workers took the cluster was for no cluster that is in force.
      for (let newer = this.assignmentOf(known.data); newer !== endpoints; newer = this.assignmentOf(known.data)) {
        endpoints = newer
        const service = known.data.edsServiceName
        if (newer !== null) await this.workers.apply({ kind: 'endpoints', cluster: name, service, endpoints: newer })
      }
      applied()
      if (warmsInWorkers(known.data)) {
        this.warmingInWorkers.add(known)
        await this.workers.whenWarm(name)
      }
      // Another version, or a removal, may have come meanwhile.
      if (this.warmingClusters.get(name) === known) {
        const old = this.active.get(name)
        this.active.set(name, known)
        if (old !== undefined) {
          this.letGo(old, known)
          for (const follower of this.followers) follower(name)
        }
        this.warmingState(known.data).set(0)
      }
    } finally {
      this.warmingInWorkers.delete(known)
      if (this.warmingClusters.get(name) === known) {
        this.warmingClusters.delete(name)
        if (this.active.get(name) !== known) this.letGo(known, null)
      }
      this.countClusters()
    }
  }

  private assignmentOf({ type, edsServiceName }: ClusterData): EndpointsData | null {
    return type === 'EDS' ? (this.assignments.get(edsServiceName)?.data ?? null) : null
  }

  private async remove(name: string): Promise<void> {
    const versions = [this.warmingClusters.get(name), this.active.get(name)].filter((known) => known !== undefined)
    if (versions.length === 0 || versions.some((known) => known.fixed)) return
    this.warming.cancel(`cluster ${name}`)
    this.warmingClusters.delete(name)
    this.active.delete(name)
    this.changes.removed.inc()
    this.scopes.get(name)?.release()
    this.scopes.delete(name)
    this.subscriptions.end(name)
    this.subscribed.delete(name)
    for (const version of versions) this.letGo(version, null)
    this.countClusters()
    for (const follower of this.followers) follower(name)
    await this.workers.apply({ kind: 'remove-cluster', name })
  }

  /** `gone` has given its place to `next` (null: to none): what no cluster names any more is asked for no more. */
  private letGo({ data, resource }: KnownCluster, next: KnownCluster | null): void {
    this.secrets.release(resource)
    const service = data.edsServiceName
    // What a file holds comes once.
    if (data.type !== 'EDS' || this.eds === null) return
    const names = ({ data: { type, edsServiceName } }: KnownCluster) => type === 'EDS' && edsServiceName === service
    if (next !== null && names(next)) return
    if ([...this.active.values(), ...this.warmingClusters.values()].some(names)) return
    this.assignments.delete(service)
    this.eds.remove([service])
  }

  private warmingState({ name, statName }: ClusterData): Gauge {
    const prefix = `cluster.${statName}`
    let scope = this.scopes.get(name)
    if (scope?.prefix !== prefix) {
      scope?.release()
      scope = this.stats.scope(prefix)
      this.scopes.set(name, scope)
    }
    scope.gauge('version')
    return scope.gauge('warming_state')
  }

  private countClusters(): void {
    this.activeGauge.set(this.active.size)
    this.inflated.set(this.active.size)
    this.warmingGauge.set(this.warmingClusters.size)
    if (this.warmingClusters.size > 0) return
    const waiting = this.onIdle
    this.onIdle = []
    for (const resolve of waiting) resolve()
  }
}

function hostsOfRequests(data: ClusterData): boolean {
  return data.type === 'DYNAMIC_FORWARD_PROXY' || data.type === 'ORIGINAL_DST'
}

/** It serves after its first answer (wait_for_warm_on_init), and after its first round of health checks. */
function warmsInWorkers({ healthChecks, type, waitForWarmOnInit }: ClusterData): boolean {
  return healthChecks.length > 0 || (waitForWarmOnInit && (type === 'STRICT_DNS' || type === 'LOGICAL_DNS'))
}
