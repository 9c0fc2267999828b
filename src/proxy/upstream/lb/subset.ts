// Subset load balancing: hosts grouped by their `envoy.lb` metadata, one balancer for each group (envoy-contract §13.4).

import type { LoadBalancerContext } from '../cluster-manager.ts'
import type { SubsetData, SubsetSelectorData } from '../config.ts'
import type { Host } from '../host.ts'
import { PrioritySet } from '../priority-set.ts'
import { type BalancerEnvironment, type LoadBalancer, PriorityLoadBalancer } from './load-balancer.ts'

type Criteria = Readonly<Record<string, unknown>>

/** Order of keys does not matter: they are sorted before. */
function subsetKey(keys: readonly string[], values: Criteria): string {
  return JSON.stringify(keys.map((key) => [key, values[key]]))
}

class Subset {
  readonly hosts = new PrioritySet()
  readonly balancer: PriorityLoadBalancer
  constructor(environment: BalancerEnvironment) {
    this.balancer = new PriorityLoadBalancer(this.hosts, environment)
  }
}

export class SubsetLoadBalancer implements LoadBalancer {
  private readonly all: PrioritySet
  private readonly data: SubsetData
  private readonly environment: BalancerEnvironment
  private readonly whole: PriorityLoadBalancer
  private readonly defaultSubset: Subset
  private readonly selectors = new Map<string, SubsetSelectorData>()
  private readonly subsets = new Map<string, Subset>()

  constructor(all: PrioritySet, data: SubsetData, environment: BalancerEnvironment) {
    this.all = all
    this.data = data
    this.environment = environment
    this.whole = new PriorityLoadBalancer(all, environment)
    this.defaultSubset = new Subset(environment)
    for (const selector of data.selectors) this.selectors.set(JSON.stringify(selector.keys), selector)
    all.onUpdate(() => this.rebuild())
    this.rebuild()
  }

  /** Keeps the balancers of subsets that stay, so that their rotation goes on. */
  private rebuild(): void {
    const { stats } = this.environment
    let duplicates = 0
    const wanted = new Map<string, (host: Host) => boolean>()
    for (const host of this.all.hosts()) {
      for (const selector of this.data.selectors) {
        for (const values of this.valuesOf(host, selector.keys)) {
          const key = subsetKey(selector.keys, values)
          if (!wanted.has(key)) wanted.set(key, (other) => this.matches(other, selector.keys, values))
          else if (selector.singleHostPerSubset) duplicates++
        }
      }
    }
    stats.scope.gauge('lb_subsets_single_host_per_subset_duplicate').set(duplicates)
    for (const key of this.subsets.keys()) {
      if (wanted.has(key)) continue
      this.subsets.delete(key)
      stats.lbSubsetsRemoved.inc()
    }
    for (const [key, keep] of wanted) {
      let subset = this.subsets.get(key)
      if (!subset) {
        subset = new Subset(this.environment)
        this.subsets.set(key, subset)
        stats.lbSubsetsCreated.inc()
      }
      this.fill(subset, keep)
    }
    stats.lbSubsetsActive.set(this.subsets.size)
    const defaults = Object.keys(this.data.defaultSubset)
    this.fill(this.defaultSubset, (host) => this.matches(host, defaults, this.data.defaultSubset))
  }

  private fill(subset: Subset, keep: (host: Host) => boolean): void {
    const { groups } = this.all.filtered(keep, this.data.localityWeightAware && this.data.scaleLocalityWeight)
    subset.hosts.update(groups, this.all.policy)
  }

  /** Combinations of values that a host has for the keys; a list stands for each of its items under list_as_any. */
  private valuesOf(host: Host, keys: readonly string[]): Criteria[] {
    let combinations: Record<string, unknown>[] = [{}]
    const metadata = host.metadata['envoy.lb'] ?? {}
    for (const key of keys) {
      const value = metadata[key]
      if (value === undefined) return []
      const values: unknown[] = this.data.listAsAny && Array.isArray(value) ? value : [value]
      combinations = combinations.flatMap((known) => values.map((one) => ({ ...known, [key]: one })))
    }
    return combinations
  }

  private matches(host: Host, keys: readonly string[], values: Criteria): boolean {
    const metadata = host.metadata['envoy.lb'] ?? {}
    return keys.every((key) => {
      const wanted = JSON.stringify(values[key])
      const value = metadata[key]
      if (this.data.listAsAny && Array.isArray(value)) return value.some((one) => JSON.stringify(one) === wanted)
      return JSON.stringify(value) === wanted
    })
  }

  choose(context: LoadBalancerContext): Host | null {
    const criteria = context.metadataMatch
    if (this.data.metadataFallback === 'FALLBACK_LIST' && criteria && Array.isArray(criteria.fallback_list)) {
      for (const fallback of criteria.fallback_list as Criteria[]) {
        const host = this.chooseBy({ ...criteria, fallback_list: undefined, ...fallback }, context, false)
        if (host !== null) return host
      }
      return this.fallback(this.data.fallbackPolicy, context)
    }
    return this.chooseBy(criteria ?? {}, context, true)
  }

  private chooseBy(criteria: Criteria, context: LoadBalancerContext, mayFallBack: boolean): Host | null {
    const keys = Object.keys(criteria)
      .filter((key) => criteria[key] !== undefined)
      .sort()
    const selector = this.selectors.get(JSON.stringify(keys))
    if (selector) {
      const host = this.subsets.get(subsetKey(keys, criteria))?.balancer.choose(context) ?? null
      if (host !== null) {
        this.environment.stats.lbSubsetsSelected.inc()
        return host
      }
    }
    if (!mayFallBack) return null
    switch (selector?.fallbackPolicy) {
      case 'NO_FALLBACK':
        return null
      case 'ANY_ENDPOINT':
      case 'DEFAULT_SUBSET':
        return this.fallback(selector.fallbackPolicy, context)
      case 'KEYS_SUBSET': {
        const fewer = Object.fromEntries(selector.fallbackKeys.map((key) => [key, criteria[key]]))
        return this.chooseBy(fewer, context, true)
      }
      default:
        return this.fallback(this.data.fallbackPolicy, context)
    }
  }

  private fallback(policy: SubsetData['fallbackPolicy'], context: LoadBalancerContext): Host | null {
    const { stats } = this.environment
    let host: Host | null = null
    if (policy === 'ANY_ENDPOINT') host = this.whole.choose(context)
    if (policy === 'DEFAULT_SUBSET') host = this.defaultSubset.balancer.choose(context)
    if (host !== null) stats.lbSubsetsFallback.inc()
    else if (this.data.panicModeAny && policy !== 'NO_FALLBACK') {
      host = this.whole.choose(context)
      if (host !== null) stats.lbSubsetsFallbackPanic.inc()
    }
    return host
  }
}
