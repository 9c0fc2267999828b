// Runs iptables and ip, in this network namespace or in another one.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { UserError } from '../../base/errors.ts'

/** Which family of binaries: rules of one are invisible to the other, so a namespace must stay with one. */
export type Variant = 'legacy' | 'nft'

export interface CommandResult {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Starts programs, through nsenter when a namespace is given. */
export class Commands {
  readonly #prefix: readonly string[]

  constructor(networkNamespace: string) {
    this.#prefix = networkNamespace === '' ? [] : ['nsenter', `--net=${networkNamespace}`, '--']
  }

  /** Runs to the end; a program that cannot be started is a UserError, an exit code is a result. */
  run(words: readonly string[], input = ''): CommandResult {
    const [program, ...args] = [...this.#prefix, ...words]
    const result = spawnSync(program!, args, { input, encoding: 'utf8' })
    if (result.error !== undefined) throw new UserError(missing(words[0]!, result.error))
    return { status: result.status ?? 1, stdout: result.stdout, stderr: result.stderr }
  }

  /** Like {@link run}; a non-zero exit code is a UserError with what the program said. */
  must(words: readonly string[], input = ''): string {
    const { status, stdout, stderr } = this.run(words, input)
    if (status !== 0) throw new UserError(`${words.join(' ')} failed: ${stderr.trim() || `exit code ${status}`}`)
    return stdout
  }
}

function missing(program: string, error: Error): string {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return `cannot run ${program}: ${error.message}`
  const name = program === 'ip' ? 'iproute2' : program === 'nsenter' ? 'util-linux' : 'iptables'
  return `${program} is not installed; install the package ${name}`
}

/** Names of the binaries of one family and variant. */
export interface Binaries {
  readonly command: string
  readonly save: string
  readonly restore: string
}

export function binaries(family: 4 | 6, variant: Variant): Binaries {
  const base = `${family === 4 ? 'iptables' : 'ip6tables'}-${variant}`
  return { command: base, save: `${base}-save`, restore: `${base}-restore` }
}

/**
 * The variant to use: the forced one; legacy where legacy tables are in use already; else nft; legacy again where only it
 * is installed.
 */
export function detectVariant(commands: Commands, forced: Variant | undefined): Variant {
  if (forced !== undefined) return forced
  if (legacyTablesExist() && commands.run(['iptables-legacy-save']).stdout.includes('-A ')) return 'legacy'
  try {
    if (commands.run(['iptables-nft', '--version']).status === 0) return 'nft'
  } catch (error) {
    if (!(error instanceof UserError)) throw error
  }
  commands.must(['iptables-legacy', '--version'])
  return 'legacy'
}

/** Asking iptables-legacy would load its kernel module; the file is there only once it is loaded. */
function legacyTablesExist(): boolean {
  try {
    return readFileSync('/proc/net/ip_tables_names', 'utf8').trim() !== ''
  } catch {
    // Not there: no legacy table was ever made.
    return false
  }
}
