// What needs no upstream: direct responses and redirects of the route, and requests without a cluster that wants them.

import type { StreamDecoderFilterCallbacks } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Route } from '../../../route/route.ts'
import type { ThreadLocalCluster } from '../../../upstream/cluster-manager.ts'
import type { RouterShared } from './shared.ts'
import { failedStrictHeader } from './strict-headers.ts'

/** For a route with a direct response or a redirect. */
export function answerDirectly(
  shared: RouterShared,
  callbacks: StreamDecoderFilterCallbacks,
  route: Route,
  headers: HeaderMap,
): void {
  const direct = route.direct!
  const info = callbacks.streamInfo
  // Redirects too: Envoy leaves rq_redirect at zero.
  shared.rqDirectResponse.inc()
  const body = direct.text(headers, info)
  const location = direct.location(headers, info, !shared.config.suppressEnvoyHeaders)
  callbacks.sendLocalReply(
    direct.status,
    body,
    (response) => {
      if (direct.contentType !== '' && body !== '') response.set('content-type', direct.contentType)
      if (location !== '') response.set('location', location)
      route.finalizeResponseHeaders(response, info, headers)
    },
    null,
    'direct_response',
  )
}

/** The cluster that the request of a forwarding route goes to; null = the request was answered instead. */
export function acceptedCluster(
  shared: RouterShared,
  callbacks: StreamDecoderFilterCallbacks,
  route: Route,
  headers: HeaderMap,
): ThreadLocalCluster | null {
  const info = callbacks.streamInfo
  const cluster = shared.context.clusters.get(route.clusterName(headers))
  if (!cluster) {
    shared.noCluster.inc()
    info.setFlag('NC')
    callbacks.sendLocalReply(route.forward!.clusterNotFoundStatus, '', null, null, 'cluster_not_found')
    return null
  }
  info.virtualClusterName = route.virtualClusterName(headers)
  const { strictCheckHeaders } = shared.config
  const bad = strictCheckHeaders.length > 0 ? failedStrictHeader(headers, strictCheckHeaders) : null
  if (bad) {
    info.setFlag('IH')
    callbacks.sendLocalReply(
      400,
      `invalid header '${bad}' with value '${headers.get(bad)}'`,
      null,
      null,
      `request_headers_failed_strict_check{${bad}}`,
    )
    return null
  }
  return refusedByOverload(shared, callbacks, cluster) ? null : cluster
}

/** Maintenance mode, or a share of the requests that is dropped: true when the request was answered so. */
function refusedByOverload(
  shared: RouterShared,
  callbacks: StreamDecoderFilterCallbacks,
  cluster: ThreadLocalCluster,
): boolean {
  const info = callbacks.streamInfo
  const maintenance = shared.context.runtime.fraction(cluster.maintenanceKey, 0)
  if (maintenance > 0 && info.random % 1_000_000 < maintenance) {
    cluster.stats.rqMaintenanceMode.inc()
    info.setFlag('UO')
    callbacks.sendLocalReply(
      503,
      'maintenance mode',
      (h) => h.set('x-envoy-overloaded', 'true'),
      null,
      'maintenance_mode',
    )
    return true
  }
  if (cluster.dropMillionths > 0 && info.random % 1_000_000 < cluster.dropMillionths) {
    const always = cluster.dropMillionths >= 1_000_000
    info.setFlag(always ? 'UDO' : 'DO')
    const header = always ? 'x-envoy-unconditional-drop-overload' : 'x-envoy-drop-overload'
    callbacks.sendLocalReply(
      503,
      'drop overload',
      (h) => h.set(header, 'true'),
      null,
      always ? 'unconditional_drop_overload' : 'drop_overload',
    )
    return true
  }
  return false
}
