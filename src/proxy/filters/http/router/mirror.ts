// request_mirror_policies: a copy of the request, sent and forgotten (envoy-contract §7.8).

import type { Protocol } from '../../../http/codec.ts'
import { portColon } from '../../../http/connection-manager/host.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Mirror } from '../../../route/route.ts'
import type { ClusterManager } from '../../../upstream/cluster-manager.ts'
import { loadBalancerContext } from './load-balancer-context.ts'
import { UpstreamRequest, type UpstreamRequestOwner } from './upstream-request.ts'

/** Whatever the answer is, nobody waits for it; the route timeout still bounds it. */
const nobody: UpstreamRequestOwner = {
  onUpstream1xx: () => {},
  onUpstreamHeaders: () => {},
  onUpstreamData: () => {},
  onUpstreamTrailers: () => {},
  onUpstreamReset: () => {},
  onUpstreamReady: () => {},
  onPerTryTimeout: (request) => request.abandon(),
  onPerTryIdleTimeout: (request) => request.abandon(),
  onMaxStreamDuration: (request) => request.abandon(),
  pauseDownstream: () => {},
}

/** Starts the copy; null when the mirror's cluster or host is missing. `headers` are those sent upstream. */
export function startMirror(
  mirror: Mirror,
  headers: HeaderMap,
  endStream: boolean,
  clusters: ClusterManager,
  downstream: Protocol | '',
  timeoutMs: number,
): UpstreamRequest | null {
  const name = mirror.cluster || headers.get(mirror.clusterHeader) || ''
  const cluster = clusters.get(name)
  const pool = cluster?.httpPool('DEFAULT', downstream, loadBalancerContext())
  if (!pool) return null
  const copy = headers.clone()
  if (!mirror.disableHostSuffix) copy.authority = withShadow(copy.authority)
  const request = new UpstreamRequest(nobody, pool, copy, endStream, {
    perTry: 0,
    perTryIdle: 0,
    maxStreamDuration: timeoutMs,
  })
  request.start()
  return request
}

/** `host:port` → `host-shadow:port`. */
function withShadow(authority: string): string {
  const colon = portColon(authority)
  return colon < 0 ? `${authority}-shadow` : `${authority.slice(0, colon)}-shadow${authority.slice(colon)}`
}
