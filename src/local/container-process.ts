import { type ChildProcess, spawn } from 'node:child_process'
import { chownSync, closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { NODE_PATHS } from './node-setup.ts'

/** One bind mount of a container. */
export interface Mount {
  readonly source: string
  readonly target: string
  readonly readOnly: boolean
}

/** Everything a container process is made of; plain data, resolved by the kubelet. */
export interface ContainerProcessSpec {
  readonly networkNamespace: string
  readonly podDir: string
  readonly containerDir: string
  readonly hostname: string
  readonly workingDir: string
  readonly uid: number
  readonly gid: number
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly mounts: readonly Mount[]
  /** File both output streams go to; owned by the container's user, who may reopen it as /dev/stdout. */
  readonly logFile: string
}

export interface ContainerExit {
  readonly exitCode: number
  readonly signal?: NodeJS.Signals
}

/**
 * A running container: its program is the first process of a PID namespace of its own, so that nothing it started
 * survives it. Signals go to that program; `exited` settles once, also when it could not be started.
 */
export class ContainerProcess {
  readonly startedAt = new Date()
  readonly exited: Promise<ContainerExit>
  readonly env: Readonly<Record<string, string>>
  readonly workingDir: string
  private readonly shell: ChildProcess

  constructor(spec: ContainerProcessSpec) {
    this.env = spec.env
    this.workingDir = spec.workingDir
    mkdirSync(spec.containerDir, { recursive: true })
    mkdirSync(dirname(spec.logFile), { recursive: true })
    const lines = spec.mounts.map((m) => `${m.source}\t${m.target}\t${m.readOnly ? 'ro' : 'rw'}\n`)
    writeFileSync(join(spec.containerDir, 'mounts'), lines.join(''))
    const log = openSync(spec.logFile, 'a', 0o640)
    chownSync(spec.logFile, spec.uid, spec.gid)
    this.shell = spawn(
      'nsenter',
      [
        `--net=/run/netns/${spec.networkNamespace}`,
        ...['unshare', '--mount', '--uts', '--pid', '--fork', '--kill-child', '--mount-proc', '--'],
        ...['/bin/sh', join(NODE_PATHS.package, 'src/local/container-entry.sh')],
        ...[spec.podDir, spec.containerDir, spec.hostname, spec.workingDir, String(spec.uid), String(spec.gid)],
        ...spec.argv,
      ],
      { stdio: ['ignore', log, log], env: spec.env as NodeJS.ProcessEnv, cwd: '/' },
    )
    closeSync(log)
    this.exited = new Promise((resolve) => {
      this.shell.once('error', (error) => {
        writeFileSync(spec.logFile, `${error.message}\n`, { flag: 'a' })
        resolve({ exitCode: 128 })
      })
      this.shell.once('exit', (code, signal) =>
        resolve({ exitCode: code ?? 128 + signalNumber(signal), signal: signal ?? undefined }),
      )
    })
  }

  /** The program's process id as the node sees it; undefined before it exists and after it ended. */
  get pid(): number | undefined {
    const outer = this.shell.pid
    if (outer === undefined || this.shell.exitCode !== null || this.shell.signalCode !== null) return undefined
    try {
      const child = readFileSync(`/proc/${outer}/task/${outer}/children`, 'utf8').trim()
      return child ? Number(child) : undefined
    } catch {
      return undefined // ended between the check and the read
    }
  }

  /** Asks the program to end; SIGKILL takes its whole PID namespace. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    const pid = this.pid
    // Before its program exists the container is nsenter or unshare, and ends with it.
    if (pid === undefined) this.shell.kill(signal)
    else process.kill(pid, signal)
  }
}

const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGTERM: 15,
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return (signal && SIGNAL_NUMBERS[signal]) || 0
}
