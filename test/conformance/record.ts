// Records what a control plane answers: `node test/conformance/record.ts HOST:PORT FOLDER` asks for each proxy of
// FOLDER/proxies.json and writes FOLDER/<proxy>/{listeners,routes,clusters,endpoints}.json, for the goldens suite.
// With the program that scripts/build-istiod.mjs builds in place of HOST:PORT, it is started with the folder's input.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { create, type DescMessage, fromBinary, type JsonValue, toBinary } from '@bufbuild/protobuf'
import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js'
import { ClusterSchema } from '../../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { NodeSchema } from '../../src/api/gen/envoy/config/core/v3/base_pb.js'
import { TypedExtensionConfigSchema } from '../../src/api/gen/envoy/config/core/v3/extension_pb.js'
import { ClusterLoadAssignmentSchema } from '../../src/api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../src/api/gen/envoy/config/route/v3/route_pb.js'
import {
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '../../src/api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { messageJson, type ProxyDescription, proxyNodeOf } from './pilot.ts'

type Stream = ClientDuplexStream<DiscoveryRequest, DiscoveryResponse>

const [, , peer = '', folder = ''] = process.argv
const istiod = existsSync(peer) ? await start(peer) : null
const address = istiod?.address ?? peer
const client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 })
for (const proxy of JSON.parse(readFileSync(join(folder, 'proxies.json'), 'utf8')) as ProxyDescription[]) {
  await record(proxy)
}
client.close()
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

async function record(proxy: ProxyDescription): Promise<void> {
  const stream: Stream = client.makeBidiStreamRequest(
    '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
    (request: DiscoveryRequest) => Buffer.from(toBinary(DiscoveryRequestSchema, request)),
    (bytes: Buffer) => fromBinary(DiscoveryResponseSchema, bytes),
  )
  const out = join(folder, proxy.name)
  mkdirSync(out, { recursive: true })
  const write = (file: string, list: JsonValue[]): void =>
    writeFileSync(join(out, `${file}.json`), `${JSON.stringify(sorted(list), null, 1)}\n`)
  const clusters = await ask(stream, proxy, ClusterSchema, [])
  write('clusters', clusters)
  const eds = clusters.filter((c) => field(c, 'type') === 'EDS').map((c) => String(field(c, 'name')))
  write('endpoints', eds.length > 0 ? await ask(stream, proxy, ClusterLoadAssignmentSchema, eds) : [])
  const listeners = await ask(stream, proxy, ListenerSchema, [])
  write('listeners', listeners)
  const routes = named(listeners, 'routeConfigName')
  write('routes', routes.length > 0 ? await ask(stream, proxy, RouteConfigurationSchema, routes) : [])
  const extensions = discovered(listeners)
  if (extensions.length > 0) write('extensions', await ask(stream, proxy, TypedExtensionConfigSchema, extensions))
  stream.cancel()
}

async function ask(stream: Stream, proxy: ProxyDescription, schema: DescMessage, names: string[]) {
  const typeUrl = `type.googleapis.com/${schema.typeName}`
  const { id, metadata, locality } = proxyNodeOf(proxy)
  const node = create(NodeSchema, {
    id,
    metadata,
    locality: { region: locality.region, zone: locality.zone, subZone: locality.subzone },
  })
  const answered = new Promise<DiscoveryResponse>((resolve, reject) => {
    const onData = (response: DiscoveryResponse): void => {
      if (response.typeUrl !== typeUrl) return
      stream.off('data', onData)
      resolve(response)
    }
    stream.on('data', onData)
    stream.once('error', reject)
  })
  stream.write(create(DiscoveryRequestSchema, { node, typeUrl, resourceNames: names }))
  const { resources } = await answered
  return resources.map((any) => messageJson(schema, anyUnpack(any, schema)!))
}

function field(value: JsonValue, key: string): JsonValue | undefined {
  return (value as { [key: string]: JsonValue })[key]
}

/** Every string called `key` anywhere in a value. */
function named(value: JsonValue, key: string): string[] {
  const found = new Set<string>()
  const walk = (inner: JsonValue): void => {
    if (typeof inner !== 'object' || inner === null) return
    for (const [name, own] of Object.entries(inner)) {
      if (name === key && typeof own === 'string') found.add(own)
      walk(own)
    }
  }
  walk(value)
  return [...found]
}

/** Names of filters whose configuration comes by ECDS. */
function discovered(value: JsonValue): string[] {
  const found = new Set<string>()
  const walk = (inner: JsonValue): void => {
    if (typeof inner !== 'object' || inner === null) return
    if (!Array.isArray(inner) && inner.configDiscovery && typeof inner.name === 'string') found.add(inner.name)
    for (const own of Object.values(inner)) walk(own)
  }
  walk(value)
  return [...found]
}

/** By name, keys in order: the form of the goldens. */
function sorted(list: JsonValue[]): JsonValue {
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
