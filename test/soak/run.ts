// npm run soak -- [--minutes 15] [--rate 200] [--concurrency 2] [--drain-time-s 45] [--change-ms 1000] [--proxy outrigger|envoy]
//
// Mixed load (HTTP/1, HTTP/2, TLS with certificates that rotate, mutual TLS to upstreams, gRPC, websocket, tcp_proxy)
// through a proxy while its configuration changes every second and its upstreams die and return. No request may fail for
// the proxy's own reasons, and its memory must not grow. Prints a line every ten seconds; exits 1 on failure.

import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { TestCa } from '../../src/proxy/network/testing.ts'
import { ControlPlane, endpoints } from '../../src/proxy/server/testing.ts'
import { serve } from '../../src/xds/testing.ts'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE } from '../../src/xds/type-urls.ts'
import { bootstrap, certificateSecret, clusters, listeners, rootsSecret, table } from './configuration.ts'
import { Upstream } from './upstreams.ts'
import { type Way, Ways } from './ways.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '15' },
    rate: { type: 'string', default: '200' },
    concurrency: { type: 'string', default: '2' },
    'drain-time-s': { type: 'string', default: '45' },
    'change-ms': { type: 'string', default: '1000' },
    proxy: { type: 'string', default: 'outrigger' },
  },
})
const CLIENTS = 16
const endMs = Date.now() + Number(values.minutes) * 60_000
const pauseMs = (1000 * CLIENTS) / Number(values.rate)

// ---- the surroundings

const clean: (() => void)[] = []
const ca = new TestCa({ after: (done) => clean.push(done) })
const serverCertificates = [0, 1, 2].map(() => ca.issue('DNS:proxy.example'))
const clientCertificates = [0, 1].map(() => ca.issue('URI:spiffe://soak/proxy'))
const identity = { ...ca.issue('DNS:upstream.example'), ca: ca.cert }
const upstreams = [0, 1, 2].map(() => new Upstream(identity))
for (const upstream of upstreams) await upstream.start()
/** Behind what cannot be tried again: tcp_proxy, websocket. Never killed. */
const steady = new Upstream(identity)
await steady.start()
const plane = new ControlPlane()
const { port: xds, close: closeXds } = await serve(plane)

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
const [http, tls, tcp, adminPort] = (await Promise.all([0, 0, 0, 0].map(freePort))) as [number, number, number, number]
const ports = { http, tls, tcp, admin: adminPort, xds }

/** Endpoints of the upstreams that live, but for one that is about to die. */
function endpointsOf(leaving: Upstream | null): [name: string, resource: object][] {
  const living = upstreams.filter((upstream) => upstream.alive && upstream !== leaving)
  return [
    ['a', endpoints('a', ...living.map(({ port }) => port))],
    ['secure', endpoints('secure', ...living.map(({ securePort }) => securePort))],
    ['grpc', endpoints('grpc', ...living.map(({ grpcPort }) => grpcPort))],
    ['steady', endpoints('steady', steady.port)],
  ]
}

for (const [name, resource] of clusters(0)) plane.put(CDS_TYPE, name, resource)
for (const [name, resource] of endpointsOf(null)) plane.put(EDS_TYPE, name, resource)
for (const [name, resource] of listeners(ports, 0)) plane.put(LDS_TYPE, name, resource)
plane.put(RDS_TYPE, 'r', table(0))
plane.put(SDS_TYPE, 'server', certificateSecret('server', serverCertificates[0]!))
plane.put(SDS_TYPE, 'client', certificateSecret('client', clientCertificates[0]!))
plane.put(SDS_TYPE, 'roots', rootsSecret(ca.cert))

const folder = await mkdtemp(join(tmpdir(), 'outrigger-soak-'))
await writeFile(join(folder, 'bootstrap.json'), JSON.stringify(bootstrap(ports)))
const flags = ['-c', join(folder, 'bootstrap.json'), '--concurrency', values.concurrency, '-l', 'error']
flags.push('--drain-time-s', values['drain-time-s'])
const launcher = new URL('../../bin/outrigger.js', import.meta.url).pathname
const proxy =
  values.proxy === 'envoy'
    ? spawn('envoy', [...flags, '--disable-hot-restart', '--use-dynamic-base-id'], { stdio: 'inherit' })
    : spawn(process.execPath, [launcher, 'proxy', ...flags], { stdio: 'inherit' })
let exited = false
proxy.on('exit', () => {
  exited = true
})

async function admin(path: string): Promise<string> {
  return (await fetch(`http://127.0.0.1:${ports.admin}${path}`)).text()
}
for (let i = 0; (await admin('/ready').catch(() => '')) !== 'LIVE\n'; i++) {
  if (i > 300 || exited) throw new Error('the proxy did not become LIVE')
  await sleep(100)
}

// ---- load, changes, and what is watched

const ways = new Ways(ports, ca.cert)
const running = (): boolean => Date.now() < endMs && !exited
const served = new Map<string, number>()
const failures = new Map<string, number>()
const add = (counts: Map<string, number>, key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1)
const total = (counts: Map<string, number>): number => [...counts.values()].reduce((a, b) => a + b, 0)

async function go([name, take]: Way, turn: number): Promise<void> {
  const started = Date.now()
  try {
    await take(turn)
  } catch (error) {
    // The first of each kind with its time, to find what the proxy did then.
    const why = `${name}: ${(error as Error).message}`
    if (!failures.has(why)) console.log(`${new Date().toISOString()} after ${Date.now() - started} ms: ${why}`)
    add(failures, why)
  }
  add(served, name)
}

async function client(seed: number): Promise<void> {
  const { requests } = ways
  for (let i = seed; running(); i++) {
    // Every kind of request in every way, one after another.
    await go(requests[i % requests.length]!, Math.floor(i / requests.length))
    await sleep(pauseMs * (0.5 + ((i * 7919) % 100) / 100))
  }
}

async function converse(way: Way, seed: number): Promise<void> {
  for (let i = seed; running(); i++) {
    await go(way, i)
    await sleep(200)
  }
}

let rotation = 0

/** One change a second, each kind in turn; certificates rotate every three. */
async function change(): Promise<void> {
  for (let round = 1; running(); round++) {
    await sleep(Number(values['change-ms']))
    const victim = upstreams[Math.floor(round / 6) % upstreams.length]!
    if (round % 3 === 0) {
      rotation++
      const server = serverCertificates[rotation % serverCertificates.length]!
      const client = clientCertificates[rotation % clientCertificates.length]!
      plane.push(SDS_TYPE, 'server', certificateSecret('server', server))
      plane.push(SDS_TYPE, 'client', certificateSecret('client', client))
      if (rotation % 4 === 0) plane.push(SDS_TYPE, 'roots', rootsSecret(ca.cert))
    }
    switch (round % 6) {
      case 0:
        plane.push(RDS_TYPE, 'r', table(round))
        break
      case 1:
        for (const [name, resource] of listeners(ports, round)) plane.push(LDS_TYPE, name, resource)
        break
      case 2:
        // The way pods go in a mesh: out of the endpoints first, dead a little later.
        for (const [name, resource] of endpointsOf(victim)) plane.push(EDS_TYPE, name, resource)
        break
      case 3:
        victim.stop()
        break
      case 4:
        for (const [name, resource] of clusters(round)) plane.push(CDS_TYPE, name, resource)
        break
      case 5:
        await victim.start()
        for (const [name, resource] of endpointsOf(null)) plane.push(EDS_TYPE, name, resource)
        break
    }
  }
}

function rssMb(): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${proxy.pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
}

const samples: number[] = []
async function watch(): Promise<void> {
  while (running()) {
    await sleep(10_000)
    if (exited) break
    samples.push(rssMb())
    console.log(`${total(served)} requests, ${total(failures)} failed, ${samples.at(-1)!.toFixed(1)} MB`)
  }
}

const loads = Array.from({ length: CLIENTS }, (_, i) => client(i))
for (const way of ways.conversations) for (let i = 0; i < 4; i++) loads.push(converse(way, i * 17))
await Promise.all([watch(), change(), ...loads])

// ---- the verdict

const nacks = plane.events.filter((event) => event.startsWith('nack'))
const stats = exited ? '' : await admin('/stats?filter=(upstream_rq_|downstream_cx_active|ssl|bug)&usedonly')
/** Counters that must be zero. */
const ours = exited ? '' : await admin('/stats?filter=(envoy_bug_failures|http2.stream_refused_errors)&usedonly')
const ended = exited
proxy.kill('SIGTERM')
ways.close()
closeXds()
for (const upstream of [...upstreams, steady]) upstream.stop()
await rm(folder, { recursive: true })
for (const done of clean) done()

const problems = [...failures].map(([why, count]) => `failed: ${count} × ${why}`)
problems.push(...nacks.slice(0, 3))
if (ended) problems.push('the proxy ended')
if (/: [1-9]/.test(ours)) problems.push(ours.trim())
const unseen = serverCertificates.filter(({ cert }) => !ways.met.has(new X509Certificate(cert).serialNumber))
if (rotation >= serverCertificates.length && unseen.length > 0)
  problems.push(`${unseen.length} certificates never seen`)
// The first third warms up; after it the medians of the second and the last third must agree within a tenth.
const third = Math.floor(samples.length / 3)
const median = (list: number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0
const middle = median(samples.slice(third, 2 * third))
const last = median(samples.slice(2 * third))
if (third > 0 && last > middle * 1.1 + 2)
  problems.push(`memory grew from ${middle.toFixed(1)} to ${last.toFixed(1)} MB`)
console.log([...served].map(([name, count]) => `${name} ${count}`).join(', '))
if (problems.length > 0) {
  console.log(stats)
  for (const problem of problems) console.log(problem)
  process.exit(1)
}
console.log(`soak: ${total(served)} requests, none failed; memory ${middle.toFixed(1)} → ${last.toFixed(1)} MB`)
process.exit(0)
