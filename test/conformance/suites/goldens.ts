import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { JsonValue } from '@bufbuild/protobuf'
import type { KubeObject } from '../../../src/cluster/index.ts'
import type { ObjectStatus } from '../../../src/pilot/status.ts'
import { ANSWERED, type Answered, secretsNamed, stringsCalled } from '../ads.ts'
import { type AskAbout, askerOf } from '../asker.ts'
import { compareJson } from '../compare.ts'
import { inputsIn, networksOf, OWN_INPUTS, read } from '../inputs.ts'
import { nameOf, normalize } from '../normalize.ts'
import { committed, type ProxyDescription, readMesh, readObjects } from '../pilot.ts'
import { type Statuses, statusDifferences } from '../statuses.ts'
import type { Difference, Suite } from '../suite.ts'

/** What real istiod sent, resource by resource: one case a proxy and type. */
export const suite: Suite = {
  name: 'goldens',
  run: async (dataDirectory) => {
    const path = join(dataDirectory, 'goldens', 'istio')
    const differences: Difference[] = []
    let total = 0
    for (const folder of [...inputsIn(path), ...inputsIn(OWN_INPUTS)]) {
      for (const result of runCase(basename(folder), folder)) {
        total++
        if (result.lines.length > 0) differences.push({ id: result.id, message: result.lines.join('\n') })
      }
    }
    return { total, differences }
  },
}

interface Checked {
  readonly id: string
  readonly lines: readonly string[]
}

function runCase(name: string, folder: string): Checked[] {
  const objects = readObjects(read(folder, 'input.yaml'))
  const { push, statuses } = committed(objects, readMesh(read(folder, 'mesh.yaml')), networksOf(folder))
  const proxies = JSON.parse(read(folder, 'proxies.json')) as readonly ProxyDescription[]
  const written = read(folder, 'statuses.json')
  const ofStatuses = written === '' ? [] : [statusCheck(`${name}/statuses`, objects, statuses, written)]
  const ask = askerOf(push)
  const ofProxies = proxies.flatMap((proxy) => {
    const recorded = readAnswers(join(folder, proxy.name))
    return recorded ? checkProxy(`${name}/${proxy.name}`, proxy, recorded, ask) : []
  })
  return [...ofProxies, ...ofStatuses]
}

type Recorded = Partial<Record<Answered, readonly JsonValue[]>>

/** What is in a proxy's folder; null when there is none. */
function readAnswers(folder: string): Recorded | null {
  if (!existsSync(folder)) return null
  const out: Recorded = {}
  for (const type of Object.keys(ANSWERED) as Answered[]) {
    const file = join(folder, `${type}.json`)
    if (existsSync(file)) out[type] = readJson(file)
  }
  return out
}

/** Each type that is recorded; what is asked for by name, by the names that were recorded. */
function checkProxy(id: string, proxy: ProxyDescription, recorded: Recorded, ask: AskAbout): Checked[] {
  const named = (type: Answered) => (recorded[type] ?? []).map(nameOf)
  const proxyless = proxy.metadata.GENERATOR === 'grpc'
  const { listeners = [], clusters = [] } = recorded
  const names: Record<Answered, readonly string[]> = {
    listeners: proxy.asks ?? [],
    clusters: proxyless ? named('clusters') : [],
    endpoints: named('endpoints'),
    routes: stringsCalled(listeners as JsonValue, 'routeConfigName'),
    extensions: named('extensions'),
    secrets: secretsNamed([...clusters, ...listeners] as JsonValue),
    names: [],
  }
  return (Object.keys(recorded) as Answered[]).map((type) => {
    try {
      return { id: `${id}/${type}`, lines: compared(ask(proxy, type, names[type]), recorded[type]!) }
    } catch (error) {
      return { id: `${id}/${type}`, lines: [`threw ${error instanceof Error ? error.stack : String(error)}`] }
    }
  })
}

function compared(actual: readonly JsonValue[], expected: readonly JsonValue[]): string[] {
  const byName = (a: JsonValue, b: JsonValue): number => (nameOf(a) < nameOf(b) ? -1 : 1)
  return compareJson(actual.map(normalize).sort(byName), expected.map(normalize).sort(byName))
}

function statusCheck(
  id: string,
  objects: readonly KubeObject[],
  statuses: readonly ObjectStatus[],
  written: string,
): Checked {
  const differences = statusDifferences(objects, statuses, JSON.parse(written) as Statuses)
  return { id, lines: differences.flatMap(({ key, lines }) => lines.map((line) => `${key} ${line}`)) }
}

function readJson(path: string): JsonValue[] {
  return JSON.parse(readFileSync(path, 'utf8')) as JsonValue[]
}
