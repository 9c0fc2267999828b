// The service model: what proxies can call, whatever registry it comes from. Plain immutable data.
import type { Protocol } from './protocol.ts'

/** How a client finds the endpoints of a service; Istio's names. */
export type Resolution =
  /** Endpoints are sent by EDS. */
  | 'ClientSideLB'
  /** Every endpoint name is resolved: STRICT_DNS. */
  | 'DNSLB'
  /** One name, one address at a time: LOGICAL_DNS. */
  | 'DNSRoundRobinLB'
  /** Forwarded to the address the caller asked for: ORIGINAL_DST. */
  | 'Passthrough'
  /** Kubernetes ExternalName: another name for a host. */
  | 'Alias'
  /** Wildcard host resolved per request: dynamic forward proxy. */
  | 'DynamicDNS'

export interface ServicePort {
  readonly name: string
  readonly port: number
  readonly protocol: Protocol
  /** Container port when the Service fixes it as a number; 0 when named or unknown. For ServiceEntry: `targetPort`. */
  readonly targetPort: number
  /** Container port name when the Service gives a name. */
  readonly targetPortName: string
}

/** Namespaces a resource is visible in: `all`, none, or the listed ones (its own under its real name). */
export type ExportTo = 'all' | 'none' | ReadonlySet<string>

export interface ServiceAttributes {
  readonly registry: 'Kubernetes' | 'External'
  /** Name of the Kubernetes Service or, for a ServiceEntry, its first host (Istio's metadata `name`). */
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  /** Pod selector: of the Service, or the ServiceEntry's workloadSelector. Null when there is none. */
  readonly selector: Readonly<Record<string, string>> | null
  readonly exportTo: ExportTo
  /** `exportTo` as the resource has it, sorted; empty: the mesh's default. */
  readonly writtenExportTo: string
  /** Kubernetes `spec.type`. */
  readonly type: string
  /** Target of an ExternalName Service. */
  readonly externalName: string
  readonly nodeLocal: boolean
  readonly publishNotReadyAddresses: boolean
  /** Empty: endpoints anywhere alike. */
  readonly trafficDistribution: '' | 'PreferSameZone' | 'PreferSameNode'
  /** Annotation `istio.io/connect-strategy: RACE_FIRST_TCP_CONNECT`: the first address that answers is taken. */
  readonly racesConnects: boolean
  /** Of a ServiceEntry with resolution NONE: the port at the destination for each port that names one. */
  readonly passthroughTargetPorts: Readonly<Record<number, number>>
  /** What sessions stick by, from label `istio.io/persistent-session` or `…-header`; null: they do not. */
  readonly persistentSession: 'cookie' | 'header' | null
  /** Name and namespace of the ServiceEntry for services of the External registry. */
  readonly resourceName: string
  /** True when the resource is a Kubernetes headless Service (clusterIP None). */
  readonly headless: boolean
  /** Where a Kubernetes Service is reached from outside its cluster; null: nowhere. */
  readonly external: ExternalAddresses | null
}

/** Addresses of a Service outside its cluster. */
export interface ExternalAddresses {
  /** Of its load balancer, and its `externalIPs`: IPs or host names. */
  readonly addresses: readonly string[]
  /** Nodes whose external address counts instead: annotation `traffic.istio.io/nodeSelector`. */
  readonly nodeSelector: Readonly<Record<string, string>> | null
  /** With a node selector: the port on the nodes for each port of the Service. */
  readonly nodePorts: Readonly<Record<number, number>>
}

export interface Service {
  readonly hostname: string
  /** Other host names that mean this service (ExternalName Services that point at it). */
  readonly aliases: readonly string[]
  readonly ports: readonly ServicePort[]
  /** Virtual addresses (cluster IPs, ServiceEntry addresses, also CIDR). Empty: none, as for headless. */
  readonly addresses: readonly string[]
  /** Address allocated by the control plane for a ServiceEntry without one; served by DNS capture only. */
  readonly autoAllocatedAddresses: readonly string[]
  readonly resolution: Resolution
  /** Outside the mesh: no mutual TLS, marked external. */
  readonly meshExternal: boolean
  /** Names accepted in the server's certificate, beside those of the endpoints' service accounts. */
  readonly subjectAltNames: readonly string[]
  /** Milliseconds since the epoch. */
  readonly creationMs: number
  readonly attributes: ServiceAttributes
}

/** `UNKNOWN`: nobody checks it (ServiceEntry, WorkloadEntry); counts as usable, as in Envoy. */
export type HealthStatus = 'UNKNOWN' | 'HEALTHY' | 'UNHEALTHY' | 'DRAINING' | 'TERMINATING'

export interface Locality {
  readonly region: string
  readonly zone: string
  readonly subzone: string
}

/** One address of one service port. */
export interface Endpoint {
  /** IP, host name (DNS services) or `unix://` path. */
  readonly address: string
  /** All addresses of a dual-stack endpoint, the first being `address`. */
  readonly addresses: readonly string[]
  /** Service port name this entry serves. */
  readonly portName: string
  /** Number of the ServiceEntry's port that it serves, by which DNS clusters know it; 0 for Kubernetes. */
  readonly servicePort: number
  /** Port at the endpoint; 0 for a Unix path. */
  readonly port: number
  readonly labels: Readonly<Record<string, string>>
  readonly locality: Locality
  readonly health: HealthStatus
  /** `spiffe://…` of the workload; empty when unknown. */
  readonly serviceAccount: string
  /** `istio` when the workload has a sidecar that accepts mutual TLS, else `disabled`. */
  readonly tlsMode: 'istio' | 'disabled'
  readonly workloadName: string
  readonly namespace: string
  readonly nodeName: string
  readonly network: string
  /** 0 stands for 1, the default. */
  readonly weight: number
  readonly hostName: string
  readonly subDomain: string
  readonly clusterId: string
}

/** All endpoints of one service from one registry, replaced as a whole when they change. */
export interface EndpointSet {
  readonly hostname: string
  readonly namespace: string
  readonly endpoints: readonly Endpoint[]
  /** Service accounts (SPIFFE URIs) of the endpoints, sorted: the SANs clients accept. */
  readonly serviceAccounts: readonly string[]
}

/** Key of a service in maps: one host may exist in several namespaces. */
export function serviceKey(hostname: string, namespace: string): string {
  return `${namespace}/${hostname}`
}

/** Whether proxies of a namespace may see a service. */
export function visibleTo({ attributes: { exportTo } }: Service, namespace: string): boolean {
  return exportTo === 'all' || (exportTo !== 'none' && exportTo.has(namespace))
}

/** A workload as the control plane knows it: pods and WorkloadEntries. */
export interface Workload {
  readonly kind: 'Pod' | 'WorkloadEntry'
  readonly name: string
  readonly namespace: string
  readonly address: string
  readonly addresses: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  readonly locality: Locality
  readonly health: HealthStatus
  readonly nodeName: string
  readonly network: string
  readonly weight: number
  readonly tlsMode: 'istio' | 'disabled'
  /** Port by name: container ports of a pod, `ports` of a WorkloadEntry. */
  readonly ports: Readonly<Record<string, number>>
  readonly workloadName: string
  readonly hostName: string
  readonly subDomain: string
}

export const NO_LOCALITY: Locality = { region: '', zone: '', subzone: '' }

/** `region/zone/subzone`, missing tails allowed. */
export function parseLocality(text: string): Locality {
  const [region = '', zone = '', subzone = ''] = text.split('/')
  return region || zone || subzone ? { region, zone, subzone } : NO_LOCALITY
}

export function localityText(l: Locality): string {
  if (!l.region && !l.zone && !l.subzone) return ''
  return l.subzone ? `${l.region}/${l.zone}/${l.subzone}` : l.zone ? `${l.region}/${l.zone}` : l.region
}
