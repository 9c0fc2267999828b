// How long a stream may take, and what its client is told when it took longer.

import type { FaultOwner } from '../../../base/fault-owner.ts'
import { OwnedTimeout, type TimeoutEntry, type TimeoutHandle, type TimeoutQueue } from '../../../base/timeout-queue.ts'
import { formatGrpcTimeout, streamDuration } from '../../route/grpc-timeout.ts'
import type { Route } from '../../route/route.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { ModifyHeaders } from '../filter.ts'
import type { HeaderMap } from '../header-map.ts'
import type { SharedState } from './shared.ts'

const GRPC_DEADLINE_EXCEEDED = 4

/** The stream, as its timers see it. */
export interface TimedStream extends FaultOwner {
  readonly info: StreamInfo
  readonly requestDone: boolean
  readonly responseStarted: boolean
  sendLocalReply(
    status: number,
    body: string,
    modify: ModifyHeaders | null,
    grpcStatus: number | null,
    details: string,
  ): void
  /** The log of a stream that goes on. */
  logPeriodically(): void
}

export class StreamTimers implements TimeoutEntry {
  private readonly stream: TimedStream
  private readonly shared: SharedState
  private idleQueue: TimeoutQueue | null
  private idle: TimeoutHandle | null = null
  private request: TimeoutHandle | null = null
  private headers: TimeoutHandle | null = null
  private duration: TimeoutHandle | null = null
  private durationQueue: TimeoutQueue | null = null
  private log: TimeoutHandle | null = null

  /** They run from here on. */
  constructor(stream: TimedStream, shared: SharedState) {
    this.stream = stream
    this.shared = shared
    this.idleQueue = shared.streamIdleQueue
    this.onActivity()
    const { requestQueue, headersQueue, durationQueue } = shared
    if (requestQueue)
      requestQueue.arm((this.request = requestQueue.handle(new OwnedTimeout(stream, () => this.onRequestTimeout()))))
    if (headersQueue)
      headersQueue.arm((this.headers = headersQueue.handle(new OwnedTimeout(stream, () => this.onHeadersTimeout()))))
    if (durationQueue) this.armDuration(durationQueue)
  }

  /** Something came or went: the stream is not idle. */
  onActivity(): void {
    const { idleQueue } = this
    if (idleQueue === null) return
    this.idle ??= idleQueue.handle(this)
    idleQueue.arm(this.idle)
  }

  onRequestHeaders(): void {
    if (this.headers) this.shared.headersQueue!.disarm(this.headers)
  }

  onRequestEnd(): void {
    if (this.request) this.shared.requestQueue!.disarm(this.request)
  }

  /** The route may have timeouts of its own. `grpc`: the upstream is told of the limit. */
  onRoute(route: Route, headers: HeaderMap, grpc: boolean): void {
    if (route.idleTimeoutMs !== null) this.changeIdle(route.idleTimeoutMs)
    const ms = route.forward ? streamDuration(headers, route.forward) : null
    if (ms === null) return
    if (this.duration) this.durationQueue!.disarm(this.duration)
    this.duration = null
    if (ms === 0) return
    this.armDuration(this.shared.queue(ms))
    if (grpc) headers.set('grpc-timeout', formatGrpcTimeout(ms))
  }

  private changeIdle(ms: number): void {
    if (this.idle) this.idleQueue!.disarm(this.idle)
    this.idle = null
    this.idleQueue = ms > 0 ? this.shared.queue(ms) : null
    this.onActivity()
  }

  private armDuration(queue: TimeoutQueue): void {
    this.durationQueue = queue
    queue.arm((this.duration = queue.handle(new OwnedTimeout(this.stream, () => this.onDurationTimeout()))))
  }

  /** Where the log tells of streams that go on, too. */
  armPeriodicLog(): void {
    const queue = this.shared.accessLogQueue
    if (queue === null) return
    this.log ??= queue.handle(
      new OwnedTimeout(this.stream, () => {
        this.stream.logPeriodically()
        this.armPeriodicLog()
      }),
    )
    queue.arm(this.log)
  }

  disarm(): void {
    const { shared } = this
    if (this.idle && this.idleQueue) this.idleQueue.disarm(this.idle)
    if (this.duration) this.durationQueue!.disarm(this.duration)
    if (this.request) shared.requestQueue!.disarm(this.request)
    if (this.headers) shared.headersQueue!.disarm(this.headers)
    if (this.log) shared.accessLogQueue!.disarm(this.log)
  }

  onFault(error: unknown): void {
    this.stream.onFault(error)
  }

  /** The stream idle timer's; the others are rare enough for an object of their own. */
  onTimeout(): void {
    const { shared, stream } = this
    shared.stats.rqIdleTimeout.inc()
    stream.info.setFlag('SI')
    if (stream.responseStarted) stream.info.responseCodeDetails = 'stream_idle_timeout'
    stream.sendLocalReply(stream.requestDone ? 504 : 408, 'stream timeout', null, null, 'stream_idle_timeout')
  }

  private onRequestTimeout(): void {
    this.shared.stats.rqTimeout.inc()
    this.stream.sendLocalReply(408, 'request timeout', null, null, 'request_overall_timeout')
  }

  private onHeadersTimeout(): void {
    this.shared.stats.rqHeaderTimeout.inc()
    this.stream.sendLocalReply(408, 'request header timeout', null, null, 'request_header_timeout')
  }

  private onDurationTimeout(): void {
    const { shared, stream } = this
    shared.stats.rqMaxDuration.inc()
    const status = stream.requestDone ? 504 : 408
    stream.sendLocalReply(status, 'downstream duration timeout', null, GRPC_DEADLINE_EXCEEDED, 'max_duration_timeout')
  }
}
