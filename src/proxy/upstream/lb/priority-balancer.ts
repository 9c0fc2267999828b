// Balancers that choose within lists: priority, then locality, then the policy's choice among the hosts there.

import type { LoadBalancerContext } from '../cluster-manager.ts'
import type { Host } from '../host.ts'
import type { HostSet, PrioritySet } from '../priority-set.ts'
import { choosePriority } from './choose-priority.ts'
import { HostChoice } from './host-choice.ts'
import { type BalancerEnvironment, CurrentLoads, chooseAcceptable, type LoadBalancer } from './load-balancer.ts'
import type { ListPolicy } from './picker.ts'

/** Hosts by priority; state is thrown away when the hosts change. */
export class PriorityBalancer implements LoadBalancer {
  private readonly hosts: PrioritySet
  private readonly policy: ListPolicy
  private readonly environment: BalancerEnvironment
  private readonly loads: CurrentLoads
  private readonly choices = new Map<HostSet, (HostChoice | null)[]>()

  constructor(hosts: PrioritySet, policy: ListPolicy, environment: BalancerEnvironment) {
    this.hosts = hosts
    this.policy = policy
    this.environment = environment
    this.loads = new CurrentLoads(hosts, environment)
    hosts.onUpdate(() => this.choices.clear())
  }

  choose(context: LoadBalancerContext): Host | null {
    return chooseAcceptable(context, this.look)
  }

  private readonly look = (context: LoadBalancerContext): Host | null => {
    const { sets } = this.hosts
    if (sets.length === 0) return null
    const current = this.loads.get()
    const loads = context.retryPriority?.determine(sets, current) ?? current
    const chosen = sets.length === 1 && loads.healthy[0] === 100 ? 0 : choosePriority(loads, Math.random() * 100)
    const index = chosen < 0 ? -1 - chosen : chosen
    const set = sets[index]!
    if (current.panic[index]) {
      this.environment.stats.lbHealthyPanic.inc()
      const { localityLb } = this.environment.data
      if (localityLb.kind === 'zone_aware' && localityLb.failTrafficOnPanic) return null
      return this.choice(set, 0, 'hosts').pick()
    }
    return chosen < 0 ? this.choice(set, 2, 'degraded').pick() : this.choice(set, 1, 'healthy').pick()
  }

  private choice(set: HostSet, slot: 0 | 1 | 2, kind: 'hosts' | 'healthy' | 'degraded'): HostChoice {
    let slots = this.choices.get(set)
    if (slots === undefined) {
      slots = [null, null, null]
      this.choices.set(set, slots)
    }
    let choice = slots[slot]
    if (!choice) {
      choice = new HostChoice(set, kind, this.policy, this.environment)
      slots[slot] = choice
    }
    return choice
  }
}
