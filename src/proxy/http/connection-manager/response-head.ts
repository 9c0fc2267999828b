// The head of a response as the client gets it, and whether its connection carries another request.

import { responseFlags } from '../../observe/format/stream-operators.ts'
import { Protocol } from '../codec.ts'
import type { HeaderMap } from '../header-map.ts'
import type { ActiveStream } from './active-stream.ts'
import { addProxyStatus } from './proxy-status.ts'
import { mutateResponseHeaders } from './response-headers.ts'

/** `accepted`: it accepts an upgrade. `requestId`: to echo. */
export function finishResponseHead(
  stream: ActiveStream,
  headers: HeaderMap,
  accepted: boolean,
  requestId: string | undefined,
): void {
  const { info } = stream
  const { config, proxyStatus } = stream.manager.shared
  mutateResponseHeaders(headers, config, accepted, requestId)
  if (proxyStatus === null || stream.requestHeaders === null) return
  addProxyStatus(headers, info, responseFlags(info, false), proxyStatus)
  info.responseCode = headers.status
}

/** Of a response that is no tunnel: drains the connection where it must end, and says so to HTTP/1. */
export function settlePersistence(stream: ActiveStream, headers: HeaderMap): void {
  const { manager } = stream
  const { protocol } = stream.info
  if (protocol === Protocol.Http2) {
    manager.onResponseHeaders(stream.drains)
    return
  }
  // The rest of a request that is answered early would stand in the way of the next one.
  if (stream.wantsClose || !stream.requestDone) manager.closeAfterStreams()
  manager.onResponseHeaders(stream.drains)
  const http10 = protocol === Protocol.Http10
  // Without a length the body of a response to HTTP/1.0 ends with the connection.
  if (http10 && !headers.has('content-length')) manager.closeAfterStreams()
  if (manager.closing) headers.list.push('connection', 'close')
  else if (http10) headers.list.push('connection', 'keep-alive')
}
