// ProxyConfig.connectionSettings: limits of connections and requests, laid over what a connection manager has otherwise.
import { create } from '@bufbuild/protobuf'
import {
  Http2ProtocolOptionsSchema,
  HttpProtocolOptionsSchema,
  HttpProtocolOptions_HeadersWithUnderscoresAction as Underscores,
} from '../../api/gen/envoy/config/core/v3/protocol_pb.js'
import {
  type HttpConnectionManager,
  HttpConnectionManager_PathWithEscapedSlashesAction as Slashes,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { ConnectionSettings } from '../../config/index.ts'
import { durationOf } from '../xds/messages.ts'
import type { ListenerContext } from './context.ts'

/** What profile EDGE means for a gateway where nothing else is said: Envoy's advice for proxies at the edge. */
const EDGE = {
  listenerPerConnectionBufferLimitBytes: 32_768,
  httpIdleTimeout: 3_600_000,
  httpStreamIdleTimeout: 300_000,
  httpRequestTimeout: 300_000,
  httpRequestHeadersTimeout: 60_000,
  httpMaxConcurrentStreams: 100,
  http2InitialStreamWindowSize: 65_536,
  http2InitialConnectionWindowSize: 1_048_576,
  httpHeadersWithUnderscoresAction: 'HEADERS_WITH_UNDERSCORES_REJECT_REQUEST',
  httpMergeSlashes: true,
  httpPathWithEscapedSlashesAction: 'UNESCAPE_AND_REDIRECT',
} as const satisfies ConnectionSettings

const UNSPECIFIED: ReadonlySet<unknown> = new Set([
  'HEADERS_WITH_UNDERSCORES_UNSPECIFIED',
  'PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED',
])

const UNDERSCORES: Readonly<Record<string, Underscores>> = {
  HEADERS_WITH_UNDERSCORES_ALLOW: Underscores.ALLOW,
  HEADERS_WITH_UNDERSCORES_REJECT_REQUEST: Underscores.REJECT_REQUEST,
  HEADERS_WITH_UNDERSCORES_DROP_HEADER: Underscores.DROP_HEADER,
}

const ESCAPED_SLASHES: Readonly<Record<string, Slashes>> = {
  KEEP_UNCHANGED: Slashes.KEEP_UNCHANGED,
  REJECT_REQUEST: Slashes.REJECT_REQUEST,
  UNESCAPE_AND_REDIRECT: Slashes.UNESCAPE_AND_REDIRECT,
  UNESCAPE_AND_FORWARD: Slashes.UNESCAPE_AND_FORWARD,
}

/** The settings of one proxy, its own or the mesh's; undefined: none. */
export function connectionSettingsOf(
  context: Pick<ListenerContext, 'proxy' | 'proxyConfig' | 'mesh'>,
): ConnectionSettings | undefined {
  const settings = context.proxyConfig.connectionSettings ?? context.mesh.defaultConfig.connectionSettings
  if (settings?.profile !== 'EDGE' || context.proxy.type !== 'router') return settings
  const said = Object.entries(settings).filter(([, value]) => !UNSPECIFIED.has(value))
  return { ...EDGE, ...Object.fromEntries(said) }
}

/** Lays settings over a connection manager that is being built. */
export function applyConnectionSettings(manager: HttpConnectionManager, settings: ConnectionSettings): void {
  applyTimeouts(manager, settings)
  const underscores = UNDERSCORES[settings.httpHeadersWithUnderscoresAction ?? '']
  const { httpIdleTimeout: idle, httpMaxConnectionDuration: life, httpMaxStreamDuration: stream } = settings
  if (idle !== undefined || life !== undefined || stream !== undefined || underscores !== undefined) {
    const common = (manager.commonHttpProtocolOptions ??= create(HttpProtocolOptionsSchema))
    if (idle !== undefined) common.idleTimeout = durationOf(idle)
    if (life !== undefined) common.maxConnectionDuration = durationOf(life)
    if (stream !== undefined) common.maxStreamDuration = durationOf(stream)
    if (underscores !== undefined) common.headersWithUnderscoresAction = underscores
  }
  const {
    httpMaxConcurrentStreams: streams,
    http2InitialStreamWindowSize: streamWindow,
    http2InitialConnectionWindowSize: connectionWindow,
  } = settings
  if (streams !== undefined || streamWindow !== undefined || connectionWindow !== undefined) {
    const http2 = (manager.http2ProtocolOptions ??= create(Http2ProtocolOptionsSchema))
    if (streams !== undefined) http2.maxConcurrentStreams = streams
    if (streamWindow !== undefined) http2.initialStreamWindowSize = streamWindow
    if (connectionWindow !== undefined) http2.initialConnectionWindowSize = connectionWindow
  }
  if (settings.httpMergeSlashes !== undefined) manager.mergeSlashes = settings.httpMergeSlashes
  const slashes = ESCAPED_SLASHES[settings.httpPathWithEscapedSlashesAction ?? '']
  if (slashes !== undefined) manager.pathWithEscapedSlashesAction = slashes
}

function applyTimeouts(manager: HttpConnectionManager, settings: ConnectionSettings): void {
  const { httpStreamIdleTimeout, httpRequestTimeout, httpRequestHeadersTimeout, httpDrainTimeout } = settings
  if (httpStreamIdleTimeout !== undefined) manager.streamIdleTimeout = durationOf(httpStreamIdleTimeout)
  if (httpRequestTimeout !== undefined) manager.requestTimeout = durationOf(httpRequestTimeout)
  if (httpRequestHeadersTimeout !== undefined) manager.requestHeadersTimeout = durationOf(httpRequestHeadersTimeout)
  if (httpDrainTimeout !== undefined) manager.drainTimeout = durationOf(httpDrainTimeout)
}
