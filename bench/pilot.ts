// The control plane under load: a large mesh, many delta-ADS clients, and the time from a saved file to the last ACK.
// node bench/pilot.ts [--services 1000] [--clients 50] [--rounds 10] [--only NAME] [--profile FILE]
// --only: just the measurement of that name; --profile: a CPU profile of the control plane for each, FILE-<n>.cpuprofile.
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '1000' },
    clients: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '10' },
    only: { type: 'string' },
    profile: { type: 'string' },
  },
})
const services = Number(values.services)
const clientCount = Number(values.clients)
const rounds = Number(values.rounds)
const nowMs = () => performance.timeOrigin + performance.now()

interface Report {
  acked: number
  lastAckMs: number
  bytes: number
  refused: number
  ready: number
}

const serviceEntry = (i: number, second: number) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: svc-${i}, namespace: default}
spec:
  hosts: [svc-${i}.example.com]
  addresses: [240.1.${i >> 8}.${i & 255}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints: [{address: 10.1.${i >> 8}.${i & 255}}, {address: 10.2.${second >> 8}.${second & 255}}]
`

const virtualService = (i: number, timeoutMs: number) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: svc-${i}, namespace: default}
spec:
  hosts: [svc-${i}.example.com]
  http: [{timeout: ${timeoutMs}ms, route: [{destination: {host: svc-${i}.example.com}}]}]
`

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}

/** CPU seconds and resident megabytes of a process. */
function usage(pid: number): { cpuS: number; rssMb: number; peakMb: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const mb = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024
  return { cpuS: (Number(stat[11]) + Number(stat[12])) / 100, rssMb: mb('VmRSS'), peakMb: mb('VmHWM') }
}

function ask<T>(child: ChildProcess, message: string): Promise<T> {
  return new Promise((resolve) => {
    child.once('message', (answer) => resolve(answer as T))
    child.send(message)
  })
}

const dir = mkdtempSync(join(tmpdir(), 'pilot-bench-'))
for (let i = 0; i < services; i++) {
  writeFileSync(join(dir, `svc-${i}.yaml`), `${serviceEntry(i, i)}---\n${virtualService(i, 1000)}`)
}
const port = await freePort()
const http = await freePort()
const pilot = spawn(
  process.execPath,
  [
    ...(values.profile ? ['--import', join(import.meta.dirname, 'profile-on-signal.ts')] : []),
    join(import.meta.dirname, '../bin/outrigger.js'),
    ...['pilot', '--from', dir, '--log-level', 'warn'],
    ...['--grpc-addr', `127.0.0.1:${port}`, '--http-addr', `127.0.0.1:${http}`, '--monitoring-addr', '127.0.0.1:0'],
  ],
  { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, BENCH_PROFILE: values.profile } },
)
let clients: ChildProcess | undefined
try {
  const startedMs = nowMs()
  while (
    !(await fetch(`http://127.0.0.1:${http}/ready`).then(
      (r) => r.ok,
      () => false,
    ))
  )
    await sleep(20)
  console.log(
    `services ${services}, clients ${clientCount}; ready after ${(nowMs() - startedMs).toFixed(0)} ms, ${usage(pilot.pid!).rssMb.toFixed(0)} MB`,
  )

  const before = usage(pilot.pid!)
  clients = fork(join(import.meta.dirname, 'pilot-clients.ts'), [`127.0.0.1:${port}`, String(clientCount)])
  await once(clients, 'message')
  const connectMs = nowMs()
  if (values.profile !== undefined) pilot.kill('SIGUSR2')
  clients.send('start')
  let report: Report
  do {
    await sleep(20)
    report = await ask<Report>(clients, 'report')
  } while (report.ready + report.refused < clientCount)
  await settled(clients)
  report = await ask<Report>(clients, 'report')
  const after = usage(pilot.pid!)
  if (values.profile !== undefined) pilot.kill('SIGUSR2')
  console.log(
    `first sync of all clients: ${(report.lastAckMs - connectMs).toFixed(0)} ms, ` +
      `${(after.cpuS - before.cpuS).toFixed(2)} s CPU, ${(report.bytes / 1e6).toFixed(0)} MB sent, refused ${report.refused}, ${after.rssMb.toFixed(0)} MB`,
  )

  await measure('forced full push', async () => {
    await fetch(`http://127.0.0.1:${http}/debug/adsz?push=true`)
  })
  await measure('one VirtualService', (round) => {
    writeFileSync(join(dir, 'svc-7.yaml'), `${serviceEntry(7, 7)}---\n${virtualService(7, 2000 + round)}`)
  })
  await measure('one endpoint', (round) => {
    writeFileSync(join(dir, 'svc-8.yaml'), `${serviceEntry(8, 5000 + round)}---\n${virtualService(8, 1000)}`)
  })
  mkdirSync(join(dir, 'new'))
  await measure('one new service', (round) => {
    const i = services + round
    writeFileSync(join(dir, 'new', `svc-${i}.yaml`), serviceEntry(i, i))
  })
  await sleep(300)
  console.log(`peak RSS ${usage(pilot.pid!).peakMb.toFixed(0)} MB`)
} finally {
  clients?.kill()
  pilot.kill()
  rmSync(dir, { recursive: true })
}

/** Waits until no acknowledgement came for a while. */
async function settled(child: ChildProcess): Promise<Report> {
  let report = await ask<Report>(child, 'report')
  for (;;) {
    await sleep(150)
    const next = await ask<Report>(child, 'report')
    if (next.lastAckMs === report.lastAckMs) return next
    report = next
  }
}

/** Runs a change several times; prints the time to the last ACK of all clients, CPU and bytes. */
async function measure(name: string, change: (round: number) => unknown): Promise<void> {
  if (values.only !== undefined && values.only !== name) return
  if (values.profile !== undefined) pilot.kill('SIGUSR2')
  const times: number[] = []
  let cpu = 0
  let bytes = 0
  for (let round = 0; round < rounds; round++) {
    await ask(clients!, 'mark')
    const before = usage(pilot.pid!)
    const startMs = nowMs()
    await change(round)
    let report: Report
    const deadlineMs = startMs + 10_000
    do {
      await sleep(5)
      report = await ask<Report>(clients!, 'report')
    } while (report.acked < clientCount && nowMs() < deadlineMs)
    report = await settled(clients!)
    if (report.acked > 0) times.push(report.lastAckMs - startMs)
    cpu += usage(pilot.pid!).cpuS - before.cpuS
    bytes += report.bytes
    if (report.acked < clientCount) console.log(`  ${name}: only ${report.acked} clients were told`)
  }
  if (values.profile !== undefined) pilot.kill('SIGUSR2')
  times.sort((a, b) => a - b)
  const median = times[times.length >> 1]
  console.log(
    `${name}: median ${median!.toFixed(0)} ms, max ${times.at(-1)!.toFixed(0)} ms, ${(cpu / rounds).toFixed(3)} s CPU, ${(bytes / rounds / 1e6).toFixed(2)} MB`,
  )
}
