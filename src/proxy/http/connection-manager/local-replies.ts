// local_reply_config: what the proxy's own answers look like (envoy-contract §5.8).

import type { ModifyHeaders } from '../filter.ts'
import { HeaderMap } from '../header-map.ts'
import { localReplyHeaders } from '../local-reply.ts'
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
    const { info, isGrpc, isHead } = stream
    const original = status
    let contentType = 'text/plain'
    let text = body
    let headers: HeaderMap
    if (this.mappers.length === 0 && !this.common) {
      headers = localReplyHeaders(status, text, modify, isGrpc, grpcStatus, contentType, isHead)
    } else {
      // Mappers see the headers the reply would have had; what modifies them does not know its status yet (Envoy).
      const { responseCode } = info
      const plain = localReplyHeaders(status, text, modify, false, null, contentType)
      info.responseCode = status
      stream.responseHeaders = plain
      stream.localReplyBody = text
      const mapper = this.mappers.find((m) => m.matches(stream)) ?? null
      if (mapper?.status) {
        status = mapper.status
        plain.status = status
        info.responseCode = status
      }
      if (mapper?.body !== null && mapper !== null) stream.localReplyBody = mapper.body
      text = stream.localReplyBody
      const formatter = mapper?.format ? mapper : this.common
      if (formatter?.format) {
        text = formatter.format(stream)
        contentType = formatter.contentType
      }
      const change = (reply: HeaderMap): void => {
        const mapped = info.responseCode
        info.responseCode = responseCode
        modify?.(reply)
        // headers_to_add see the status that was mapped.
        info.responseCode = original
        mapper?.addHeaders(reply, stream)
        info.responseCode = mapped
      }
      headers = localReplyHeaders(status, text, change, isGrpc, grpcStatus, contentType, isHead)
      stream.responseHeaders = null
      stream.localReplyBody = ''
    }
    if (isHead && !isGrpc) headers.set('content-length', String(text.length))
    if (isHead && text === '') headers.remove('content-length')
    result.headers = headers
    result.text = isHead ? '' : text
    return result
  }
}
