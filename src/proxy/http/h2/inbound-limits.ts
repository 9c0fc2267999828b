// What a peer may send of frames that cost us more than them (envoy-contract §6): empty frames, PRIORITY, WINDOW_UPDATE,
// and whatever makes us answer while it does not read.

import type { Http2Options } from '../connection-manager/config.ts'
import { END_STREAM, ErrorCode } from './constants.ts'
import { connectionError, Http2Details, type Http2Error } from './error.ts'
import type { OutboundFrames } from './outbound-frames.ts'
import type { Http2Stats } from './stats.ts'

export class InboundLimits {
  /** Streams that are open on this connection (Envoy counts those, not all there were). */
  openStreams = 0
  dataFramesSent = 0
  private readonly options: Http2Options
  private readonly stats: Http2Stats
  private emptyFrames = 0
  private priorityFrames = 0
  private windowUpdateFrames = 0

  constructor(options: Http2Options, stats: Http2Stats) {
    this.options = options
    this.stats = stats
  }

  /** A frame of a message, HEADERS to DATA. */
  onMessageFrame(empty: boolean, flags: number, streamId: number): Http2Error | null {
    if (!empty || (flags & END_STREAM) !== 0) {
      this.emptyFrames = 0
      return null
    }
    if (++this.emptyFrames <= this.options.maxConsecutiveInboundFramesWithEmptyPayload) return null
    this.stats.inboundEmptyFramesFlood.inc()
    return {
      ...flood('too many empty frames', Http2Details.OtherEmptyFramesFlood),
      stream: { id: streamId, details: Http2Details.EmptyFramesFlood },
    }
  }

  onPriority(): Http2Error | null {
    if (++this.priorityFrames <= this.options.maxInboundPriorityFramesPerStream * (1 + this.openStreams)) return null
    this.stats.inboundPriorityFramesFlood.inc()
    return flood('too many PRIORITY frames', Http2Details.PriorityFlood)
  }

  onWindowUpdate(): Http2Error | null {
    const perData = this.options.maxInboundWindowUpdateFramesPerDataFrameSent
    if (++this.windowUpdateFrames <= 5 + 2 * (this.openStreams + perData * this.dataFramesSent)) return null
    this.stats.inboundWindowUpdateFramesFlood.inc()
    return flood('too many WINDOW_UPDATE frames', Http2Details.WindowUpdateFlood)
  }

  /** What waits in the socket after a frame was handled. */
  onFrameHandled(outbound: OutboundFrames): Http2Error | null {
    if (outbound.waitingControl > this.options.maxOutboundControlFrames) {
      this.stats.outboundControlFlood.inc()
      return flood('the peer does not read our control frames', Http2Details.OutboundControlFlood)
    }
    if (outbound.waiting > this.options.maxOutboundFrames) {
      this.stats.outboundFlood.inc()
      return flood('the peer does not read our frames', Http2Details.OutboundFlood)
    }
    return null
  }
}

function flood(message: string, details: string): Http2Error {
  return connectionError(ErrorCode.EnhanceYourCalm, message, details)
}
