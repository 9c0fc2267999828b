// The proxy at the other end of an xDS stream, parsed from its Envoy node.
import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { fail, ok, type Result } from '../../base/errors.ts'
import { type Locality, NO_LOCALITY, type Service, type ServicePort } from './service.ts'

export type ProxyType = 'sidecar' | 'router' | 'waypoint'
export type InterceptionMode = 'REDIRECT' | 'TPROXY' | 'NONE'

/** One service port served by this very proxy's workload. */
export interface ServiceInstance {
  readonly service: Service
  readonly port: ServicePort
  readonly address: string
  readonly targetPort: number
}

export interface ProxyNode {
  /** The node id itself: `sidecar~10.0.0.1~pod.ns~ns.svc.cluster.local`. */
  readonly id: string
  readonly type: ProxyType
  /** Instance addresses, the id's first. */
  readonly ips: readonly string[]
  readonly ip: string
  /** Pod name without the namespace. */
  readonly name: string
  readonly namespace: string
  /** `ns.svc.cluster.local`. */
  readonly dnsDomain: string
  readonly cluster: string
  readonly locality: Locality
  readonly labels: Readonly<Record<string, string>>
  /** Labels that its pod does not have (metadata STATIC_LABELS). */
  readonly staticLabels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  readonly interceptionMode: InterceptionMode
  readonly clusterId: string
  readonly network: string
  /** Networks whose endpoints it wants to see (REQUESTED_NETWORK_VIEW); null: all. */
  readonly networkView: ReadonlySet<string> | null
  readonly nodeName: string
  /** Container ports by name (metadata POD_PORTS); null when the node does not tell. */
  readonly podPorts: Readonly<Record<string, number>> | null
  readonly istioVersion: string
  /** The proxy can bind ports below 1024 only when this is false. */
  readonly unprivileged: boolean
  /** Generator asked for: `` (Envoy) or `grpc`. */
  readonly generator: string
  readonly http10: boolean
  /** Port of the HTTP proxy listener, 0 when off. */
  readonly httpProxyPort: number
  /** Envoy duration text of metadata IDLE_TIMEOUT; empty when not given. */
  readonly idleTimeout: string
  /** Everything else the node said, as it said it. */
  readonly metadata: Readonly<JsonObject>
  /** Names and configuration types of the extensions in `node.extensions`; null when the node lists none at all. */
  readonly extensions: ReadonlySet<string> | null
}

/** Extensions that only Istio's own Envoy build has, each with the type it is configured by. */
const ISTIO_EXTENSIONS = {
  'istio.metadata_exchange': 'envoy.tcp.metadataexchange.config.MetadataExchange',
  'istio.alpn': 'istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig',
  'istio.stats': 'stats.PluginConfig',
} as const
export type IstioExtension = keyof typeof ISTIO_EXTENSIONS

/**
 * Whether a proxy can run an extension of Istio's own Envoy build: only when its node lists it, by our name for it or by
 * the type it reads. Envoy always lists what it is built with, so a node without a list is some other client, and an
 * unknown filter would make it refuse the listener.
 */
export function supportsExtension(proxy: ProxyNode, name: IstioExtension): boolean {
  return proxy.extensions !== null && (proxy.extensions.has(name) || proxy.extensions.has(ISTIO_EXTENSIONS[name]))
}

/**
 * Whether a proxy can run an extension that stock Envoy has: Envoy lists all it is built with, our proxy fewer. A client
 * without a list is taken to be able to, as istiod takes every client.
 */
export function runsExtension(proxy: Pick<ProxyNode, 'extensions'>, name: string): boolean {
  return proxy.extensions === null || proxy.extensions.has(name)
}

export function hasIpv4({ ips }: Pick<ProxyNode, 'ips'>): boolean {
  return ips.some((ip) => !ip.includes(':'))
}

export function hasIpv6({ ips }: Pick<ProxyNode, 'ips'>): boolean {
  return ips.some((ip) => ip.includes(':'))
}

/** Parses the node of a stream's first request; the message says what is wrong with it. */
export function parseNode(node: Node): Result<ProxyNode> {
  const parts = node.id.split('~')
  if (parts.length !== 4) {
    return fail('node.id', `"${node.id}" must have four parts: type~ip~pod.namespace~domain`)
  }
  const [type, ip, podId, dnsDomain] = parts as [string, string, string, string]
  if (type !== 'sidecar' && type !== 'router' && type !== 'waypoint') {
    return fail('node.id', `unknown node type "${type}"`, 'use sidecar, router or waypoint')
  }
  const metadata = (node.metadata ?? {}) as JsonObject
  const dot = podId.lastIndexOf('.')
  const name = dot < 0 ? podId : podId.slice(0, dot)
  const namespace = text(metadata, 'NAMESPACE') || (dot < 0 ? '' : podId.slice(dot + 1))
  const instanceIps = text(metadata, 'INSTANCE_IPS').split(',').filter(Boolean)
  const ips = instanceIps.length > 0 ? instanceIps : ip ? [ip] : []
  if (ips.length === 0) return fail('node.id', 'no IP address in the id nor in metadata INSTANCE_IPS')
  const mode = text(metadata, 'INTERCEPTION_MODE')
  const l = node.locality
  return ok({
    id: node.id,
    type,
    ips,
    ip: ips[0]!,
    name,
    namespace,
    dnsDomain,
    cluster: node.cluster,
    locality: l ? { region: l.region, zone: l.zone, subzone: l.subZone } : NO_LOCALITY,
    labels: stringMap(metadata.LABELS),
    staticLabels: stringMap(metadata.STATIC_LABELS),
    serviceAccount: text(metadata, 'SERVICE_ACCOUNT'),
    interceptionMode: mode === 'TPROXY' || mode === 'NONE' ? mode : 'REDIRECT',
    clusterId: text(metadata, 'CLUSTER_ID'),
    network: text(metadata, 'NETWORK'),
    networkView: networkView(metadata.REQUESTED_NETWORK_VIEW),
    nodeName: text(metadata, 'NODE_NAME'),
    podPorts: podPorts(metadata.POD_PORTS),
    istioVersion: text(metadata, 'ISTIO_VERSION'),
    unprivileged: flag(metadata, 'UNPRIVILEGED_POD'),
    generator: text(metadata, 'GENERATOR'),
    http10: flag(metadata, 'HTTP10'),
    httpProxyPort: Number(text(metadata, 'HTTP_PROXY_PORT')) || 0,
    idleTimeout: text(metadata, 'IDLE_TIMEOUT'),
    metadata,
    extensions: node.extensions.length > 0 ? new Set(node.extensions.flatMap(namesOf)) : null,
  })
}

/** An extension's name and the types of its configuration, without their URL prefix. */
function namesOf({ name, typeUrls }: Node['extensions'][number]): string[] {
  return [name, ...typeUrls.map((url) => url.slice(url.lastIndexOf('/') + 1))]
}

function text(metadata: JsonObject, key: string): string {
  const value = metadata[key]
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : ''
}

/** A list, or names with commas between them. */
function networkView(value: JsonValue | undefined): ReadonlySet<string> | null {
  const list = typeof value === 'string' ? value.split(',') : Array.isArray(value) ? value : []
  const names = list.filter((name): name is string => typeof name === 'string' && name !== '')
  return names.length > 0 ? new Set(names) : null
}

/** A JSON text of container ports, or the list itself, as istiod takes both. */
function podPorts(value: JsonValue | undefined): Readonly<Record<string, number>> | null {
  let list: unknown = value
  if (typeof value === 'string') {
    try {
      list = JSON.parse(value)
    } catch {
      return null
    }
  }
  if (!Array.isArray(list)) return null
  const ports: Record<string, number> = {}
  for (const port of list as ({ name?: unknown; containerPort?: unknown; protocol?: unknown } | null)[]) {
    if (typeof port?.name !== 'string' || typeof port.containerPort !== 'number') continue
    if ((port.protocol ?? 'TCP') === 'TCP') ports[port.name] = port.containerPort
  }
  return ports
}

function flag(metadata: JsonObject, key: string): boolean {
  const value = metadata[key]
  return value === true || value === 'true' || value === '1'
}

function stringMap(value: JsonValue | undefined): Record<string, string> {
  const out: Record<string, string> = {}
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return out
  for (const [k, v] of Object.entries(value)) if (typeof v === 'string') out[k] = v
  return out
}
