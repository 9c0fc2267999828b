// Which DestinationRule applies: merged per host, looked up in the client's, the service's and the root namespace.
import type { DestinationRule } from '../../config/index.ts'
import { compareHosts, hostSubsetOf, labelsMatch, resolveHost } from './host.ts'
import type { Service } from './service.ts'
import type { MergedDestinationRule } from './sidecar-scope.ts'

/** The rules of one namespace: exact hosts in a map, wildcards most specific first. */
interface HostTable {
  readonly exact: Map<string, Merging[]>
  readonly wildcard: { readonly host: string; readonly rules: Merging[] }[]
}

/** A rule while others of the same host still join it. */
interface Merging {
  rule: DestinationRule
  sources: DestinationRule[]
}

/** All DestinationRules of a mesh, immutable once built. */
export class DestinationRuleIndex {
  private readonly rootNamespace: string
  private readonly local = new Map<string, HostTable>()
  private readonly exported = new Map<string, HostTable>()
  /** Some rule selects workloads: what applies then depends on the client's labels. */
  readonly selecting: boolean
  /** Hosts with a subset that several rules define: the first one's stays. */
  readonly duplicateSubsetHosts = new Set<string>()
  private readonly rootLocal: HostTable = { exact: new Map(), wildcard: [] }

  /** `rules` oldest first. */
  constructor(
    rules: readonly DestinationRule[],
    rootNamespace: string,
    defaultExportTo: readonly string[],
    domain: string,
  ) {
    this.rootNamespace = rootNamespace
    this.selecting = rules.some((rule) => rule.spec.workloadSelector !== undefined)
    for (const rule of rules) {
      const { namespace } = rule.metadata
      const host = resolveHost(rule.spec.host, namespace, domain)
      const exportTo = rule.spec.exportTo?.length ? rule.spec.exportTo : defaultExportTo
      const isPrivate = exportTo.every((e) => e === '.' || e === namespace)
      const add = (table: HostTable): void => {
        if (addRule(table, host, rule, exportTo)) this.duplicateSubsetHosts.add(host)
      }
      if (namespace === rootNamespace && isPrivate) add(this.rootLocal)
      else if (
        !exportTo.includes('~') &&
        (exportTo.includes('*') || exportTo.some((e) => e === '.' || e === namespace))
      ) {
        add(tableOf(this.local, namespace))
      }
      if (!isPrivate && !exportTo.includes('~')) add(tableOf(this.exported, namespace))
    }
    for (const table of [this.rootLocal, ...this.local.values(), ...this.exported.values()]) {
      table.wildcard.sort((a, b) => compareHosts(a.host, b.host))
    }
  }

  /** Rules for `service` as clients in `namespace` see them: workload-selecting ones and at most one for everybody. */
  lookup(service: Service, namespace: string): readonly MergedDestinationRule[] {
    const own = namespace === this.rootNamespace ? this.rootLocal : this.local.get(namespace)
    return (
      mostSpecific(own, service.hostname) ??
      this.exportedFrom(service.attributes.namespace, service.hostname, namespace) ??
      this.exportedFrom(this.rootNamespace, service.hostname, namespace) ??
      []
    )
  }

  private exportedFrom(from: string, hostname: string, client: string): MergedDestinationRule[] | undefined {
    const found = mostSpecific(this.exported.get(from), hostname)
    const visible = found?.filter((m) => isExported(m.rule, client))
    return visible && visible.length > 0 ? visible : undefined
  }
}

/** The rule among `rules` for a client with `labels`: one that selects it before the one for everybody. */
export function selectRule(
  rules: readonly MergedDestinationRule[],
  labels: Readonly<Record<string, string>>,
): MergedDestinationRule | null {
  let general: MergedDestinationRule | null = null
  for (const merged of rules) {
    const selector = merged.rule.spec.workloadSelector?.matchLabels
    if (!selector) general ??= merged
    else if (labelsMatch(selector, labels)) return merged
  }
  return general
}

function isExported(rule: DestinationRule, client: string): boolean {
  const { exportTo } = rule.spec
  if (!exportTo?.length) return true
  return exportTo.some((e) => e === '*' || e === client || (e === '.' && client === rule.metadata.namespace))
}

function tableOf(tables: Map<string, HostTable>, namespace: string): HostTable {
  let table = tables.get(namespace)
  if (!table) tables.set(namespace, (table = { exact: new Map(), wildcard: [] }))
  return table
}

/** True when a subset of the rule is there already. */
function addRule(table: HostTable, host: string, rule: DestinationRule, exportTo: readonly string[]): boolean {
  let rules: Merging[] | undefined
  if (host.startsWith('*')) {
    rules = table.wildcard.find((w) => w.host === host)?.rules
    if (!rules) table.wildcard.push({ host, rules: (rules = []) })
  } else {
    rules = table.exact.get(host)
    if (!rules) table.exact.set(host, (rules = []))
  }
  const twin = rules.find((m) => sameScope(m.rule, rule, exportTo))
  if (twin) return merge(twin, rule)
  rules.push({ rule, sources: [rule] })
  return false
}

/** Rules of one host merge only when they are for the same workloads and the same namespaces. */
function sameScope(a: DestinationRule, b: DestinationRule, exportTo: readonly string[]): boolean {
  const aLabels = a.spec.workloadSelector?.matchLabels ?? {}
  const bLabels = b.spec.workloadSelector?.matchLabels ?? {}
  const aKeys = Object.keys(aLabels)
  if (aKeys.length !== Object.keys(bLabels).length || aKeys.some((k) => aLabels[k] !== bLabels[k])) return false
  const aExport = a.spec.exportTo?.length ? a.spec.exportTo : exportTo
  return aExport.length === exportTo.length && aExport.every((e) => exportTo.includes(e))
}

/** Subsets add up (the first of a name stays); the first traffic policy stays. True when one was there already. */
function merge(into: Merging, rule: DestinationRule): boolean {
  const names = new Set(into.rule.spec.subsets?.map((s) => s.name))
  const added = rule.spec.subsets?.filter((s) => !names.has(s.name)) ?? []
  into.rule = {
    ...into.rule,
    spec: {
      ...into.rule.spec,
      trafficPolicy: into.rule.spec.trafficPolicy ?? rule.spec.trafficPolicy,
      subsets: [...(into.rule.spec.subsets ?? []), ...added],
    },
  }
  into.sources.push(rule)
  return added.length < (rule.spec.subsets?.length ?? 0)
}

function mostSpecific(table: HostTable | undefined, hostname: string): Merging[] | undefined {
  if (!table) return undefined
  const exact = table.exact.get(hostname)
  if (exact) return exact
  return table.wildcard.find((w) => hostSubsetOf(hostname, w.host))?.rules
}
