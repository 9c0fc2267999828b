// Where an attempt goes: what the load balancer is told of the request, and which hosts a retry passes over.

import type { HeaderMap } from '../../../http/header-map.ts'
import type { CookieSink, HashPolicy } from '../../../route/hash-policy.ts'
import type { RetryPolicy } from '../../../route/retry-policy.ts'
import type { ForwardAction } from '../../../route/route.ts'
import type { StreamInfo } from '../../../stream-info.ts'
import type {
  HashSource,
  HttpConnPool,
  LoadBalancerContext,
  ThreadLocalCluster,
} from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import { hasLabels } from '../../../upstream/lb/labels.ts'
import { PreviousPriorities } from '../../../upstream/lb/previous-priorities.ts'
import { requestedMetadata } from '../../../upstream/lb/requested-metadata.ts'
import { OVERRIDE_HOST_KEY, type OverrideHost } from '../../../upstream/override-host.ts'
import { loadBalancerContext } from './load-balancer-context.ts'
import { isTunnel, TcpTunnelPool, tunnelHeader } from './tcp-tunnel.ts'

/** Filter state under which other filters leave wishes for the upstream connection. */
export const UPSTREAM_ALPN_KEY = 'envoy.network.application_protocols'
const UPSTREAM_SNI_KEY = 'envoy.network.upstream_server_name'

/** What the route's hash policy makes of one request. */
class PolicyHash implements HashSource {
  private readonly policy: HashPolicy
  private readonly headers: HeaderMap
  private readonly info: StreamInfo
  private readonly cookies: CookieSink

  constructor(policy: HashPolicy, headers: HeaderMap, info: StreamInfo, cookies: CookieSink) {
    this.policy = policy
    this.headers = headers
    this.info = info
    this.cookies = cookies
  }

  hash(): bigint | null {
    return this.policy.hash(this.headers, this.info, this.cookies)
  }
}

/** For all attempts of one request. `cookies` gets those that a hash policy makes. */
export function requestContext(
  forward: ForwardAction,
  headers: HeaderMap,
  info: StreamInfo,
  cookies: CookieSink,
): LoadBalancerContext {
  const lb = loadBalancerContext()
  lb.downstream = info.downstream
  lb.downstreamState = info.filterState
  lb.dynamicMetadata = info.dynamicMetadata
  lb.headers = headers
  lb.metadataMatch = requestedMetadata(forward.metadataMatch, info.dynamicMetadata)
  if (forward.hashPolicy) lb.hashSource = new PolicyHash(forward.hashPolicy, headers, info, cookies)
  lb.alpnOverride = (info.filterState.get(UPSTREAM_ALPN_KEY) as readonly string[] | undefined) ?? null
  lb.sniOverride = (info.filterState.get(UPSTREAM_SNI_KEY) as string | undefined) ?? null
  lb.overrideHost = (info.filterState.get(OVERRIDE_HOST_KEY) as OverrideHost | undefined) ?? null
  return lb
}

/** The pool of the next attempt's host, after `attempts` of them; null = there is no host. */
export function choosePool(
  cluster: ThreadLocalCluster,
  forward: ForwardAction,
  headers: HeaderMap,
  protocol: StreamInfo['protocol'],
  lb: LoadBalancerContext,
  attempts: number,
): HttpConnPool | null {
  // A retry may go anywhere.
  if (attempts > 0) lb.overrideHost = null
  if (forward.connectTerminates && isTunnel(headers, forward.connectTerminates.allowPost)) {
    const tcpPool = cluster.tcpPool(forward.priority, lb)
    return tcpPool && new TcpTunnelPool(tcpPool, tunnelHeader(forward.connectTerminates.proxyProtocol, lb.downstream))
  }
  return cluster.httpPool(forward.priority, protocol, lb)
}

/** After the first attempt: hosts tried before are passed over where the policy says so. */
export function avoidTriedHosts(lb: LoadBalancerContext, policy: RetryPolicy, tried: readonly HostDescription[]): void {
  const frequency = policy.previousPrioritiesFrequency
  if (frequency > 0) {
    if (!lb.retryPriority) {
      lb.retryPriority = new PreviousPriorities(frequency)
      for (const host of tried) lb.retryPriority.onHostAttempted(host)
    } else lb.retryPriority.onHostAttempted(tried[tried.length - 1]!)
  }
  if (policy.hostPredicates.length === 0) return
  lb.hostSelectionRetryCount = policy.hostSelectionMaxAttempts
  lb.shouldSelectAnotherHost = (host) =>
    policy.hostPredicates.some((predicate) => {
      if (predicate.kind === 'previous_hosts') return tried.some((other) => other.address.text === host.address.text)
      if (predicate.kind === 'omit_canary_hosts') return host.canary
      return hasLabels(host.metadata['envoy.lb'] ?? {}, predicate.metadata, true)
    })
}
