// Network namespaces for tests: made and removed by them, no trace on the machine's own network.
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'

let counter = 0

/** Why tests that need a namespace cannot run here, or false. */
export function namespacesMissing(): string | false {
  if (process.getuid?.() !== 0) return 'needs root to make network namespaces'
  try {
    execFileSync('ip', ['netns', 'list'], { stdio: 'ignore' })
    execFileSync('iptables', ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'needs iproute2 and iptables'
  }
}

/** A namespace whose loopback is up and holds the pod's address. */
export class TestNamespace {
  readonly name = `or-${process.pid}-${++counter}`
  readonly #children: ChildProcess[] = []

  constructor(podIp: string) {
    execFileSync('ip', ['netns', 'add', this.name])
    this.run('ip', 'link', 'set', 'lo', 'up')
    this.run('ip', 'addr', 'add', `${podIp}/32`, 'dev', 'lo')
  }

  /** Runs to the end; throws when the exit code is not 0. */
  run(...words: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.name, ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }

  /** The exit code and both outputs. */
  async attempt(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const child = this.spawn(words, {})
    let stdout = ''
    let stderr = ''
    child.stdout!.on('data', (chunk) => {
      stdout += chunk
    })
    child.stderr!.on('data', (chunk) => {
      stderr += chunk
    })
    const [code] = (await once(child, 'close')) as [number | null]
    return { code: code ?? -1, stdout, stderr }
  }

  spawn(words: readonly string[], options: SpawnOptions): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.name, ...words], { stdio: ['ignore', 'pipe', 'pipe'], ...options })
    this.#children.push(child)
    return child
  }

  close(): void {
    for (const child of this.#children) child.kill('SIGKILL')
    // What those have started and left behind.
    const pids = execFileSync('ip', ['netns', 'pids', this.name], { encoding: 'utf8' })
      .split('\n')
      .filter((pid) => pid !== '')
    for (const pid of pids) killIfAlive(Number(pid))
    execFileSync('ip', ['netns', 'del', this.name])
  }
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
