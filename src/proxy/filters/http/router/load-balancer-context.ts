import type { LoadBalancerContext } from '../../../upstream/cluster-manager.ts'

/** A context that asks for nothing in particular. */
export function loadBalancerContext(): LoadBalancerContext {
  return {
    hash: null,
    hashSource: null,
    metadataMatch: null,
    downstream: null,
    downstreamState: null,
    dynamicMetadata: null,
    headers: null,
    shouldSelectAnotherHost: null,
    hostSelectionRetryCount: 0,
    attempt: 0,
    overrideHost: null,
    alpnOverride: null,
    sniOverride: null,
  }
}
