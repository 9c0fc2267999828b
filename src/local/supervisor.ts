import { type ChildProcess, spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  type FSWatcher,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { UserError } from '../base/errors.ts'
import { LocalClient } from './client.ts'
import { readFolder, watchFolder } from './folder.ts'
import type { ApplyReport } from './folder-source.ts'
import { relayPort } from './forward.ts'
import { type HostBalancer, HostBalancers } from './host-balancers.ts'
import type { ProxyChoice } from './inject.ts'
import type { NodeOptions } from './node-main.ts'
import { PACKAGE_ROOT } from './node-setup.ts'
import { checkPrerequisites, findEnvoy } from './prerequisites.ts'
import type { StateDir } from './state-dir.ts'

/** Ports on the host's 127.0.0.1. */
export interface HostPorts {
  /** To the ingress gateway's port 80. */
  readonly gateway: number
  /** To the control plane's debug pages and metrics. */
  readonly debug: number
}

export const DEFAULT_PORTS: HostPorts = { gateway: 8080, debug: 15014 }
const HOST = '127.0.0.1'
/** Where pilot serves its pages inside the mesh. */
const PILOT_MONITORING_PORT = 15014

/** What a running supervisor leaves in its state folder for other commands. */
export interface SupervisorRecord {
  readonly pid: number
  /** The node's first process as the host sees it; entering its namespaces enters the mesh. */
  readonly nodePid: number
  readonly dir: string
  readonly proxy: ProxyChoice
  readonly ports: HostPorts
  /** Where the host reaches LoadBalancer Services. */
  readonly balancers: readonly HostBalancer[]
}

export interface SupervisorOptions {
  readonly state: StateDir
  readonly dir: string
  readonly proxy: ProxyChoice
  readonly ports: HostPorts
  say(line: string): void
  /** What came of each change of the folder. */
  applied(report: ApplyReport): void
}

const NODE_START_MS = 60_000
const NODE_STOP_MS = 8_000

/** The record of the mesh that runs with this state folder; undefined when none does. */
export function runningMesh(state: StateDir): SupervisorRecord | undefined {
  let record: SupervisorRecord
  try {
    record = JSON.parse(readFileSync(state.record, 'utf8')) as SupervisorRecord
  } catch {
    return undefined // no record, or one cut short by a crash: nobody is behind it
  }
  return isOurProcess(record.nodePid) ? record : undefined
}

/** A process id may have been given to a stranger since; ours names the node on its command line. */
function isOurProcess(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('local-node')
  } catch {
    return false
  }
}

/** The host's side of a mesh: holds the node process, two loopback ports, and the watch on the folder. */
export class Supervisor {
  /** Settles when the node is gone, with why if that was not asked for. */
  readonly ended: Promise<Error | undefined>
  private readonly options: SupervisorOptions
  private readonly client: LocalClient
  private node: ChildProcess | undefined
  private relays: Server[] = []
  private watcher: FSWatcher | undefined
  private balancers: HostBalancers | undefined
  private stopping = false
  private resolveEnded: (error: Error | undefined) => void = () => {}

  constructor(options: SupervisorOptions) {
    this.options = options
    this.client = new LocalClient(options.state)
    this.ended = new Promise((resolve) => (this.resolveEnded = resolve))
  }

  /** Brings the mesh up to the point where its folder is applied. Throws UserError and leaves nothing behind when it cannot. */
  async start(): Promise<void> {
    const { state, dir, proxy, say } = this.options
    const files = readFolder(dir)
    await checkPrerequisites(say)
    const envoyBinary = proxy === 'outrigger' ? undefined : await findEnvoy()
    for (const path of [state.root, state.cache, state.logs]) mkdirSync(path, { recursive: true })
    try {
      await this.listen()
      await this.startNode({ state, proxy, envoyBinary })
      this.watcher = watchFolder(dir, files, (changed) => {
        this.client
          .call('folder', { files: changed })
          .then(this.options.applied, (error: Error) => say(`error: ${error.message}`))
      })
      this.options.applied(await this.client.call('folder', { files }))
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  private async listen(): Promise<void> {
    const { ports, state } = this.options
    const gateway = { service: 'istio-ingressgateway', namespace: 'istio-system', port: 80 }
    const wanted = [
      { port: ports.gateway, option: '--port', target: gateway },
      { port: ports.debug, option: '--debug-port', target: { nodePort: PILOT_MONITORING_PORT } },
    ]
    for (const { port, option, target } of wanted) {
      try {
        this.relays.push(await relayPort(HOST, port, state.forwardSocket, target))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
        throw new UserError(
          `${HOST}:${port} is taken by another program; stop it (find it with: ss -ltnp 'sport = :${port}') or choose another port with ${option}`,
        )
      }
    }
  }

  private async startNode(options: NodeOptions): Promise<void> {
    const { state } = options
    const log = openSync(state.supervisorLog, 'a')
    // Each link of the chain dies with the one before it, also when that is killed: setpriv ties unshare to this
    // process, --kill-child ties the node to unshare, and the kernel ends a PID namespace with its first process.
    const node = spawn(
      'setpriv',
      [
        ...[
          '--pdeathsig',
          'KILL',
          'unshare',
          '--net',
          '--mount',
          '--pid',
          '--fork',
          '--kill-child',
          '--mount-proc',
          '--',
        ],
        ...[process.execPath, join(PACKAGE_ROOT, 'bin/outrigger.js'), 'local-node', JSON.stringify(options)],
      ],
      { stdio: ['ignore', log, log], cwd: '/', env: { ...process.env, NODE_COMPILE_CACHE: state.cache } },
    )
    closeSync(log)
    this.node = node
    const exited = new Promise<string>((resolve) => {
      node.once('error', (error) => resolve(error.message))
      node.once('exit', (code, signal) => resolve(`exit ${signal ?? code}`))
    })
    void exited.then((how) => {
      this.cleanUp()
      this.resolveEnded(
        this.stopping ? undefined : new UserError(`the node process ended (${how}); see ${state.supervisorLog}`),
      )
    })
    await this.untilApiAnswers(exited)
    const nodePid = Number(readFileSync(`/proc/${node.pid}/task/${node.pid}/children`, 'utf8').trim())
    const { dir, proxy, ports } = this.options
    const record = { pid: process.pid, nodePid, dir, proxy, ports }
    const write = (balancers: readonly HostBalancer[]) => {
      // Renamed into place: who reads it in between sees the whole of one of them.
      writeFileSync(`${state.record}.new`, JSON.stringify({ ...record, balancers } satisfies SupervisorRecord))
      renameSync(`${state.record}.new`, state.record)
    }
    write([])
    const { say } = this.options
    this.balancers = new HostBalancers({
      ...{ client: this.client, forwardSocket: state.forwardSocket, say },
      changed: (balancers) => !this.stopping && write(balancers),
    })
    void this.balancers.follow()
  }

  private async untilApiAnswers(exited: Promise<string>): Promise<void> {
    const { supervisorLog, apiSocket } = this.options.state
    let ended: string | undefined
    void exited.then((how) => (ended = how))
    const deadline = Date.now() + NODE_START_MS
    for (;;) {
      if (ended !== undefined)
        throw new UserError(`the node did not start (${ended}): ${lastLine(supervisorLog)}; see ${supervisorLog}`)
      if (existsSync(apiSocket)) {
        try {
          await this.client.call('status', {})
          return
        } catch {
          // the socket of an earlier mesh, or not listening yet
        }
      }
      if (Date.now() > deadline)
        throw new UserError(`the node did not start within ${NODE_START_MS / 1000} s; see ${supervisorLog}`)
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
  }

  /** Ends the mesh and everything in it; resolves when all is gone. */
  async stop(): Promise<void> {
    this.stopping = true
    const { node } = this
    if (node && node.exitCode === null && node.signalCode === null) {
      const gone = new Promise((resolve) => node.once('exit', resolve))
      // A node that cannot be asked any more is ended the hard way below.
      this.client.call('shutdown', {}).catch(() => node.kill('SIGKILL'))
      const timer = setTimeout(() => node.kill('SIGKILL'), NODE_STOP_MS)
      await gone
      clearTimeout(timer)
    }
    this.cleanUp()
    this.resolveEnded(undefined)
  }

  private cleanUp(): void {
    this.watcher?.close()
    for (const relay of this.relays) relay.close()
    this.balancers?.close()
    this.relays = []
    removeMeshFiles(this.options.state)
  }
}

/** Removes what only a running mesh needs; caches and the certificate authority stay. */
export function removeMeshFiles(state: StateDir): void {
  for (const path of [state.record, state.apiSocket, state.forwardSocket, state.logs])
    rmSync(path, { recursive: true, force: true })
}

function lastLine(file: string): string {
  const text = existsSync(file) ? readFileSync(file, 'utf8').trim() : ''
  return text.slice(text.lastIndexOf('\n') + 1)
}
