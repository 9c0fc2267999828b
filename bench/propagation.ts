// From a saved file to the first changed response through a sidecar, on the running Bookinfo.
// node bench/propagation.ts [--changes 200] [--dir FOLDER --home OUTRIGGER_HOME: a mesh that runs already]
// Needs root and Linux, as `outrigger up` does.
import { type ChildProcess, spawn } from 'node:child_process'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createMesh } from '../test/system/mesh.ts'

const { values } = parseArgs({
  options: {
    changes: { type: 'string', default: '200' },
    dir: { type: 'string' },
    home: { type: 'string' },
  },
})
const changes = Number(values.changes)
const FILE = 'propagation.yaml'
/** Changes while a mesh that has just started still compiles, collects and gives memory back. */
const WARM_UP = 20
/** No answer to a change within this fails the run. */
const LIMIT_MS = 10_000
const nowMs = () => performance.timeOrigin + performance.now()

const virtualService = (round: number) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: propagation}
spec:
  hosts: [ratings]
  http:
    - route: [{destination: {host: ratings}}]
      headers: {response: {set: {x-round: "${round}"}}}
`

/** Runs in the container of productpage until its input ends: asks ratings through the sidecar, says when an answer differs from the last. */
const POLLER = `
const http = require('node:http')
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
let last
const ask = () => {
  const startMs = performance.now()
  http.get({ host: 'ratings', port: 9080, path: '/ratings/0', agent }, (response) => {
    const nowMs = performance.now()
    const round = response.headers['x-round']
    if (round !== undefined && round !== last)
      console.log([(last = round), performance.timeOrigin + nowMs, nowMs - startMs].join(' '))
    response.resume().on('end', () => setTimeout(ask, 1))
  }).on('error', () => setTimeout(ask, 5))
}
ask()
process.stdin.on('end', () => process.exit()).resume()
`

const mesh = values.dir && values.home ? null : await startMesh()
const dir = values.dir ?? mesh!.dir
const home = values.home ?? mesh!.home
let poller: ChildProcess | undefined
try {
  poller = spawn(
    process.execPath,
    [
      join(import.meta.dirname, '../bin/outrigger.js'),
      ...['exec', '-i', 'deploy/productpage-v1', '-c', 'productpage', '--', process.execPath, '-e', POLLER],
    ],
    { env: { ...process.env, OUTRIGGER_HOME: home }, stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const seen = new Map<number, number>()
  const requests: number[] = []
  createInterface({ input: poller.stdout! }).on('line', (line) => {
    const [round, atMs, tookMs] = line.split(' ').map(Number)
    seen.set(round!, atMs!)
    requests.push(tookMs!)
  })
  await save(0)
  await answered(seen, 0)
  const times: number[] = []
  for (let round = 1; round <= changes; round++) {
    // Not in step with anything that happens periodically.
    await sleep(100 + ((round * 37) % 150))
    const savedMs = await save(round)
    times.push((await answered(seen, round)) - savedMs)
  }
  console.log(`file saved to first changed response, ${changes} changes: ${quantiles(times)}`)
  if (changes > WARM_UP) console.log(`of them without the first ${WARM_UP}: ${quantiles(times.slice(WARM_UP))}`)
  console.log(`of it the request that showed it: ${quantiles(requests)}`)
} finally {
  // The poller ends with its input; a killed `exec` would leave it behind.
  poller?.stdin?.end()
  rmSync(join(dir, FILE), { force: true })
  mesh?.close()
}

function quantiles(unsorted: readonly number[]): string {
  const times = unsorted.toSorted((a, b) => a - b)
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))]!.toFixed(1)
  return `p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`
}

async function startMesh() {
  const started = await createMesh()
  const { status, stderr } = started.up('--detach', '--timeout', '180')
  if (status === 0) return started
  started.close()
  throw new Error(`outrigger up: exit ${status}\n${stderr}`)
}

/** Saves the file as editors do, and says when it stood there. */
async function save(round: number): Promise<number> {
  const temporary = join(dir, `.${FILE}.tmp`)
  writeFileSync(temporary, virtualService(round))
  const atMs = nowMs()
  renameSync(temporary, join(dir, FILE))
  return atMs
}

async function answered(seen: ReadonlyMap<number, number>, round: number): Promise<number> {
  const deadlineMs = nowMs() + LIMIT_MS
  while (!seen.has(round)) {
    if (nowMs() > deadlineMs) throw new Error(`no answer showed change ${round} within ${LIMIT_MS} ms`)
    await sleep(5)
  }
  return seen.get(round)!
}
