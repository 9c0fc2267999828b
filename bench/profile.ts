// Where the proxy spends its time under one shape of load: writes a .cpuprofile (for the Chrome developer tools) and
// prints the functions with the most time of their own. node bench/profile.ts [shape] [--seconds 8] [--connections 64] [--path /] [--top 40] [--out DIR]

import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { makeCertificate } from './certificate.ts'
import { freePorts } from './free-ports.ts'
import { load, startGrpcUpstream, startUpstream } from './load.ts'
import { bootstrap, isGrpc, SHAPES, type Shape } from './shapes.ts'
import { startSubject } from './subject.ts'

interface Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

/** Milliseconds of its own by function, most first. */
function ownTimes(profile: Profile, root: string): [name: string, ms: number][] {
  const names = new Map(
    profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [
      id,
      `${functionName || '(anonymous)'} ${url.replace(`file://${root}/`, '')}${url ? `:${lineNumber + 1}` : ''}`,
    ]),
  )
  const times = new Map<string, number>()
  for (const [i, id] of profile.samples.entries()) {
    const name = names.get(id)!
    times.set(name, (times.get(name) ?? 0) + profile.timeDeltas[i]! / 1000)
  }
  return [...times].sort((a, b) => b[1] - a[1])
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '8' },
    connections: { type: 'string', default: '64' },
    path: { type: 'string', default: '/' },
    top: { type: 'string', default: '40' },
    out: { type: 'string' },
  },
})
const shape = (positionals[0] ?? 'plain') as Shape
if (!SHAPES.includes(shape)) {
  console.error(`unknown shape "${shape}": there are ${SHAPES.join(', ')}`)
  process.exit(64)
}
const root = resolve(import.meta.dirname, '..')
const dir = mkdtempSync(join(tmpdir(), 'profile-bench-'))
const out = resolve(values.out ?? dir)
makeCertificate(dir)
const [upstream, upstreamH2, upstreamMtls, unary, stream, listener, admin] = (await freePorts(7)) as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
]
const ports = { upstream, upstreamH2, upstreamMtls }
const up = startUpstream(dir, ports, 1)
const grpc = isGrpc(shape) ? startGrpcUpstream({ unary, stream }, 1) : null
try {
  const argv = [process.execPath, '--cpu-prof', `--cpu-prof-dir=${out}`, 'bin/outrigger.js', 'proxy']
  const config = bootstrap(shape, { ...ports, upstreamGrpc: { unary, stream }, listener, admin }, dir)
  const subject = await startSubject(
    // The bundles have no names that tell anything.
    { name: 'ours', argv, cwd: root, env: { OUTRIGGER_DIST: '0' } },
    ...([config, { listener, admin }, dir, 0] as const),
  )
  const options = { core: 1, connections: Number(values.connections), seconds: Number(values.seconds) }
  const result = await load(shape, listener, { ...options, path: values.path })
  await subject.stop()
  const file = join(out, readdirSync(out).find((name) => name.endsWith('.cpuprofile'))!)
  const times = ownTimes(JSON.parse(readFileSync(file, 'utf8')) as Profile, root)
  console.log(`${file}\n${result.requests} requests; microseconds of a request by function, its start included:`)
  for (const [name, ms] of times.filter(([name]) => !name.startsWith('(idle)')).slice(0, Number(values.top)))
    console.log(`${((ms * 1000) / result.requests).toFixed(2).padStart(7)}  ${name}`)
} finally {
  up.stop()
  grpc?.stop()
}
