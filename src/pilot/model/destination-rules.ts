// Which DestinationRule applies: merged per host, looked up in the client's, the service's and the root namespace.
import { isDeepStrictEqual } from 'node:util'
import type { DestinationRule, TrafficPolicy } from '../../config/index.ts'
import { PARENTS } from '../gateway-api/names.ts'
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
  /** As written; empty: the mesh's default. */
  readonly exportTo: ReadonlySet<string>
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
    const selecting = rules.filter((rule) => rule.spec.workloadSelector !== undefined)
    this.selecting = selecting.length > 0
    for (const rule of [...selecting, ...rules.filter((other) => other.spec.workloadSelector === undefined)]) {
      const { namespace } = rule.metadata
      const host = resolveHost(rule.spec.host, namespace, domain)
      // What selects workloads is for those of its own namespace.
      const exportTo = new Set(rule.spec.workloadSelector ? ['.'] : rule.spec.exportTo)
      const names = (...any: string[]) => any.some((entry) => exportTo.has(entry))
      const add = (table: HostTable): void => {
        if (addRule(table, host, rule, exportTo)) this.duplicateSubsetHosts.add(host)
      }
      if (exportTo.size === 0 || names('*', '.', namespace)) add(tableOf(this.local, namespace))
      const isPrivate =
        exportTo.size === 0 ? defaultExportTo.includes('.') : exportTo.size === 1 && names('.', namespace)
      if (!isPrivate) add(tableOf(this.exported, namespace))
      else if (namespace === rootNamespace) add(this.rootLocal)
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
    const visible = found?.filter(({ exportTo }) => exportTo.size === 0 || exportTo.has('*') || exportTo.has(client))
    return visible && visible.length > 0 ? visible : undefined
  }
}

/**
 * The rule among `rules` for a client with `labels` in `namespace`: one of its namespace that selects it, before the last
 * of those for everybody. Labels null: the server's own side, which no selector is about.
 */
export function selectRule(
  rules: readonly MergedDestinationRule[],
  labels: Readonly<Record<string, string>> | null,
  namespace: string,
): MergedDestinationRule | null {
  let general: MergedDestinationRule | null = null
  for (const merged of rules) {
    const { spec, metadata } = merged.rule
    if (!spec.workloadSelector) general = merged
    else if (labels && metadata.namespace === namespace && labelsMatch(spec.workloadSelector.matchLabels, labels)) {
      return merged
    }
  }
  return general
}

function tableOf(tables: Map<string, HostTable>, namespace: string): HostTable {
  let table = tables.get(namespace)
  if (!table) tables.set(namespace, (table = { exact: new Map(), wildcard: [] }))
  return table
}

/** True when a subset of the rule is there already. */
function addRule(table: HostTable, host: string, rule: DestinationRule, exportTo: ReadonlySet<string>): boolean {
  let rules: Merging[] | undefined
  if (host.startsWith('*')) {
    rules = table.wildcard.find((w) => w.host === host)?.rules
    if (!rules) table.wildcard.push({ host, rules: (rules = []) })
  } else {
    rules = table.exact.get(host)
    if (!rules) table.exact.set(host, (rules = []))
  }
  let separate = true
  let duplicate = false
  for (const known of rules) {
    const contained = [...known.exportTo].every((entry) => exportTo.has(entry))
    const equal = contained && known.exportTo.size === exportTo.size
    separate = !equal
    // Who sees the known rule sees this one, too: it joins, and stands for itself for the others.
    if (!equal && (known.exportTo.size === 0 || !contained)) continue
    const one = known.rule.spec.workloadSelector
    const other = rule.spec.workloadSelector
    if (one && other && !isDeepStrictEqual(one.matchLabels ?? {}, other.matchLabels ?? {})) {
      separate = true
      continue
    }
    if (Boolean(one) === Boolean(other)) separate = false
    duplicate = merge(known, rule) || duplicate
  }
  if (separate) rules.push({ rule, sources: [rule], exportTo })
  return duplicate
}

/**
 * Subsets add up (the first of a name stays); the first traffic policy stays, but one that stands for a policy of the
 * Gateway API fills what a user's leaves open. True when a subset was there already.
 */
function merge(into: Merging, rule: DestinationRule): boolean {
  const names = new Set(into.rule.spec.subsets?.map((s) => s.name))
  const added = rule.spec.subsets?.filter((s) => !names.has(s.name)) ?? []
  const known = into.rule.spec.trafficPolicy
  const more = rule.spec.trafficPolicy
  const isBackendPolicy = ({ metadata }: DestinationRule) => PARENTS in metadata.annotations
  const trafficPolicy =
    isBackendPolicy(into.rule) === isBackendPolicy(rule)
      ? (known ?? more)
      : isBackendPolicy(rule)
        ? filledUp(known, more)
        : filledUp(more, known)
  into.rule = {
    ...into.rule,
    spec: { ...into.rule.spec, trafficPolicy, subsets: [...(into.rule.spec.subsets ?? []), ...added] },
  }
  into.sources.push(rule)
  return added.length < (rule.spec.subsets?.length ?? 0)
}

function filledUp(user: TrafficPolicy | undefined, backend: TrafficPolicy | undefined): TrafficPolicy | undefined {
  if (!user || !backend) return user ?? backend
  const ports = [...(user.portLevelSettings ?? [])]
  for (const setting of backend.portLevelSettings ?? []) {
    const at = ports.findIndex(({ port }) => port?.number === setting.port?.number)
    if (at < 0) ports.push(setting)
    else ports[at] = { ...setting, ...defined(ports[at]!) }
  }
  return { ...backend, ...defined(user), portLevelSettings: ports }
}

function defined<T extends object>(value: T): Partial<T> {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Partial<T>
}

function mostSpecific(table: HostTable | undefined, hostname: string): Merging[] | undefined {
  if (!table) return undefined
  const exact = table.exact.get(hostname)
  if (exact) return exact
  return table.wildcard.find((w) => hostSubsetOf(hostname, w.host))?.rules
}
