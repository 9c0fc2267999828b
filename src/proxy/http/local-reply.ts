// Answers the proxy makes itself (envoy-contract §5.8).

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
  return (
    value !== undefined && value.startsWith('application/grpc') && (value.length === 16 || value.charCodeAt(16) === 43)
  )
}

/** grpc-message: everything outside printable ASCII, and `%`, percent-encoded (gRPC over HTTP/2). */
export function encodeGrpcMessage(text: string): string {
  let out = ''
  for (const byte of Buffer.from(text, 'latin1')) {
    out +=
      byte < 32 || byte > 126 || byte === 37
        ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
        : String.fromCharCode(byte)
  }
  return out
}

/** Headers of a reply with `body` (byte string). gRPC replies are trailers-only and carry no body. */
export function localReplyHeaders(
  status: number,
  body: string,
  grpc: boolean,
  grpcStatus: number | null,
  contentType: string,
): HeaderMap {
  const headers = new HeaderMap()
  if (grpc) {
    headers.status = 200
    headers.list.push('content-type', 'application/grpc', 'grpc-status', String(grpcStatus ?? grpcStatusOfHttp(status)))
    if (body !== '') headers.list.push('grpc-message', encodeGrpcMessage(body))
    return headers
  }
  headers.status = status
  if (body !== '') headers.list.push('content-length', String(body.length), 'content-type', contentType)
  return headers
}
