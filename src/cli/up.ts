import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { errorText, UserError } from '../base/errors.ts'
import {
  type ApplyReport,
  type HostPorts,
  LocalClient,
  type ProxyChoice,
  readFolder,
  runningMesh,
  type StateDir,
  Supervisor,
  stateDir,
} from '../local/index.ts'
import { printReport } from './manifests.ts'
import { meshUrl, waitUntilReady } from './progress.ts'

/** The command line of `up`, as commander gives it. */
export interface UpOptions {
  readonly detach?: boolean
  readonly proxy: string
  readonly timeout: string
  readonly port: string
  readonly debugPort: string
}

const PROXY_CHOICES: readonly string[] = ['outrigger', 'envoy', 'mixed-by-annotation'] satisfies ProxyChoice[]

const LAUNCHER_CHECK_MS = 500

/** What a detached supervisor tells the command that started it. */
type Message =
  | { readonly line: string }
  | { readonly report: ApplyReport }
  | { readonly failed: string; readonly exitCode: number }
  | { readonly started: true }

/** Brings a mesh up, or reconciles the one that runs; returns when it is ready (--detach) or ended (foreground). */
export async function up(dirArgument: string, options: UpOptions): Promise<void> {
  const dir = resolve(dirArgument)
  if (!PROXY_CHOICES.includes(options.proxy)) {
    throw new UserError(`--proxy ${options.proxy}: must be ${PROXY_CHOICES.join(', ')}`, 64)
  }
  const proxy = options.proxy as ProxyChoice
  const ports = { gateway: portOption('--port', options.port), debug: portOption('--debug-port', options.debugPort) }
  const state = stateDir()
  const timeoutMs = numberOption('--timeout', options.timeout) * 1000
  const running = runningMesh(state)
  if (running) {
    if (running.dir !== dir) {
      throw new UserError(
        `a mesh of ${running.dir} is running; end it with: outrigger down (or add to it with: outrigger apply -f ${dirArgument})`,
      )
    }
    if (running.proxy !== proxy) {
      throw new UserError(`the running mesh uses --proxy ${running.proxy}; end it with: outrigger down`)
    }
    const report = await new LocalClient(state).call('folder', { files: readFolder(dir), everything: true })
    printReport(report, true)
    await becomeReady(timeoutMs, running.ports)
    return
  }
  if (options.detach) {
    await startDetached(state, dir, proxy, ports)
    await becomeReady(timeoutMs, ports)
    return
  }
  await runInForeground(state, dir, proxy, ports, timeoutMs)
}

function numberOption(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UserError(`${name} ${text}: must be a number`, 64)
  return Number(text)
}

function portOption(name: string, text: string): number {
  const port = numberOption(name, text)
  if (port < 1 || port > 65535) throw new UserError(`${name} ${text}: must be a port, 1 to 65535`, 64)
  return port
}

async function becomeReady(timeoutMs: number, ports: HostPorts): Promise<void> {
  const client = new LocalClient()
  await waitUntilReady(client, timeoutMs)
  console.log(`open ${await meshUrl(client, ports.gateway)}`)
}

/** Runs this command again in a process of its own that stays, and passes its words on until the mesh is there. */
async function startDetached(state: StateDir, dir: string, proxy: ProxyChoice, ports: HostPorts): Promise<void> {
  mkdirSync(state.root, { recursive: true })
  const log = openSync(state.supervisorLog, 'w')
  const portArgs = ['--port', String(ports.gateway), '--debug-port', String(ports.debug)]
  const child = spawn(process.execPath, [process.argv[1]!, 'up', dir, '--proxy', proxy, ...portArgs], {
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
    cwd: '/',
  })
  closeSync(log)
  await new Promise<void>((done, reject) => {
    child.on('message', (message: Message) => {
      if ('line' in message) console.log(message.line)
      else if ('report' in message) printReport(message.report, false)
      else if ('failed' in message) reject(new UserError(message.failed, message.exitCode))
      else done()
    })
    child.on('exit', (code) => reject(new UserError(`the supervisor ended (exit ${code}); see ${state.supervisorLog}`)))
  })
  child.disconnect()
  child.unref()
}

async function runInForeground(
  state: StateDir,
  dir: string,
  proxy: ProxyChoice,
  ports: HostPorts,
  timeoutMs: number,
): Promise<void> {
  const parent = process.send ? (message: Message) => void process.send!(message) : undefined
  const supervisor = new Supervisor({
    state,
    dir,
    proxy,
    ports,
    say: (line) => (parent && process.connected ? parent({ line }) : console.log(line)),
    applied: (report) => (parent && process.connected ? parent({ report }) : printReport(report, false)),
  })
  let stopping = false
  const stop = () => {
    stopping = true
    void supervisor.stop()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)
  if (!parent) endWithLauncher(stop)
  try {
    await supervisor.start()
  } catch (error) {
    parent?.({ failed: errorText(error), exitCode: error instanceof UserError ? error.exitCode : 1 })
    throw error
  }
  if (parent) parent({ started: true })
  // An unready pod is worth a line, not the end of the mesh: its manifest can be mended while it runs.
  else
    becomeReady(timeoutMs, ports).catch((error: unknown) => {
      if (!stopping) console.error(`error: ${errorText(error)}`)
    })
  const failure = await supervisor.ended
  if (failure) throw failure
  if (!parent) console.log('mesh ended')
  process.exit(0) // connections still open through the relays would keep the process
}

/**
 * An older Node runs this process as the child of a launcher (bin/outrigger.js). When that is killed the mesh ends as
 * if this process had been; a shell that ends does not end it (nohup).
 */
function endWithLauncher(stop: () => void): void {
  const parent = process.ppid
  let command = ''
  try {
    command = readFileSync(`/proc/${parent}/cmdline`, 'utf8')
  } catch {
    return // gone already, or not ours to read: no launcher
  }
  if (!command.includes('outrigger')) return
  setInterval(() => process.ppid !== parent && stop(), LAUNCHER_CHECK_MS).unref()
}
