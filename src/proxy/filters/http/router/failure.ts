// What each upstream failure looks like downstream (envoy-contract §8): one table, nowhere else picks a status.

import { StreamResetReason } from '../../../http/codec.ts'
import type { ResponseFlagName } from '../../../stream-info.ts'

export interface Failure {
  readonly status: number
  readonly flag: ResponseFlagName
}

const FAILURES: Record<StreamResetReason, Failure> = {
  [StreamResetReason.LocalReset]: { status: 503, flag: 'LR' },
  [StreamResetReason.LocalRefusedStreamReset]: { status: 503, flag: 'LR' },
  [StreamResetReason.RemoteReset]: { status: 503, flag: 'UR' },
  [StreamResetReason.RemoteRefusedStreamReset]: { status: 503, flag: 'UR' },
  [StreamResetReason.RemoteResetNoError]: { status: 503, flag: 'UR' },
  [StreamResetReason.LocalConnectionFailure]: { status: 503, flag: 'UF' },
  [StreamResetReason.RemoteConnectionFailure]: { status: 503, flag: 'UF' },
  [StreamResetReason.ConnectionTimeout]: { status: 503, flag: 'UF' },
  [StreamResetReason.ConnectionTermination]: { status: 503, flag: 'UC' },
  [StreamResetReason.Overflow]: { status: 503, flag: 'UO' },
  [StreamResetReason.ConnectError]: { status: 503, flag: 'UR' },
  [StreamResetReason.ProtocolError]: { status: 502, flag: 'UPE' },
  [StreamResetReason.OverloadManager]: { status: 503, flag: 'OM' },
  [StreamResetReason.Http1PrematureUpstreamHalfClose]: { status: 503, flag: 'UC' },
}

export function failureOf(reason: StreamResetReason): Failure {
  return FAILURES[reason]
}

/** Body of the answer to a reset before the response. Envoy 1.40 keeps the transport's reason to the access log. */
export function resetBody(reason: StreamResetReason, retried: boolean): string {
  const lead = retried ? 'retried and the latest reset reason' : 'reset reason'
  return `upstream connect error or disconnect/reset before headers. ${lead}: ${reason}`
}

/** Response code details of a reset: white space would break log formats. */
export function resetDetails(reason: StreamResetReason, transportFailureReason: string, started: boolean): string {
  const transport = transportFailureReason === '' ? '' : `|${transportFailureReason}`
  const text = `upstream_reset_${started ? 'after' : 'before'}_response_started{${reason}${transport}}`
  return text.replace(/\s/g, '_')
}
