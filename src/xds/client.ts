// The ADS client: one stream to a management server, kept up with back-off; the last good state outlives it.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Client, ClientDuplexStream, Metadata, ServiceError } from '@grpc/grpc-js'
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { Backoff, type BackoffOptions } from '../base/backoff.ts'
import { errorText } from '../base/errors.ts'
import { GRPC_STATUS } from '../base/grpc-status.ts'
import type { Logger } from '../base/logger.ts'
import { Deadlines } from './deadlines.ts'
import { type RequestParts, type ResourceChange, SubscriptionState } from './subscription.ts'
import { comparePushOrder } from './type-urls.ts'

export type { ResourceChange } from './subscription.ts'
export type { ReceivedResource } from './unpack.ts'

/** Where the streams go. */
export interface AdsTransport {
  /** A fresh gRPC client; called for every attempt, closed when its stream ends. Use {@link ADS_CHANNEL_OPTIONS}. */
  connect(): Client | Promise<Client>
  /** Call metadata (a bearer token read anew); a failure counts as a failed attempt. */
  metadata?(): Metadata | Promise<Metadata>
}

/** Channel options for `connect`: our back-off decides alone when to dial, and large pushes pass. */
export const ADS_CHANNEL_OPTIONS = {
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': -1,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
} as const

/** Counters in Envoy's words (envoy-contract 3.5); every method may be left out. */
export interface AdsStats {
  updateAttempt?(typeUrl: string): void
  /** `startedMs`: performance.now() of when the response came. */
  updateSuccess?(typeUrl: string, version: string, startedMs: number): void
  updateRejected?(typeUrl: string): void
  /** The stream failed while this type was subscribed. */
  updateFailure?(typeUrl: string): void
  initFetchTimeout?(typeUrl: string): void
  /** control_plane.connected_state. */
  connected?(state: boolean): void
  /** control_plane.identifier, when the server names itself. */
  identifier?(identifier: string): void
}

export interface ResourceHandler {
  /**
   * Applies one response. Returns null to accept, or the reason to refuse; a throw or rejection refuses too.
   * While it runs no other response is handled and nothing is sent, so it must not wait for other resources.
   */
  onUpdate(change: ResourceChange): string | null | Promise<string | null>
  /** These names did not come in time (`initialFetchTimeoutMs`): go on without them. Wildcard watches report an empty list. */
  onTimeout?(names: readonly string[]): void
}

export interface SubscribeOptions {
  readonly names?: Iterable<string>
  /** Everything of the type; may be combined with names. */
  readonly wildcard?: boolean
  /** From subscription to `onTimeout`, milliseconds; 0 waits for ever. Envoy's default is 15000. */
  readonly initialFetchTimeoutMs?: number
}

/** A live watch of one type. Changes of one turn of the event loop are sent as one request. */
export interface Subscription {
  /** Watches names; a known name is asked for again and answered anew (EDS of a cluster that warms). */
  add(names: Iterable<string>): void
  remove(names: Iterable<string>): void
  readonly names: ReadonlySet<string>
  /** Version of the last accepted response. */
  readonly version: string
}

export interface AdsClientOptions {
  readonly transport: AdsTransport
  readonly node: Node
  readonly mode: 'delta' | 'sotw'
  /** Full method name of another discovery service with the same messages (SDS); default: ADS in the given mode. */
  readonly method?: string
  readonly log: Logger
  /** Default: 500 ms doubling to 30 s, full jitter. */
  readonly backoff?: BackoffOptions
  readonly stats?: AdsStats
  /** Envoy's set_node_on_first_message_only (Istio sets it). Default true. */
  readonly nodeOnFirstMessageOnly?: boolean
}

type Request = DiscoveryRequest | DeltaDiscoveryRequest
type Response = DiscoveryResponse | DeltaDiscoveryResponse
type Stream = ClientDuplexStream<Request, Response>

const PATHS = {
  sotw: '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
  delta: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
} as const

const DEFAULT_BACKOFF: BackoffOptions = { baseMs: 500, maxMs: 30_000 }
const DEFAULT_FETCH_TIMEOUT_MS = 15_000

interface Watched {
  readonly state: SubscriptionState
  readonly handler: ResourceHandler
  readonly fetchTimeoutMs: number
  /** Names that have not come yet ('*' for a wildcard watch). */
  readonly waiting: Deadlines
  /** Names whose TTL runs. */
  readonly expiring: Deadlines
}

export class AdsClient {
  readonly #options: AdsClientOptions
  readonly #delta: boolean
  readonly #backoff: Backoff
  readonly #watched = new Map<string, Watched>()
  #stream: Stream | null = null
  #client: Client | null = null
  /** Counts streams, so that what an old stream still reports is told apart. */
  #epoch = 0
  #nodeSent = false
  #connected = false
  #started = false
  #retry: NodeJS.Timeout | null = null
  #queue: Response[] = []
  #handling = false
  #flushPlanned = false

  constructor(options: AdsClientOptions) {
    this.#options = options
    this.#delta = options.mode === 'delta'
    this.#backoff = new Backoff(options.backoff ?? DEFAULT_BACKOFF)
  }

  /** The server has answered on the current stream. */
  get connected(): boolean {
    return this.#connected
  }

  /** Watches a type; one watch per type URL. Its first request goes out with the next stream or the next turn. */
  subscribe(typeUrl: string, options: SubscribeOptions, handler: ResourceHandler): Subscription {
    if (this.#watched.has(typeUrl)) throw new Error(`${typeUrl} is subscribed already; add names to that subscription`)
    const state = new SubscriptionState(typeUrl, this.#delta, options.wildcard === true, options.names ?? [])
    const fetchTimeoutMs = options.initialFetchTimeoutMs ?? DEFAULT_FETCH_TIMEOUT_MS
    const watched: Watched = {
      state,
      handler,
      fetchTimeoutMs,
      waiting: new Deadlines((names) => this.#fetchTimedOut(watched, names)),
      expiring: new Deadlines((names) => this.#expired(watched, names)),
    }
    this.#watched.set(typeUrl, watched)
    this.#options.stats?.updateAttempt?.(typeUrl)
    if (state.wildcard) watched.waiting.set('*', fetchTimeoutMs)
    for (const name of state.names) watched.waiting.set(name, fetchTimeoutMs)
    this.#planFlush()
    return {
      add: (names) => this.#add(watched, names),
      remove: (names) => this.#remove(watched, names),
      names: state.names,
      get version() {
        return state.version
      },
    }
  }

  /** Opens the stream and keeps it up until {@link close}. */
  start(): void {
    if (this.#started) return
    this.#started = true
    void this.#open()
  }

  /** What the stream goes to is no more: the next one begins after the usual back-off. Nothing where there is none. */
  interrupt(reason: string): void {
    if (this.#stream !== null) this.#ended(this.#epoch, new Error(reason))
  }

  /** Ends the stream and every timer. What handlers have applied stays applied. */
  close(): void {
    this.#started = false
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#retry = null
    for (const watched of this.#watched.values()) {
      watched.waiting.clear()
      watched.expiring.clear()
    }
    this.#drop()
  }

  #add(watched: Watched, names: Iterable<string>): void {
    for (const name of names) {
      if (!watched.state.names.has(name)) watched.waiting.set(name, watched.fetchTimeoutMs)
      watched.state.add(name)
    }
    this.#planFlush()
  }

  #remove(watched: Watched, names: Iterable<string>): void {
    for (const name of names) {
      watched.waiting.delete(name)
      watched.expiring.delete(name)
      watched.state.remove(name)
    }
    this.#planFlush()
  }

  #fetchTimedOut(watched: Watched, names: readonly string[]): void {
    this.#options.stats?.initFetchTimeout?.(watched.state.typeUrl)
    this.#options.stats?.updateAttempt?.(watched.state.typeUrl)
    this.#options.log.warn(
      { typeUrl: watched.state.typeUrl, names },
      'xds resources did not come within the initial fetch timeout',
    )
    watched.handler.onTimeout?.(names.filter((name) => name !== '*'))
  }

  /** A TTL ran out: to the handler it is a removal that no response carries. */
  #expired(watched: Watched, names: readonly string[]): void {
    const change = { version: watched.state.version, added: [], removed: names, sotw: !this.#delta }
    for (const name of names) watched.state.versions.delete(name)
    void handle(watched.handler, change).then((reason) => {
      if (reason !== null)
        this.#options.log.error(
          { typeUrl: watched.state.typeUrl, names, reason },
          'expired resources could not be removed',
        )
    })
  }

  async #open(): Promise<void> {
    const epoch = ++this.#epoch
    try {
      // Loaded here, for a proxy with static configuration never comes here: some 5 MB of resident memory.
      const grpc = await import('@grpc/grpc-js')
      const metadata = (await this.#options.transport.metadata?.()) ?? new grpc.Metadata()
      if (epoch !== this.#epoch || !this.#started) return
      const client = await this.#options.transport.connect()
      if (epoch !== this.#epoch || !this.#started) {
        client.close()
        return
      }
      this.#client = client
      const stream: Stream = this.#delta
        ? client.makeBidiStreamRequest(this.#options.method ?? PATHS.delta, encodeDelta, decodeDelta, metadata)
        : client.makeBidiStreamRequest(this.#options.method ?? PATHS.sotw, encodeSotw, decodeSotw, metadata)
      this.#stream = stream
      stream.on('data', (response: Response) => this.#receive(epoch, response))
      stream.on('error', (error: ServiceError) => this.#ended(epoch, error))
      stream.on('end', () => this.#ended(epoch, null))
    } catch (error) {
      return this.#ended(epoch, error)
    }
    this.#nodeSent = false
    for (const watched of this.#watched.values()) watched.state.reconnected()
    this.#flush()
  }

  #receive(epoch: number, response: Response): void {
    if (epoch !== this.#epoch) return
    if (!this.#connected) {
      this.#connected = true
      this.#options.stats?.connected?.(true)
      this.#options.log.info('xds stream established')
    }
    this.#backoff.reset()
    if (response.controlPlane?.identifier) this.#options.stats?.identifier?.(response.controlPlane.identifier)
    this.#queue.push(response)
    if (!this.#handling) void this.#work(epoch)
  }

  /** Handles queued responses one at a time, in order; requests wait until each is applied. */
  async #work(epoch: number): Promise<void> {
    this.#handling = true
    for (let response = this.#queue.shift(); response !== undefined; response = this.#queue.shift()) {
      await this.#apply(epoch, response)
      if (epoch !== this.#epoch) break
      this.#flush(response.typeUrl)
    }
    this.#handling = false
    // A new stream may have begun while an old response was being applied.
    if (this.#queue.length > 0) void this.#work(this.#epoch)
    else this.#flush()
  }

  async #apply(epoch: number, response: Response): Promise<void> {
    const { typeUrl, nonce } = response
    const watched = this.#watched.get(typeUrl)
    if (watched === undefined) {
      this.#options.log.warn({ typeUrl }, 'xds response of a type that is not subscribed, ignored')
      return
    }
    const { stats, log } = this.#options
    const startedMs = performance.now()
    const read = watched.state.read(response)
    let reason: string | null = null
    if (!read.ok) reason = shortened(read.problems.map((p) => `${p.path}: ${p.message}`).join('; '))
    else reason = await handle(watched.handler, { ...read.value, added: read.value.added.filter((r) => !r.heartbeat) })
    if (reason === null && read.ok) {
      this.#settle(watched, read.value)
      // A response of a stream that has gone was applied all the same: the next stream must say so.
      watched.state.accepted(read.value, nonce)
      if (epoch !== this.#epoch) watched.state.reconnected()
      stats?.updateSuccess?.(typeUrl, read.value.version, startedMs)
    } else {
      log.warn({ typeUrl, nonce, reason }, 'xds response refused, the last good configuration stays')
      watched.waiting.clear()
      if (epoch === this.#epoch) watched.state.rejected(reason ?? '', nonce)
      stats?.updateRejected?.(typeUrl)
    }
    stats?.updateAttempt?.(typeUrl)
  }

  /** Ends waits and renews TTLs for what has come. */
  #settle(watched: Watched, change: ResourceChange): void {
    watched.waiting.delete('*')
    for (const resource of change.added) {
      watched.waiting.delete(resource.name)
      if (resource.ttlMs > 0) watched.expiring.set(resource.name, resource.ttlMs)
      else watched.expiring.delete(resource.name)
    }
    for (const name of change.removed) {
      watched.waiting.delete(name)
      watched.expiring.delete(name)
    }
  }

  #planFlush(): void {
    if (this.#flushPlanned) return
    this.#flushPlanned = true
    queueMicrotask(() => {
      this.#flushPlanned = false
      this.#flush()
    })
  }

  /** Sends every request that is due: first of the type just handled (its ACK), then in push order. */
  #flush(firstType = ''): void {
    if (this.#stream === null || (this.#handling && firstType === '')) return
    const types = [...this.#watched.keys()].sort(comparePushOrder)
    if (this.#watched.has(firstType)) types.unshift(firstType)
    for (const typeUrl of types) {
      const parts = this.#watched.get(typeUrl)!.state.takeRequest()
      if (parts !== null) this.#stream.write(this.#request(typeUrl, parts))
    }
  }

  #request(typeUrl: string, parts: RequestParts): Request {
    const repeatNode = this.#options.nodeOnFirstMessageOnly === false
    const node = this.#nodeSent && !repeatNode ? undefined : this.#options.node
    this.#nodeSent = true
    const errorDetail = parts.error === null ? undefined : { code: GRPC_STATUS.INTERNAL, message: parts.error }
    const common = { node, typeUrl, responseNonce: parts.nonce, errorDetail }
    if (!this.#delta) {
      return create(DiscoveryRequestSchema, {
        ...common,
        versionInfo: parts.versionInfo,
        resourceNames: [...parts.names],
      })
    }
    return create(DeltaDiscoveryRequestSchema, {
      ...common,
      resourceNamesSubscribe: [...parts.names],
      resourceNamesUnsubscribe: [...parts.unsubscribe],
      initialResourceVersions: { ...parts.initialVersions },
    })
  }

  #ended(epoch: number, error: unknown): void {
    if (epoch !== this.#epoch) return
    this.#drop()
    if (!this.#started) return
    const waitMs = this.#backoff.next()
    this.#options.log.warn({ reason: endText(error), retryInMs: waitMs }, 'xds stream ended')
    for (const typeUrl of this.#watched.keys()) {
      this.#options.stats?.updateFailure?.(typeUrl)
      this.#options.stats?.updateAttempt?.(typeUrl)
    }
    this.#retry = setTimeout(() => void this.#open(), waitMs)
  }

  #drop(): void {
    this.#epoch++
    this.#queue = []
    this.#stream?.removeAllListeners('data')
    this.#stream?.cancel()
    this.#stream = null
    this.#client?.close()
    this.#client = null
    if (this.#connected) {
      this.#connected = false
      this.#options.stats?.connected?.(false)
    }
  }
}

async function handle(handler: ResourceHandler, change: ResourceChange): Promise<string | null> {
  try {
    const reason = await handler.onUpdate(change)
    return reason === null ? null : shortened(reason)
  } catch (error) {
    return shortened(errorText(error))
  }
}

/** grpc-js has neither status nor text for a peer whose messages cannot be decompressed. */
function endText(error: unknown): string {
  if (error === null) return 'closed by the server'
  const { code } = error as Partial<ServiceError>
  return code === undefined && errorText(error).startsWith('undefined ') ? 'unreadable message' : errorText(error)
}

/** Servers take messages of 4 MB unless told otherwise; a refusal that is longer would end the stream, again and again. */
const MAX_REASON_LENGTH = 16 * 1024

function shortened(reason: string): string {
  if (reason.length <= MAX_REASON_LENGTH) return reason
  return `${reason.slice(0, MAX_REASON_LENGTH)}… (${reason.length - MAX_REASON_LENGTH} characters more)`
}

function encodeSotw(request: Request): Buffer {
  return Buffer.from(toBinary(DiscoveryRequestSchema, request as DiscoveryRequest))
}

function encodeDelta(request: Request): Buffer {
  return Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request as DeltaDiscoveryRequest))
}

function decodeSotw(bytes: Buffer): DiscoveryResponse {
  return fromBinary(DiscoveryResponseSchema, bytes)
}

function decodeDelta(bytes: Buffer): DeltaDiscoveryResponse {
  return fromBinary(DeltaDiscoveryResponseSchema, bytes)
}
