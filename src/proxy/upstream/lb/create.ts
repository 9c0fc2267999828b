import type { PrioritySet } from '../priority-set.ts'
import { HashBalancer } from './hash-balancer.ts'
import type { BalancerEnvironment, LoadBalancer } from './load-balancer.ts'
import { PriorityBalancer } from './priority-balancer.ts'

/** The balancer of a cluster, or of one subset of it. */
export function createBalancer(hosts: PrioritySet, environment: BalancerEnvironment): LoadBalancer {
  const { lbPolicy } = environment.data
  return lbPolicy.kind === 'ring_hash' || lbPolicy.kind === 'maglev'
    ? new HashBalancer(hosts, lbPolicy, environment)
    : new PriorityBalancer(hosts, lbPolicy, environment)
}
