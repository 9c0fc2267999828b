// Answers the proxy makes itself (envoy-contract §5.8).

import type { HeaderMap } from './header-map.ts'

/** HTTP status → gRPC status of a local reply to a gRPC request. */
export function grpcStatusOfHttp(status: number): number {
  switch (status) {
    case 400:
      return 13
    case 401:
      return 16
    case 403:
      return 7
    case 404:
      return 12
    case 429:
    case 502:
    case 503:
    case 504:
      return 14
    default:
      return 2
  }
}

/** `application/grpc`, alone or with a `+` suffix. */
export function isGrpcContentType(value: string | undefined): boolean {
  return value?.startsWith('application/grpc') === true && (value.length === 16 || value.charCodeAt(16) === 43)
}

/** grpc-message: everything outside printable ASCII, `%`, and as in Envoy `~`, percent-encoded (gRPC over HTTP/2). */
export function encodeGrpcMessage(text: string): string {
  let out = ''
  for (const byte of Buffer.from(text, 'latin1')) {
    out +=
      byte < 32 || byte >= 126 || byte === 37
        ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
        : String.fromCharCode(byte)
  }
  return out
}

/** What a reply is when nothing maps it. */
export interface LocalReplyBody {
  readonly status: number
  /** Byte string. */
  readonly text: string
  readonly contentType: string
  /** `contentType` counts also where the headers have another one: the text is no longer what they were made for. */
  readonly retyped: boolean
}

/**
 * Completes the headers of a reply that has been modified by whoever sends it, as Envoy does: a body has its length and
 * type, what has none has neither. gRPC replies are trailers-only and carry no body. `grpcStatus`: null = by the HTTP status.
 */
export function completeLocalReply(
  headers: HeaderMap,
  { status, text, contentType, retyped }: LocalReplyBody,
  grpc: boolean,
  grpcStatus: number | null,
  head: boolean,
): void {
  headers.status = status
  if (grpc) {
    headers.status = 200
    headers.set('content-type', 'application/grpc')
    if (!headers.get('grpc-status')) headers.set('grpc-status', String(grpcStatus ?? grpcStatusOfHttp(status)))
    // The line end of a JSON body is no part of the message.
    const message = contentType === 'application/json' && text.endsWith('\n') ? text.slice(0, -1) : text
    if (message !== '' && !head) headers.set('grpc-message', encodeGrpcMessage(message))
    headers.remove('content-length')
    return
  }
  if (text === '') {
    headers.remove('content-length')
    headers.remove('content-type')
    return
  }
  headers.set('content-length', String(text.length))
  if (retyped || !headers.has('content-type')) headers.set('content-type', contentType)
}
