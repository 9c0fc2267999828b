// Makes the codec of an upstream connection.

import type { ClientCodecCallbacks, ClientConnection } from '../http/codec.ts'
import { Http1ClientConnection } from '../http/h1/client.ts'
import { Http2ClientConnection } from '../http/h2/client.ts'
import type { Connection } from '../network/connection.ts'
import type { ClusterStats } from './cluster-stats.ts'
import type { HttpProtocolData } from './config.ts'

/** Codec of `connection`, a connection of the cluster that `stats` counts for. */
export function createClientCodec(
  protocol: 'http1' | 'http2',
  connection: Connection,
  callbacks: ClientCodecCallbacks,
  http: HttpProtocolData,
  stats: ClusterStats,
): ClientConnection {
  const { maxHeadersCount: maxHeaders, headersWithUnderscores: underscores } = http.common
  const maxBytes = http.common.maxResponseHeadersKb * 1024
  if (protocol === 'http2') {
    const limits = { maxBytes, maxHeaders, underscores, allowConnect: http.http2.allowConnect }
    return new Http2ClientConnection(connection, callbacks, http.http2, limits, stats.http2)
  }
  const keepSpellings = http.http1.headerKeyFormat === 'preserve_case'
  const limits = { maxBytes, maxHeaders, underscores, keepSpellings, stats: stats.http1 }
  return new Http1ClientConnection(connection, callbacks, http.http1, limits)
}
