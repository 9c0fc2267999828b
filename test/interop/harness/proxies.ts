// Starts real Envoy and our proxy on one bootstrap, each with its own ports and access log.

import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..')

/** What differs between the two when they get the same configuration. */
export interface Ports {
  readonly listener: number
  readonly admin: number
  readonly accessLog: string
}

export interface RunningProxy {
  readonly name: 'envoy' | 'outrigger'
  readonly ports: Ports
  /** Access log lines so far, oldest first. */
  logLines(): string[]
  admin(path: string): Promise<string>
  stop(): Promise<void>
}

/** Path of the real Envoy binary, or null where it is not installed. */
export function envoyBinary(): string | null {
  for (const dir of (process.env.PATH ?? '').split(':')) {
    const path = join(dir, 'envoy')
    if (existsSync(path) && readFileSync(path).subarray(0, 4).toString('latin1') === '\x7fELF') return path
  }
  return null
}

/** Starts one proxy and waits until it says it is LIVE. `flags`: further ones that both know. */
export async function startProxy(
  name: 'envoy' | 'outrigger',
  makeBootstrap: (ports: Ports) => object,
  options: { readonly concurrency?: number; readonly flags?: readonly string[] } = {},
): Promise<RunningProxy> {
  const dir = mkdtempSync(join(tmpdir(), `interop-${name}-`))
  const ports: Ports = { listener: await freePort(), admin: await freePort(), accessLog: join(dir, 'access.log') }
  const config = join(dir, 'bootstrap.json')
  writeFileSync(config, JSON.stringify(makeBootstrap(ports)))
  writeFileSync(ports.accessLog, '')
  const flags = [
    '-c',
    config,
    '--concurrency',
    String(options.concurrency ?? 1),
    '-l',
    'error',
    '--file-flush-interval-msec',
    '10',
    ...(options.flags ?? []),
  ]
  const command: [string, string[]] =
    name === 'envoy'
      ? [envoyBinary() ?? 'envoy', [...flags, '--disable-hot-restart', '--use-dynamic-base-id']]
      : [process.execPath, [join(root, 'bin/outrigger.js'), 'proxy', ...flags]]
  const child = spawn(command[0], command[1], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (d) => (output += d))
  child.stderr.on('data', (d) => (output += d))
  let stopping = false
  child.on('exit', (code, signal) => {
    if (!stopping) process.stderr.write(`${name} ended by itself (${signal ?? code}): ${output.slice(-4000)}\n`)
  })
  const admin = async (path: string): Promise<string> => (await fetch(`http://127.0.0.1:${ports.admin}${path}`)).text()
  await waitLive(child, admin, () => output)
  return {
    name,
    ports,
    admin,
    // What stands behind the last line end is a line that is being written.
    logLines: () => readFileSync(ports.accessLog, 'utf8').split('\n').slice(0, -1).filter(Boolean),
    stop: async () => {
      stopping = true
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM')
        await once(child, 'exit')
      }
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

async function waitLive(
  child: ChildProcess,
  admin: (path: string) => Promise<string>,
  output: () => string,
): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (child.exitCode !== null) throw new Error(`proxy exited with ${child.exitCode}: ${output().slice(-2000)}`)
    const state = await admin('/ready').catch(() => '')
    if (state === 'LIVE\n') return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  child.kill('SIGKILL')
  throw new Error(`proxy did not become ready: ${output().slice(-2000)}`)
}

const given = new Set<number>()
/** Below the ports that the kernel gives to connections, which come and go between the choice and the bind. */
const FIRST_PORT = 12_000
const LAST_PORT = 32_000

/**
 * A port that nobody listens on, and that neither this process nor another was given: proxies listen with SO_REUSEPORT, so
 * that two on one port would share its connections. The UDP port of the same number is bound until this process ends.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT))
    if (given.has(port)) continue
    given.add(port)
    if (!(await isReserved(port))) continue
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (!free) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}

/** False: another process has it. */
function isReserved(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const mark = createSocket('udp4')
    mark.unref()
    mark.once('error', () => resolve(false))
    mark.bind({ port, address: '127.0.0.1', exclusive: true }, () => resolve(true))
  })
}
