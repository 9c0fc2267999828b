// The text forms of rules: input of iptables-restore, and what iptables-save shows of an earlier run. Pure.
import type { Rule, TableName } from './rules.ts'

/** The rules of one table as lines of iptables-restore. */
export interface TableRules {
  readonly table: TableName
  readonly rules: readonly string[]
}

const PREFIX = 'ISTIO_'
const TABLES: readonly TableName[] = ['filter', 'mangle', 'nat', 'raw']

export function ruleLine(rule: Rule): string {
  const place = rule.position === null ? `-A ${rule.chain}` : `-I ${rule.chain} ${rule.position}`
  return `${place} ${rule.words.join(' ')}`
}

/** Rules by table, each beginning with its chains in order of first use: exactly what istio-iptables feeds. */
export function groupByTable(rules: readonly Rule[]): TableRules[] {
  return TABLES.map((table) => {
    const own = rules.filter((rule) => rule.table === table)
    const chains = new Set(own.map((rule) => rule.chain).filter((chain) => chain.startsWith(PREFIX)))
    return { table, rules: [...[...chains].map((chain) => `-N ${chain}`), ...own.map(ruleLine)] }
  }).filter(({ rules: lines }) => lines.length > 0)
}

/** Input of `iptables-restore --noflush`: each table is replaced in one transaction or not at all. */
export function formatRestore(tables: readonly TableRules[]): string {
  return tables.map(({ table, rules }) => `* ${table}\n${rules.join('\n')}\nCOMMIT\n`).join('')
}

/** What an earlier run left: our chains, and rules of the built-in chains that lead into them. */
export interface Residue {
  readonly table: TableName
  readonly chains: readonly string[]
  /** Lines as iptables-save prints them, beginning with `-A`. */
  readonly jumps: readonly string[]
}

/** Reads `iptables-save`. Tables without anything of ours are left out. */
export function findResidue(saved: string): Residue[] {
  const found: { table: TableName; chains: string[]; jumps: string[] }[] = []
  for (const line of saved.split('\n')) {
    if (line.startsWith('*')) found.push({ table: line.slice(1).trim() as TableName, chains: [], jumps: [] })
    const current = found.at(-1)
    if (current === undefined) continue
    if (line.startsWith(`:${PREFIX}`)) current.chains.push(line.slice(1).split(' ')[0]!)
    else if (/^-A (?!ISTIO_)\S+ .*-j ISTIO_/.test(line)) current.jumps.push(line)
  }
  return found.filter(({ chains, jumps }) => chains.length > 0 || jumps.length > 0)
}

/**
 * Input that removes an earlier run and puts `next` in its place, table by table in one transaction each. `ownRules`:
 * lines of built-in chains that lead nowhere of ours (interface exemptions, marks) and were found in place.
 */
export function formatReplacement(
  next: readonly TableRules[],
  residue: readonly Residue[],
  ownRules: readonly Rule[] = [],
): string {
  const blocks: string[] = []
  for (const table of TABLES) {
    const old = residue.find((entry) => entry.table === table)
    const rules = next.find((entry) => entry.table === table)?.rules ?? []
    const own = ownRules.filter((rule) => rule.table === table)
    if (old === undefined && own.length === 0 && rules.length === 0) continue
    blocks.push([`* ${table}`, ...removal(old, own), ...rules, 'COMMIT', ''].join('\n'))
  }
  return blocks.join('')
}

function removal(old: Residue | undefined, own: readonly Rule[]): string[] {
  const { jumps = [], chains = [] } = old ?? {}
  return [
    ...own.map((rule) => `-D ${rule.chain} ${rule.words.join(' ')}`),
    ...jumps.map((line) => line.replace(/^-A/, '-D')),
    ...chains.map((chain) => `-F ${chain}`),
    ...chains.map((chain) => `-X ${chain}`),
  ]
}

/** The rules in built-in chains that do not lead into a chain of ours: only a look-up can tell whether they are in place. */
export function unmarkedRules(rules: readonly Rule[]): Rule[] {
  return rules.filter((rule) => !rule.chain.startsWith(PREFIX) && !rule.words.some((word) => word.startsWith(PREFIX)))
}
