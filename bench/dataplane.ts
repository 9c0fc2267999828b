// CPU, latency and memory of the proxy beside Envoy: both run at once and take turns under load, so that what else the
// machine does meets both alike. One core for the proxies, one for load generator and upstream.
// node bench/dataplane.ts [shape...] [--rounds 10] [--seconds 1] [--connections 64] [--path /] [--base CHECKOUT] [--built] [--flags='NODE FLAGS']... [--no-envoy]
// --base compares with another checkout of this project, --built with dist/, --flags with ours under these flags. Needs nginx, wrk, h2load, openssl.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { makeCertificate } from './certificate.ts'
import { freePorts } from './free-ports.ts'
import { type LoadOptions, load, startGrpcUpstream, startUpstream } from './load.ts'
import { bootstrap, isGrpc, SHAPES, type Shape } from './shapes.ts'
import { type Command, type Subject, startSubject } from './subject.ts'

const PROXY_CORE = 0
const LOAD_CORE = 1
/** Before anything is measured: the compilers of V8 come to rest. */
const WARM_SECONDS = 3

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '1' },
    connections: { type: 'string', default: '64' },
    path: { type: 'string', default: '/' },
    base: { type: 'string' },
    flags: { type: 'string', multiple: true, default: [] },
    built: { type: 'boolean', default: false },
    'no-envoy': { type: 'boolean', default: false },
  },
})
const shapes = positionals.length > 0 ? positionals : ['plain', 'full', 'h2', 'tcp', 'upstream-mtls']
for (const shape of shapes)
  if (!(SHAPES as readonly string[]).includes(shape)) {
    console.error(`unknown shape "${shape}": there are ${SHAPES.join(', ')}`)
    process.exit(64)
  }

const here = resolve(import.meta.dirname, '..')
const ours = (cwd: string, name: string, env?: Record<string, string>, flags: string[] = []): Command => ({
  name,
  argv: [process.execPath, ...flags, 'bin/outrigger.js', 'proxy'],
  cwd,
  env: { OUTRIGGER_DIST: '0', ...env },
})
const commands: Command[] = [ours(here, 'ours')]
if (values.built) commands.push(ours(here, 'built', { OUTRIGGER_DIST: '1' }))
for (const [i, flags] of values.flags.entries()) commands.push(ours(here, `flags${i + 1}`, {}, flags.split(' ')))
if (values.base) commands.push(ours(resolve(values.base), 'base'))
if (!values['no-envoy']) commands.push({ name: 'envoy', argv: ['envoy', '--base-id', String(process.pid)], cwd: here })

/** What one subject did in one round, for each request. */
interface Round {
  readonly requests: number
  readonly userUs: number
  readonly totalUs: number
  readonly p99Ms: number
  readonly errors: string
}

/** A quarter of the rounds is cheaper: what else runs on the machine only ever adds. */
function quartile(rounds: readonly Round[], field: 'userUs' | 'totalUs' | 'p99Ms'): number {
  const sorted = rounds.map((round) => round[field]).sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 4)]!
}

async function measureRound(shape: Shape, subject: Subject, options: LoadOptions): Promise<Round> {
  const before = subject.cpu()
  const { requests, p99Ms, errors } = await load(shape, subject.listener, options)
  const after = subject.cpu()
  const userUs = (after.user - before.user) / requests
  return { requests, userUs, totalUs: userUs + (after.system - before.system) / requests, p99Ms, errors }
}

async function measure(shape: Shape, dir: string, ports: number[]): Promise<void> {
  const [upstream, upstreamH2, upstreamMtls, unary, stream] = ports as [number, number, number, number, number]
  const upstreamGrpc = { unary, stream }
  const subjects: Subject[] = []
  try {
    for (const [i, command] of commands.entries()) {
      const own = { listener: ports[5 + 2 * i]!, admin: ports[6 + 2 * i]! }
      const config = bootstrap(shape, { ...own, upstream, upstreamH2, upstreamMtls, upstreamGrpc }, dir)
      subjects.push(await startSubject(command, config, own, dir, PROXY_CORE))
    }
    const options = { core: LOAD_CORE, connections: Number(values.connections), path: values.path }
    for (const { listener } of subjects) await load(shape, listener, { ...options, seconds: WARM_SECONDS })
    const rounds = subjects.map((): Round[] => [])
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const [i, subject] of subjects.entries())
        rounds[i]!.push(await measureRound(shape, subject, { ...options, seconds: Number(values.seconds) }))
    }
    const reference = quartile(rounds.at(-1)!, 'totalUs')
    for (const [i, subject] of subjects.entries()) {
      const own = rounds[i]!
      const cost = quartile(own, 'totalUs')
      console.log(
        `${shape.padEnd(14)} ${subject.name.padEnd(6)} ${cost.toFixed(1).padStart(6)} µs a request (user ${quartile(own, 'userUs').toFixed(1)})` +
          `  ${(cost / reference).toFixed(2)} of ${subjects.at(-1)!.name}` +
          (Number.isNaN(own[0]!.p99Ms) ? '' : `  p99 ${quartile(own, 'p99Ms').toFixed(1)} ms`) +
          `  RSS ${subject.rssMb().toFixed(0)} MB  ${own.reduce((sum, round) => sum + round.requests, 0)} requests` +
          ` ${own.find((round) => round.errors !== '')?.errors ?? ''}`,
      )
    }
  } finally {
    for (const subject of subjects) await subject.stop()
  }
}

const dir = mkdtempSync(join(tmpdir(), 'dataplane-bench-'))
makeCertificate(dir)
const ports = await freePorts(5 + 2 * commands.length)
const up = startUpstream(dir, { upstream: ports[0]!, upstreamH2: ports[1]!, upstreamMtls: ports[2]! }, LOAD_CORE)
const grpc = shapes.some((shape) => isGrpc(shape as Shape))
  ? startGrpcUpstream({ unary: ports[3]!, stream: ports[4]! }, LOAD_CORE)
  : null
try {
  for (const shape of shapes) await measure(shape as Shape, dir, ports)
} finally {
  up.stop()
  grpc?.stop()
  rmSync(dir, { recursive: true, force: true })
}
