// What comes of a request's attempts: an answer that is relayed, another attempt, or an answer of our own.

import type { TimeoutEntry, TimeoutHandle, TimeoutQueue } from '../../../../base/timeout-queue.ts'
import { timeoutQueue } from '../../../../base/timeout-queue.ts'
import { type Protocol, StreamResetReason as Reset, type StreamResetReason } from '../../../http/codec.ts'
import type { DownstreamWatermarkCallbacks } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Connection } from '../../../network/connection.ts'
import type { Counter } from '../../../observe/stats.ts'
import { now } from '../../../stream-info.ts'
import { percentOf } from '../../../upstream/tracked-stats.ts'
import { noteAttempt, noteConnection } from './attempt-facts.ts'
import { Attempts, type AttemptsOwner, Judgement } from './attempts.ts'
import { failureOf, resetBody, resetDetails } from './failure.ts'
import { grpcToHttp } from './grpc-status.ts'
import { redirectInternally } from './internal-redirect.ts'
import type { RetryState } from './retry-state.ts'
import { countAll } from './route-stats.ts'
import type { RoutedRequest } from './routed-request.ts'
import type { FilterReply } from './upstream-chain.ts'
import type { UpstreamRequest } from './upstream-request.ts'

export class Relay implements AttemptsOwner, DownstreamWatermarkCallbacks, TimeoutEntry {
  private readonly routed: RoutedRequest
  readonly attempts: Attempts
  private responseStarted = false
  /** A 1xx of the upstream went downstream. */
  private informed = false
  private globalQueue: TimeoutQueue | null = null
  private global: TimeoutHandle | null = null
  private downstreamFull = 0

  constructor(routed: RoutedRequest, retry: RetryState | null, endStream: boolean) {
    this.routed = routed
    this.attempts = new Attempts(routed, this, retry, endStream)
  }

  onFault(error: unknown): void {
    this.routed.callbacks.onFault(error)
  }

  /** The request is whole: its time runs. */
  onRequestComplete(): void {
    const { routed } = this
    if (routed.done) return
    routed.done = true
    routed.doneAt = now()
    const ms = routed.timeouts.global
    if (ms <= 0 || routed.finished) return
    this.globalQueue = timeoutQueue(ms)
    this.global = this.globalQueue.handle(this)
    this.globalQueue.arm(this.global)
  }

  /** Nobody waits for the answer any more. */
  destroy(): void {
    this.routed.finished = true
    this.disarm()
    this.attempts.abandonAll()
    this.attempts.releaseRetry()
  }

  // ---- answers of our own

  onNoPool(): void {
    this.answerNoHost('no_healthy_upstream')
  }

  private answerNoHost(details: string): void {
    const { info, lb } = this.routed
    // The attempt counts although it found nobody.
    info.attemptCount = Math.max(1, this.attempts.count)
    info.setFlag('UH')
    const wish = lb.overrideHost
    const status = wish?.strict && wish.missing ? wish.statusWhenMissing : 503
    this.countResponse(status)
    this.reply(status, 'no healthy upstream', details)
  }

  /** A local answer after the route was chosen. */
  private reply(status: number, body: string, details: string, overloaded = false): void {
    const { routed } = this
    this.disarm()
    routed.callbacks.sendLocalReply(
      status,
      body,
      (response) => {
        if (overloaded && !routed.shared.config.suppressEnvoyHeaders) response.set('x-envoy-overloaded', 'true')
        routed.addResponseHeaders(response)
      },
      null,
      details,
    )
  }

  // ---- upstream

  onUpstreamReady(request: UpstreamRequest, connection: Connection, protocol: Protocol): void {
    const { cluster, info, stats } = this.routed
    cluster.onConnected(request.host, false)
    if (this.attempts.count > 1) request.continueBytes(info)
    noteConnection(info, request.host, connection, protocol)
    countAll(stats, 'total')
    for (let i = 0; i < this.downstreamFull; i++) request.readDisable(true)
  }

  onNoHost(details: string, request: UpstreamRequest): void {
    const { attempts, routed } = this
    if (routed.finished || request !== attempts.current) return
    attempts.current = null
    routed.info.upstreamHost = null
    attempts.releaseRetry()
    this.answerNoHost(details)
  }

  onUpstream1xx(headers: HeaderMap, request: UpstreamRequest): void {
    // The client has seen a part of this attempt's answer: no other attempt may follow.
    this.attempts.settleOn(request)
    this.informed = true
    this.countResponse(headers.status)
    this.routed.callbacks.encode1xxHeaders(headers)
  }

  onUpstreamHeaders(headers: HeaderMap, endStream: boolean, request: UpstreamRequest): void {
    const { attempts, routed } = this
    const { cluster, forward, info, route, shared } = routed
    if (routed.finished || !attempts.inFlight(request)) return
    const { status } = headers
    const grpcStatus = routed.grpc ? headers.get('grpc-status') : undefined
    if (!request.timeoutNoted)
      cluster.onResponse(request.host, grpcStatus === undefined ? status : grpcToHttp(grpcStatus))
    if (headers.get('x-envoy-immediate-health-check-fail') !== undefined)
      cluster.onImmediateHealthCheckFail(request.host)
    const judgement = attempts.judge(headers, request)
    if (judgement === Judgement.Retried) return
    if (forward.internalRedirect && redirectInternally(routed, attempts.copy, headers)) return
    if (judgement === Judgement.Unwanted && attempts.othersMayAnswer(request)) {
      attempts.giveUpOn(request)
      return
    }
    // To HTTP/2 clients 200 is what 101 is to others, and nobody has agreed to anything (Envoy).
    if (status === 200 && request.websocket) {
      attempts.abandonAll()
      this.reply(status, '', 'websocket_handshake_unsuccessful')
      return
    }
    attempts.settleOn(request)
    this.responseStarted = true
    noteAttempt(info, request)
    this.countResponse(status, headers)
    // The time since the request was complete; an answer that comes before has none.
    if (!shared.config.suppressEnvoyHeaders && routed.done) {
      const since = Math.max(routed.doneAt, request.startedAt)
      headers.set('x-envoy-upstream-service-time', String(Math.max(0, Math.round(now() - since))))
    }
    info.responseCode = status
    info.responseCodeDetails = 'via_upstream'
    route.finalizeResponseHeaders(headers, info, routed.headers)
    routed.addSetCookies(headers)
    routed.addResponseHeaders(headers)
    if (endStream) this.onUpstreamComplete(request)
    routed.callbacks.encodeHeaders(headers, endStream, 'via_upstream')
  }

  onUpstreamData(chunk: Buffer, endStream: boolean, request: UpstreamRequest): void {
    const { routed } = this
    if (routed.finished || request !== this.attempts.current) return
    if (endStream) this.onUpstreamComplete(request)
    routed.callbacks.encodeData(chunk, endStream)
  }

  onUpstreamTrailers(trailers: HeaderMap, request: UpstreamRequest): void {
    const { routed } = this
    if (routed.finished || request !== this.attempts.current) return
    this.onUpstreamComplete(request)
    routed.callbacks.encodeTrailers(trailers)
  }

  private onUpstreamComplete(request: UpstreamRequest): void {
    const { routed } = this
    routed.info.lastUpstreamRxByte = now()
    noteAttempt(routed.info, request)
    this.disarm()
    routed.recordTime(request.host)
    routed.logUpstream()
    // A response that ends before the request leaves an upstream that still reads it: the stream is reset on destroy.
    if (routed.done) this.attempts.current = null
  }

  onUpstreamReset(reason: StreamResetReason, transportFailureReason: string, request: UpstreamRequest): void {
    const { attempts, routed, responseStarted } = this
    const { callbacks, cluster, info } = routed
    if (routed.finished) return
    cluster.onReset(request.host, reason)
    info.upstreamHost = request.host
    noteAttempt(info, request)
    if (transportFailureReason !== '') info.upstreamTransportFailureReason = transportFailureReason
    if (!attempts.inFlight(request)) return
    if (!responseStarted && attempts.retryReset(request, reason)) return
    attempts.forget(request)
    const { status, flag } = failureOf(reason)
    const seen = responseStarted || this.informed
    if (!seen) this.countResponse(status)
    if (attempts.othersMayAnswer(request)) return
    info.setFlag(flag)
    routed.logUpstream()
    const details = resetDetails(reason, transportFailureReason, seen)
    if (responseStarted) {
      // Of gRPC whose outcome was to come in trailers, as in Envoy.
      if (routed.grpc && info.responseCode < 500) routed.shared.resetAfterStart.inc()
      info.responseCodeDetails = details
      this.disarm()
      callbacks.resetStream()
      return
    }
    this.reply(status, resetBody(reason, attempts.count > 1), details, reason === Reset.Overflow)
  }

  /** Our own, or that of the attempt that runs. */
  private countResponse(status: number, headers: HeaderMap | null = null): void {
    const { current, zone } = this.attempts
    const canary = headers?.get('x-envoy-upstream-canary') === 'true' || (current?.host.canary ?? false)
    this.routed.countResponse(status, canary, zone)
  }

  // ---- timeouts

  /** The global timeout. */
  onTimeout(): void {
    const { attempts, routed } = this
    if (routed.finished) return
    routed.cluster.stats.budgets?.used.record(100)
    const { timeoutStatus } = this
    if (attempts.current) this.noteGlobalTimeout(attempts.current, timeoutStatus)
    for (const request of attempts.late) this.noteGlobalTimeout(request, timeoutStatus)
    this.giveUp('UT', 'response_timeout', 'upstream request timeout', timeoutStatus)
  }

  private get timeoutStatus(): number {
    return this.routed.timeouts.altResponse ? 204 : 504
  }

  private noteGlobalTimeout(request: UpstreamRequest, status: number): void {
    const { cluster, stats } = this.routed
    cluster.stats.rqTimeout.inc()
    countAll(stats, 'timeout')
    if (request.responded) return
    if (!request.timeoutNoted) cluster.onTimeout(request.host)
    this.countResponse(status)
  }

  onPerTryTimeout(request: UpstreamRequest): void {
    this.onAttemptTimeout(request, this.routed.cluster.stats.rqPerTryTimeout, 'upstream_per_try_timeout')
  }

  onPerTryIdleTimeout(request: UpstreamRequest): void {
    this.onAttemptTimeout(request, this.routed.cluster.stats.rqPerTryIdleTimeout, 'upstream_per_try_idle_timeout')
  }

  onMaxStreamDuration(request: UpstreamRequest): void {
    const { attempts, routed } = this
    if (routed.finished || !attempts.inFlight(request)) return
    routed.cluster.stats.rqMaxDurationReached.inc()
    if (!this.responseStarted && attempts.retryReset(request, Reset.LocalReset)) return
    attempts.giveUpOn(request)
    this.giveUp(
      'UMSDR',
      'upstream_max_stream_duration_reached',
      'upstream max stream duration reached',
      routed.done ? 504 : 408,
    )
  }

  onFilterReply({ status, body, modify, grpcStatus, details }: FilterReply): void {
    const { callbacks, finished } = this.routed
    if (finished) return
    this.attempts.abandonAll()
    this.disarm()
    callbacks.sendLocalReply(status, body, modify, grpcStatus, details)
  }

  onFilterReset(): void {
    if (this.routed.finished) return
    this.disarm()
    this.routed.callbacks.resetStream()
  }

  private onAttemptTimeout(request: UpstreamRequest, count: Counter, details: string): void {
    const { attempts, routed, responseStarted } = this
    const { cluster, timeouts } = routed
    if (routed.finished || !attempts.inFlight(request)) return
    if (timeouts.hedgeOnPerTry) {
      cluster.onTimeout(request.host)
      request.timeoutNoted = true
      if (!responseStarted) attempts.hedge(request)
      return
    }
    count.inc()
    cluster.onTimeout(request.host)
    if (!responseStarted) {
      if (attempts.retryLate(request)) return
      this.countResponse(this.timeoutStatus)
    }
    cluster.stats.budgets?.used.record(percentOf(now() - routed.doneAt, timeouts.global))
    this.giveUp('UT', details, 'upstream request timeout', this.timeoutStatus)
  }

  private giveUp(flag: 'UT' | 'UMSDR', details: string, body: string, status: number): void {
    const { callbacks, info } = this.routed
    info.setFlag(flag)
    this.attempts.abandonAll()
    if (this.responseStarted) {
      info.responseCodeDetails = details
      this.disarm()
      callbacks.resetStream()
      return
    }
    this.reply(status, status === 204 ? '' : body, details)
  }

  private disarm(): void {
    if (this.global) this.globalQueue!.disarm(this.global)
    this.attempts.stopBackOff()
  }

  // ---- flow control

  get bufferLimit(): number {
    return this.routed.callbacks.bufferLimit
  }

  pauseDownstream(pause: boolean): void {
    const { callbacks, cluster } = this.routed
    if (pause) {
      cluster.stats.flowControlBackedUp.inc()
      callbacks.onDecoderFilterAboveWriteBufferHighWatermark()
    } else {
      cluster.stats.flowControlDrained.inc()
      callbacks.onDecoderFilterBelowWriteBufferLowWatermark()
    }
  }

  onAboveWriteBufferHighWatermark(): void {
    this.downstreamFull++
    this.routed.cluster.stats.flowControlPausedReading.inc()
    this.attempts.readDisable(true)
  }

  onBelowWriteBufferLowWatermark(): void {
    if (this.downstreamFull === 0) return
    this.downstreamFull--
    this.routed.cluster.stats.flowControlResumedReading.inc()
    this.attempts.readDisable(false)
  }
}
