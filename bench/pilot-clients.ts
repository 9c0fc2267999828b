// Many delta-ADS sidecars in one process: subscribe as Envoy does, acknowledge everything, say when the last one did.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { Client, credentials } from '@grpc/grpc-js'
import { Cluster_DiscoveryType, ClusterSchema } from '../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { HttpConnectionManagerSchema } from '../src/api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../src/api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../src/xds/type-urls.ts'

const METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources'
const HCM_TYPE = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'

interface Progress {
  /** Streams that acknowledged something since the mark. */
  acked: Set<number>
  lastAckMs: number
  bytes: number
  refused: number
}

const progress: Progress = { acked: new Set(), lastAckMs: 0, bytes: 0, refused: 0 }
/** Streams whose every subscription has been answered once. */
const ready = new Set<number>()

/** Larger answers to a stream that is through its first sync are not decoded. */
const HEAD_ONLY_BYTES = 100_000

/** Milliseconds since the epoch, finer than Date.now. */
const nowMs = () => performance.timeOrigin + performance.now()

function start(index: number, target: string): void {
  const client = new Client(target, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': -1,
    // As Envoy has it: one response must not wait for window updates.
    'grpc-node.flow_control_window': 64 * 1024 * 1024,
  })
  const call = client.makeBidiStreamRequest(
    METHOD,
    (bytes: Buffer) => bytes,
    (bytes: Buffer) => bytes,
  )
  const subscribed = new Map<string, Set<string>>()
  const seen = new Set<string>()
  const waiting = new Set<string>([CDS_TYPE])
  const ask = (typeUrl: string, names: readonly string[]): void => {
    const known = subscribed.get(typeUrl) ?? new Set<string>()
    subscribed.set(typeUrl, known)
    const fresh = names.filter((name) => !known.has(name))
    for (const name of fresh) known.add(name)
    if (names.length > 0 && fresh.length === 0) return
    waiting.add(typeUrl)
    send({ typeUrl, resourceNamesSubscribe: fresh })
  }
  const send = (request: {
    typeUrl: string
    resourceNamesSubscribe?: string[]
    responseNonce?: string
    node?: object
  }): void => {
    call.write(Buffer.from(toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, request))))
  }
  call.on('data', (bytes: Buffer) => {
    const response = decode(bytes, ready.has(index) && bytes.length > HEAD_ONLY_BYTES)
    progress.bytes += bytes.length
    send({ typeUrl: response.typeUrl, responseNonce: response.nonce })
    progress.acked.add(index)
    progress.lastAckMs = nowMs()
    waiting.delete(response.typeUrl)
    follow(response, seen, ask)
    if (waiting.size === 0 && subscribed.has(RDS_TYPE)) ready.add(index)
  })
  call.on('error', (error) => {
    progress.refused++
    console.error(`stream ${index}: ${error.message}`)
  })
  const ip = `10.${100 + (index >> 8)}.${index & 255}.7`
  send({
    typeUrl: CDS_TYPE,
    node: {
      id: `sidecar~${ip}~client-${index}.default~default.svc.cluster.local`,
      metadata: { NAMESPACE: 'default', INSTANCE_IPS: ip, CLUSTER_ID: 'Kubernetes', LABELS: { app: 'client' } },
      extensions: ['istio.alpn', 'istio.metadata_exchange'].map((name) => ({ name })),
    },
  })
}

/**
 * Decodes a response. Of large ones after the first sync only type and nonce are read, as cheaply as can be:
 * the clients must not take the machine from what is measured.
 */
function decode(bytes: Buffer, headOnly: boolean): Pick<DeltaDiscoveryResponse, 'typeUrl' | 'nonce' | 'resources'> {
  if (!headOnly) return fromBinary(DeltaDiscoveryResponseSchema, bytes)
  const head = { typeUrl: '', nonce: '', resources: [] }
  for (let at = 0; at < bytes.length; ) {
    const field = bytes[at++]! >> 3
    let length = 0
    for (let shift = 0, more = true; more; shift += 7) {
      const byte = bytes[at++]!
      length += (byte & 0x7f) * 2 ** shift
      more = byte >= 0x80
    }
    if (field === 4) head.typeUrl = bytes.toString('utf8', at, at + length)
    else if (field === 5) head.nonce = bytes.toString('latin1', at, at + length)
    at += length
  }
  return head
}

/** Subscribes to what an answer names, as Envoy would; what is known by name is not decoded again. */
function follow(
  response: Pick<DeltaDiscoveryResponse, 'typeUrl' | 'resources'>,
  seen: Set<string>,
  ask: (typeUrl: string, names: readonly string[]) => void,
): void {
  if (response.typeUrl === CDS_TYPE) {
    const names: string[] = []
    for (const { name, resource } of response.resources) {
      if (!fresh(seen, name)) continue
      const cluster = fromBinary(ClusterSchema, resource!.value)
      const type = cluster.clusterDiscoveryType
      if (type.case === 'type' && type.value === Cluster_DiscoveryType.EDS) names.push(cluster.name)
    }
    if (names.length > 0) ask(EDS_TYPE, names)
    ask(LDS_TYPE, [])
  } else if (response.typeUrl === LDS_TYPE) {
    const names = new Set<string>()
    for (const { name, resource } of response.resources) {
      if (!fresh(seen, name)) continue
      for (const chain of fromBinary(ListenerSchema, resource!.value).filterChains) {
        for (const filter of chain.filters) {
          if (filter.configType.case !== 'typedConfig' || filter.configType.value.typeUrl !== HCM_TYPE) continue
          const hcm = fromBinary(HttpConnectionManagerSchema, filter.configType.value.value)
          if (hcm.routeSpecifier.case === 'rds') names.add(hcm.routeSpecifier.value.routeConfigName)
        }
      }
    }
    ask(RDS_TYPE, [...names])
  }
}

function fresh(seen: Set<string>, name: string): boolean {
  if (seen.has(name)) return false
  seen.add(name)
  return true
}

const [target, count] = [process.argv[2]!, Number(process.argv[3])]
process.on('message', (message: string) => {
  if (message === 'mark') {
    progress.acked = new Set()
    progress.bytes = 0
    process.send!({ marked: true })
  } else if (message === 'report') {
    process.send!({
      acked: progress.acked.size,
      lastAckMs: progress.lastAckMs,
      bytes: progress.bytes,
      refused: progress.refused,
      ready: ready.size,
    })
  }
})
for (let i = 0; i < count; i++) start(i, target)
