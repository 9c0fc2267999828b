// Answers xDS subscriptions and pushes changes: one pending push a proxy, merged while the proxy is busy.
import { errorText } from '../../base/errors.ts'
import { GRPC_STATUS, GrpcStatusError } from '../../base/grpc-status.ts'
import type { OneTimeAnswer, SubscriptionChange, XdsConnection, XdsHandler } from '../../xds/server-types.ts'
import { type AutoRegistration, HEALTH_TYPE } from '../auto-registration.ts'
import type { Changes } from '../commit.ts'
import { parseNode } from '../model/node.ts'
import { placed } from '../model/placed.ts'
import type { PushContext } from '../model/push-context.ts'
import { placeOf } from './cache-keys.ts'
import { mergeChanges } from './changes.ts'
import type { Client } from './client.ts'
import { checkIdentity } from './identity-check.ts'
import { DEFAULT_PUSH_LIMIT, InFlight } from './in-flight.ts'
import { shortType } from './metrics.ts'
import { Sender, type SenderOptions } from './sender.ts'

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

export interface DiscoveryServerOptions extends SenderOptions {
  /** Left out: workloads do not register themselves. */
  readonly registration?: AutoRegistration
  /** Answers the types of the debug pages; null: another type. Left out: there are none. */
  readonly debug?: (connection: XdsConnection, typeUrl: string, names: readonly string[]) => OneTimeAnswer | null
}

/** The control plane's {@link XdsHandler}. */
export class DiscoveryServer implements XdsHandler {
  private readonly options: DiscoveryServerOptions
  private readonly sender: Sender
  private readonly clients = new Map<string, Client>()
  private readonly queue: Client[] = []
  private readonly inFlight = new InFlight<Client>(DEFAULT_PUSH_LIMIT, ACK_PATIENCE_MS)
  private working = false
  private timer: NodeJS.Timeout | undefined
  private push: PushContext | null = null

  constructor(options: DiscoveryServerOptions) {
    this.options = options
    this.sender = new Sender(options)
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
    this.sender.answer(client, this.push!, typeUrl, change)
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
    if (!this.sender.pushChanges(client, this.push, changes)) return
    metrics.convergence.observe((performance.now() - client.pendingMs) / 1000)
    if (client.unackedMs === 0) client.unackedMs = client.pendingMs
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
}
