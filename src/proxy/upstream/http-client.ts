// One request of the proxy's own (key sets, authorization, …) through a cluster: sent, answered as a whole, or failed.

import { type FaultOwner, ownedTimeout } from '../../base/fault-owner.ts'
import { type RequestEncoder, type ResponseDecoder, StreamResetReason } from '../http/codec.ts'
import type { HeaderMap } from '../http/header-map.ts'
import { reportFault } from '../network/fault.ts'
import { now } from '../stream-info.ts'
import type {
  Cancellable,
  HttpPoolCallbacks,
  LoadBalancerContext,
  PoolFailureReason,
  ThreadLocalCluster,
} from './cluster-manager.ts'
import type { HostDescription } from './host.ts'

export interface HttpClientCallbacks {
  onResponse(headers: HeaderMap, body: Buffer, trailers: HeaderMap | null): void
  /** `timeout`, or why the request could not be sent or answered. */
  onFailure(reason: string): void
  /** What one of the others has thrown; it is reported where this is missing. It must not end the connection. */
  onFault?(error: unknown): void
}

/** Answers larger than this are no answers. */
const MAX_BODY_BYTES = 4 * 1024 * 1024

const CONTEXT: LoadBalancerContext = {
  hash: null,
  hashSource: null,
  metadataMatch: null,
  downstream: null,
  headers: null,
  shouldSelectAnotherHost: null,
  hostSelectionRetryCount: 0,
  attempt: 0,
  overrideHost: null,
  alpnOverride: null,
  sniOverride: null,
}

/** Sends the request; calls back once, later or within this call. `timeoutMs` covers everything; 0 = none. */
export function sendRequest(
  cluster: ThreadLocalCluster | undefined,
  headers: HeaderMap,
  body: Buffer | null,
  timeoutMs: number,
  callbacks: HttpClientCallbacks,
): Cancellable {
  const call = new ClientCall(cluster, headers, body, callbacks)
  call.start(timeoutMs)
  return call
}

class ClientCall implements ResponseDecoder, HttpPoolCallbacks, Cancellable, FaultOwner {
  private readonly cluster: ThreadLocalCluster | undefined
  private readonly headers: HeaderMap
  private readonly body: Buffer | null
  private readonly callbacks: HttpClientCallbacks
  private pending: Cancellable | null = null
  private encoder: RequestEncoder | null = null
  private host: HostDescription | null = null
  private response: HeaderMap | null = null
  private readonly chunks: Buffer[] = []
  private received = 0
  private readonly startedAt = now()
  private timer: NodeJS.Timeout | null = null
  private done = false

  constructor(
    cluster: ThreadLocalCluster | undefined,
    headers: HeaderMap,
    body: Buffer | null,
    callbacks: HttpClientCallbacks,
  ) {
    this.cluster = cluster
    this.headers = headers
    this.body = body
    this.callbacks = callbacks
  }

  start(timeoutMs: number): void {
    this.cluster?.stats.ownRqTotal.inc()
    const pool = this.cluster?.httpPool('DEFAULT', '', CONTEXT)
    if (!pool) {
      this.countFailure(503)
      this.fail(this.cluster ? 'no healthy upstream' : 'unknown cluster')
      return
    }
    if (timeoutMs > 0) this.timer = ownedTimeout(onTimeout, timeoutMs, this)
    const pending = pool.newStream(this, this)
    if (!this.done && this.encoder === null) this.pending = pending
  }

  cancel(): void {
    if (this.done) return
    this.end()
    this.abort()
  }

  onTimeout(): void {
    this.abort()
    if (this.host !== null) this.cluster!.onResponse(this.host, 504)
    this.cluster!.stats.rqTimeout.inc()
    this.countFailure(504)
    this.fail('timeout')
  }

  /** What has no answer counts as one with this status. */
  private countFailure(status: number): void {
    if (this.response === null) this.cluster?.stats.responses.countResponse(status, true, false, '')
  }

  private abort(): void {
    this.pending?.cancel()
    this.pending = null
    const { encoder } = this
    this.encoder = null
    if (encoder === null) return
    encoder.stream.callbacks = null
    encoder.stream.resetStream(StreamResetReason.LocalReset)
  }

  private end(): void {
    this.done = true
    if (this.timer !== null) clearTimeout(this.timer)
  }

  private fail(reason: string): void {
    if (this.done) return
    this.end()
    try {
      this.callbacks.onFailure(reason)
    } catch (error) {
      this.onFault(error)
    }
  }

  private finish(trailers: HeaderMap | null): void {
    if (this.done) return
    this.end()
    this.encoder = null
    this.cluster!.onResponse(this.host!, this.response!.status)
    const { canary, locality } = this.host!
    this.cluster!.stats.responses.recordTime(now() - this.startedAt, true, canary, locality.zone)
    this.cluster!.stats.responses.countResponse(this.response!.status, true, canary, locality.zone)
    try {
      this.callbacks.onResponse(this.response!, Buffer.concat(this.chunks), trailers)
    } catch (error) {
      this.onFault(error)
    }
  }

  onFault(error: unknown): void {
    if (this.callbacks.onFault) this.callbacks.onFault(error)
    else reportFault(error, 'the answer to a request of our own')
  }

  // Pool.

  onPoolReady(encoder: RequestEncoder, host: HostDescription): void {
    this.pending = null
    this.encoder = encoder
    this.host = host
    this.cluster!.onConnected(host, false)
    encoder.stream.callbacks = {
      onResetStream: (reason) => {
        this.encoder = null
        this.cluster!.onReset(host, reason)
        this.countFailure(503)
        this.fail(reason)
      },
      onAboveWriteBufferHighWatermark() {},
      onBelowWriteBufferLowWatermark() {},
    }
    encoder.encodeHeaders(this.headers, this.body === null)
    if (this.body !== null && !this.done) encoder.encodeData(this.body, true)
  }

  onPoolFailure(_reason: PoolFailureReason, transportFailureReason: string, host: HostDescription | null): void {
    this.pending = null
    if (host !== null) this.cluster!.onReset(host, StreamResetReason.RemoteConnectionFailure)
    this.countFailure(503)
    this.fail(transportFailureReason || 'connection failure')
  }

  // Response.

  decode1xxHeaders(): void {}

  decodeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.response = headers
    if (endStream) this.finish(null)
  }

  decodeData(chunk: Buffer, endStream: boolean): void {
    this.received += chunk.length
    if (this.received > MAX_BODY_BYTES) {
      this.abort()
      this.fail('response too large')
      return
    }
    if (chunk.length > 0) this.chunks.push(Buffer.from(chunk))
    if (endStream) this.finish(null)
  }

  decodeTrailers(trailers: HeaderMap): void {
    this.finish(trailers)
  }
}

function onTimeout(call: ClientCall): void {
  call.onTimeout()
}
