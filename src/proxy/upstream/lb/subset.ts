// Subset load balancing: hosts grouped by their `envoy.lb` metadata, one balancer for each group (envoy-contract §13.4).

import type { LoadBalancerContext } from '../cluster-manager.ts'
import type { SubsetData, SubsetSelectorData } from '../config.ts'
import type { Host } from '../host.ts'
import { PrioritySet } from '../priority-set.ts'
import { createBalancer } from './create.ts'
import { hasLabels, valueKey } from './labels.ts'
import type { BalancerEnvironment, LoadBalancer } from './load-balancer.ts'

type Criteria = Readonly<Record<string, unknown>>

/** Name of the criterion that holds further criteria (metadata_fallback_policy). */
const FALLBACK_LIST = 'fallback_list'

/** `keys` are sorted. */
function subsetKey(keys: readonly string[], values: Criteria): string {
  return keys.map((key) => `${JSON.stringify(key)}:${valueKey(values[key])}`).join()
}

class Subset {
  readonly hosts = new PrioritySet()
  readonly balancer: LoadBalancer
  constructor(environment: BalancerEnvironment) {
    this.balancer = createBalancer(this.hosts, environment)
  }
}

/** A subset whose selector has one host in each: it is the host, however it is. */
class SingleHost implements LoadBalancer {
  readonly host: Host
  constructor(host: Host) {
    this.host = host
  }
  choose(): Host {
    return this.host
  }
}

/** What a rebuild finds: hosts of one combination of values. */
interface Wanted {
  readonly selector: SubsetSelectorData
  readonly values: Criteria
  /** The first that has them. */
  readonly host: Host
}

export class SubsetLoadBalancer implements LoadBalancer {
  private readonly all: PrioritySet
  private readonly data: SubsetData
  private readonly environment: BalancerEnvironment
  private readonly whole: Subset
  private readonly defaultSubset: Subset
  private readonly selectors = new Map<string, SubsetSelectorData>()
  private readonly subsets = new Map<string, Subset>()
  private readonly singles = new Map<string, SingleHost>()

  constructor(all: PrioritySet, data: SubsetData, environment: BalancerEnvironment) {
    this.all = all
    this.data = data
    this.environment = environment
    this.whole = new Subset(environment)
    this.defaultSubset = new Subset(environment)
    // Of two selectors for the same keys the first counts.
    for (const selector of data.selectors.toReversed()) this.selectors.set(selector.keys.join('\0'), selector)
    all.onUpdate(() => this.rebuild())
    this.rebuild()
  }

  /** Keeps the balancers of subsets that stay, so that their rotation goes on. */
  private rebuild(): void {
    const { stats } = this.environment
    const before = new Set([...this.subsets.keys(), ...this.singles.keys()])
    const wanted = this.findSubsets()
    this.singles.clear()
    for (const [key, { selector, values, host }] of wanted) {
      if (!before.delete(key)) stats.lbSubsetsCreated.inc()
      if (selector.singleHostPerSubset) {
        this.singles.set(key, new SingleHost(host))
        continue
      }
      let subset = this.subsets.get(key)
      if (!subset) {
        subset = new Subset(this.environment)
        this.subsets.set(key, subset)
      }
      this.fill(subset, (other) => this.matches(other, values))
    }
    for (const key of before) {
      this.subsets.delete(key)
      stats.lbSubsetsRemoved.inc()
    }
    stats.lbSubsetsActive.set(wanted.size)
    this.fill(this.whole, () => true)
    this.fill(this.defaultSubset, (host) => this.matches(host, this.data.defaultSubset))
  }

  private findSubsets(): Map<string, Wanted> {
    const wanted = new Map<string, Wanted>()
    // The last priority's: each tells its own number, one after the other (Envoy).
    let duplicates = 0
    for (const set of this.all.sets) {
      duplicates = 0
      for (const host of set.hosts) {
        for (const selector of this.data.selectors) {
          for (const values of this.valuesOf(host, selector.keys)) {
            const key = subsetKey(selector.keys, values)
            const known = wanted.get(key)
            if (known === undefined) wanted.set(key, { selector, values, host })
            else if (known.selector.singleHostPerSubset && known.host.priority === host.priority) duplicates++
          }
        }
      }
    }
    this.environment.stats.scope.gauge('lb_subsets_single_host_per_subset_duplicate').set(duplicates)
    return wanted
  }

  private fill(subset: Subset, keep: (host: Host) => boolean): void {
    const { localityWeightAware, scaleLocalityWeight } = this.data
    subset.hosts.update(this.all.filtered(keep, scaleLocalityWeight), this.all.policy, localityWeightAware)
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

  private matches(host: Host, values: Criteria): boolean {
    return hasLabels(host.metadata['envoy.lb'] ?? {}, values, this.data.listAsAny)
  }

  choose(context: LoadBalancerContext): Host | null {
    const criteria = context.metadataMatch
    if (this.data.metadataFallback !== 'FALLBACK_LIST' || criteria === null || !(FALLBACK_LIST in criteria))
      return this.chooseBy(criteria, context)
    const { [FALLBACK_LIST]: list, ...own } = criteria
    const alternatives = Array.isArray(list) ? (list as Criteria[]) : []
    if (alternatives.length === 0) return this.chooseBy(own, context)
    for (const alternative of alternatives) {
      const host = this.chooseBy({ ...own, ...alternative }, context)
      if (host !== null) return host
    }
    return null
  }

  private chooseBy(criteria: Criteria | null, context: LoadBalancerContext): Host | null {
    if (criteria !== null) {
      const keys = this.usedKeys(criteria)
      const key = subsetKey(keys, criteria)
      const subset = this.singles.get(key) ?? this.subsets.get(key)?.balancer
      if (subset !== undefined) {
        // It has hosts: whether any of them can serve is not asked before the choice is made.
        this.environment.stats.lbSubsetsSelected.inc()
        return subset.choose(context)
      }
      const selector = this.selectors.get(keys.join('\0'))
      if (selector !== undefined && selector.fallbackPolicy !== 'NOT_DEFINED')
        return this.bySelector(selector, criteria, context)
    }
    return this.fallback(context)
  }

  /** Sorted: all of them, or those of the first selector that asks for no others where more are allowed. */
  private usedKeys(criteria: Criteria): readonly string[] {
    const enough = this.data.allowRedundantKeys
      ? this.data.selectors.find(({ keys }) => keys.every((key) => criteria[key] !== undefined))
      : undefined
    return enough?.keys ?? Object.keys(criteria).sort()
  }

  /** The selector's own policy is final, and not counted. */
  private bySelector(selector: SubsetSelectorData, criteria: Criteria, context: LoadBalancerContext): Host | null {
    switch (selector.fallbackPolicy) {
      case 'ANY_ENDPOINT':
        return this.whole.balancer.choose(context)
      case 'DEFAULT_SUBSET':
        return this.defaultSubset.balancer.choose(context)
      case 'KEYS_SUBSET': {
        const fewer = Object.fromEntries(selector.fallbackKeys.map((key) => [key, criteria[key]]))
        return this.chooseBy(fewer, context)
      }
      default:
        return null
    }
  }

  private fallback(context: LoadBalancerContext): Host | null {
    const { stats } = this.environment
    const { fallbackPolicy, panicModeAny } = this.data
    if (fallbackPolicy === 'NO_FALLBACK') return null
    const subset = fallbackPolicy === 'ANY_ENDPOINT' ? this.whole : this.defaultSubset
    const host = subset.balancer.choose(context)
    if (host !== null) {
      stats.lbSubsetsFallback.inc()
      return host
    }
    if (!panicModeAny) return null
    const any = this.whole.balancer.choose(context)
    if (any !== null) stats.lbSubsetsFallbackPanic.inc()
    return any
  }
}
