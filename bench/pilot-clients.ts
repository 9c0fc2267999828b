// Many delta-ADS sidecars in one process: subscribe as Envoy does, acknowledge everything, say when the last one did.
// They read no more than that needs, and what they learnt from a resource once they do not decode again: the clients
// must not take the machine from what is measured.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { Cluster_DiscoveryType, ClusterSchema } from '../src/api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { HttpConnectionManagerSchema } from '../src/api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { DeltaDiscoveryRequestSchema, ResourceSchema } from '../src/api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../src/xds/type-urls.ts'
import { GrpcStream } from './grpc-stream.ts'

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

/** Milliseconds since the epoch, finer than Date.now. */
const nowMs = () => performance.timeOrigin + performance.now()

function start(index: number, target: string): void {
  const subscribed = new Map<string, Set<string>>()
  const waiting = new Set<string>([CDS_TYPE])
  const stream = new GrpcStream(target, METHOD, {
    onMessage: (bytes) => receive(bytes),
    onEnd: (reason) => {
      progress.refused++
      console.error(`stream ${index}: ${reason}`)
    },
  })
  const ask = (typeUrl: string, names: readonly string[]): void => {
    const known = subscribed.get(typeUrl) ?? new Set<string>()
    subscribed.set(typeUrl, known)
    const fresh = names.filter((name) => !known.has(name))
    for (const name of fresh) known.add(name)
    if (names.length > 0 && fresh.length === 0) return
    waiting.add(typeUrl)
    stream.write(subscription(typeUrl, fresh))
  }
  const receive = (bytes: Buffer): void => {
    const response = scan(bytes)
    progress.bytes += bytes.length
    stream.write(request({ typeUrl: response.typeUrl, responseNonce: response.nonce }))
    progress.acked.add(index)
    progress.lastAckMs = nowMs()
    waiting.delete(response.typeUrl)
    if (response.typeUrl === CDS_TYPE) {
      ask(EDS_TYPE, follow(bytes, response.resources, edsName))
      if (!subscribed.has(LDS_TYPE)) ask(LDS_TYPE, [])
    } else if (response.typeUrl === LDS_TYPE) ask(RDS_TYPE, follow(bytes, response.resources, routeNames))
    if (waiting.size === 0 && subscribed.has(RDS_TYPE)) ready.add(index)
  }
  const ip = `10.${100 + (index >> 8)}.${index & 255}.7`
  stream.write(
    request({
      typeUrl: CDS_TYPE,
      node: {
        id: `sidecar~${ip}~client-${index}.default~default.svc.cluster.local`,
        metadata: { NAMESPACE: 'default', INSTANCE_IPS: ip, CLUSTER_ID: 'Kubernetes', LABELS: { app: 'client' } },
        extensions: ['istio.alpn', 'istio.metadata_exchange'].map((name) => ({ name })),
      },
    }),
  )
}

function request(init: {
  typeUrl: string
  resourceNamesSubscribe?: string[]
  responseNonce?: string
  node?: object
}): Uint8Array {
  return toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, init))
}

const lastSubscription = { typeUrl: '', names: [] as readonly string[], bytes: new Uint8Array() }

/** All clients ask for the same names in turn: encoded once. */
function subscription(typeUrl: string, names: string[]): Uint8Array {
  const last = lastSubscription
  if (
    last.typeUrl !== typeUrl ||
    last.names.length !== names.length ||
    last.names.some((name, i) => name !== names[i])
  ) {
    Object.assign(last, { typeUrl, names, bytes: request({ typeUrl, resourceNamesSubscribe: names }) })
  }
  return last.bytes
}

/** A response's type, nonce, and where its resources stand: pairs of offsets. */
interface Scanned {
  typeUrl: string
  nonce: string
  readonly resources: number[]
}

function scan(bytes: Buffer): Scanned {
  const out: Scanned = { typeUrl: '', nonce: '', resources: [] }
  for (let at = 0; at < bytes.length; ) {
    const field = bytes[at++]! >> 3
    let length = 0
    for (let shift = 0, more = true; more; shift += 7) {
      const byte = bytes[at++]!
      length += (byte & 0x7f) * 2 ** shift
      more = byte >= 0x80
    }
    if (field === 2) out.resources.push(at, at + length)
    else if (field === 4) out.typeUrl = bytes.toString('latin1', at, at + length)
    else if (field === 5) out.nonce = bytes.toString('latin1', at, at + length)
    at += length
  }
  return out
}

/** What a resource names, by its bytes' beginning: version (a digest) first, so that equal keys are equal resources. */
const learnt = new Map<string, readonly string[]>()
const VERSION_BYTES = 2 + 27

/** The names that resources lead to. */
function follow(bytes: Buffer, resources: readonly number[], names: (body: Uint8Array) => string[]): string[] {
  const out: string[] = []
  for (let i = 0; i < resources.length; i += 2) {
    const [from, to] = [resources[i]!, resources[i + 1]!]
    const key = bytes.toString('latin1', from, from + VERSION_BYTES)
    let found = learnt.get(key)
    if (found === undefined) {
      found = names(fromBinary(ResourceSchema, bytes.subarray(from, to)).resource!.value)
      learnt.set(key, found)
    }
    for (const name of found) out.push(name)
  }
  return out
}

function edsName(body: Uint8Array): string[] {
  const cluster = fromBinary(ClusterSchema, body)
  const type = cluster.clusterDiscoveryType
  return type.case === 'type' && type.value === Cluster_DiscoveryType.EDS ? [cluster.name] : []
}

function routeNames(body: Uint8Array): string[] {
  const names: string[] = []
  for (const chain of fromBinary(ListenerSchema, body).filterChains) {
    for (const filter of chain.filters) {
      if (filter.configType.case !== 'typedConfig' || filter.configType.value.typeUrl !== HCM_TYPE) continue
      const hcm = fromBinary(HttpConnectionManagerSchema, filter.configType.value.value)
      if (hcm.routeSpecifier.case === 'rds') names.push(hcm.routeSpecifier.value.routeConfigName)
    }
  }
  return names
}

const [target, count] = [process.argv[2]!, Number(process.argv[3])]
process.on('message', (message: string) => {
  if (message === 'start') for (let i = 0; i < count; i++) start(i, target)
  else if (message === 'mark') {
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
process.send!({ loaded: true })
