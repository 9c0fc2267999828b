import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { DescMessage, JsonValue, Message } from '@bufbuild/protobuf'
import { ClusterSchema } from '../../../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TypedExtensionConfigSchema } from '../../../src/api/gen/envoy/config/core/v3/extension_pb.js'
import { ClusterLoadAssignmentSchema } from '../../../src/api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../../src/api/gen/envoy/config/route/v3/route_pb.js'
import type { KubeObject } from '../../../src/cluster/index.ts'
import { generateClusters } from '../../../src/pilot/cds/generate.ts'
import { generateEndpoints } from '../../../src/pilot/eds/generate.ts'
import { generateExtensionConfigs } from '../../../src/pilot/envoy-filter/extensions.ts'
import { generateListeners } from '../../../src/pilot/lds/index.ts'
import type { ProxyNode } from '../../../src/pilot/model/node.ts'
import { placed } from '../../../src/pilot/model/placed.ts'
import type { PushContext } from '../../../src/pilot/model/push-context.ts'
import { generateRoutes } from '../../../src/pilot/rds/index.ts'
import type { ObjectStatus } from '../../../src/pilot/status.ts'
import { stringsCalled } from '../ads.ts'
import { compareJson } from '../compare.ts'
import { inputsIn, networksOf, OWN_INPUTS, read } from '../inputs.ts'
import { nameOf, normalize } from '../normalize.ts'
import { committed, messageJson, type ProxyDescription, proxyNodeOf, readMesh, readObjects } from '../pilot.ts'
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
  const ofProxies = proxies.flatMap((description) => {
    if (!existsSync(join(folder, description.name))) return []
    const proxy = placed(proxyNodeOf(description), push)
    const id = `${name}/${description.name}`
    const listeners = attempt(() => generateListeners(proxy, push))
    const routeNames = stringsCalled(readJson(join(folder, description.name, 'listeners.json')), 'routeConfigName')
    const clusters = attempt(() => generateClusters(proxy, push))
    const extensions = existsSync(join(folder, description.name, 'extensions.json'))
      ? [extensionCheck(`${id}/extensions`, proxy, push, folder, description.name)]
      : []
    return [
      ...extensions,
      check(`${id}/listeners`, ListenerSchema, listeners, folder, description.name, 'listeners'),
      check(
        `${id}/routes`,
        RouteConfigurationSchema,
        attempt(() => generateRoutes(proxy, push, routeNames)),
        folder,
        description.name,
        'routes',
      ),
      check(`${id}/clusters`, ClusterSchema, clusters, folder, description.name, 'clusters'),
      check(
        `${id}/endpoints`,
        ClusterLoadAssignmentSchema,
        endpoints(proxy, push, folder, description.name),
        folder,
        description.name,
        'endpoints',
      ),
    ]
  })
  return [...ofProxies, ...ofStatuses]
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

function extensionCheck(id: string, proxy: ProxyNode, push: PushContext, folder: string, name: string): Checked {
  const names = readJson(join(folder, name, 'extensions.json')).map(nameOf)
  const made = attempt(() => generateExtensionConfigs(proxy, push, names))
  return check(id, TypedExtensionConfigSchema, made, folder, name, 'extensions')
}

function attempt<T>(run: () => T): T | Error {
  try {
    return run()
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

function endpoints(proxy: ProxyNode, push: PushContext, folder: string, proxyName: string): readonly Message[] | Error {
  const wanted = readJson(join(folder, proxyName, 'endpoints.json')).map((e) => String(asObject(e).clusterName))
  return attempt(() => generateEndpoints(proxy, push, new Set(wanted)))
}

function check(
  id: string,
  schema: DescMessage,
  messages: readonly Message[] | Error,
  folder: string,
  proxyName: string,
  file: string,
): Checked {
  if (messages instanceof Error) return { id, lines: [`threw ${messages.stack}`] }
  const expected = readJson(join(folder, proxyName, `${file}.json`)).map(normalize)
  const actual = messages.map((message) => normalize(messageJson(schema, message)))
  const byName = (a: JsonValue, b: JsonValue): number => (nameOf(a) < nameOf(b) ? -1 : 1)
  return { id, lines: compareJson(actual.sort(byName), expected.sort(byName)) }
}

function readJson(path: string): JsonValue[] {
  return JSON.parse(readFileSync(path, 'utf8')) as JsonValue[]
}

function asObject(value: JsonValue): { [key: string]: JsonValue } {
  return value as { [key: string]: JsonValue }
}
