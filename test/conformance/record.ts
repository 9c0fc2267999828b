// Records what a control plane answers: `node test/conformance/record.ts HOST:PORT FOLDER` asks for each proxy of
// FOLDER/proxies.json and writes FOLDER/<proxy>/{listeners,routes,clusters,endpoints}.json, for the goldens suite; extensions and secrets where there are
// any, the name table for proxies that capture DNS.
// `node test/conformance/record.ts istiod FOLDER...` starts real istiod (differential/istiod.ts) with each folder's input;
// then the statuses of Gateway API objects are recorded too.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JsonValue } from '@bufbuild/protobuf'
import { parse } from 'yaml'
import { type Answered, answersOf, field } from './ads.ts'
import { withIstiod } from './differential/istiod.ts'
import { read } from './inputs.ts'
import { type ProxyDescription, readObjects } from './pilot.ts'
import { hasStatus } from './statuses.ts'

const ALWAYS: readonly Answered[] = ['clusters', 'endpoints', 'listeners', 'routes']
const WHEN_ANY: readonly Answered[] = ['extensions', 'secrets']

const [peer = '', ...folders] = process.argv.slice(2)
for (const folder of folders) {
  const proxies = JSON.parse(readFileSync(join(folder, 'proxies.json'), 'utf8')) as ProxyDescription[]
  const objects = readObjects(read(folder, 'input.yaml'))
  const mesh = (parse(read(folder, 'mesh.yaml')) ?? {}) as object
  const networks = (parse(read(folder, 'networks.yaml')) ?? {}) as object
  if (peer !== 'istiod') await record(peer, folder, proxies)
  else {
    await withIstiod({ objects, mesh, networks, proxies }, async ({ address, ask }) => {
      await record(address, folder, proxies)
      if (objects.some(hasStatus)) write(join(folder, 'statuses.json'), inOrder(withoutTimes(await ask('statuses'))))
    })
  }
}

async function record(address: string, folder: string, proxies: readonly ProxyDescription[]): Promise<void> {
  for (const proxy of proxies) {
    const out = join(folder, proxy.name)
    mkdirSync(out, { recursive: true })
    const answers = await answersOf(address, proxy)
    const names: readonly Answered[] = proxy.metadata.DNS_CAPTURE === 'true' ? ['names'] : []
    for (const type of [...ALWAYS, ...WHEN_ANY.filter((one) => answers[one].length > 0), ...names]) {
      write(join(out, `${type}.json`), sorted(answers[type]))
    }
  }
}

function write(path: string, value: JsonValue): void {
  writeFileSync(path, `${JSON.stringify(value, null, 1)}\n`)
}

function withoutTimes(statuses: JsonValue): JsonValue {
  return JSON.parse(JSON.stringify(statuses, (key, inner) => (key === 'lastTransitionTime' ? undefined : inner)))
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
