// From Kubernetes objects to the service model: pure conversions, one object (or one service) at a time.
import type { KubeObject } from '../../cluster/index.ts'
import type { ServiceEntryVisibility } from '../../config/index.ts'
import { compareText, kubeHostname } from '../model/host.ts'
import { kubeProtocol } from '../model/protocol.ts'
import {
  type Endpoint,
  type ExportTo,
  type ExternalAddresses,
  type HealthStatus,
  type Locality,
  NO_LOCALITY,
  type Resolution,
  type Service,
  type ServiceAttributes,
  type ServicePort,
  type Workload,
} from '../model/service.ts'

import type { NetworkLookup } from './network-lookup.ts'

/** What conversions need to know of the mesh. */
export interface RegistrySettings {
  readonly domain: string
  readonly clusterId: string
  readonly trustDomain: string
  readonly rootNamespace: string
  readonly defaultServiceExportTo: readonly string[]
  /** How far ServiceEntries may be seen by sidecars and gateways; undefined: as far as they say. */
  readonly serviceEntryVisibility?: ServiceEntryVisibility
  readonly networks: NetworkLookup
}

interface ServiceSpec {
  clusterIP?: string
  clusterIPs?: string[]
  type?: string
  externalName?: string
  selector?: Record<string, string>
  ports?: {
    name?: string
    port: number
    protocol?: string
    targetPort?: number | string
    appProtocol?: string
    nodePort?: number
  }[]
  externalIPs?: string[]
  internalTrafficPolicy?: string
  publishNotReadyAddresses?: boolean
  trafficDistribution?: string
}

const EXPORT_TO = 'networking.istio.io/exportTo'
/** Annotation of Services and namespaces. */
export const TRAFFIC_DISTRIBUTION = 'networking.istio.io/traffic-distribution'

export function spiffeId(trustDomain: string, namespace: string, serviceAccount: string): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
}

/** Milliseconds of `metadata.creationTimestamp`; 0 when there is none. */
function creationMsOf(object: KubeObject): number {
  const text = object.metadata.creationTimestamp
  const ms = text ? Date.parse(text) : 0
  return Number.isNaN(ms) ? 0 : ms
}

/** `exportTo` entries as written: `*` all, `~` none, `.` the own namespace, else namespace names. */
export function parseExportTo(entries: readonly string[], namespace: string): ExportTo {
  if (entries.includes('*')) return 'all'
  if (entries.length === 0 || entries.includes('~')) return 'none'
  return new Set(entries.map((e) => (e === '.' ? namespace : e)))
}

/**
 * A Kubernetes Service; aliases are left to the registry. `namespaceDistribution`: its namespace's annotation
 * `networking.istio.io/traffic-distribution`, for Services that say nothing themselves.
 */
export function convertService(object: KubeObject, settings: RegistrySettings, namespaceDistribution = ''): Service {
  const spec = (object.spec ?? {}) as ServiceSpec
  const { name, namespace = '', labels = {}, annotations = {} } = object.metadata
  const external = spec.type === 'ExternalName'
  const headless = spec.clusterIP === 'None'
  const exportTo = listed(annotations[EXPORT_TO])
  const attributes: ServiceAttributes = {
    registry: 'Kubernetes',
    name,
    namespace,
    labels,
    selector: spec.selector && Object.keys(spec.selector).length > 0 ? spec.selector : null,
    exportTo: parseExportTo(exportTo.length > 0 ? exportTo : settings.defaultServiceExportTo, namespace),
    writtenExportTo: [...exportTo].sort().join(),
    type: spec.type ?? 'ClusterIP',
    externalName: external ? (spec.externalName ?? '') : '',
    nodeLocal: spec.internalTrafficPolicy === 'Local',
    publishNotReadyAddresses: spec.publishNotReadyAddresses ?? false,
    trafficDistribution: trafficDistributionOf(
      spec.trafficDistribution,
      annotations[TRAFFIC_DISTRIBUTION] || namespaceDistribution,
    ),
    racesConnects: false,
    passthroughTargetPorts: {},
    persistentSession: persistentSessionOf(labels),
    resourceName: name,
    headless,
    external: externalAddresses(object, spec),
  }
  return {
    hostname: kubeHostname(name, namespace, settings.domain),
    aliases: [],
    ports: (spec.ports ?? []).map(convertPort),
    addresses: headless || external ? [] : clusterIps(spec),
    autoAllocatedAddresses: [],
    resolution: resolutionOf(external, headless),
    meshExternal: attributes.externalName !== '',
    subjectAltNames: [
      ...listed(annotations['alpha.istio.io/canonical-serviceaccounts']),
      ...listed(annotations['alpha.istio.io/kubernetes-serviceaccounts']).map((account) =>
        spiffeId(settings.trustDomain, namespace, account),
      ),
    ],
    creationMs: creationMsOf(object),
    attributes,
  }
}

/** Entries of an annotation that lists, with commas between them; none when it is absent or empty. */
function listed(annotation: string | undefined): string[] {
  return annotation ? annotation.split(',').map((entry) => entry.trim()) : []
}

/** From the labels of a Service or ServiceEntry; a label without a value is none. */
export function persistentSessionOf(labels: Readonly<Record<string, string>>): ServiceAttributes['persistentSession'] {
  if (labels['istio.io/persistent-session']) return 'cookie'
  return labels['istio.io/persistent-session-header'] ? 'header' : null
}

const NODE_SELECTOR = 'traffic.istio.io/nodeSelector'

function externalAddresses(object: KubeObject, spec: ServiceSpec): ExternalAddresses | null {
  const nodeSelector = nodeSelectorOf(object.metadata.annotations?.[NODE_SELECTOR])
  if (nodeSelector) {
    const ports = spec.ports?.flatMap(({ port, nodePort }) => (nodePort ? [[port, nodePort] as const] : [])) ?? []
    return { addresses: [], nodeSelector, nodePorts: Object.fromEntries(ports) }
  }
  const status = object.status as { loadBalancer?: { ingress?: { ip?: string; hostname?: string }[] } } | undefined
  const balancer = spec.type === 'LoadBalancer' ? (status?.loadBalancer?.ingress ?? []) : []
  const addresses = [...balancer.flatMap(({ ip, hostname }) => ip || hostname || []), ...(spec.externalIPs ?? [])]
  return addresses.length > 0 ? { addresses, nodeSelector: null, nodePorts: {} } : null
}

/** A JSON object of node labels, `{}` for every node; null when it is none. */
function nodeSelectorOf(text: string | undefined): Readonly<Record<string, string>> | null {
  if (!text) return null
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, string>) : null
  } catch {
    return null
  }
}

function resolutionOf(external: boolean, headless: boolean): Resolution {
  return external ? 'Alias' : headless ? 'Passthrough' : 'ClientSideLB'
}

function clusterIps(spec: ServiceSpec): string[] {
  const all = spec.clusterIPs?.filter((ip) => ip && ip !== 'None') ?? []
  return all.length > 0 ? all : spec.clusterIP ? [spec.clusterIP] : []
}

function convertPort(port: NonNullable<ServiceSpec['ports']>[number]): ServicePort {
  return {
    name: port.name ?? '',
    port: port.port,
    protocol: kubeProtocol(port.port, port.name, port.protocol, port.appProtocol),
    targetPort: typeof port.targetPort === 'number' ? port.targetPort : port.targetPort ? 0 : port.port,
    targetPortName: typeof port.targetPort === 'string' ? port.targetPort : '',
  }
}

/** The field where it names a preference that Istio knows, else the annotation, whose case does not matter. */
/** Of the field and the annotation of a service, or of its namespace. */
export function trafficDistributionOf(
  field: string | undefined,
  annotation: string,
): ServiceAttributes['trafficDistribution'] {
  return DISTRIBUTIONS.get(field ?? '') ?? ANNOTATED_DISTRIBUTIONS.get(annotation.toLowerCase()) ?? ''
}

const DISTRIBUTIONS: ReadonlyMap<string, ServiceAttributes['trafficDistribution']> = new Map([
  ['PreferClose', 'PreferSameZone'],
  ['PreferSameZone', 'PreferSameZone'],
  ['PreferSameNode', 'PreferSameNode'],
])
const ANNOTATED_DISTRIBUTIONS = new Map([...DISTRIBUTIONS].map(([name, value]) => [name.toLowerCase(), value]))

/** Region, zone and subzone from a Node's topology labels. */
function nodeLocality(node: KubeObject | undefined): Locality {
  const labels = node?.metadata.labels
  if (!labels) return NO_LOCALITY
  const region = labels['topology.kubernetes.io/region'] ?? labels['failure-domain.beta.kubernetes.io/region'] ?? ''
  const zone = labels['topology.kubernetes.io/zone'] ?? labels['failure-domain.beta.kubernetes.io/zone'] ?? ''
  const subzone = labels['topology.istio.io/subzone'] ?? ''
  return region || zone || subzone ? { region, zone, subzone } : NO_LOCALITY
}

interface PodSpec {
  serviceAccountName?: string
  nodeName?: string
  hostname?: string
  subdomain?: string
  containers?: Container[]
  initContainers?: (Container & { restartPolicy?: string })[]
}

interface Container {
  ports?: { name?: string; containerPort: number; protocol?: string }[]
}

interface PodStatus {
  phase?: string
  podIP?: string
  podIPs?: { ip: string }[]
  conditions?: { type: string; status: string }[]
}

/** A Pod as a workload; undefined until it has an address, or once it is done. */
export function convertPod(
  pod: KubeObject,
  node: KubeObject | undefined,
  settings: RegistrySettings,
): Workload | undefined {
  const spec = (pod.spec ?? {}) as PodSpec
  const status = (pod.status ?? {}) as PodStatus
  if (!status.podIP || status.phase === 'Succeeded' || status.phase === 'Failed') return undefined
  const { name, namespace = '', labels = {} } = pod.metadata
  const ports: Record<string, number> = {}
  // Init containers that keep running are sidecars; a port of the workload's own container goes before theirs.
  const sidecars = spec.initContainers?.filter(({ restartPolicy }) => restartPolicy === 'Always') ?? []
  for (const container of [...sidecars, ...(spec.containers ?? [])]) {
    for (const { name, containerPort, protocol = 'TCP' } of container.ports ?? []) {
      if (name && protocol === 'TCP') ports[name] = containerPort
    }
  }
  const ready = status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false
  return {
    kind: 'Pod',
    name,
    namespace,
    address: status.podIP,
    addresses: status.podIPs?.map((p) => p.ip) ?? [status.podIP],
    labels,
    serviceAccount: spiffeId(settings.trustDomain, namespace, spec.serviceAccountName || 'default'),
    locality: podLocality(labels, node),
    health: pod.metadata.deletionTimestamp ? 'TERMINATING' : ready ? 'HEALTHY' : 'UNHEALTHY',
    nodeName: spec.nodeName ?? '',
    network: settings.networks.of(status.podIP, labels),
    weight: 0,
    tlsMode: labels['security.istio.io/tlsMode'] === 'istio' ? 'istio' : 'disabled',
    ports,
    workloadName: workloadNameOf(pod),
    hostName: spec.hostname ?? '',
    subDomain: spec.subdomain ?? '',
  }
}

function podLocality(labels: Readonly<Record<string, string>>, node: KubeObject | undefined): Locality {
  const label = labels['istio-locality']
  if (!label) return nodeLocality(node)
  const [region = '', zone = '', subzone = ''] = label.split(label.includes('/') ? '/' : '.')
  return { region, zone, subzone }
}

/** The Deployment (or other controller) behind a pod, from its owner and the names that controllers generate. */
function workloadNameOf(pod: KubeObject): string {
  const owner = pod.metadata.ownerReferences?.find((o) => o.controller)
  if (!owner) return pod.metadata.name
  const hash = pod.metadata.labels?.['pod-template-hash']
  if (owner.kind === 'ReplicaSet' && hash && owner.name.endsWith(`-${hash}`))
    return owner.name.slice(0, -hash.length - 1)
  return owner.name
}

export interface EndpointSlice {
  addressType?: string
  ports?: { name?: string; port?: number; protocol?: string }[]
  endpoints?: {
    addresses?: string[]
    conditions?: { ready?: boolean; serving?: boolean; terminating?: boolean }
    nodeName?: string
    hostname?: string
    targetRef?: { kind?: string; name?: string; namespace?: string }
  }[]
}

/** Name of the Service that an EndpointSlice belongs to; undefined for a slice of no Service. */
export function serviceNameOfSlice(slice: KubeObject): string | undefined {
  return slice.metadata.labels?.['kubernetes.io/service-name']
}

/** `namespace/name` of every pod that a slice's endpoints refer to. */
export function podsOfSlice(slice: KubeObject): string[] {
  const pods: string[] = []
  for (const endpoint of (slice as unknown as EndpointSlice).endpoints ?? []) {
    if (endpoint.targetRef?.kind !== 'Pod') continue
    pods.push(`${endpoint.targetRef.namespace ?? slice.metadata.namespace}/${endpoint.targetRef.name}`)
  }
  return pods
}

/** How a conversion finds pods and nodes. */
export interface WorkloadLookup {
  pod(namespace: string, name: string): Workload | undefined
  node(name: string): KubeObject | undefined
}

/**
 * Endpoints of a Service from its slices, in the order of slice names. Duplicate addresses count once. An endpoint
 * whose pod is not known yet is left out; it comes with the pod.
 */
export function convertSlices(
  service: Service,
  slices: readonly KubeObject[],
  lookup: WorkloadLookup,
  settings: RegistrySettings,
): Endpoint[] {
  const seen = new Set<string>()
  const endpoints: Endpoint[] = []
  for (const object of [...slices].sort((a, b) => compareText(a.metadata.name, b.metadata.name))) {
    const slice = object as unknown as EndpointSlice
    if (slice.addressType === 'FQDN') continue
    for (const entry of slice.endpoints ?? []) {
      const health = healthOf(entry.conditions, service.attributes.persistentSession !== null)
      const namespace = object.metadata.namespace ?? ''
      const isPod = entry.targetRef?.kind === 'Pod'
      const pod = isPod ? lookup.pod(entry.targetRef!.namespace ?? namespace, entry.targetRef!.name ?? '') : undefined
      if (isPod && !pod) continue
      // A pod of a Service with both families is one endpoint with all its addresses; the slice of the other adds none.
      const all = pod && service.addresses.length > 1 && pod.addresses.length > 1 ? pod.addresses : null
      if (all && slice.addressType === 'IPv6') continue
      for (const address of entry.addresses ?? []) {
        for (const port of slice.ports ?? [{ name: '', port: 0 }]) {
          const key = `${address}|${port.name ?? ''}|${port.port ?? 0}`
          if (seen.has(key)) continue
          seen.add(key)
          endpoints.push(
            pod
              ? podEndpoint(pod, all ?? [address], port.name ?? '', port.port ?? 0, health, settings.clusterId)
              : bareEndpoint(address, port.name ?? '', port.port ?? 0, health, settings),
          )
        }
      }
    }
  }
  return endpoints
}

function healthOf(
  conditions: { ready?: boolean; serving?: boolean; terminating?: boolean } | undefined,
  persistentSession: boolean,
): HealthStatus {
  if (conditions?.ready ?? true) return 'HEALTHY'
  // Kubernetes sets all three; of a slice by hand that only says "not ready" nobody knows that it will come back.
  if (!(conditions?.terminating ?? true)) return 'UNHEALTHY'
  return persistentSession && (conditions?.serving ?? true) ? 'DRAINING' : 'TERMINATING'
}

/** A workload as an endpoint of no port yet. */
export function workloadEndpoint(workload: Workload, clusterId: string): Endpoint {
  return {
    address: workload.address,
    addresses: workload.addresses,
    portName: '',
    servicePort: 0,
    port: 0,
    labels: topologyLabels(workload.labels, workload.locality, workload.nodeName, workload.network, clusterId),
    locality: workload.locality,
    health: workload.health,
    serviceAccount: workload.serviceAccount,
    tlsMode: workload.tlsMode,
    workloadName: workload.workloadName,
    namespace: workload.namespace,
    nodeName: workload.nodeName,
    network: workload.network,
    weight: workload.weight,
    hostName: '',
    subDomain: '',
    clusterId,
  }
}

/** One port of a pod as an endpoint: also by its name within the Service, where it has one. */
function podEndpoint(
  pod: Workload,
  addresses: readonly string[],
  portName: string,
  port: number,
  health: HealthStatus,
  clusterId: string,
): Endpoint {
  return {
    ...workloadEndpoint(pod, clusterId),
    address: addresses[0]!,
    addresses,
    portName,
    port,
    health,
    hostName: pod.hostName || (pod.subDomain ? pod.name : ''),
    subDomain: pod.subDomain,
  }
}

/** An endpoint without a pod: all that istiod knows of it is its address, whatever node or zone the slice names. */
function bareEndpoint(
  address: string,
  portName: string,
  port: number,
  health: HealthStatus,
  settings: RegistrySettings,
): Endpoint {
  const network = settings.networks.of(address, {})
  return {
    address,
    addresses: [address],
    portName,
    servicePort: 0,
    port,
    labels: topologyLabels({}, NO_LOCALITY, '', network, settings.clusterId),
    locality: NO_LOCALITY,
    health,
    serviceAccount: '',
    tlsMode: 'disabled',
    workloadName: '',
    namespace: '',
    nodeName: '',
    network,
    weight: 0,
    hostName: '',
    subDomain: '',
    clusterId: settings.clusterId,
  }
}

/** Labels plus where the workload runs, so that failoverPriority and subsets can name places. */
export function topologyLabels(
  labels: Readonly<Record<string, string>>,
  locality: Locality,
  nodeName: string,
  network: string,
  clusterId: string,
): Readonly<Record<string, string>> {
  const out: Record<string, string> = { ...labels }
  if (locality.region) out['topology.kubernetes.io/region'] = locality.region
  if (locality.zone) out['topology.kubernetes.io/zone'] = locality.zone
  if (locality.subzone) out['topology.istio.io/subzone'] = locality.subzone
  if (clusterId) out['topology.istio.io/cluster'] = clusterId
  if (network) out['topology.istio.io/network'] = network
  if (nodeName) out['kubernetes.io/hostname'] = nodeName
  return out
}
