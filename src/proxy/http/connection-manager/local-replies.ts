// local_reply_config: what the proxy's own answers look like (envoy-contract §5.8).

import type { ModifyHeaders } from '../filter.ts'
import { HeaderMap } from '../header-map.ts'
import { completeLocalReply, type LocalReplyBody } from '../local-reply.ts'
import type { ActiveStream } from './active-stream.ts'

/** A mapper or the common body format, compiled. `text` is a byte string. */
export interface ReplyFormatter {
  /** True when this mapper applies to the stream, whose info carries the status. */
  matches(stream: ActiveStream): boolean
  /** 0 = unchanged. */
  readonly status: number
  readonly body: string | null
  readonly format: ((stream: ActiveStream) => string) | null
  readonly contentType: string
  addHeaders(headers: HeaderMap, stream: ActiveStream): void
}

const result: { headers: HeaderMap; text: string } = { headers: new HeaderMap(), text: '' }

export class LocalReplies {
  private readonly mappers: readonly ReplyFormatter[]
  private readonly common: ReplyFormatter | null

  /** `common` is body_format; its `matches` is not asked. */
  constructor(mappers: readonly ReplyFormatter[], common: ReplyFormatter | null) {
    this.mappers = mappers
    this.common = common
  }

  /** The reply's headers and body; the object is reused by the next call. */
  make(
    stream: ActiveStream,
    status: number,
    body: string,
    modify: ModifyHeaders | null,
    grpcStatus: number | null,
  ): { headers: HeaderMap; text: string } {
    const { isGrpc, isHead } = stream
    const headers = new HeaderMap()
    headers.status = status
    // Before the reply is known to anybody: what is added by a route does not see the status of the answer (Envoy).
    modify?.(headers)
    const plain: LocalReplyBody = { status, text: body, contentType: 'text/plain', retyped: false }
    const reply = this.mappers.length === 0 && !this.common ? plain : this.map(stream, headers, plain)
    completeLocalReply(headers, reply, isGrpc, grpcStatus, isHead)
    result.headers = headers
    result.text = isHead ? '' : reply.text
    return result
  }

  /** What the first mapper that matches, or else the common format, makes of a reply. */
  private map(stream: ActiveStream, headers: HeaderMap, plain: LocalReplyBody): LocalReplyBody {
    const { info, type } = stream
    let { status, contentType } = plain
    info.responseCode = status
    stream.responseHeaders = headers
    stream.localReplyBody = plain.text
    // Filters are asked about a reply, not about a log.
    stream.type = 'NotSet'
    const mapper = this.mappers.find((m) => m.matches(stream)) ?? null
    const sendersType = headers.get('content-type')
    if (mapper) {
      if (mapper.body !== null) stream.localReplyBody = mapper.body
      // headers_to_add see the status that was mapped.
      mapper.addHeaders(headers, stream)
      if (mapper.status) headers.status = info.responseCode = status = mapper.status
    }
    const typed = headers.get('content-type') !== sendersType
    let text = stream.localReplyBody
    const formatter = mapper?.format ? mapper : this.common
    if (formatter?.format) {
      text = formatter.format(stream)
      contentType = formatter.contentType
    }
    stream.responseHeaders = null
    stream.localReplyBody = ''
    stream.type = type
    return { status, text, contentType, retyped: text !== plain.text && !typed }
  }
}
