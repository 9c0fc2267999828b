// Runs an Envoy binary as a child with pilot-agent's command line (istio-contract 13.1).
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { UserError } from '../base/errors.ts'

export interface EnvoyOptions {
  /** Name on PATH, or path. */
  readonly binary: string
  /** Working directory: relative paths in the bootstrap start here. */
  readonly cwd: string
  readonly bootstrapPath: string
  readonly drainTimeS: number
  readonly fileFlushIntervalMs: number
  readonly fileFlushMinSizeKb: number
  readonly concurrency: number
  readonly logLevel: string
  readonly componentLogLevel?: string
  /** ENVOY_SKIP_DEPRECATED_LOGS, default on: control planes send deprecated fields for the sake of older proxies. */
  readonly skipDeprecatedLogs: boolean
}

function envoyArguments(options: EnvoyOptions): string[] {
  return [
    ...['-c', options.bootstrapPath],
    ...['--drain-time-s', String(options.drainTimeS)],
    ...['--drain-strategy', 'immediate'],
    ...['--local-address-ip-version', 'v4'],
    ...['--file-flush-interval-msec', String(options.fileFlushIntervalMs)],
    ...['--file-flush-min-size-kb', String(options.fileFlushMinSizeKb)],
    '--disable-hot-restart',
    '--allow-unknown-static-fields',
    ...['-l', options.logLevel],
    ...(options.componentLogLevel ? ['--component-log-level', options.componentLogLevel] : []),
    ...(options.skipDeprecatedLogs ? ['--skip-deprecated-logs'] : []),
    ...['--concurrency', String(options.concurrency)],
  ]
}

/** A running Envoy; its output goes to ours. */
export interface EnvoyProcess {
  /** Resolves with the exit code; 1 when a signal ended it. */
  readonly exited: Promise<number>
  /** SIGTERM, and SIGKILL when that takes more than five seconds. */
  stop(): Promise<void>
}

const KILL_AFTER_MS = 5000

/** Starts the binary; rejects with UserError when it cannot be run at all. */
export async function startEnvoy(options: EnvoyOptions): Promise<EnvoyProcess> {
  const child = spawn(options.binary, envoyArguments(options), {
    cwd: options.cwd,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  try {
    await once(child, 'spawn')
  } catch (error) {
    throw new UserError(
      `cannot run ${options.binary}: ${(error as NodeJS.ErrnoException).code ?? error}; is it installed?`,
      1,
      { cause: error },
    )
  }
  const exited = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 1)))
  return { exited, stop: () => stop(child, exited) }
}

async function stop(child: ChildProcess, exited: Promise<number>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  const kill = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS)
  await exited
  clearTimeout(kill)
}
