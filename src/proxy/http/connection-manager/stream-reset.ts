// What the log says of a stream that its client ended.

import type { StreamInfo } from '../../stream-info.ts'
import { StreamResetReason } from '../codec.ts'

/** `details`: what the codec knows, '' = nothing. */
export function noteReset(
  info: StreamInfo,
  reason: StreamResetReason,
  details: string,
  responseStarted: boolean,
): void {
  if (details !== '') info.responseCodeDetails = details
  switch (reason) {
    case StreamResetReason.ConnectionTermination:
    case StreamResetReason.RemoteReset:
    case StreamResetReason.ConnectError:
    case StreamResetReason.RemoteRefusedStreamReset:
      info.setFlag(reason === StreamResetReason.ConnectionTermination ? 'DC' : 'DR')
      if (info.responseCodeDetails === '' || !responseStarted)
        info.responseCodeDetails = details || 'downstream_remote_disconnect'
      break
    case StreamResetReason.ProtocolError:
      info.setFlag('DPE')
  }
}
