// What a request must pass before it has a filter chain: it is accepted as it then is, or answered.

import { Protocol } from '../codec.ts'
import type { ModifyHeaders } from '../filter.ts'
import { HeaderMap } from '../header-map.ts'
import { normalized, normalizePath, PathAction } from '../path.ts'
import type { ActiveStream } from './active-stream.ts'
import { normalizeHost } from './host.ts'
import { mutateRequestHeaders, origin } from './request-headers.ts'
import type { ChainEntry } from './shared.ts'
import { StreamDownstreamInfo } from './stream-downstream-info.ts'
import { enterTunnel } from './tunnel.ts'

const GRPC_INTERNAL = 13
const NONE: readonly string[] = []
const tellOverload: ModifyHeaders = (headers) => headers.set('x-envoy-local-overloaded', 'true')

/** Load, `expect`, host and path; false = the request was answered. */
export function accepts(stream: ActiveStream, headers: HeaderMap): boolean {
  const { shared, connection } = stream.manager
  const { config, stats } = shared
  if (shared.overload?.stopAcceptingRequests) {
    stats.rqOverloadClose.inc()
    const tell = config.appendLocalOverload ? tellOverload : null
    stream.sendLocalReply(503, 'envoy overloaded', tell, null, 'overload')
    return false
  }
  if (!config.proxy100Continue && headers.get('expect')?.toLowerCase() === '100-continue') {
    const proceed = new HeaderMap()
    proceed.status = 100
    stats.countStatus(100)
    stream.info.responseCode = 100
    stream.encoder.encode1xxHeaders(proceed)
    headers.remove('expect')
  }
  // An HTTP/1.0 request may live without Host; an absolute or empty one given on the wire still counts as given.
  if (headers.authority === '' && !headers.hostSeen) {
    stream.sendLocalReply(400, '', null, null, 'missing_host_header')
    return false
  }
  // What is asked is the body, of which something must be known (RFC 9110bis QUERY; Envoy).
  if (headers.method === 'QUERY' && !headers.get('content-type')) {
    stream.sendLocalReply(400, '', null, null, 'query_missing_content_type')
    return false
  }
  if ((headers.method !== 'CONNECT' || headers.protocol !== '') && !acceptsPath(stream, headers)) return false
  normalizeHost(headers, config, connection.info.localAddress.port)
  return true
}

function acceptsPath(stream: ActiveStream, headers: HeaderMap): boolean {
  const { shared } = stream.manager
  const { stats } = shared
  if (headers.path === '') {
    stream.sendLocalReply(404, '', null, null, 'missing_path_rejected')
    return false
  }
  if (headers.path.charCodeAt(0) !== 47) {
    stats.rqNonRelativePath.inc()
    stream.sendLocalReply(404, '', null, null, 'absolute_path_rejected')
    return false
  }
  const action = normalizePath(headers.path, shared.pathOptions)
  headers.path = normalized.path
  // No gRPC client follows a redirect.
  if (action === PathAction.Reject || (action !== PathAction.Continue && stream.isGrpc)) {
    stats.rqFailedPathNormalization.inc()
    const grpcStatus = action === PathAction.Reject ? null : GRPC_INTERNAL
    stream.sendLocalReply(400, '', null, grpcStatus, 'path_normalization_failed')
    return false
  }
  if (action === PathAction.Continue) return true
  stats.rqRedirectedNormalizedPath.inc()
  stream.sendLocalReply(307, '', (h) => h.set('location', headers.path), null, 'path_normalization_failed')
  return false
}

/** Sanitises `headers` and finds out who the client is; false = the request was answered. */
export function settlesOrigin(stream: ActiveStream, headers: HeaderMap, internalOnly = NONE): boolean {
  const { info, manager } = stream
  const { config, earlyHeaderMutations, node, stats } = manager.shared
  const connection = manager.connection.info
  for (let i = 0; i < earlyHeaderMutations.length; i++) earlyHeaderMutations[i]!.apply(headers, info, headers, null)
  mutateRequestHeaders(headers, connection, config, node, internalOnly)
  if (origin.rejectStatus !== 0) {
    stats.rqRejectedViaIpDetection.inc()
    stream.sendLocalReply(origin.rejectStatus, '', null, null, 'rejecting_because_detection_failed')
    return false
  }
  if (origin.remoteAddress !== info.downstream.remoteAddress)
    info.downstream = new StreamDownstreamInfo(connection, origin.remoteAddress)
  return true
}

/** The filters for an upgrade to `type` (null = none); null = it was refused. */
export function chainFor(stream: ActiveStream, headers: HeaderMap, type: string | null): readonly ChainEntry[] | null {
  const { shared } = stream.manager
  const route = stream.route()
  const allowed = shared.filtersFor(type, route)
  if (allowed !== null) {
    if (type !== null) enterTunnel(stream)
    return allowed
  }
  stream.wantsClose = true
  // What has no route is no upgrade that a route refuses: the router says that there is none, and counts it.
  if (headers.method === 'CONNECT' && !route) return shared.chain
  shared.stats.rqWsOnNonWsRoute.inc()
  stream.drains = stream.info.protocol === Protocol.Http2
  stream.sendLocalReply(403, '', null, null, 'upgrade_failed')
  return null
}
