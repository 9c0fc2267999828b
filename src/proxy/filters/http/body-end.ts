// Where a body ends. HTTP/1 tells of it behind the last byte, as a piece of its own without bytes; HTTP/2 may tell of it
// with the last frame. Our HTTP/1 codecs join the two: filters for which it makes a difference ask here.

import { Protocol } from '../../http/codec.ts'
import type { StreamInfo } from '../../stream-info.ts'

/** Whether the end of the request comes apart from its last bytes. */
export function requestEndsApart(info: StreamInfo): boolean {
  return info.protocol !== Protocol.Http2
}

/** The same for the response; local replies have one piece. */
export function responseEndsApart(info: StreamInfo): boolean {
  return info.responseCodeDetails === 'via_upstream' && info.upstreamProtocol !== Protocol.Http2
}
