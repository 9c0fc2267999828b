// Makes the codec of an upstream connection.

import type { ClientCodecCallbacks, ClientConnection } from '../http/codec.ts'
import { Http1ClientConnection } from '../http/h1/client.ts'
import type { HeadLimits } from '../http/h1/head.ts'
import type { Connection } from '../network/connection.ts'
import type { HttpProtocolData } from './config.ts'

/** Bytes of a response's header block (Envoy: 60 KiB, as for requests). */
const MAX_RESPONSE_HEADERS_BYTES = 60 * 1024

export function createClientCodec(
  protocol: 'http1' | 'http2',
  connection: Connection,
  callbacks: ClientCodecCallbacks,
  http: HttpProtocolData,
): ClientConnection {
  const limits: HeadLimits = {
    maxBytes: MAX_RESPONSE_HEADERS_BYTES,
    maxHeaders: http.common.maxHeadersCount,
    underscores: http.common.headersWithUnderscores,
    keepRawNames: http.http1.headerKeyFormat === 'preserve_case',
  }
  if (protocol === 'http2') throw new Error('the HTTP/2 client codec is not built in yet')
  return new Http1ClientConnection(connection, callbacks, http.http1, limits)
}
