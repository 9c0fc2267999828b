// One attempt at an upstream host: waits for the pool, sends the request, hands the response to the router.

import { changeEveryField } from '../../../../base/changing-fields.ts'
import type { FaultOwner } from '../../../../base/fault-owner.ts'
import { keepChunk } from '../../../../base/small-chunks.ts'
import { OwnedTimeout, type TimeoutHandle, type TimeoutQueue, timeoutQueue } from '../../../../base/timeout-queue.ts'
import type {
  RequestEncoder,
  ResponseDecoder,
  Stream,
  StreamCallbacks,
  StreamResetReason,
} from '../../../http/codec.ts'
import { Protocol, StreamResetReason as Reset } from '../../../http/codec.ts'
import type { ChainEntry } from '../../../http/connection-manager/shared.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Connection } from '../../../network/connection.ts'
import { now, type StreamInfo } from '../../../stream-info.ts'
import {
  type Cancellable,
  type HttpConnPool,
  type HttpPoolCallbacks,
  PoolFailureReason,
} from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import type { AttemptSpan } from './attempt-span.ts'
import type { AttemptStats } from './attempt-stats.ts'
import { failureOf } from './failure.ts'
import { type ChainedRequest, type ChainStream, type FilterReply, UpstreamChain } from './upstream-chain.ts'

/** The router, as an attempt sees it. */
export interface UpstreamRequestOwner {
  /** A fault of our own while this attempt was served: it and what it is for must end, nothing else. */
  onFault(error: unknown, request: UpstreamRequest): void
  onUpstream1xx(headers: HeaderMap, request: UpstreamRequest): void
  onUpstreamHeaders(headers: HeaderMap, endStream: boolean, request: UpstreamRequest): void
  onUpstreamData(chunk: Buffer, endStream: boolean, request: UpstreamRequest): void
  onUpstreamTrailers(trailers: HeaderMap, request: UpstreamRequest): void
  onUpstreamReset(reason: StreamResetReason, transportFailureReason: string, request: UpstreamRequest): void
  /** A host was reached. */
  onUpstreamReady(request: UpstreamRequest, connection: Connection, protocol: Protocol): void
  /** There is no host after all; `details` are the response code details. */
  onNoHost(details: string, request: UpstreamRequest): void
  onPerTryTimeout(request: UpstreamRequest): void
  onPerTryIdleTimeout(request: UpstreamRequest): void
  onMaxStreamDuration(request: UpstreamRequest): void
  /** An upstream HTTP filter answers, or ends the request. */
  onFilterReply(reply: FilterReply, request: UpstreamRequest): void
  onFilterReset(request: UpstreamRequest): void
  /** Counted: this attempt cannot take more of the request. */
  pauseDownstream(pause: boolean): void
  /** Bytes of the request that may wait for a connection before it is paused; 0 = no limit. */
  readonly bufferLimit: number
}

/** Bytes a request waits with until its pool has a connection, or CONNECT has been agreed to. */
interface Waiting {
  chunks: Buffer[]
  bytes: number
  trailers: HeaderMap | null
  end: boolean
  /** Too much of it: the downstream pauses. */
  paused: boolean
}

export class UpstreamRequest
  implements ResponseDecoder, HttpPoolCallbacks, StreamCallbacks, ChainedRequest, FaultOwner
{
  readonly owner: UpstreamRequestOwner
  readonly pool: HttpConnPool
  readonly headers: HeaderMap
  host: HostDescription
  encoder: RequestEncoder | null = null
  /** Headers are on the wire. */
  sent = false
  /** The first final response headers are here. */
  responded = false
  /** The response is complete. */
  complete = false
  /** Its per-try timeout has passed. */
  late = false
  /** It was late and another attempt was started beside it: it is not retried itself. */
  hedged = false
  /** Outlier detection knows that it was late. */
  timeoutNoted = false
  /** This attempt's span, where each has one. */
  trace: AttemptSpan | null = null
  /** Where its cluster tracks sizes or timeout budgets. */
  stats: AttemptStats | null = null
  /** No more calls to the owner. */
  abandoned = false
  /** Of the whole response, once headers came: from the last byte sent or the start. */
  startedAt = now()
  firstTxAt = 0
  /** What it had, also when it is gone. */
  stream: Stream | null = null
  /** Wire bytes of the attempts before: logs tell of all. */
  receivedBefore = 0
  sentBefore = 0
  /** From start() to the pool's answer. */
  poolReadyMs = -1
  lastTxAt = 0
  firstRxAt = 0
  private bodyless: boolean
  /** Upstream HTTP filters; null = there are none. */
  private chain: UpstreamChain | null = null
  /** The filters have let the request's headers go on. */
  private headersReady = true
  /** The codec has the whole response; it may be in the filters. */
  private received = false
  private pending: Cancellable | null = null
  private waiting: Waiting | null = null
  /** CONNECT and WebSocket: what comes before the upstream has agreed, by this status, waits; 0 = nothing does. */
  private consent = 0
  /** A server of HTTP/1 was asked to speak WebSocket. */
  websocket = false
  private speaksHttp1 = false
  private pausedBy = 0
  private requestEnded = false
  /** What a mirrored request still brings has nowhere to go. */
  private gone = false
  private requestEndedAt = 0
  private readonly perTryQueue: TimeoutQueue | null
  private perTry: TimeoutHandle | null = null
  private readonly idleQueue: TimeoutQueue | null
  private idle: TimeoutHandle | null = null
  private readonly durationQueue: TimeoutQueue | null
  private duration: TimeoutHandle | null = null

  /** `endStream`: the request has no body. Timeouts in milliseconds, 0 = none. */
  constructor(
    owner: UpstreamRequestOwner,
    pool: HttpConnPool,
    headers: HeaderMap,
    endStream: boolean,
    timeouts: { perTry: number; perTryIdle: number; maxStreamDuration: number },
  ) {
    this.owner = owner
    this.pool = pool
    this.host = pool.host
    this.headers = headers
    this.bodyless = endStream
    this.requestEnded = endStream
    this.perTryQueue = timeouts.perTry > 0 ? timeoutQueue(timeouts.perTry) : null
    this.idleQueue = timeouts.perTryIdle > 0 ? timeoutQueue(timeouts.perTryIdle) : null
    this.durationQueue = timeouts.maxStreamDuration > 0 ? timeoutQueue(timeouts.maxStreamDuration) : null
  }

  /** Before start(): what stands between the router and the codec. */
  addFilters(entries: readonly ChainEntry[], stream: ChainStream): void {
    this.chain = UpstreamChain.of(entries, stream, this)
    this.headersReady = this.chain === null
  }

  /** Asks the pool. Answers come through the owner, maybe before this returns. */
  start(): void {
    if (this.requestEnded) this.endRequest()
    this.pending = this.pool.newStream(this, this)
    if (this.chain !== null && !this.abandoned && !this.gone) this.chain.takeHeaders(this.headers, this.bodyless)
  }

  /** Counts on from where the attempts before this one have left off. */
  continueBytes(info: StreamInfo): void {
    this.receivedBefore = info.upstreamWireBytesReceived
    this.sentBefore = info.upstreamWireBytesSent
    if (info.upstreamHeaderBytes !== null) this.stream?.headerBytes?.addAll(info.upstreamHeaderBytes)
  }

  // ---- request

  encodeData(chunk: Buffer, endStream: boolean): void {
    this.stats?.onRequestData(chunk.length)
    if (endStream) this.endRequest()
    if (this.gone) return
    if (this.chain === null) this.sendData(chunk, endStream)
    else this.chain.takeData(chunk, endStream)
  }

  sendData(chunk: Buffer, endStream: boolean): void {
    if (this.gone) return
    if (!this.encoder || this.consent !== 0) {
      this.waiting ??= { chunks: [], bytes: 0, trailers: null, end: false, paused: false }
      if (chunk.length > 0) this.hold(this.waiting, chunk)
      if (endStream) this.waiting.end = true
      return
    }
    this.armIdle()
    this.lastTxAt = now()
    this.encoder.encodeData(chunk, endStream)
    if (endStream) this.armPerTry()
  }

  encodeTrailers(trailers: HeaderMap): void {
    this.endRequest()
    if (this.gone) return
    if (this.chain === null) this.sendTrailers(trailers)
    else this.chain.takeTrailers(trailers)
  }

  sendTrailers(trailers: HeaderMap): void {
    if (this.gone) return
    if (!this.encoder || this.consent !== 0) {
      this.waiting ??= { chunks: [], bytes: 0, trailers: null, end: false, paused: false }
      this.waiting.trailers = trailers
      return
    }
    this.lastTxAt = now()
    this.encoder.encodeTrailers(trailers)
    this.armPerTry()
    this.armIdle()
  }

  /** Beyond the limit the downstream pauses until it is sent. */
  private hold(waiting: Waiting, chunk: Buffer): void {
    keepChunk(waiting.chunks, chunk)
    waiting.bytes += chunk.length
    const { bufferLimit } = this.owner
    if (waiting.paused || bufferLimit === 0 || waiting.bytes <= bufferLimit) return
    waiting.paused = true
    this.onAboveWriteBufferHighWatermark()
  }

  private letGo(): void {
    this.gone = true
    this.waiting = null
  }

  private endRequest(): void {
    this.requestEnded = true
    if (this.stats !== null) this.requestEndedAt = now()
  }

  /** What is at fault in here must not end the upstream connection, nor what its pool was about. */
  onFault(error: unknown): void {
    this.owner.onFault(error, this)
  }

  // ---- pool

  onPoolReady(encoder: RequestEncoder, host: HostDescription, connection: Connection, protocol: Protocol): void {
    try {
      this.send(encoder, host, connection, protocol)
    } catch (error) {
      this.onFault(error)
    }
  }

  private send(encoder: RequestEncoder, host: HostDescription, connection: Connection, protocol: Protocol): void {
    this.pending = null
    this.encoder = encoder
    this.speaksHttp1 = protocol !== Protocol.Http2
    this.stream = encoder.stream
    this.host = host
    this.trace?.onReady(host, protocol)
    encoder.stream.callbacks = this
    this.owner.onUpstreamReady(this, connection, protocol)
    if (this.abandoned) return
    this.poolReadyMs = now() - this.startedAt
    const { durationQueue } = this
    if (durationQueue)
      durationQueue.arm(
        (this.duration = durationQueue.handle(new OwnedTimeout(this, () => this.owner.onMaxStreamDuration(this)))),
      )
    this.armIdle()
    if (this.headersReady) this.sendHead(encoder)
  }

  /** The filters let the headers go on; there may be no connection yet. */
  sendHeaders(_headers: HeaderMap, endStream: boolean): void {
    this.headersReady = true
    this.bodyless = endStream
    if (this.encoder !== null) this.sendHead(this.encoder)
  }

  private sendHead(encoder: RequestEncoder): void {
    this.firstTxAt = now()
    this.lastTxAt = this.firstTxAt
    this.sent = true
    this.consent = consentOf(this.headers)
    this.websocket = this.speaksHttp1 && this.consent === WEBSOCKET_CONSENT
    encoder.encodeHeaders(this.headers, this.bodyless)
    if (this.consent === 0) this.sendWaiting(encoder)
    if (this.requestEnded && !this.abandoned) this.armPerTry()
  }

  private sendWaiting(encoder: RequestEncoder): void {
    const { waiting } = this
    this.waiting = null
    if (waiting === null || this.abandoned) return
    const last = waiting.chunks.length - 1
    for (let i = 0; i <= last; i++)
      encoder.encodeData(waiting.chunks[i]!, waiting.end && i === last && !waiting.trailers)
    if (waiting.trailers) encoder.encodeTrailers(waiting.trailers)
    else if (waiting.end && last < 0) encoder.encodeData(EMPTY, true)
    if (waiting.paused) this.onBelowWriteBufferLowWatermark()
  }

  onPoolFailure(reason: PoolFailureReason, transportFailureReason: string, host: HostDescription | null): void {
    this.pending = null
    this.poolReadyMs = now() - this.startedAt
    if (reason === PoolFailureReason.NoHost) {
      this.letGo()
      this.disarm()
      this.releasePauses()
      this.chain?.destroy()
      try {
        if (!this.abandoned) this.owner.onNoHost(transportFailureReason, this)
      } catch (error) {
        this.onFault(error)
      }
      return
    }
    if (host) this.host = host
    this.onGone(RESET_OF_POOL[reason], transportFailureReason)
  }

  // ---- response

  decode1xxHeaders(headers: HeaderMap): void {
    if (this.abandoned) return
    try {
      if (this.chain === null) this.receive1xx(headers)
      else this.chain.take1xx(headers)
    } catch (error) {
      this.onFault(error)
    }
  }

  decodeHeaders(headers: HeaderMap, endStream: boolean): void {
    if (this.abandoned) return
    try {
      if (endStream) this.received = true
      if (this.consent !== 0 && !this.settleConsent(headers, endStream)) return
      if (this.chain === null) this.receiveHeaders(headers, endStream)
      else this.chain.takeResponseHeaders(headers, endStream)
    } catch (error) {
      this.onFault(error)
    }
  }

  receive1xx(headers: HeaderMap): void {
    this.owner.onUpstream1xx(headers, this)
  }

  /**
   * WebSocket needs an answer only: one that refuses it gets the bytes as the body of a request, unless it is the whole
   * answer to a request that is still open: then they are dropped, and what a server of HTTP/1 said is told as if it were
   * our own (Envoy). False: it was.
   */
  private settleConsent(headers: HeaderMap, endStream: boolean): boolean {
    const { consent, encoder } = this
    const refused = consent === WEBSOCKET_CONSENT && headers.status !== consent && endStream && !this.requestEnded
    if (refused && this.websocket) {
      this.onFilterReply({
        status: headers.status,
        body: '',
        modify: (reply) => copyFields(headers, reply),
        grpcStatus: null,
        details: 'websocket_handshake_unsuccessful',
      })
      return false
    }
    const agreed = consent === headers.status || (consent === WEBSOCKET_CONSENT && !refused)
    if (agreed && encoder !== null) {
      this.consent = 0
      this.sendWaiting(encoder)
    }
    return true
  }

  receiveHeaders(headers: HeaderMap, endStream: boolean): void {
    this.firstRxAt = now()
    this.responded = true
    this.trace?.onHeaders(headers)
    this.stats?.onResponseHeaders(headers)
    this.armIdle()
    if (endStream) this.onComplete()
    this.owner.onUpstreamHeaders(headers, endStream, this)
  }

  decodeData(chunk: Buffer, endStream: boolean): void {
    if (this.abandoned) return
    try {
      if (endStream) this.received = true
      if (this.chain === null) this.receiveData(chunk, endStream)
      else this.chain.takeResponseData(chunk, endStream)
    } catch (error) {
      this.onFault(error)
    }
  }

  receiveData(chunk: Buffer, endStream: boolean): void {
    this.armIdle()
    this.stats?.onResponseData(chunk.length)
    if (endStream) this.onComplete()
    this.owner.onUpstreamData(chunk, endStream, this)
  }

  decodeTrailers(trailers: HeaderMap): void {
    if (this.abandoned) return
    try {
      this.received = true
      if (this.chain === null) this.receiveTrailers(trailers)
      else this.chain.takeResponseTrailers(trailers)
    } catch (error) {
      this.onFault(error)
    }
  }

  receiveTrailers(trailers: HeaderMap): void {
    this.trace?.onTrailers(trailers)
    this.onComplete()
    this.owner.onUpstreamTrailers(trailers, this)
  }

  private onComplete(): void {
    this.complete = true
    this.trace?.finish()
    this.stats?.finish(this.requestEndedAt)
    this.disarm()
    if (this.requestEnded) this.chain?.destroy()
  }

  // ---- filters

  onFilterReply(reply: FilterReply): void {
    if (!this.abandoned) this.owner.onFilterReply(reply, this)
  }

  onFilterReset(): void {
    if (!this.abandoned) this.owner.onFilterReset(this)
  }

  // ---- stream

  onResetStream(reason: StreamResetReason): void {
    this.encoder = null
    this.onGone(reason, '')
  }

  private onGone(reason: StreamResetReason, transportFailureReason: string): void {
    this.letGo()
    this.disarm()
    this.releasePauses()
    this.chain?.destroy()
    try {
      this.trace?.onReset(reason, failureOf(reason).flag)
      this.stats?.finish(this.requestEndedAt)
      if (!this.abandoned) this.owner.onUpstreamReset(reason, transportFailureReason, this)
    } catch (error) {
      this.onFault(error)
    }
  }

  onAboveWriteBufferHighWatermark(): void {
    this.pausedBy++
    this.owner.pauseDownstream(true)
  }

  onBelowWriteBufferLowWatermark(): void {
    if (this.pausedBy === 0) return
    this.pausedBy--
    this.owner.pauseDownstream(false)
  }

  /** The downstream takes no more of the response. */
  readDisable(disable: boolean): void {
    this.encoder?.stream.readDisable(disable)
  }

  /** Ends the attempt without another word to the owner; resets what is still running. */
  abandon(): void {
    if (this.abandoned) return
    this.abandoned = true
    this.trace?.onCancel(this.late ? 'UT' : '')
    // What is given up without an answer has no use of its time, unless it was late.
    this.stats?.finish(this.responded || this.late ? this.requestEndedAt : 0)
    this.disarm()
    this.releasePauses()
    this.chain?.destroy()
    this.pending?.cancel()
    this.pending = null
    const { encoder } = this
    this.encoder = null
    if (encoder && !(this.received && (this.chain?.requestSent ?? this.requestEnded))) {
      encoder.stream.callbacks = null
      encoder.stream.resetStream(Reset.LocalReset)
    }
  }

  private releasePauses(): void {
    while (this.pausedBy > 0) {
      this.pausedBy--
      this.owner.pauseDownstream(false)
    }
  }

  /** Per-try time runs from the end of the request. */
  private armPerTry(): void {
    if (!this.perTryQueue || this.responded) return
    this.perTry ??= this.perTryQueue.handle(new OwnedTimeout(this, () => this.onLate()))
    this.perTryQueue.arm(this.perTry)
  }

  private onLate(): void {
    this.late = true
    this.owner.onPerTryTimeout(this)
  }

  /** As per-try time: a client that is slow to send is not the upstream's fault. */
  private armIdle(): void {
    if (!this.idleQueue || !this.requestEnded) return
    this.idle ??= this.idleQueue.handle(new OwnedTimeout(this, () => this.owner.onPerTryIdleTimeout(this)))
    this.idleQueue.arm(this.idle)
  }

  /** The response has begun: per-try time no longer matters. */
  disarmPerTry(): void {
    if (this.perTry) this.perTryQueue!.disarm(this.perTry)
  }

  private disarm(): void {
    this.disarmPerTry()
    if (this.idle) this.idleQueue!.disarm(this.idle)
    if (this.duration) this.durationQueue!.disarm(this.duration)
  }
}

const EMPTY = Buffer.alloc(0)

/** All but the length, which is the reply's own. */
function copyFields({ list }: HeaderMap, to: HeaderMap): void {
  for (let i = 0; i < list.length; i += 2) if (list[i] !== 'content-length') to.list.push(list[i]!, list[i + 1]!)
}

function consentOf(headers: HeaderMap): number {
  if (headers.method === 'CONNECT') return 200
  return headers.get('upgrade')?.toLowerCase() === 'websocket' ? WEBSOCKET_CONSENT : 0
}

const WEBSOCKET_CONSENT = 101

const RESET_OF_POOL: Readonly<Record<Exclude<PoolFailureReason, 4>, StreamResetReason>> = {
  [PoolFailureReason.Overflow]: Reset.Overflow,
  [PoolFailureReason.LocalConnectionFailure]: Reset.LocalConnectionFailure,
  [PoolFailureReason.RemoteConnectionFailure]: Reset.RemoteConnectionFailure,
  [PoolFailureReason.Timeout]: Reset.ConnectionTimeout,
} as const

// `abandoned`, `complete` and the like change only where a client or a server goes away.
const NO_POOL = { host: null } as unknown as HttpConnPool
const NO_TIMEOUTS = { perTry: 0, perTryIdle: 0, maxStreamDuration: 0 }
changeEveryField(new UpstreamRequest(null as never, NO_POOL, null as never, false, NO_TIMEOUTS))
