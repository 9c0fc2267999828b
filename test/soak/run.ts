// npm run soak -- [--minutes 15] [--rate 200] [--concurrency 2]
//
// Mixed load (HTTP/1, HTTP/2 with prior knowledge, tcp_proxy) through a proxy while its configuration changes every second and its upstreams die and return. No request
// may fail for the proxy's own reasons, and its memory must not grow. Prints a line every ten seconds; exits 1 on failure.

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, createServer, type IncomingMessage, request, type Server } from 'node:http'
import { type ClientHttp2Session, connect } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ADS, ControlPlane, cluster, endpoints, listener, routes } from '../../src/proxy/server/testing.ts'
import { serve } from '../../src/xds/testing.ts'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../src/xds/type-urls.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '15' },
    rate: { type: 'string', default: '200' },
    concurrency: { type: 'string', default: '2' },
    'drain-time-s': { type: 'string', default: '45' },
  },
})
const CLIENTS = 16
const endMs = Date.now() + Number(values.minutes) * 60_000
const pauseMs = (1000 * CLIENTS) / Number(values.rate)

/** An upstream that answers, echoes bodies, and can be killed and brought back on its port. */
class Upstream {
  port = 0
  alive = false
  private server: Server | null = null
  private readonly sockets = new Set<Socket>()

  async start(): Promise<void> {
    const server = createServer((req, res) => {
      if (req.url === '/large') return void res.end(Buffer.alloc(256 * 1024, 'x'))
      if (req.method === 'POST') return void req.pipe(res)
      res.end('ok')
    })
    server.keepAliveTimeout = 0
    server.on('connection', (socket) => {
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket))
    })
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve))
    this.port = (server.address() as AddressInfo).port
    this.server = server
    this.alive = true
  }

  /** First it leaves the endpoints (the caller's matter), then it finishes its requests, then it is gone. */
  async stop(): Promise<void> {
    this.alive = false
    this.server?.close()
    for (const socket of this.sockets) socket.destroy()
    this.server = null
  }
}

const plane = new ControlPlane()
const upstreams = [new Upstream(), new Upstream(), new Upstream()]
for (const upstream of upstreams) await upstream.start()
/** Behind tcp_proxy, where nothing can be retried: never killed. */
const steady = new Upstream()
await steady.start()
const { port: xdsPort, close: closeXds } = await serve(plane)

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

const [port, tcpPort, adminPort] = await Promise.all([freePort(), freePort(), freePort()])
const address = (port_value: number) => ({ socket_address: { address: '127.0.0.1', port_value } })
const bootstrap = {
  node: { id: 'soak', cluster: 'soak' },
  admin: { address: address(adminPort) },
  dynamic_resources: {
    ads_config: {
      api_type: 'DELTA_GRPC',
      transport_api_version: 'V3',
      grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }],
    },
    cds_config: ADS,
    lds_config: ADS,
  },
  static_resources: {
    clusters: [{ name: 'xds', type: 'STATIC', connect_timeout: '1s', load_assignment: endpoints('xds', xdsPort) }],
  },
}

/** Retries as Istio configures them: an upstream that dies is met by a second try. */
const RETRY = { retry_on: 'connect-failure,refused-stream,reset-before-request,unavailable', num_retries: 3 }
const table = (round: number) => {
  const config = routes('r', 'a')
  const route = config.virtual_hosts[0]!.routes[0]!
  Object.assign(route.route, { retry_policy: RETRY, timeout: '0s' })
  return { ...config, response_headers_to_add: [{ header: { key: 'x-round', value: String(round) } }] }
}
const alive = (): number[] => upstreams.filter((u) => u.alive).map((u) => u.port)

plane.put(CDS_TYPE, 'a', cluster('a'))
plane.put(EDS_TYPE, 'a', endpoints('a', ...alive()))
plane.put(LDS_TYPE, 'l', listener('l', port))
plane.put(RDS_TYPE, 'r', table(0))
plane.put(CDS_TYPE, 'steady', cluster('steady'))
plane.put(EDS_TYPE, 'steady', endpoints('steady', steady.port))
plane.put(LDS_TYPE, 'tcp', {
  name: 'tcp',
  address: address(tcpPort),
  filter_chains: [
    {
      filters: [
        {
          name: 'tcp',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
            stat_prefix: 'tcp',
            cluster: 'steady',
          },
        },
      ],
    },
  ],
})

const folder = await mkdtemp(join(tmpdir(), 'outrigger-soak-'))
await writeFile(join(folder, 'bootstrap.json'), JSON.stringify(bootstrap))
const launcher = new URL('../../bin/outrigger.js', import.meta.url).pathname
const proxy: ChildProcess = spawn(
  process.execPath,
  [
    launcher,
    'proxy',
    '-c',
    join(folder, 'bootstrap.json'),
    '--concurrency',
    values.concurrency,
    '-l',
    'error',
    '--drain-time-s',
    values['drain-time-s'],
  ],
  { stdio: 'inherit' },
)
let exited = false
proxy.on('exit', () => {
  exited = true
})

async function admin(path: string): Promise<string> {
  return (await fetch(`http://127.0.0.1:${adminPort}${path}`)).text()
}
for (let i = 0; (await admin('/ready').catch(() => '')) !== 'LIVE\n'; i++) {
  if (i > 300 || exited) throw new Error('the proxy did not become LIVE')
  await sleep(100)
}

let served = 0
const failures = new Map<string, number>()
const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })

interface Result {
  readonly status: number
  readonly length: number
}

function call(port: number, path: string, body: Buffer | null): Promise<Result> {
  return new Promise((resolve, reject) => {
    const req = request(
      { port, host: '127.0.0.1', path, agent, method: body ? 'POST' : 'GET' },
      (res: IncomingMessage) => {
        let length = 0
        res.on('data', (chunk: Buffer) => (length += chunk.length))
        res.on('end', () => resolve({ status: res.statusCode!, length }))
        res.on('error', reject)
      },
    )
    req.on('error', reject)
    req.end(body ?? undefined)
  })
}

let session: ClientHttp2Session | null = null

/** One HTTP/2 connection for everybody, a new one after GOAWAY. */
function currentSession(): ClientHttp2Session {
  if (session !== null) return session
  const made = connect(`http://127.0.0.1:${port}`)
  const leave = (): void => {
    if (session === made) session = null
  }
  made.on('goaway', () => {
    leave()
    made.close()
  })
  made.on('close', leave)
  made.on('error', leave)
  session = made
  return made
}

function call2(path: string, body: Buffer | null): Promise<Result> {
  return new Promise((resolve, reject) => {
    const stream = currentSession().request({ ':path': path, ':method': body ? 'POST' : 'GET' })
    let status = 0
    let length = 0
    stream.on('response', (headers) => (status = Number(headers[':status'])))
    stream.on('data', (chunk: Buffer) => (length += chunk.length))
    stream.on('end', () => resolve({ status, length }))
    stream.on('error', reject)
    stream.end(body ?? undefined)
  })
}

const SMALL = Buffer.alloc(512, 'a')
const BIG = Buffer.alloc(128 * 1024, 'b')
const KINDS: readonly [path: string, body: Buffer | null, length: number][] = [
  ['/', null, 2],
  ['/', null, 2],
  ['/large', null, 256 * 1024],
  ['/echo', SMALL, SMALL.length],
  ['/echo', BIG, BIG.length],
]

async function client(seed: number): Promise<void> {
  for (let i = seed; Date.now() < endMs && !exited; i++) {
    const [path, body, length] = KINDS[i % KINDS.length]!
    // Three ways in, whatever the kind: HTTP/1, HTTP/2 and TCP.
    const way = Math.floor(i / KINDS.length) % 3
    const answer = way === 0 ? call(port, path, body) : way === 1 ? call2(path, body) : call(tcpPort, path, body)
    const result = await answer.catch((error: Error) => ({ status: 0, length: -1, error: error.message }))
    served++
    if (result.status !== 200 || result.length !== length) {
      const what = 'error' in result ? result.error : `status ${result.status}, ${result.length} bytes`
      const why = `${['HTTP/1', 'HTTP/2', 'TCP'][way]} ${path}: ${what}`
      failures.set(why, (failures.get(why) ?? 0) + 1)
    }
    await sleep(pauseMs * (0.5 + ((i * 7919) % 100) / 100))
  }
}

/** One change a second, each kind in turn. */
async function change(): Promise<void> {
  for (let round = 1; Date.now() < endMs && !exited; round++) {
    await sleep(1000)
    const victim = upstreams[Math.floor(round / 6) % upstreams.length]!
    switch (round % 6) {
      case 0:
        plane.push(RDS_TYPE, 'r', table(round))
        break
      case 1:
        plane.push(LDS_TYPE, 'l', {
          ...listener('l', port),
          per_connection_buffer_limit_bytes: 32768 + (round % 64) * 1024,
        })
        break
      case 2:
        // The way pods go in a mesh: out of the endpoints first, dead a little later.
        plane.push(EDS_TYPE, 'a', endpoints('a', ...alive().filter((p) => p !== victim.port)))
        break
      case 3:
        await victim.stop()
        break
      case 4:
        plane.push(CDS_TYPE, 'a', { ...cluster('a'), connect_timeout: `${1 + (round % 3)}s` })
        break
      case 5:
        await victim.start()
        plane.push(EDS_TYPE, 'a', endpoints('a', ...alive()))
        break
    }
  }
}

function rssMb(): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${proxy.pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
}

const samples: number[] = []
async function watch(): Promise<void> {
  while (Date.now() < endMs && !exited) {
    await sleep(10_000)
    if (exited) break
    samples.push(rssMb())
    console.log(
      `${served} requests, ${[...failures.values()].reduce((a, b) => a + b, 0)} failed, ${samples.at(-1)!.toFixed(1)} MB`,
    )
  }
}

await Promise.all([watch(), change(), ...Array.from({ length: CLIENTS }, (_, i) => client(i))])
const nacks = plane.events.filter((event) => event.startsWith('nack'))
const stats = exited ? '' : await admin('/stats?filter=(upstream_rq_|downstream_cx_active|ssl)&usedonly')
const ended = exited
proxy.kill('SIGTERM')
agent.destroy()
currentSession().destroy()
closeXds()
for (const upstream of [...upstreams, steady]) await upstream.stop()
await rm(folder, { recursive: true })

// The first third warms up; after it the medians of the second and the last third must agree within a tenth.
const third = Math.floor(samples.length / 3)
const median = (list: number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0
const middle = median(samples.slice(third, 2 * third))
const last = median(samples.slice(2 * third))
const grew = third > 0 && last > middle * 1.1 + 2
if (failures.size > 0 || nacks.length > 0 || grew || ended) {
  console.log(stats)
  for (const [why, count] of failures) console.log(`failed: ${count} × ${why}`)
  for (const nack of nacks.slice(0, 3)) console.log(nack)
  if (grew) console.log(`memory grew from ${middle.toFixed(1)} to ${last.toFixed(1)} MB`)
  if (ended) console.log('the proxy ended')
  process.exit(1)
}
console.log(`soak: ${served} requests, none failed; memory ${middle.toFixed(1)} → ${last.toFixed(1)} MB`)
process.exit(0)
