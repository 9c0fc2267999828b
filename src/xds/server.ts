// The ADS server: gRPC streams in, an XdsHandler's resources out. It knows stream state, not what resources mean.
import { randomUUID } from 'node:crypto'
import { fromBinary } from '@bufbuild/protobuf'
import type { Server, ServerDuplexStream, ServerOptions, ServiceDefinition } from '@grpc/grpc-js'
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
} from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { errorText } from '../base/errors.ts'
import { GRPC_STATUS, GrpcStatusError } from '../base/grpc-status.ts'
import type { Logger } from '../base/logger.ts'
import { framedMessages, joinPieces, type Pieces } from './framed-call.ts'
import { ResponseEncoder } from './response-encoder.ts'
import type { OneTimeAnswer, ResourceUpdate, WatchedResource, XdsConnection, XdsHandler } from './server-types.ts'
import { CDS_TYPE, comparePushOrder, EDS_TYPE } from './type-urls.ts'
import { type Verdict, Watch } from './watch.ts'
import { encodeOneTimeAnswer } from './wire.ts'

export type * from './server-types.ts'

type Request = DiscoveryRequest | DeltaDiscoveryRequest
/** A stream of decoded requests and already encoded responses. */
export type XdsCall = ServerDuplexStream<Request, Pieces>

/** Proves who the peer is; throws GrpcStatusError(UNAUTHENTICATED) to refuse. The answer becomes `peer.identities`. */
export type Authenticate = (call: XdsCall) => readonly string[] | Promise<readonly string[]>

export interface XdsServerOptions {
  readonly handler: XdsHandler
  readonly log: Logger
  /** Default: everybody is let in without an identity (a plaintext port on loopback, a Unix socket guarded by its mode). */
  readonly authenticate?: Authenticate
  /** ControlPlane.identifier in every response; Envoy shows it as `control_plane.identifier`. */
  readonly controlPlane?: string
  /** Told the bytes of every request. */
  readonly received?: (bytes: number) => void
}

/** Which gRPC service the streams are served under; the protocol is the same. */
export type XdsService = 'ads' | 'sds'

const METHODS: Record<XdsService, { sotw: string; delta: string }> = {
  ads: {
    sotw: '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
    delta: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
  },
  sds: {
    sotw: '/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets',
    delta: '/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets',
  },
}

/** gRPC server options that an xDS server needs: many long streams, requests that list thousands of names. */
export const XDS_SERVER_OPTIONS = {
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  'grpc.max_send_message_length': -1,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  interceptors: [framedMessages],
} satisfies ServerOptions

/** Serves both protocol variants for all its connections; may be mounted on several gRPC servers (15010 and 15012). */
export class XdsServer {
  readonly options: XdsServerOptions
  readonly #connections = new Map<string, Connection>()
  readonly #deltaEncoder = new ResponseEncoder(true)
  readonly #sotwEncoder = new ResponseEncoder(false)
  #count = 0

  constructor(options: XdsServerOptions) {
    this.options = options
  }

  /** Adds the streams to a gRPC server. `authenticate` overrides the server's own for this port. */
  mount(server: Server, service: XdsService = 'ads', authenticate = this.options.authenticate): void {
    const { sotw, delta } = METHODS[service]
    const stream = (path: string, deserialize: (bytes: Buffer) => Request) => ({
      path,
      requestStream: true,
      responseStream: true,
      requestSerialize: refuseToSerialize,
      requestDeserialize: deserialize,
      responseSerialize: joinPieces,
      responseDeserialize: (response: Buffer) => [response],
    })
    const definition: ServiceDefinition = {
      sotw: stream(sotw, (bytes) => fromBinary(DiscoveryRequestSchema, this.#received(bytes))),
      delta: stream(delta, (bytes) => fromBinary(DeltaDiscoveryRequestSchema, this.#received(bytes))),
    }
    server.addService(definition, {
      sotw: (call: XdsCall) => void this.#accept(call, false, authenticate),
      delta: (call: XdsCall) => void this.#accept(call, true, authenticate),
    })
  }

  #received(bytes: Buffer): Buffer {
    this.options.received?.(bytes.length)
    return bytes
  }

  /** The live connections, oldest first. */
  connections(): Iterable<XdsConnection> {
    return this.#connections.values()
  }

  connection(id: string): XdsConnection | undefined {
    return this.#connections.get(id)
  }

  /** Ends every stream, with UNAVAILABLE so that clients reconnect elsewhere. */
  close(): void {
    for (const connection of this.#connections.values())
      connection.close(GRPC_STATUS.UNAVAILABLE, 'server is shutting down')
  }

  async #accept(call: XdsCall, delta: boolean, authenticate: Authenticate | undefined): Promise<void> {
    // Without this listener a peer that resets the stream would be an uncaught exception.
    call.on('error', (error) =>
      this.options.log.debug({ peer: call.getPeer(), error: errorText(error) }, 'xds stream error'),
    )
    let identities: readonly string[] = []
    try {
      if (authenticate !== undefined) identities = await authenticate(call)
    } catch (error) {
      const code = error instanceof GrpcStatusError ? error.code : GRPC_STATUS.UNAUTHENTICATED
      this.options.log.warn({ peer: call.getPeer(), reason: errorText(error) }, 'xds stream refused')
      return endCall(call, code, errorText(error))
    }
    if (call.cancelled) return
    const connection = new Connection(call, delta, identities, this.options, {
      number: ++this.#count,
      encoder: (variant) => (variant ? this.#deltaEncoder : this.#sotwEncoder),
      opened: (opened) => this.#connections.set(opened.id, opened),
      closed: (closed) => this.#connections.delete(closed.id),
    })
    call.on('data', (request: Request) => connection.receive(request))
    call.on('end', () => connection.finish(GRPC_STATUS.OK, ''))
    call.on('close', () => connection.finish(GRPC_STATUS.CANCELLED, 'peer is gone'))
    call.on('cancelled', () => connection.finish(GRPC_STATUS.CANCELLED, 'peer is gone'))
  }
}

interface Bookkeeping {
  readonly number: number
  encoder(delta: boolean): ResponseEncoder
  opened(connection: Connection): void
  closed(connection: Connection): void
}

/** One stream: routes requests to the watch of their type and turns verdicts into handler calls. */
class Connection implements XdsConnection {
  readonly delta: boolean
  readonly peer: XdsConnection['peer']
  readonly connectedMs = Date.now()
  readonly #call: XdsCall
  readonly #options: XdsServerOptions
  readonly #books: Bookkeeping
  readonly #watches = new Map<string, Watch>()
  /** Type URL to nonce of the last answer to a type that is not watched. */
  readonly #answered = new Map<string, string>()
  #node: Node | null = null
  #open = false
  #finished = false

  constructor(
    call: XdsCall,
    delta: boolean,
    identities: readonly string[],
    options: XdsServerOptions,
    books: Bookkeeping,
  ) {
    this.#call = call
    this.delta = delta
    this.peer = { address: call.getPeer(), identities }
    this.#options = options
    this.#books = books
  }

  get id(): string {
    return `${this.node.id}-${this.#books.number}`
  }

  get node(): Node {
    if (this.#node === null) throw new Error('a connection has no node before its first request')
    return this.#node
  }

  watchedTypes(): readonly string[] {
    return [...this.#watches.keys()].filter((typeUrl) => this.#watches.get(typeUrl)!.active).sort(comparePushOrder)
  }

  watched(typeUrl: string): WatchedResource | undefined {
    const watch = this.#watches.get(typeUrl)
    return watch?.active ? watch : undefined
  }

  busy(typeUrl?: string): boolean {
    if (typeUrl !== undefined) return this.#watches.get(typeUrl)?.busy ?? false
    for (const watch of this.#watches.values()) if (watch.busy) return true
    return false
  }

  push(typeUrl: string, update: ResourceUpdate): number {
    const watch = this.#watches.get(typeUrl)
    if (!watch?.active || this.#finished) return 0
    const composed = watch.compose(update)
    if (composed === null) return 0
    const nonce = `${update.version}${randomUUID()}`
    const head = { version: update.version, typeUrl, nonce, controlPlane: this.#options.controlPlane ?? '' }
    const pieces = this.#books.encoder(this.delta).encode(head, composed.resources, composed.removed)
    this.#call.write(pieces)
    watch.sent(nonce, update.version)
    watch.lastSentMs = Date.now()
    // State of the world: a client whose clusters changed asks for their endpoints again under the same names.
    if (!this.delta && typeUrl === CDS_TYPE) this.#watches.get(EDS_TYPE)?.answerNext()
    return pieces.reduce((size, piece) => size + piece.length, 0)
  }

  close(code: number, details: string): void {
    if (this.#finished) return
    endCall(this.#call, code, details)
    this.finish(code, details)
  }

  receive(request: Request): void {
    if (this.#finished) return
    try {
      if (!this.#open) this.#connect(request)
      this.#dispatch(request)
    } catch (error) {
      const refused = error instanceof GrpcStatusError
      if (!refused) this.#options.log.error({ peer: this.peer.address, err: error }, 'xds handler failed')
      this.close(refused ? error.code : GRPC_STATUS.INTERNAL, errorText(error))
    }
  }

  #connect(request: Request): void {
    if (request.node === undefined || request.node.id === '') {
      throw new GrpcStatusError(
        GRPC_STATUS.INVALID_ARGUMENT,
        'missing node information: the first request needs node.id',
      )
    }
    this.#node = request.node
    this.#options.handler.onConnect(this)
    this.#open = true
    this.#books.opened(this)
    this.#options.log.info({ connection: this.id, peer: this.peer.address, delta: this.delta }, 'xds client connected')
  }

  #dispatch(request: Request): void {
    const { typeUrl } = request
    if (typeUrl === '')
      throw new GrpcStatusError(GRPC_STATUS.INVALID_ARGUMENT, 'type_url is required on an aggregated stream')
    if (this.#options.handler.onReport?.(this, typeUrl, request.errorDetail?.message ?? null)) return
    if (this.#answerOnce(request)) return
    const known = this.#watches.get(typeUrl)
    const watch = known ?? new Watch(typeUrl, this.delta)
    const first = known === undefined
    const verdict = this.delta
      ? watch.onDeltaRequest(request as DeltaDiscoveryRequest, first)
      : watch.onRequest(request as DiscoveryRequest, first)
    if (first) this.#watches.set(typeUrl, watch)
    this.#act(watch, request.responseNonce, verdict)
  }

  /** True: the type is not watched, and the request is answered unless it is the acknowledgement of an answer. */
  #answerOnce(request: Request): boolean {
    const { typeUrl, responseNonce } = request
    if (responseNonce !== '' && responseNonce === this.#answered.get(typeUrl)) return true
    const names = this.delta
      ? (request as DeltaDiscoveryRequest).resourceNamesSubscribe
      : (request as DiscoveryRequest).resourceNames
    const answer: OneTimeAnswer | null = this.#options.handler.answerOnce?.(this, typeUrl, names) ?? null
    if (answer === null) return false
    const { version, controlPlane = this.#options.controlPlane ?? '' } = answer
    const nonce = `${version}${randomUUID()}`
    this.#answered.set(typeUrl, nonce)
    this.#call.write(encodeOneTimeAnswer({ version, typeUrl, nonce, controlPlane }, answer.resources, this.delta))
    return true
  }

  #act(watch: Watch, nonce: string, verdict: Verdict): void {
    const { handler, log } = this.#options
    const { typeUrl } = watch
    switch (verdict.kind) {
      case 'subscribe':
        if (verdict.acked) this.#acked(watch, nonce)
        handler.onSubscribe(this, typeUrl, verdict.change)
        break
      case 'ack':
        this.#acked(watch, nonce)
        break
      case 'nack':
        watch.lastNackedMs = Date.now()
        log.warn({ connection: this.id, typeUrl, nonce, reason: verdict.reason }, 'xds response refused')
        handler.onNack(this, typeUrl, nonce, verdict.reason)
        if (verdict.change !== null) handler.onSubscribe(this, typeUrl, verdict.change)
        break
      case 'stale':
        log.debug({ connection: this.id, typeUrl, nonce }, 'xds request with an expired nonce')
        handler.onStale?.(this, typeUrl, nonce)
        break
      case 'unsubscribe':
        handler.onUnsubscribe?.(this, typeUrl)
        break
      case 'none':
        break
    }
  }

  #acked(watch: Watch, nonce: string): void {
    watch.lastAckedMs = Date.now()
    this.#options.handler.onAck(this, watch.typeUrl, nonce)
  }

  /** The stream is over, whoever ended it. */
  finish(code: number, details: string): void {
    if (this.#finished) return
    this.#finished = true
    if (code === GRPC_STATUS.OK) this.#call.end()
    if (!this.#open) return
    this.#open = false
    this.#books.closed(this)
    this.#options.log.info({ connection: this.id, code, details }, 'xds client disconnected')
    this.#options.handler.onDisconnect(this)
  }
}

/** Ends a server stream with a status; grpc-js takes it from an emitted error. */
function endCall(call: XdsCall, code: number, details: string): void {
  call.emit('error', { code, details, name: 'GrpcStatusError', message: details })
}

function refuseToSerialize(): Buffer {
  throw new Error('this definition serves only')
}
