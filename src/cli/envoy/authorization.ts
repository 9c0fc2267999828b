// `x authz check`: the AuthorizationPolicies that stand in a proxy's RBAC filters.

import { tabulate } from '../tab-writer.ts'
import { type ConfigDump, field, type Json } from './config-dump.ts'

const POLICY = /^(?:istio-ext-authz-.*-)?ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(-?\d+|[^\]]*)\]/
/** The filter of a workload whose policies allow nothing has a rule that nobody named. */
const NOTHING = '_anonymous_match_nothing_'

/** ACTION, policy and number of rules; what is denied first, as proxies judge. */
export function authorizationTable(dump: ConfigDump): string {
  const rules = new Map<string, Set<string>>()
  for (const { value } of dump.list('ListenersConfigDump', 'dynamic_listeners', 'active_state', 'listener'))
    visit(value, rules)
  const rows = [...rules]
    .map(([key, names]) => [...(key.split(' ') as [string, string]), String(names.size)] as const)
    .sort((a, b) => order(a[0]) - order(b[0]) || (a[1] < b[1] ? -1 : 1))
  return tabulate([['ACTION', 'AuthorizationPolicy', 'RULES'], ...rows.map((row) => [...row])], 3)
}

const ORDER = ['CUSTOM', 'DENY', 'ALLOW', 'LOG']

function order(action: string): number {
  return ORDER.indexOf(action.replace('(dry-run)', ''))
}

function visit(value: unknown, rules: Map<string, Set<string>>): void {
  if (Array.isArray(value)) {
    for (const one of value) visit(one, rules)
    return
  }
  if (typeof value !== 'object' || value === null) return
  const type = (value as Json)['@type']
  if (typeof type === 'string' && /\.rbac\.v3\.RBAC$/.test(type)) collect(value as Json, rules)
  for (const one of Object.values(value)) visit(one, rules)
}

function collect(filter: Json, rules: Map<string, Set<string>>): void {
  for (const name of ['rules', 'shadow_rules']) {
    const config = field(filter, name) as Json | undefined
    const policies = config && field(config, 'policies')
    if (typeof policies !== 'object' || policies === null) continue
    for (const policy of Object.keys(policies)) {
      const [, namespace, own] = POLICY.exec(policy) ?? []
      const custom = policy.startsWith('istio-ext-authz-')
      // The first value of the enum is left out of proto JSON.
      const action = custom ? 'CUSTOM' : String(field(config!, 'action') ?? 'ALLOW')
      const dryRun = name === 'shadow_rules' && !custom ? '(dry-run)' : ''
      const key = `${action}${dryRun} ${own === undefined ? NOTHING : `${own}.${namespace}`}`
      let found = rules.get(key)
      if (!found) rules.set(key, (found = new Set()))
      found.add(policy)
    }
  }
}
