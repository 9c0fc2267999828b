// Records what a control plane answers: `node test/conformance/record.ts HOST:PORT FOLDER` asks for each proxy of
// FOLDER/proxies.json and writes FOLDER/<proxy>/{listeners,routes,clusters,endpoints}.json, for the goldens suite.
// With the program that scripts/build-istiod.mjs builds in place of HOST:PORT, it is started with the folder's input, and
// the statuses of Gateway API objects are recorded too.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { JsonValue } from '@bufbuild/protobuf'
import { type Answered, answersOf, field } from './ads.ts'
import { type ProxyDescription, readObjects } from './pilot.ts'
import { hasStatus } from './statuses.ts'

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
if (istiod && readObjects(readFileSync(join(folder, 'input.yaml'), 'utf8')).some(hasStatus)) {
  writeFileSync(join(folder, 'statuses.json'), `${JSON.stringify(inOrder(await istiod.statuses()), null, 1)}\n`)
}
istiod?.stop()

interface Istiod {
  readonly address: string
  /** Of Gateway API objects, without times. */
  statuses(): Promise<JsonValue>
  stop(): void
}

async function start(program: string): Promise<Istiod> {
  const files = [
    ['-input', 'input.yaml'] as const,
    ['-mesh', 'mesh.yaml'] as const,
    ['-networks', 'networks.yaml'] as const,
  ]
  const args = files.flatMap(([flag, file]) => (existsSync(join(folder, file)) ? [flag, join(folder, file)] : []))
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', process.env.ISTIOD_LOG ? 'inherit' : 'ignore'],
    env: { ...process.env, PILOT_ENABLE_ALPHA_GATEWAY_API: 'true' },
  })
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const { value } = await answers.next()
  const address = /^xds (\S+)/.exec(value ?? '')?.[1]
  if (!address) throw new Error(`${program} did not start; ISTIOD_LOG=1 shows why`)
  const statuses = async (): Promise<JsonValue> => {
    child.stdin.write('statuses\n')
    const answer = String((await answers.next()).value)
    if (!answer.startsWith('ok ')) throw new Error(`${program}: ${answer}`)
    const withoutTime = (key: string, inner: unknown) => (key === 'lastTransitionTime' ? undefined : inner)
    return JSON.parse(answer.slice('ok '.length), withoutTime) as JsonValue
  }
  return { address, statuses, stop: () => child.stdin.end() }
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
