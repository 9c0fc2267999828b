// Records what a control plane answers: `node test/conformance/record.ts HOST:PORT FOLDER` asks for each proxy of
// FOLDER/proxies.json and writes FOLDER/<proxy>/{listeners,routes,clusters,endpoints}.json, for the goldens suite.
// With the program that scripts/build-istiod.mjs builds in place of HOST:PORT, it is started with the folder's input.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { JsonValue } from '@bufbuild/protobuf'
import { type Answered, answersOf, field } from './ads.ts'
import type { ProxyDescription } from './pilot.ts'

const ALWAYS: readonly Answered[] = ['clusters', 'endpoints', 'listeners', 'routes']
const WHEN_ANY: readonly Answered[] = ['extensions']

const [, , peer = '', folder = ''] = process.argv
const istiod = existsSync(peer) ? await start(peer) : null
const address = istiod?.address ?? peer
for (const proxy of JSON.parse(readFileSync(join(folder, 'proxies.json'), 'utf8')) as ProxyDescription[]) {
  const out = join(folder, proxy.name)
  mkdirSync(out, { recursive: true })
  const answers = await answersOf(address, proxy)
  for (const type of [...ALWAYS, ...WHEN_ANY.filter((one) => answers[one].length > 0)]) {
    writeFileSync(join(out, `${type}.json`), `${JSON.stringify(sorted(answers[type]), null, 1)}\n`)
  }
}
istiod?.stop()

async function start(program: string): Promise<{ readonly address: string; stop(): void }> {
  const files = [
    ['-input', 'input.yaml'] as const,
    ['-mesh', 'mesh.yaml'] as const,
    ['-networks', 'networks.yaml'] as const,
  ]
  const args = files.flatMap(([flag, file]) => (existsSync(join(folder, file)) ? [flag, join(folder, file)] : []))
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', process.env.ISTIOD_LOG ? 'inherit' : 'ignore'] })
  const { value } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next()
  const address = /^xds (\S+)/.exec(value ?? '')?.[1]
  if (!address) throw new Error(`${program} did not start; ISTIOD_LOG=1 shows why`)
  return { address, stop: () => child.stdin.end() }
}

/** By name, keys in order: the form of the goldens. */
function sorted(list: readonly JsonValue[]): JsonValue {
  const nameOf = (value: JsonValue): string => String(field(value, 'name') ?? field(value, 'clusterName'))
  return inOrder([...list].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1)))
}

function inOrder(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(inOrder)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, inOrder(inner)]),
  )
}
