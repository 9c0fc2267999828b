// An answer of our own to a request: made by local_reply_config, sent through the encoder filters.

import type { ModifyHeaders } from '../filter.ts'
import type { ActiveStream } from './active-stream.ts'
import { createChain } from './request-start.ts'

/** Ends `stream` with `status`, or resets it where a response has begun. `grpcStatus`: null = by the HTTP status. */
export function sendLocalReply(
  stream: ActiveStream,
  status: number,
  body: string,
  modify: ModifyHeaders | null,
  grpcStatus: number | null,
  details: string,
): void {
  if (stream.ended) return
  const { chain, info } = stream
  const { shared } = stream.manager
  info.responseCodeDetails = details
  // For the log, too.
  const route = stream.route()
  if (stream.responseStarted) {
    stream.resetStream()
    return
  }
  // Whoever sends what is no request may not mean the next one either.
  if (status === 400) {
    const { config } = shared
    if (!(config.http1.streamErrorOnInvalidMessage ?? config.streamErrorOnInvalidMessage)) stream.wantsClose = true
  }
  // Filters see every answer, also to what is refused before they saw a request (Envoy).
  if (!stream.chainCreated) {
    chain.requestHeaders = stream.requestHeaders
    createChain(stream, shared.chain, route)
  }
  stream.tellConnectFailed()
  chain.decodingDone = true
  // An answer that is on its way through the filters is not followed by another one (Envoy).
  const direct = chain.responseHeaders !== null
  chain.abandonResponse()
  const change: ModifyHeaders | null = route?.forward
    ? (reply) => {
        route.finalizeResponseHeaders(reply, info, stream.requestHeaders!)
        modify?.(reply)
      }
    : modify
  const { headers, text } = shared.localReplies.make(stream, status, body, change, grpcStatus)
  const bodyless = stream.isHead || stream.isGrpc || text === ''
  if (direct) stream.writeHeaders(headers, bodyless)
  else chain.encodeHeaders(headers, bodyless)
  if (bodyless || stream.ended) return
  if (direct) stream.writeData(Buffer.from(text, 'latin1'), true)
  else chain.encodeData(Buffer.from(text, 'latin1'), true)
}
