import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import { parse } from 'yaml'
import { BootstrapSchema } from '../../../src/api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { ClusterSchema } from '../../../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../../src/api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../../src/api/gen/envoy/config/route/v3/route_pb.js'
import { typeRegistry } from '../../../src/api/registry.ts'
import { errorText } from '../../../src/base/errors.ts'
import type { MeshConfig } from '../../../src/config/index.ts'
import { generateClusters } from '../../../src/pilot/cds/generate.ts'
import { generateEndpoints } from '../../../src/pilot/eds/generate.ts'
import { generateListeners } from '../../../src/pilot/lds/index.ts'
import type { ProxyNode } from '../../../src/pilot/model/node.ts'
import type { PushContext } from '../../../src/pilot/model/push-context.ts'
import { generateRoutes } from '../../../src/pilot/rds/index.ts'
import { registerExtensions } from '../../../src/proxy/filters/register.ts'
import { validateProxy } from '../../../src/proxy/index.ts'
import { grpcCluster } from '../grpc-cluster.ts'
import { inputsIn, networksOf, OWN_INPUTS, read } from '../inputs.ts'
import {
  messageJson,
  type ProxyDescription,
  proxyNodeOf,
  pushContextOf,
  RUNNABLE_EXTENSIONS,
  readMesh,
  readObjects,
} from '../pilot.ts'
import type { Difference, Suite } from '../suite.ts'

const run = promisify(execFile)

/**
 * What we generate for each golden input, and inputs of our own, endpoints included: for stock Envoy loaded by real Envoy
 * (`envoy` on PATH) with `--mode validate`, for our proxy judged by our own validation.
 */
export const suite: Suite = {
  name: 'envoy-validate',
  run: async (dataDirectory) => {
    if (!(await haveEnvoy())) return { total: 0, differences: [], note: 'skipped, no envoy on PATH' }
    const path = join(dataDirectory, 'goldens', 'istio')
    const scratch = mkdtempSync(join(tmpdir(), 'envoy-validate-'))
    const differences: Difference[] = []
    let total = 0
    try {
      for (const folder of [...inputsIn(path), ...inputsIn(OWN_INPUTS)]) {
        const name = basename(folder)
        const push = pushContextOf(readObjects(read(folder, 'input.yaml')), meshOf(folder, scratch), networksOf(folder))
        for (const proxy of JSON.parse(readFileSync(join(folder, 'proxies.json'), 'utf8')) as ProxyDescription[]) {
          total += 2
          const node = proxyNodeOf(proxy)
          const byEnvoy = await refusal(bootstrap(stockEnvoy(node), push), scratch)
          if (byEnvoy) differences.push({ id: `${name}/${proxy.name}`, message: byEnvoy })
          const byOurs = ourRefusal(bootstrap({ ...node, extensions: OUR_EXTENSIONS }, push))
          if (byOurs) differences.push({ id: `${name}/${proxy.name}/ours`, message: byOurs })
        }
      }
    } finally {
      rmSync(scratch, { recursive: true })
    }
    return { total, differences }
  },
}

/** Access logs are on unless the input says otherwise: they are part of what a mesh is usually installed with. */
function meshOf(folder: string, scratch: string): MeshConfig {
  const own = folder.startsWith(OWN_INPUTS) ? (parse(read(folder, 'mesh.yaml')) as object | null) : null
  return readMesh(JSON.stringify({ accessLogFile: join(scratch, 'access.log'), ...own }))
}

async function haveEnvoy(): Promise<boolean> {
  try {
    await run('envoy', ['--version'])
    return true
  } catch {
    return false
  }
}

/** A node that lists only what Envoy itself is built with. */
function stockEnvoy(proxy: ProxyNode): ProxyNode {
  return { ...proxy, extensions: new Set(['envoy.filters.http.router', ...RUNNABLE_EXTENSIONS]) }
}

const OUR_EXTENSIONS: ReadonlySet<string> = new Set(
  registerExtensions()
    .all()
    .map(({ name }) => name),
)

function ourRefusal(config: JsonValue): string | null {
  try {
    validateProxy(fromJson(BootstrapSchema, config, { registry: typeRegistry }))
    return null
  } catch (error) {
    return errorText(error)
  }
}

async function refusal(config: JsonValue, scratch: string): Promise<string | null> {
  const file = join(scratch, 'bootstrap.json')
  writeFileSync(file, JSON.stringify(config))
  // Access logs open /dev/stdout, which a socket, Node's pipe, cannot be.
  const envoy = spawn('envoy', ['--mode', 'validate', '-l', 'error', '-c', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ended = once(envoy, 'close') as Promise<[code: number | null, signal: string | null]>
  const said = await text(envoy.stderr)
  const [code, signal] = await ended
  return code === 0 ? null : said.trim() || `envoy ended with ${signal ?? code}`
}

function bootstrap(proxy: ProxyNode, push: PushContext): JsonValue {
  const listeners = generateListeners(proxy, push).map((listener) =>
    inlineRoutes(messageJson(ListenerSchema, listener), proxy, push),
  )
  const generated = generateClusters(proxy, push)
  const discovered = generated.filter((cluster) => cluster.edsClusterConfig).map((cluster) => cluster.name)
  const clusters = [
    ...generated.map((cluster) => messageJson(ClusterSchema, cluster)),
    // Assignments come by EDS; here they are those of clusters of their own, so that they are checked too.
    ...generateEndpoints(proxy, push, discovered).map((assignment) => ({
      name: `assignment of ${assignment.clusterName}`,
      type: 'STATIC',
      loadAssignment: messageJson(ClusterLoadAssignmentSchema, assignment),
    })),
  ]
  return {
    node: { id: 'validate', cluster: 'validate' },
    dynamicResources: {
      adsConfig: {
        apiType: 'DELTA_GRPC',
        transportApiVersion: 'V3',
        grpcServices: [{ envoyGrpc: { clusterName: 'xds-grpc' } }],
      },
    },
    staticResources: {
      listeners,
      clusters: [grpcCluster('xds-grpc', './unused'), grpcCluster('sds-grpc', './unused'), ...clusters],
    },
  }
}

/** Route tables where listeners name them, so that Envoy checks them too. */
function inlineRoutes(value: JsonValue, proxy: ProxyNode, push: PushContext): JsonValue {
  if (Array.isArray(value)) return value.map((inner) => inlineRoutes(inner, proxy, push))
  if (typeof value !== 'object' || value === null) return value
  const out: Record<string, JsonValue> = {}
  for (const [key, inner] of Object.entries(value)) {
    if (key === 'rds') {
      const name = String((inner as { routeConfigName: string }).routeConfigName)
      const [config] = generateRoutes(proxy, push, [name])
      out.routeConfig = messageJson(RouteConfigurationSchema, config!)
    } else out[key] = inlineRoutes(inner, proxy, push)
  }
  return out
}
