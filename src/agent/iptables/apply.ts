// Puts a capture plan into a network namespace: idempotent, each table in one transaction.
import type { Logger } from '../../base/logger.ts'
import { type Binaries, binaries, Commands, detectVariant, type Variant } from './commands.ts'
import {
  findResidue,
  formatReplacement,
  formatRestore,
  groupByTable,
  type Residue,
  ruleLine,
  unmarkedRules,
} from './restore.ts'
import type { CapturePlan, Rule } from './rules.ts'

export interface ApplyOptions {
  /** Path of a network namespace; empty = this one. */
  readonly networkNamespace: string
  readonly variant?: Variant
  /** Write even when the same rules are in place. */
  readonly force: boolean
  /** Let no packet pass while existing rules are rewritten. */
  readonly guard: boolean
  readonly log: Logger
}

/** Applies the plan. Throws UserError with iptables' own words; the tables that failed are as they were. */
export function applyCapture(plan: CapturePlan, options: ApplyOptions): void {
  const commands = new Commands(options.networkNamespace)
  const variant = detectVariant(commands, options.variant)
  applyFamily(commands, binaries(4, variant), plan.ipv4, options)
  if (plan.ipv6.length > 0) {
    applyFamily(commands, binaries(6, variant), plan.ipv6, options)
    // Source address of inbound upstream connections, as 127.0.0.6 is for IPv4.
    commands.must(['ip', '-6', 'addr', 'replace', '::6/128', 'dev', 'lo'])
  }
  for (const command of plan.commands) {
    // Policy routes have no transaction: an earlier one is taken out first, so that a second run does not double it.
    commands.run(command.map((word) => (word === 'add' ? 'del' : word)))
    commands.must(command)
  }
}

/** Removes everything that the plan and any earlier run put in. */
export function removeCapture(plan: CapturePlan, options: ApplyOptions): void {
  const commands = new Commands(options.networkNamespace)
  const variant = detectVariant(commands, options.variant)
  for (const [family, rules] of [
    [4, plan.ipv4],
    [6, plan.ipv6],
  ] as const) {
    if (family === 6 && rules.length === 0) continue
    const tools = binaries(family, variant)
    const input = formatReplacement(
      [],
      findResidue(commands.must([tools.save])),
      presentUnmarked(commands, tools, rules),
    )
    if (input !== '') commands.must([tools.restore, '--noflush'], input)
  }
  for (const command of plan.commands) commands.run(command.map((word) => (word === 'add' ? 'del' : word)))
  options.log.info('capture rules removed')
}

/** What `--dry-run` prints: the input of iptables-restore for each family, then the other commands. */
export function describeCapture(plan: CapturePlan): string {
  const routes = plan.commands.map((command) => `${command.join(' ')}\n`).join('')
  return formatRestore(groupByTable(plan.ipv4)) + formatRestore(groupByTable(plan.ipv6)) + routes
}

function applyFamily(commands: Commands, tools: Binaries, rules: readonly Rule[], options: ApplyOptions): void {
  const residue = findResidue(commands.must([tools.save]))
  const tables = groupByTable(rules)
  if (residue.length === 0) {
    commands.must([tools.restore, '--noflush'], formatRestore(tables))
    options.log.info({ rules: rules.length, with: tools.restore }, 'capture rules applied')
    return
  }
  if (!options.force && inPlace(commands, tools, rules, residue)) {
    options.log.info('the same capture rules are in place already')
    return
  }
  const replacement = formatReplacement(tables, residue, presentUnmarked(commands, tools, rules))
  if (options.guard) guarded(commands, tools, () => commands.must([tools.restore, '--noflush'], replacement))
  else commands.must([tools.restore, '--noflush'], replacement)
  options.log.info({ rules: rules.length, with: tools.restore }, 'capture rules replaced')
}

/** Every rule is there, and no chain or jump of ours beside them. */
function inPlace(commands: Commands, tools: Binaries, rules: readonly Rule[], residue: readonly Residue[]): boolean {
  for (const { table, chains, jumps } of residue) {
    const own = rules.filter((rule) => rule.table === table)
    const ownChains = new Set(own.map((rule) => rule.chain).filter((chain) => chain.startsWith('ISTIO_')))
    const ownJumps = own.filter(
      (rule) => !rule.chain.startsWith('ISTIO_') && rule.words.some((word) => word.startsWith('ISTIO_')),
    )
    if (chains.length !== ownChains.size || jumps.length !== ownJumps.length) return false
  }
  const listed = commands.must([tools.save]).split('\n')
  const saved = listed.filter((line) => line.startsWith('-A ISTIO_')).length
  return (
    saved === rules.filter((rule) => rule.chain.startsWith('ISTIO_')).length &&
    rules.every((rule) => exists(commands, tools, rule))
  )
}

function exists(commands: Commands, tools: Binaries, rule: Rule): boolean {
  return commands.run([tools.command, '-t', rule.table, '-C', rule.chain, ...rule.words]).status === 0
}

function presentUnmarked(commands: Commands, tools: Binaries, rules: readonly Rule[]): Rule[] {
  return unmarkedRules(rules).filter((rule) => exists(commands, tools, rule))
}

const GUARD: readonly Rule[] = ['INPUT', 'FORWARD', 'OUTPUT'].flatMap((chain) =>
  ['tcp', 'udp'].map((protocol) => ({
    table: 'filter' as const,
    chain,
    position: 1,
    words: ['-p', protocol, '-j', 'DROP'],
  })),
)

/** Tables change one after the other; between them nothing may slip past the proxy. */
function guarded(commands: Commands, tools: Binaries, rewrite: () => void): void {
  commands.must([tools.restore, '--noflush'], `* filter\n${GUARD.map(ruleLine).join('\n')}\nCOMMIT\n`)
  try {
    rewrite()
  } finally {
    const removal = GUARD.map((rule) => `-D ${rule.chain} ${rule.words.join(' ')}`).join('\n')
    commands.must([tools.restore, '--noflush'], `* filter\n${removal}\nCOMMIT\n`)
  }
}
