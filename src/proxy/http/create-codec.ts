// Chooses and makes the codec of a downstream connection.

import { latin1 } from '../../base/bytes.ts'
import type { Connection } from '../network/connection.ts'
import type { ServerCodecCallbacks, ServerConnection } from './codec.ts'
import { Protocol } from './codec.ts'
import type { HcmConfig } from './connection-manager/config.ts'
import type { SharedState } from './connection-manager/shared.ts'
import { Http1ServerConnection } from './h1/server.ts'
import { PREFACE } from './h2/constants.ts'
import { Http2ServerConnection } from './h2/server.ts'

const PREFACE_TEXT = latin1(PREFACE, 0, PREFACE.length)

/** What the connection speaks; null = more bytes are needed. ALPN decides for AUTO, then the first bytes. */
export function detectProtocol(
  codecType: HcmConfig['codecType'],
  alpn: string,
  bytes: Buffer,
  end: boolean,
): Protocol | null {
  if (codecType === 'HTTP1') return Protocol.Http11
  if (codecType === 'HTTP2' || alpn === 'h2' || alpn === 'istio-h2') return Protocol.Http2
  if (alpn === 'http/1.1' || alpn === 'istio-http/1.1') return Protocol.Http11
  const seen = latin1(bytes, 0, Math.min(bytes.length, PREFACE.length))
  if (!PREFACE_TEXT.startsWith(seen)) return Protocol.Http11
  if (seen.length === PREFACE.length) return Protocol.Http2
  return end ? Protocol.Http11 : null
}

export function createServerCodec(
  protocol: Protocol,
  connection: Connection,
  callbacks: ServerCodecCallbacks,
  shared: SharedState,
): ServerConnection {
  const { config } = shared
  const limits = {
    maxBytes: config.maxRequestHeadersKb * 1024,
    maxHeaders: config.common.maxHeadersCount,
    underscores: config.common.headersWithUnderscores,
    keepSpellings: config.http1.headerKeyFormat === 'preserve_case',
    allowConnect: config.http2.allowConnect,
  }
  if (protocol === Protocol.Http2)
    return new Http2ServerConnection(connection, callbacks, shared.http2Options, limits, shared.http2Stats)
  // Behind trusted proxies the target may speak of the connection to the first of them.
  const atEdge = config.useRemoteAddress && config.xffTrustedHops === 0
  const counted = { ...limits, stats: shared.http1Stats }
  return new Http1ServerConnection(connection, callbacks, config.http1, counted, atEdge)
}
