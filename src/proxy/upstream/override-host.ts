// A host that a request asks for before any balancer is asked: what stateful sessions leave for the router and its cluster.

/** Filter state under which the wish is left. */
export const OVERRIDE_HOST_KEY = 'envoy.upstream.override_host'

export interface OverrideHost {
  /** `ip:port` */
  readonly address: string
  /** No other host will do. */
  readonly strict: boolean
  /** Answer to a strict request whose host the cluster does not have; one that is not healthy is 503 in any case. */
  readonly statusWhenMissing: number
  /** The cluster does not have it; said by the cluster. */
  missing: boolean
}
