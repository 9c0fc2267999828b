// What remains of a stream: its figures, its span and its line in the log.

import { reportFault } from '../../network/fault.ts'
import { now } from '../../stream-info.ts'
import type { ActiveStream } from './active-stream.ts'
import { leaveTunnel } from './tunnel.ts'

/** Takes the filter chain down, counts and logs. */
export function recordEnd(stream: ActiveStream): void {
  const { info } = stream
  const { stats, tracingStats } = stream.manager.shared
  info.end = now()
  if (stream.refusedByCodec) info.setFlag('DPE')
  if (stream.tunneling) leaveTunnel(stream)
  info.downstreamWireBytesReceived = stream.encoder.stream.wireBytesReceived
  info.downstreamWireBytesSent = stream.encoder.stream.wireBytesSent
  stream.chain.destroy()
  stats.rqTime.record(info.end - info.start)
  if (info.isHealthCheck) tracingStats.healthCheck.inc()
  try {
    info.span?.finish(stream)
    stream.log('DownstreamEnd')
  } catch (error) {
    reportFault(error, `the log of stream ${info.streamId}`)
  }
}
