// Answers the proxy makes itself (envoy-contract §5.8).

import type { ModifyHeaders } from './filter.ts'
import { HeaderMap } from './header-map.ts'

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

/**
 * Headers of a reply with `body` (byte string); `modify` runs before content headers are added, as in Envoy. gRPC
 * replies are trailers-only and carry no body.
 */
export function localReplyHeaders(
  status: number,
  body: string,
  modify: ModifyHeaders | null,
  grpc: boolean,
  grpcStatus: number | null,
  contentType: string,
  head = false,
): HeaderMap {
  const headers = new HeaderMap()
  headers.status = status
  modify?.(headers)
  if (grpc) {
    headers.status = 200
    headers.set('content-type', 'application/grpc')
    headers.set('grpc-status', String(grpcStatus ?? grpcStatusOfHttp(status)))
    // The line end of a JSON body is no part of the message.
    const message = contentType === 'application/json' && body.endsWith('\n') ? body.slice(0, -1) : body
    if (message !== '' && !head) headers.set('grpc-message', encodeGrpcMessage(message))
    return headers
  }
  if (body !== '') {
    headers.set('content-length', String(body.length))
    if (!headers.has('content-type')) headers.list.push('content-type', contentType)
  }
  return headers
}
