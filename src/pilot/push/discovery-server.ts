// Answers xDS subscriptions and pushes changes: one pending push a proxy, merged while the proxy is busy.
import { errorText } from '../../base/errors.ts'
import { GRPC_STATUS, GrpcStatusError } from '../../base/grpc-status.ts'
import type { Logger } from '../../base/logger.ts'
import type {
  EncodedResource,
  OneTimeAnswer,
  ResourceUpdate,
  SubscriptionChange,
  XdsConnection,
  XdsHandler,
} from '../../xds/server-types.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, isNamedType, SDS_TYPE } from '../../xds/type-urls.ts'
import { type AutoRegistration, HEALTH_TYPE } from '../auto-registration.ts'
import type { Changes } from '../commit.ts'
import { type ProxyNode, parseNode } from '../model/node.ts'
import { placed } from '../model/placed.ts'
import type { PushContext } from '../model/push-context.ts'
import { outboundClusterName, outboundSni } from '../xds/names.ts'
import { placeOf } from './cache-keys.ts'
import { type Extent, extentOf, mergeChanges } from './changes.ts'
import { allClusters, type ClusterState, clusterDelta, keepingLast } from './cluster-state.ts'
import { checkIdentity, provedNamespace } from './identity-check.ts'
import { DEFAULT_PUSH_LIMIT, InFlight } from './in-flight.ts'
import type { PilotMetrics } from './metrics.ts'
import { shortType } from './metrics.ts'
import { missing, type Names, NO_NAMES, oneByOne, sizeOf } from './names.ts'
import { GENERATED_TYPES, type ResourceGenerator } from './resources.ts'

/** A proxy on one stream. */
export interface Client {
  readonly connection: XdsConnection
  /** As its node describes it. */
  readonly node: ProxyNode
  /** With its workload's labels and place, as of the last push. */
  proxy: ProxyNode
  /** Changes not pushed yet; null: none. */
  pending: Changes | null
  /** When the oldest pending change happened (performance.now). */
  pendingMs: number
  /** When the oldest change happened that was pushed but is not acknowledged yet; 0: none. */
  unackedMs: number
  queued: boolean
  /** The clusters it was sent last; null before the first answer, and for clients that ask by name. */
  clusters: ClusterState | null
  /** Why a type could not be generated, or not all of it: the proxy keeps what it has, until a later push can. */
  readonly faults: Map<string, string>
  /** Subscriptions that wait for their answer. */
  readonly asked: { readonly typeUrl: string; readonly change: SubscriptionChange }[]
}

/** A client that never acknowledges is pushed to again after this. */
const ACK_PATIENCE_MS = 5_000
/** The queue yields to the event loop (new requests, acknowledgements) after working this long. */
const SLICE_MS = 8

/** A response that a proxy did not take, or that could not be generated. */
export interface Refusal {
  /** `pod.namespace`. */
  readonly proxy: string
  /** `lds`, `cds`, … */
  readonly type: string
  /** The proxy's own words. */
  readonly reason: string
}

export interface DiscoveryServerOptions {
  readonly generator: ResourceGenerator
  readonly metrics: PilotMetrics
  readonly log: Logger
  /** Left out: workloads do not register themselves. */
  readonly registration?: AutoRegistration
  /** Answers the types of the debug pages; null: another type. Left out: there are none. */
  readonly debug?: (connection: XdsConnection, typeUrl: string, names: readonly string[]) => OneTimeAnswer | null
}

/** The control plane's {@link XdsHandler}. */
export class DiscoveryServer implements XdsHandler {
  private readonly options: DiscoveryServerOptions
  private readonly clients = new Map<string, Client>()
  private readonly queue: Client[] = []
  private readonly inFlight = new InFlight<Client>(DEFAULT_PUSH_LIMIT, ACK_PATIENCE_MS)
  private working = false
  private timer: NodeJS.Timeout | undefined
  private push: PushContext | null = null

  constructor(options: DiscoveryServerOptions) {
    this.options = options
  }

  /** The connected proxies, oldest first. */
  connected(): Iterable<Client> {
    return this.clients.values()
  }

  get pushContext(): PushContext | null {
    return this.push
  }

  /** Every proxy has answered what it was sent, and nothing waits to be sent. */
  get settled(): boolean {
    if (this.queue.length > 0) return false
    for (const { pending, connection } of this.clients.values()) if (pending !== null || connection.busy()) return false
    return true
  }

  /** What proxies refuse of what they were sent last, or could not be sent: they keep serving what they had. */
  refusals(): Refusal[] {
    return [...this.clients.values()].flatMap(({ connection, proxy, faults }) =>
      connection.watchedTypes().flatMap((typeUrl): Refusal[] => {
        const reason = faults.get(typeUrl) ?? connection.watched(typeUrl)?.lastError ?? null
        return reason === null ? [] : [{ proxy: `${proxy.name}.${proxy.namespace}`, type: shortType(typeUrl), reason }]
      }),
    )
  }

  /** Serves from `push` from now on and sends what `changes` (since `sinceMs`, performance.now) concern. */
  publish(push: PushContext, changes: Changes, sinceMs: number): void {
    this.push = push
    for (const client of this.clients.values()) {
      if (client.pending === null) {
        client.pending = changes
        client.pendingMs = sinceMs
      } else client.pending = mergeChanges(client.pending, changes)
      this.enqueue(client)
    }
  }

  onConnect(connection: XdsConnection): void {
    if (!this.push) throw new GrpcStatusError(GRPC_STATUS.UNAVAILABLE, 'the first configuration is still being read')
    const parsed = parseNode(connection.node)
    if (!parsed.ok) {
      const { path, message } = parsed.problems[0]!
      throw new GrpcStatusError(GRPC_STATUS.INVALID_ARGUMENT, `${path}: ${message}`)
    }
    checkIdentity(connection, parsed.value)
    this.options.registration?.connected(parsed.value)
    const client: Client = {
      connection,
      node: parsed.value,
      proxy: placed(parsed.value, this.push),
      pending: null,
      pendingMs: 0,
      unackedMs: 0,
      queued: false,
      clusters: null,
      faults: new Map(),
      asked: [],
    }
    this.clients.set(connection.id, client)
    this.options.metrics.connected(parsed.value.istioVersion, 1)
    if (this.push.serviceInstances(client.proxy).length === 0) {
      const known = this.push.workloads.byAddress.has(client.proxy.ips[0] ?? '')
      this.options.metrics.withoutServices.inc({ reason: known ? 'no_matching_services' : 'no_matching_metadata' })
    }
  }

  onSubscribe(connection: XdsConnection, typeUrl: string, change: SubscriptionChange): void {
    const client = this.clients.get(connection.id)
    if (!client || !this.push) return
    if (client.asked.length === 0 && this.inFlight.enter(client)) this.answer(client, typeUrl, change)
    else {
      client.asked.push({ typeUrl, change })
      this.enqueue(client)
    }
  }

  private answer(client: Client, typeUrl: string, change: SubscriptionChange): void {
    const names = change.wildcard && !isNamedType(typeUrl) ? null : change.added
    if (typeUrl === CDS_TYPE && names === null && client.proxy.generator === '') this.sendAllClusters(client, false)
    else this.generateAndSend(client, typeUrl, names)
    this.settle(client)
  }

  onAck(connection: XdsConnection): void {
    const client = this.clients.get(connection.id)
    if (!client) return
    if (client.unackedMs > 0 && !connection.busy()) {
      this.options.metrics.propagation.observe((performance.now() - client.unackedMs) / 1000)
      client.unackedMs = 0
    }
    this.settle(client)
    if (client.pending) this.enqueue(client)
  }

  /** Health of a workload outside Kubernetes, as its agent sees it. */
  onReport(connection: XdsConnection, typeUrl: string, error: string | null): boolean {
    if (typeUrl !== HEALTH_TYPE) return false
    const client = this.clients.get(connection.id)
    if (client) this.options.registration?.health(client.proxy, error === null, error ?? '')
    return true
  }

  answerOnce(connection: XdsConnection, typeUrl: string, names: readonly string[]): OneTimeAnswer | null {
    return this.options.debug?.(connection, typeUrl, names) ?? null
  }

  onNack(connection: XdsConnection, typeUrl: string): void {
    this.options.metrics.rejected(typeUrl)
    const client = this.clients.get(connection.id)
    if (!client) return
    this.settle(client)
    if (client.pending) this.enqueue(client)
  }

  onStale(_connection: XdsConnection, typeUrl: string): void {
    this.options.metrics.expiredNonces.inc({ type: shortType(typeUrl) })
  }

  onDisconnect(connection: XdsConnection): void {
    const client = this.clients.get(connection.id)
    if (!client) return
    this.clients.delete(connection.id)
    this.options.registration?.disconnected(client.proxy)
    this.options.generator.remarks.forget(client.proxy.id)
    client.pending = null
    client.asked.length = 0
    if (this.inFlight.leave(client)) this.wake()
    this.options.metrics.connected(client.proxy.istioVersion, -1)
  }

  /** A proxy that owes nothing makes room for one that waits. */
  private settle(client: Client): void {
    if (!client.connection.busy() && this.inFlight.leave(client)) this.wake()
  }

  private enqueue(client: Client): void {
    if (client.queued) return
    client.queued = true
    this.queue.push(client)
    this.wake()
  }

  private wake(): void {
    if (this.working || this.queue.length === 0) return
    this.working = true
    setImmediate(() => this.work())
  }

  private work(): void {
    const startMs = performance.now()
    this.working = false
    for (let client = this.queue[0]; client; client = this.queue[0]) {
      if (this.clients.has(client.connection.id) && !this.inFlight.enter(client)) {
        this.wakeLater()
        return
      }
      this.queue.shift()
      client.queued = false
      this.serve(client)
      if (performance.now() - startMs > SLICE_MS) break
    }
    this.wake()
  }

  /** Everybody let in may stay silent: then time makes room. */
  private wakeLater(): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.wake(), ACK_PATIENCE_MS)
    this.timer.unref()
  }

  private serve(client: Client): void {
    try {
      for (const { typeUrl, change } of client.asked.splice(0)) this.answer(client, typeUrl, change)
      this.pushTo(client)
      this.settle(client)
    } catch (error) {
      // One proxy's fault (or ours in serving it) must not stop the others: its stream ends, it will come again.
      this.options.metrics.internalErrors.inc()
      this.options.log.error({ proxy: client.proxy.id, err: error }, 'push failed')
      client.connection.close(GRPC_STATUS.INTERNAL, errorText(error))
    }
  }

  private pushTo(client: Client): void {
    const { connection } = client
    let changes = client.pending
    if (!changes || !this.push || !this.clients.has(connection.id)) return
    if (connection.busy() && !this.outOfPatience(client)) return
    client.pending = null
    const proxy = placed(client.node, this.push)
    if (placeOf(proxy) !== placeOf(client.proxy)) {
      client.proxy = proxy
      changes = { ...changes, all: true }
    }
    const { metrics } = this.options
    metrics.queueTime.observe((performance.now() - client.pendingMs) / 1000)
    let sent = false
    let changedClusters: readonly string[] = []
    for (const typeUrl of connection.watchedTypes()) {
      const extent = this.extentFor(client, typeUrl, changes)
      if (typeUrl === CDS_TYPE && extent !== 'none' && connection.watched(CDS_TYPE)?.wildcard) {
        const delta = this.pushClusters(client, changes.all)
        changedClusters = delta.names
        sent = delta.sent || sent
      } else if (typeUrl === EDS_TYPE) sent = this.pushEndpoints(client, changes, extent, changedClusters) || sent
      else if (extent !== 'none' && GENERATED_TYPES.includes(typeUrl)) {
        sent = this.pushType(client, typeUrl, changes.all) || sent
      }
    }
    if (!sent) return
    metrics.convergence.observe((performance.now() - client.pendingMs) / 1000)
    if (client.unackedMs === 0) client.unackedMs = client.pendingMs
  }

  /** What could not be generated last time is generated whole, whatever changed since. */
  private extentFor(client: Client, typeUrl: string, changes: Changes): Extent {
    if (client.faults.has(typeUrl)) return 'all'
    return this.attempt(client, typeUrl, () => extentOf(typeUrl, changes, client.proxy, this.push!)) ?? 'none'
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

  private outOfPatience(client: Client): boolean {
    const { connection } = client
    let lastSentMs = 0
    for (const typeUrl of connection.watchedTypes()) {
      lastSentMs = Math.max(lastSentMs, connection.watched(typeUrl)?.lastSentMs ?? 0)
    }
    const waitedMs = Date.now() - lastSentMs
    if (waitedMs >= ACK_PATIENCE_MS) return true
    setTimeout(() => {
      if (client.pending && this.clients.has(connection.id)) this.enqueue(client)
    }, ACK_PATIENCE_MS - waitedMs).unref()
    return false
  }

  /** Sends what is different from the last clusters, and says which changed: a delta client warms those anew. */
  private pushClusters(client: Client, force: boolean): { sent: boolean; names: readonly string[] } {
    const { connection } = client
    const before = client.clusters
    if (!before || force || !connection.delta) {
      const versions = new Map(connection.watched(CDS_TYPE)?.versions)
      const { sent, resources } = this.sendAllClusters(client, force)
      const names = connection.delta
        ? resources.filter((r) => versions.get(r.name) !== r.version).map((r) => r.name)
        : []
      return { sent, names }
    }
    const state = this.clustersOf(client)
    if (!state) return { sent: false, names: [] }
    const { changed, removed } = clusterDelta(before, state)
    if (changed.length === 0 && removed.length === 0) return { sent: false, names: [] }
    const update = { resources: changed, removed, version: this.push!.version, full: false }
    return { sent: this.deliver(client, CDS_TYPE, update), names: changed.map((r) => r.name) }
  }

  private sendAllClusters(client: Client, force: boolean): { sent: boolean; resources: readonly EncodedResource[] } {
    const state = this.clustersOf(client)
    if (!state) return { sent: false, resources: [] }
    const resources = allClusters(state)
    return { sent: this.send(client, CDS_TYPE, resources, [], true, force), resources }
  }

  /** What clusters the proxy has from now on; null: they stay as they are. */
  private clustersOf(client: Client): ClusterState | null {
    const { generator, metrics } = this.options
    const end = metrics.pushTime.startTimer({ type: shortType(CDS_TYPE) })
    const state = this.attempt(client, CDS_TYPE, () => generator.clusterState(client.proxy, this.push!))
    end()
    if (!state) return null
    const faults = generator.faults(state)
    this.generated(client, CDS_TYPE, faults)
    client.clusters = faults.size > 0 ? keepingLast(state, client.clusters, faults) : state
    return client.clusters
  }

  private pushType(client: Client, typeUrl: string, force: boolean): boolean {
    const watched = client.connection.watched(typeUrl)
    if (!watched) return false
    return this.generateAndSend(
      client,
      typeUrl,
      watched.wildcard && !isNamedType(typeUrl) ? null : watched.names,
      force,
    )
  }

  /** Clusters that changed on a delta stream get their endpoints again: Envoy warms them until they come. */
  private pushEndpoints(client: Client, changes: Changes, extent: Extent, changedClusters: readonly string[]): boolean {
    const watched = client.connection.watched(EDS_TYPE)
    if (!watched) return false
    const warm = changedClusters.filter((name) => watched.names.has(name))
    let sent = false
    if (warm.length > 0) sent = this.generateAndSend(client, EDS_TYPE, warm, true)
    const names =
      extent === 'all'
        ? watched.names
        : extent === 'endpoints'
          ? this.endpointNames(client, changes, watched.names)
          : NO_NAMES
    if (names === NO_NAMES) return sent
    return this.generateAndSend(client, EDS_TYPE, names, changes.all) || sent
  }

  /** Watched clusters of the services that changed, in themselves or in their endpoints. */
  private endpointNames(client: Client, changes: Changes, watched: ReadonlySet<string>): string[] {
    const scope = this.push!.sidecarScope(client.proxy)
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
  private generateAndSend(client: Client, typeUrl: string, names: Names | null, force = false): boolean {
    if (typeUrl === SDS_TYPE && !provedNamespace(client.connection)) {
      this.options.log.warn(
        { proxy: client.proxy.id },
        'credentials refused: the proxy has not proved its namespace (use the TLS port)',
      )
      return this.send(client, typeUrl, [], names ?? [], names === null, force)
    }
    const { generator, metrics } = this.options
    const end = metrics.pushTime.startTimer({ type: shortType(typeUrl) })
    const withSecrets = typeUrl === ECDS_TYPE && provedNamespace(client.connection)
    const make = (some: Names | null) => generator.generate(typeUrl, client.proxy, this.push!, some, withSecrets)
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
    return this.send(client, typeUrl, resources, answered, names === null, force)
  }

  private send(
    client: Client,
    typeUrl: string,
    resources: readonly EncodedResource[],
    asked: Names,
    full: boolean,
    force = false,
  ): boolean {
    const removed = missing(asked, resources)
    return this.deliver(client, typeUrl, { resources, removed, version: this.push!.version, full, force })
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
