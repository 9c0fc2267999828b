// An upgrade or CONNECT of one stream: bytes flow both ways until both sides end.

import { Protocol, StreamResetReason } from '../codec.ts'
import type { ActiveStream } from './active-stream.ts'

/** Its request is accepted. */
export function enterTunnel(stream: ActiveStream): void {
  const { stats } = stream.manager.shared
  stream.tunneling = true
  stats.cxUpgradesTotal.inc()
  stats.cxUpgradesActive.inc()
}

/** Its answer refuses, or it is over. */
export function leaveTunnel(stream: ActiveStream): void {
  stream.tunneling = false
  stream.manager.shared.stats.cxUpgradesActive.dec()
}

/** One end of a tunnel is the end of both (as in Envoy); one that was refused has no other end. */
export function endTunnel(stream: ActiveStream): void {
  if (stream.info.protocol !== Protocol.Http2) stream.manager.closeAfterStreams()
  else if (stream.tunneling) {
    stream.encoder.stream.callbacks = null
    stream.encoder.stream.resetStream(StreamResetReason.LocalReset)
  }
}
