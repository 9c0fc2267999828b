// CPU of one relayed request inside the process: the real proxy from its configuration on, the bytes of requests and
// answers put where a read would have left them, and writes that end before the kernel. The fastest of many blocks, so
// that what else the machine does hardly shows. node bench/request.ts [plain|full] [--blocks 4000] [--connections 64]
// [--cookies 1] (so many different values of a header, in turn) [--allocations] (where the garbage comes from)
// [--base CHECKOUT]

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector/promises'
import { registerHooks } from 'node:module'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { socketFd } from '../src/proxy/network/socket-handle.ts'
import { freePorts } from './free-ports.ts'
import { bootstrap, type Shape } from './shapes.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    blocks: { type: 'string', default: '4000' },
    connections: { type: 'string', default: '64' },
    cookies: { type: 'string', default: '1' },
    allocations: { type: 'boolean', default: false },
    base: { type: 'string', default: resolve(import.meta.dirname, '..') },
  },
})
const shape = (positionals[0] ?? 'plain') as Shape
if (shape !== 'plain' && shape !== 'full') {
  console.error(`"${shape}" is not measured like this: plain and full are`)
  process.exit(64)
}
const connections = Number(values.connections)
// As the launcher does.
setFlagsFromString('--semi-space-growth-factor=1')

/** Stands in for src/proxy/network/send.ts: takes everything, and remembers where to. */
interface Sink {
  readonly fds: Int32Array
  count: number
  bytes: number
}
const sink: Sink = { fds: new Int32Array(1024), count: 0, bytes: 0 }
;(globalThis as unknown as { benchSink: Sink }).benchSink = sink
const SEND = `const sink = globalThis.benchSink
export function prepareSend() {}
export function sendBytes(fd, bytes, length) {
  sink.fds[sink.count++ & 1023] = fd
  sink.bytes += length
  return length
}`
registerHooks({
  load(url, context, next) {
    if (!url.endsWith('/src/proxy/network/send.ts')) return next(url, context)
    return { format: 'module', source: SEND, shortCircuit: true }
  },
})

const from = (file: string): Promise<unknown> => import(join(resolve(values.base), 'src', file))
const { SocketConnection } = (await from(
  'proxy/network/socket-connection.ts',
)) as typeof import('../src/proxy/network/socket-connection.ts')
const { READ_BUFFER } = (await from(
  'proxy/network/read-buffer.ts',
)) as typeof import('../src/proxy/network/read-buffer.ts')
const { loadBootstrap, startProxy } = (await from('proxy/index.ts')) as typeof import('../src/proxy/index.ts')
const { createLogger } = (await from('base/logger.ts')) as typeof import('../src/base/logger.ts')
type Connection = InstanceType<typeof SocketConnection>

/** All connections of the proxy, in the order of their beginning. */
const all: Connection[] = []
const { setBufferLimits } = SocketConnection.prototype
SocketConnection.prototype.setBufferLimits = function (this: Connection, bytes: number) {
  all.push(this)
  setBufferLimits.call(this, bytes)
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (condition()) return
    await sleep(5)
  }
  throw new Error(`${what} does not come`)
}

function upstreamServer(port: number): Promise<Server> {
  const server = createServer((socket) => socket.resume().on('error', () => {}))
  return new Promise((done) => server.listen(port, '127.0.0.1', () => done(server)))
}

function request(cookie: number): Buffer {
  const extra = values.cookies === '1' ? '' : `Cookie: session=${cookie.toString(16).padStart(16, '0')}\r\n`
  return Buffer.from(`GET / HTTP/1.1\r\nHost: 127.0.0.1:10000\r\n${extra}\r\n`)
}
const ANSWER = Buffer.from(
  'HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 28 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\n' +
    'Content-Length: 1024\r\nLast-Modified: Sat, 28 Nov 2026 09:00:00 GMT\r\nConnection: keep-alive\r\n' +
    `ETag: "69295a40-400"\r\nAccept-Ranges: bytes\r\n\r\n${'x'.repeat(1024)}`,
)

const dir = mkdtempSync(join(tmpdir(), 'request-bench-'))
const [upstream, listener, admin] = (await freePorts(3)) as [number, number, number]
const server = await upstreamServer(upstream)
const file = join(dir, 'bootstrap.json')
writeFileSync(
  file,
  JSON.stringify(bootstrap(shape, { upstream, upstreamH2: 0, upstreamMtls: 0, listener, admin }, dir)),
)
const proxy = await startProxy({
  bootstrap: loadBootstrap({ path: file, allowUnknownFields: false, node: {} } as never),
  configPath: file,
  concurrency: 1,
  drainTimeS: 1,
  drainStrategy: 'immediate',
  fileFlushIntervalMs: 10_000,
  fileFlushMinSizeKb: 64,
  rejectUnknownDynamicFields: false,
  log: createLogger('bench', 'error'),
  onExit: () => {},
} as never)
const clients: Socket[] = Array.from({ length: connections }, () =>
  connect(listener, '127.0.0.1').on('error', () => {}),
)
await until(() => all.length === connections, 'a connection to the proxy')
const downstream = all.slice()
const requests = Array.from({ length: Number(values.cookies) }, (_, i) => request(i))

// The first requests open the connections to the upstream.
const put = (connection: Connection, bytes: Buffer): void => {
  bytes.copy(READ_BUFFER)
  connection.receiveFromSocket(bytes.length)
}
for (const connection of downstream) put(connection, requests[0]!)
await until(() => sink.count === connections, 'a request to the upstream')
const byFd: (Connection | undefined)[] = []
for (const connection of all) {
  const { socket } = connection as unknown as { socket: Socket }
  byFd[socketFd(socket)] = connection
}
SocketConnection.prototype.setBufferLimits = setBufferLimits

let next = 0
/** One request and its answer on each connection, as many under way as there are connections. */
function block(): void {
  answers(sink.count)
  sink.count = 0
  for (let i = 0; i < connections; i++) {
    if (++next === requests.length) next = 0
    put(downstream[i]!, requests[next]!)
  }
}

function answers(count: number): void {
  for (let i = 0; i < count; i++) put(byFd[sink.fds[i]!]!, ANSWER)
}

interface SampledNode {
  readonly selfSize: number
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  readonly children: readonly SampledNode[]
}

/** Bytes of a request by the function that allocates them, most first. Samples: what is seldom or small hardly shows. */
async function printAllocations(): Promise<void> {
  const session = new Session()
  session.connect()
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: 1024,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  })
  const rounds = 500
  for (let i = 0; i < rounds; i++) block()
  const { profile } = await session.post('HeapProfiler.stopSampling')
  const sites = new Map<string, number>()
  const visit = (node: SampledNode): void => {
    const { functionName, url, lineNumber } = node.callFrame
    const site = `${functionName || '(anonymous)'} ${url.replace(/.*\/src\//, '')}:${lineNumber + 1}`
    sites.set(site, (sites.get(site) ?? 0) + node.selfSize)
    node.children.forEach(visit)
  }
  visit(profile.head as unknown as SampledNode)
  const each = (bytes: number): string => (bytes / rounds / connections).toFixed(0).padStart(6)
  console.log(
    `${each([...sites.values()].reduce((sum, bytes) => sum + bytes, 0))}  bytes a request; of these by function:`,
  )
  for (const [site, bytes] of [...sites].sort((a, b) => b[1] - a[1]).slice(0, 40))
    console.log(`${each(bytes)}  ${site}`)
}

const times: number[] = []
const blocks = Number(values.blocks)
for (let i = 0; i < blocks; i++) {
  sink.count = Math.min(sink.count, connections)
  const begun = performance.now()
  block()
  times.push(((performance.now() - begun) * 1000) / connections)
  if (sink.count !== connections) throw new Error(`${sink.count} writes, not ${connections}: a request was lost`)
  // Timers, compilers and the collector have their turns.
  if ((i & 15) === 0) await new Promise((done) => setImmediate(done))
}
if (values.allocations) await printAllocations()
const late = times.slice(blocks >> 1).sort((a, b) => a - b)
const at = (share: number): string => late[Math.floor(late.length * share)]!.toFixed(2)
console.log(
  `${shape}: ${at(0)} µs a request in the fastest block, ${at(0.1)} in a tenth of them, ${at(0.5)} in half of them`,
)
for (const client of clients) client.destroy()
await proxy.stop()
server.close()
rmSync(dir, { recursive: true, force: true })
process.exit(0)
