import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import { localAccess } from '../envoy/source.ts'
import { goYaml, outputFormat, printStructured } from '../output.ts'
import { tabulate } from '../tab-writer.ts'

interface Options {
  readonly level?: string
  readonly reset?: boolean
  readonly logReset?: boolean
  readonly output: string
}

interface Scope {
  readonly name: string
  readonly description: string
  readonly output_level: string
  readonly stack_trace_level: string
}

/** `outrigger admin log`: log levels of the running control plane, by scope. */
export function register(program: Command): void {
  const admin = program.command('admin').description('log: what the control plane logs')
  admin
    .command('log')
    .alias('l')
    .description('show or change the log levels of the control plane')
    .option('--level <levels>', 'scope:level, several joined by commas; levels: none, error, warn, info, debug')
    .option('--reset', 'every scope back to info')
    .option('--log-reset', 'the same')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .action(log)
}

const LEVEL = /^([\w\- ]+):(none|error|warn|info|debug)$/

/** Pages answer with `{"error": …}`. */
function reasonOf(body: string): string {
  try {
    const { error } = JSON.parse(body) as { error?: unknown }
    if (typeof error === 'string') return error
  } catch {
    // another page's text
  }
  return body.trim()
}

async function log(options: Options): Promise<void> {
  const format = outputFormat(options.output, ['short', 'json', 'yaml'])
  const reset = options.reset || options.logReset
  if (reset && options.level) throw new UserError('--level cannot be combined with --reset, --log-reset')
  const wanted = (options.level?.split(',') ?? []).map((pair) => {
    const match = LEVEL.exec(pair)
    if (!match) throw new UserError(`"${pair}": write scope:level, for example ads:debug`)
    return { name: match[1]!, level: match[2]! }
  })
  const access = await localAccess()
  const scopes = async (): Promise<Scope[]> => {
    const { status, body } = await access.controlZRequest('GET', '/scopej')
    if (status !== 200) throw new UserError(`the control plane answered ${status}: ${body.trim()}`)
    return JSON.parse(body) as Scope[]
  }
  const changes = reset ? (await scopes()).map(({ name }) => ({ name, level: 'info' })) : wanted
  for (const { name, level } of changes) {
    const body = JSON.stringify({ name, output_level: level })
    const answer = await access.controlZRequest('PUT', `/scopej/${encodeURIComponent(name)}`, body)
    if (answer.status !== 202) throw new UserError(`failed updating Scope ${name}: ${reasonOf(answer.body)}`)
  }
  if (changes.length > 0) return
  const all = (await scopes()).sort((a, b) => (a.name < b.name ? -1 : 1))
  if (format === 'short') {
    const rows = all.map((scope) => [scope.name, scope.description, scope.output_level, scope.stack_trace_level])
    process.stdout.write(tabulate([['ACTIVE SCOPE', 'DESCRIPTION', 'LOG LEVEL', 'STACK TRACE LEVEL'], ...rows], 3))
    return
  }
  const shown = all.map((scope) => ({
    scope_name: scope.name,
    log_level: scope.output_level,
    stack_trace_level: scope.stack_trace_level,
    description: scope.description,
  }))
  if (format === 'yaml') process.stdout.write(await goYaml(shown))
  else await printStructured(shown, format, 2)
}
