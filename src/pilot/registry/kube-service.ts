// Kubernetes Services as services of the model: one object at a time.
import type { KubeObject } from '../../cluster/index.ts'
import { kubeHostname } from '../model/host.ts'
import { kubeProtocol } from '../model/protocol.ts'
import type {
  ExportTo,
  ExternalAddresses,
  Resolution,
  Service,
  ServiceAttributes,
  ServicePort,
} from '../model/service.ts'
import { type RegistrySettings, spiffeId } from './settings.ts'

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

/**
 * The preference of a service: its field where that names one that Istio knows, else its annotation or its namespace's,
 * whose case does not matter.
 */
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
