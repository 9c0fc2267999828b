// What one proxy is sent: generates what changed for it, keeps what cannot be generated as it is, and tells why.
import { errorText } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import type { EncodedResource, ResourceUpdate, SubscriptionChange } from '../../xds/server-types.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, isNamedType, SDS_TYPE } from '../../xds/type-urls.ts'
import type { Changes } from '../commit.ts'
import type { PushContext } from '../model/push-context.ts'
import { outboundClusterName, outboundSni } from '../xds/names.ts'
import { type Extent, extentOf } from './changes.ts'
import type { Client } from './client.ts'
import { allClusters, type ClusterState, clusterDelta, keepingLast } from './cluster-state.ts'
import { provedNamespace } from './identity-check.ts'
import { type PilotMetrics, shortType } from './metrics.ts'
import { missing, type Names, NO_NAMES, oneByOne, sizeOf } from './names.ts'
import { GENERATED_TYPES, type ResourceGenerator } from './resources.ts'

export interface SenderOptions {
  readonly generator: ResourceGenerator
  readonly metrics: PilotMetrics
  readonly log: Logger
}

/** Stateless but for what it notes in the client: its clusters and its faults. */
export class Sender {
  private readonly options: SenderOptions

  constructor(options: SenderOptions) {
    this.options = options
  }

  /** Answers a subscription: with what of it is new to the proxy. */
  answer(client: Client, push: PushContext, typeUrl: string, change: SubscriptionChange): void {
    const names = change.wildcard && !isNamedType(typeUrl) ? null : change.added
    if (typeUrl === CDS_TYPE && names === null && client.proxy.generator === '')
      this.sendAllClusters(client, push, false)
    else this.generateAndSend(client, push, typeUrl, names)
  }

  /** Sends what of every watched type is different after the changes; false: nothing is. */
  pushChanges(client: Client, push: PushContext, changes: Changes): boolean {
    const { connection } = client
    let sent = false
    let changedClusters: readonly string[] = []
    for (const typeUrl of connection.watchedTypes()) {
      const extent = this.extentFor(client, push, typeUrl, changes)
      if (typeUrl === CDS_TYPE && extent !== 'none' && connection.watched(CDS_TYPE)?.wildcard) {
        const delta = this.pushClusters(client, push, changes.all)
        changedClusters = delta.names
        sent = delta.sent || sent
      } else if (typeUrl === EDS_TYPE) {
        sent = this.pushEndpoints(client, push, changes, extent, changedClusters) || sent
      } else if (extent !== 'none' && GENERATED_TYPES.includes(typeUrl)) {
        sent = this.pushType(client, push, typeUrl, changes.all) || sent
      }
    }
    return sent
  }

  /** What could not be generated last time is generated whole, whatever changed since. */
  private extentFor(client: Client, push: PushContext, typeUrl: string, changes: Changes): Extent {
    if (client.faults.has(typeUrl)) return 'all'
    return this.attempt(client, typeUrl, () => extentOf(typeUrl, changes, client.proxy, push)) ?? 'none'
  }

  /** Null: it threw. A fault of ours in one type must stop neither the other types nor the other proxies. */
  private attempt<T>(client: Client, typeUrl: string, make: () => T): T | null {
    try {
      return make()
    } catch (error) {
      this.failed(client, typeUrl, errorText(error), error)
      return null
    }
  }

  private failed(client: Client, typeUrl: string, reason: string, error?: unknown): void {
    this.options.metrics.internalErrors.inc()
    if (client.faults.get(typeUrl) === reason) return
    client.faults.set(typeUrl, reason)
    const about = { proxy: client.proxy.id, type: shortType(typeUrl), err: error ?? reason }
    this.options.log.error(about, 'configuration could not be generated; the proxy keeps what it has')
  }

  /** A type was generated, but for what `reasons` names. */
  private generated(client: Client, typeUrl: string, reasons: ReadonlyMap<string, string>): void {
    if (reasons.size > 0) {
      const [[name, reason] = ['', '']] = reasons
      const others = reasons.size > 1 ? ` (and ${reasons.size - 1} more)` : ''
      this.failed(client, typeUrl, `${name}: ${reason}${others}`)
    } else if (client.faults.delete(typeUrl)) {
      const about = { proxy: client.proxy.id, type: shortType(typeUrl) }
      this.options.log.info(about, 'configuration can be generated again')
    }
  }

  /** Sends what is different from the last clusters, and says which changed: a delta client warms those anew. */
  private pushClusters(client: Client, push: PushContext, force: boolean): { sent: boolean; names: readonly string[] } {
    const { connection } = client
    const before = client.clusters
    if (!before || force || !connection.delta) {
      const versions = new Map(connection.watched(CDS_TYPE)?.versions)
      const { sent, resources } = this.sendAllClusters(client, push, force)
      const names = connection.delta
        ? resources.filter((r) => versions.get(r.name) !== r.version).map((r) => r.name)
        : []
      return { sent, names }
    }
    const state = this.clustersOf(client, push)
    if (!state) return { sent: false, names: [] }
    const { changed, removed } = clusterDelta(before, state)
    if (changed.length === 0 && removed.length === 0) return { sent: false, names: [] }
    const update = { resources: changed, removed, version: push.version, full: false }
    return { sent: this.deliver(client, CDS_TYPE, update), names: changed.map((r) => r.name) }
  }

  private sendAllClusters(
    client: Client,
    push: PushContext,
    force: boolean,
  ): { sent: boolean; resources: readonly EncodedResource[] } {
    const state = this.clustersOf(client, push)
    if (!state) return { sent: false, resources: [] }
    const resources = allClusters(state)
    return { sent: this.send(client, push, CDS_TYPE, resources, [], true, force), resources }
  }

  /** What clusters the proxy has from now on; null: they stay as they are. */
  private clustersOf(client: Client, push: PushContext): ClusterState | null {
    const { generator, metrics } = this.options
    const end = metrics.pushTime.startTimer({ type: shortType(CDS_TYPE) })
    const state = this.attempt(client, CDS_TYPE, () => generator.clusterState(client.proxy, push))
    end()
    if (!state) return null
    const faults = generator.faults(state)
    this.generated(client, CDS_TYPE, faults)
    client.clusters = faults.size > 0 ? keepingLast(state, client.clusters, faults) : state
    return client.clusters
  }

  private pushType(client: Client, push: PushContext, typeUrl: string, force: boolean): boolean {
    const watched = client.connection.watched(typeUrl)
    if (!watched) return false
    return this.generateAndSend(
      client,
      push,
      typeUrl,
      watched.wildcard && !isNamedType(typeUrl) ? null : watched.names,
      force,
    )
  }

  /** Clusters that changed on a delta stream get their endpoints again: Envoy warms them until they come. */
  private pushEndpoints(
    client: Client,
    push: PushContext,
    changes: Changes,
    extent: Extent,
    changedClusters: readonly string[],
  ): boolean {
    const watched = client.connection.watched(EDS_TYPE)
    if (!watched) return false
    const warm = changedClusters.filter((name) => watched.names.has(name))
    let sent = false
    if (warm.length > 0) sent = this.generateAndSend(client, push, EDS_TYPE, warm, true)
    const names =
      extent === 'all'
        ? watched.names
        : extent === 'endpoints'
          ? this.endpointNames(client, push, changes, watched.names)
          : NO_NAMES
    if (names === NO_NAMES) return sent
    return this.generateAndSend(client, push, EDS_TYPE, names, changes.all) || sent
  }

  /** Watched clusters of the services that changed, in themselves or in their endpoints. */
  private endpointNames(client: Client, push: PushContext, changes: Changes, watched: ReadonlySet<string>): string[] {
    const scope = push.sidecarScope(client.proxy)
    const names: string[] = []
    for (const key of new Set([...changes.endpoints, ...changes.services])) {
      const service = scope.servicesByHost.get(key.slice(key.indexOf('/') + 1))
      if (!service) continue
      const subsets = scope.destinationRule(service, client.proxy.labels)?.rule.spec.subsets ?? []
      for (const port of service.ports) {
        for (const subset of ['', ...subsets.map((s) => s.name)]) {
          for (const nameOf of [outboundClusterName, outboundSni]) {
            const name = nameOf(port.port, subset, service.hostname)
            if (watched.has(name)) names.push(name)
          }
        }
      }
    }
    return names
  }

  /** Generates what of a type is asked for (null: all of it) and sends what of it the proxy does not have. */
  private generateAndSend(
    client: Client,
    push: PushContext,
    typeUrl: string,
    names: Names | null,
    force = false,
  ): boolean {
    if (typeUrl === SDS_TYPE && !provedNamespace(client.connection)) {
      this.options.log.warn(
        { proxy: client.proxy.id },
        'credentials refused: the proxy has not proved its namespace (use the TLS port)',
      )
      return this.send(client, push, typeUrl, [], names ?? [], names === null, force)
    }
    const { generator, metrics } = this.options
    const end = metrics.pushTime.startTimer({ type: shortType(typeUrl) })
    const withSecrets = typeUrl === ECDS_TYPE && provedNamespace(client.connection)
    const make = (some: Names | null) => generator.generate(typeUrl, client.proxy, push, some, withSecrets)
    const reasons = new Map<string, string>()
    let resources: readonly EncodedResource[] | null
    if (names === null) resources = this.attempt(client, typeUrl, () => make(null))
    else {
      try {
        resources = make(names)
      } catch {
        resources = oneByOne(names, make, reasons)
      }
    }
    end()
    if (!resources) return false
    this.generated(client, typeUrl, reasons)
    const answered = names && reasons.size > 0 ? [...names].filter((name) => !reasons.has(name)) : (names ?? [])
    if (typeUrl === SDS_TYPE) metrics.credentialErrors.inc(sizeOf(answered) - resources.length)
    // Nothing of what was asked for could be made: silence, not an answer without it.
    if (reasons.size > 0 && sizeOf(answered) === 0) return false
    return this.send(client, push, typeUrl, resources, answered, names === null, force)
  }

  private send(
    client: Client,
    push: PushContext,
    typeUrl: string,
    resources: readonly EncodedResource[],
    asked: Names,
    full: boolean,
    force = false,
  ): boolean {
    const removed = missing(asked, resources)
    return this.deliver(client, typeUrl, { resources, removed, version: push.version, full, force })
  }

  private deliver(client: Client, typeUrl: string, update: ResourceUpdate): boolean {
    const { metrics } = this.options
    const startMs = performance.now()
    const bytes = client.connection.push(typeUrl, update)
    if (bytes === 0) return false
    metrics.sendTime.observe((performance.now() - startMs) / 1000)
    metrics.sent(typeUrl, bytes)
    return true
  }
}
