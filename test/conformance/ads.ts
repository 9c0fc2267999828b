// What a control plane answers a proxy over ADS (state of the world), as the JSON of the goldens.
import { create, type DescMessage, fromBinary, type JsonValue, toBinary } from '@bufbuild/protobuf'
import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { Client, type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js'
import { ClusterSchema } from '../../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { NodeSchema } from '../../src/api/gen/envoy/config/core/v3/base_pb.js'
import { TypedExtensionConfigSchema } from '../../src/api/gen/envoy/config/core/v3/extension_pb.js'
import { ClusterLoadAssignmentSchema } from '../../src/api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../src/api/gen/envoy/config/route/v3/route_pb.js'
import { SecretSchema } from '../../src/api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import {
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '../../src/api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { NameTableSchema } from '../../src/api/gen/istio/nds_pb.js'
import { messageJson, type ProxyDescription, proxyNodeOf } from './pilot.ts'

type Stream = ClientDuplexStream<DiscoveryRequest, DiscoveryResponse>

/** The types that are asked for, by the names of their files. */
export const ANSWERED = {
  clusters: ClusterSchema,
  endpoints: ClusterLoadAssignmentSchema,
  listeners: ListenerSchema,
  routes: RouteConfigurationSchema,
  extensions: TypedExtensionConfigSchema,
  secrets: SecretSchema,
  names: NameTableSchema,
} as const satisfies Record<string, DescMessage>

export type Answered = keyof typeof ANSWERED
/** Resources of each type, in the order of the answer. */
export type Answers = Readonly<Record<Answered, readonly JsonValue[]>>

/** Asks for resources of one type; `names` empty means all. */
export type Ask = (type: Answered, names: readonly string[]) => Promise<readonly JsonValue[]> | readonly JsonValue[]

/** Everything a proxy would ask for, each thing named by what came before. */
export async function askEverything(
  { metadata, asks = [] }: Pick<ProxyDescription, 'metadata' | 'asks'>,
  ask: Ask,
): Promise<Answers> {
  const named = async (type: Answered, names: readonly string[]) => (names.length > 0 ? await ask(type, names) : [])
  if (metadata.GENERATOR === 'grpc') {
    const listeners = await ask('listeners', asks)
    const routes = await named('routes', stringsCalled(listeners as JsonValue, 'routeConfigName'))
    const clusters = await named('clusters', clustersNamed(routes as JsonValue))
    const endpoints = await named('endpoints', stringsCalled(clusters as JsonValue, 'serviceName'))
    return { clusters, endpoints, listeners, routes, extensions: [], secrets: [], names: [] }
  }
  const clusters = await ask('clusters', [])
  const eds = clusters.filter((c) => field(c, 'type') === 'EDS').map((c) => String(field(c, 'name')))
  const endpoints = await named('endpoints', eds)
  const listeners = await ask('listeners', [])
  const routes = await named('routes', stringsCalled(listeners as JsonValue, 'routeConfigName'))
  // A control plane may say nothing where it has nothing: the answer to the next question shows it.
  const extensions = named('extensions', discovered(listeners as JsonValue))
  const secrets = named('secrets', secretsNamed([...clusters, ...listeners] as JsonValue))
  const names = await ask('names', [])
  return { clusters, endpoints, listeners, routes, extensions: await extensions, secrets: await secrets, names }
}

/**
 * Asks one control plane for one proxy, which tells who it is (see test/interop/istiod/identity.go). Throws when an answer
 * does not come within `timeoutMs`.
 */
export async function answersOf(address: string, proxy: ProxyDescription, timeoutMs = 10_000): Promise<Answers> {
  const client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 })
  const identity = new Metadata()
  identity.set('identity', `spiffe://cluster.local/ns/${proxy.namespace}/sa/${proxy.serviceAccount}`)
  const stream: Stream = client.makeBidiStreamRequest(
    '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
    (request: DiscoveryRequest) => Buffer.from(toBinary(DiscoveryRequestSchema, request)),
    (bytes: Buffer) => fromBinary(DiscoveryResponseSchema, bytes),
    identity,
  )
  stream.on('error', () => {}) // Whoever waits for an answer hears of it; the end of the stream is an error too.
  try {
    return await askEverything(proxy, (type, names) => askStream(stream, proxy, ANSWERED[type], names, timeoutMs))
  } finally {
    stream.cancel()
    client.close()
  }
}

/** Types of which there may be no answer at all; that to the name table comes after theirs. */
const MAY_BE_SILENT: ReadonlySet<DescMessage> = new Set([SecretSchema, TypedExtensionConfigSchema])

async function askStream(
  stream: Stream,
  proxy: ProxyDescription,
  schema: DescMessage,
  names: readonly string[],
  timeoutMs: number,
): Promise<readonly JsonValue[]> {
  const typeUrl = `type.googleapis.com/${schema.typeName}`
  const { id, metadata, locality } = proxyNodeOf(proxy)
  const node = create(NodeSchema, {
    id,
    metadata,
    locality: { region: locality.region, zone: locality.zone, subZone: locality.subzone },
  })
  const answered = new Promise<DiscoveryResponse | null>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer for ${schema.typeName}`)), timeoutMs)
    const done = (): void => {
      clearTimeout(timer)
      stream.off('data', onData).off('error', onError)
    }
    const onError = (error: Error): void => {
      done()
      reject(error)
    }
    const onData = (response: DiscoveryResponse): void => {
      const isNext = MAY_BE_SILENT.has(schema) && response.typeUrl.endsWith(NameTableSchema.typeName)
      if (response.typeUrl !== typeUrl && !isNext) return
      done()
      resolve(response.typeUrl === typeUrl ? response : null)
    }
    stream.on('data', onData).on('error', onError)
  })
  stream.write(create(DiscoveryRequestSchema, { node, typeUrl, resourceNames: [...names] }))
  const { resources = [] } = (await answered) ?? {}
  return resources.map((any) => messageJson(schema, anyUnpack(any, schema)!))
}

export function field(value: JsonValue, key: string): JsonValue | undefined {
  return (value as { [key: string]: JsonValue })[key]
}

function walk(value: JsonValue, visit: (object: { [key: string]: JsonValue }) => void): void {
  if (typeof value !== 'object' || value === null) return
  if (!Array.isArray(value)) visit(value)
  for (const inner of Object.values(value)) walk(inner, visit)
}

/** Every string called `key` anywhere in a value. */
export function stringsCalled(value: JsonValue, key: string): string[] {
  const found = new Set<string>()
  walk(value, (object) => {
    if (typeof object[key] === 'string') found.add(object[key])
  })
  return [...found]
}

/** Clusters that routes lead to. */
function clustersNamed(value: JsonValue): string[] {
  const found = new Set(stringsCalled(value, 'cluster'))
  walk(value, ({ clusters }) => {
    if (Array.isArray(clusters)) for (const one of clusters) found.add(String(field(one, 'name')))
  })
  return [...found]
}

/** Secrets that the control plane itself holds, by the names in TLS contexts. */
export function secretsNamed(value: JsonValue): string[] {
  const found = new Set<string>()
  walk(value, ({ name, sdsConfig }) => {
    if (sdsConfig && typeof name === 'string' && /^(kubernetes|kubernetes-gateway|configmap):\/\//.test(name))
      found.add(name)
  })
  return [...found]
}

/** Names of filters whose configuration comes by ECDS. */
function discovered(value: JsonValue): string[] {
  const found = new Set<string>()
  walk(value, ({ configDiscovery, name }) => {
    if (configDiscovery && typeof name === 'string') found.add(name)
  })
  return [...found]
}
