// A mesh of its own for one test file: own state folder, own host ports, so that it disturbs no other.
import { type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SAMPLE = join(ROOT, 'samples/bookinfo')
const ENTRY = join(ROOT, 'bin/outrigger.js')

/** Why a mesh cannot run here; false when it can. */
export const skip: string | false =
  process.platform !== 'linux' ? 'needs Linux' : process.getuid?.() !== 0 ? 'needs root for network namespaces' : false

/** `OUTRIGGER_TEST_PROXY=envoy` runs the same tests over stock Envoy. */
const PROXY = process.env.OUTRIGGER_TEST_PROXY ? ['--proxy', process.env.OUTRIGGER_TEST_PROXY] : []

export interface Output {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Mesh {
  /** Folder the mesh runs; files saved here are applied. */
  readonly dir: string
  readonly home: string
  readonly gateway: string
  readonly debug: string
  /** Runs a command; never throws for its exit code. */
  run(...args: string[]): Output
  /** Runs a command that must succeed and returns its stdout. */
  ok(...args: string[]): string
  up(...args: string[]): Output
  start(args: string[], options?: SpawnOptions): ReturnType<typeof spawn>
  /** Name of the first pod with these labels that is not ending. */
  pod(selector: string, namespace?: string): string
  save(name: string, text: string): void
  remove(name: string): void
  /** Copies a file of the sample's networking folder into the mesh's folder. */
  use(name: string): void
  record(): { pid: number; nodePid: number; balancers: { name: string; address: string }[] }
  /** Ends the mesh and removes its folders. */
  close(): void
}

export async function createMesh(change: (manifest: string) => string = (text) => text): Promise<Mesh> {
  const base = mkdtempSync(join(tmpdir(), 'og-'))
  const dir = join(base, 'app')
  const home = join(base, 'home')
  mkdirSync(dir)
  cpSync(join(SAMPLE, 'src'), join(dir, 'src'), { recursive: true })
  for (const name of ['images.yaml', 'bookinfo-gateway.yaml']) cpSync(join(SAMPLE, name), join(dir, name))
  writeFileSync(join(dir, 'bookinfo.yaml'), change(readFileSync(join(SAMPLE, 'bookinfo.yaml'), 'utf8')))
  const [gatewayPort, debugPort] = [await freePort(), await freePort()]
  const env = { ...process.env, OUTRIGGER_HOME: home }
  const run = (...args: string[]): Output => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [ENTRY, ...args], {
      env,
      encoding: 'utf8',
      timeout: 200_000,
    })
    return { status, stdout, stderr }
  }
  const ok = (...args: string[]): string => {
    const { status, stdout, stderr } = run(...args)
    if (status !== 0) throw new Error(`outrigger ${args.join(' ')}: exit ${status}\n${stderr}\n${logTail(home)}`)
    return stdout
  }
  const ports = ['--port', String(gatewayPort), '--debug-port', String(debugPort)]
  return {
    dir,
    home,
    gateway: `http://127.0.0.1:${gatewayPort}`,
    debug: `http://127.0.0.1:${debugPort}`,
    run,
    ok,
    up: (...args) => run('up', dir, ...ports, ...PROXY, ...args),
    start: (args, options = {}) =>
      spawn(process.execPath, [ENTRY, ...args, ...(args[0] === 'up' ? ports : [])], { env, ...options }),
    pod: (selector, namespace = 'default') => {
      const list = JSON.parse(ok('get', 'pods', '-n', namespace, '-l', selector, '-o', 'json')) as {
        items: { metadata: { name: string; deletionTimestamp?: string } }[]
      }
      const pod = list.items.find(({ metadata }) => metadata.deletionTimestamp === undefined)
      if (!pod) throw new Error(`no pod ${selector} in ${namespace}`)
      return pod.metadata.name
    },
    save: (name, text) => writeFileSync(join(dir, name), text),
    remove: (name) => rmSync(join(dir, name)),
    use: (name) => cpSync(join(SAMPLE, 'networking', name), join(dir, name)),
    record: () => JSON.parse(readFileSync(join(home, 'supervisor.json'), 'utf8')),
    close: () => {
      run('down')
      rmSync(base, { recursive: true, force: true })
    },
  }
}

function logTail(home: string): string {
  const file = join(home, 'supervisor.log')
  return existsSync(file) ? readFileSync(file, 'utf8').slice(-2000) : ''
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}

/** Repeats `check` until it gives a value other than undefined or false; fails after `limitMs`. */
export async function until<T>(what: string, check: () => T | Promise<T>, limitMs = 15_000): Promise<NonNullable<T>> {
  const deadline = Date.now() + limitMs
  let last: unknown
  for (;;) {
    try {
      const value = await check()
      if (value !== undefined && value !== false && value !== null) return value as NonNullable<T>
    } catch (error) {
      last = error
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${limitMs} ms`, { cause: last })
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

/** Every process of a mesh: those below its node, containers' namespaces included. */
export function processesOf(mesh: Mesh): number[] {
  const { pid, nodePid } = mesh.record()
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const status = readText(`/proc/${name}/status`)
    parents.set(Number(name), Number(/^PPid:\s+(\d+)/m.exec(status)?.[1] ?? 0))
  }
  const isBelow = (process: number): boolean =>
    process === nodePid || (parents.has(process) && process > 1 && isBelow(parents.get(process)!))
  return [pid, ...[...parents.keys()].filter(isBelow)]
}

/** What of a mesh is still on the host: of its processes, its folder's mounts, links, namespaces and rules. */
export function leftovers(home: string, pids: readonly number[]): string[] {
  const lines = (program: string, ...args: string[]) =>
    spawnSync(program, args, { encoding: 'utf8' }).stdout.split('\n')
  return [
    ...pids
      .filter((pid) => !/^State:\s+Z/m.test(readText(`/proc/${pid}/status`) || 'State: Z'))
      .map((pid) => `process ${pid}`),
    ...readText('/proc/self/mounts')
      .split('\n')
      .filter((line) => line.includes(home) || line.includes('/run/outrigger')),
    ...lines('ip', '-o', 'link').filter((line) => /veth\d|br0/.test(line)),
    ...lines('ip', 'netns').filter((line) => /^pod\d/.test(line)),
    ...lines('iptables-save').filter((line) => /ISTIO|KUBE/.test(line)),
  ]
}

/** A file's text; empty when it is gone, as files of processes go. */
function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
