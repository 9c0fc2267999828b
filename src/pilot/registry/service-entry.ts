// From ServiceEntry and WorkloadEntry to the service model.
import { isIP } from 'node:net'
import { ownValue } from '../../base/own-property.ts'
import type { ServiceEntry, ServiceEntrySpec, WorkloadEntry, WorkloadEntrySpec } from '../../config/index.ts'
import { labelsMatch } from '../model/host.ts'
import { parseProtocol } from '../model/protocol.ts'
import {
  type Endpoint,
  NO_LOCALITY,
  parseLocality,
  type Resolution,
  type Service,
  type ServiceAttributes,
  type ServicePort,
  type Workload,
} from '../model/service.ts'
import { topologyLabels, workloadEndpoint } from './kube-endpoints.ts'
import { parseExportTo, persistentSessionOf, TRAFFIC_DISTRIBUTION, trafficDistributionOf } from './kube-service.ts'
import { type RegistrySettings, spiffeId } from './settings.ts'
import { cappedExportTo, visibilityIn } from './visibility.ts'

const RESOLUTION: Readonly<Record<NonNullable<ServiceEntrySpec['resolution']>, Resolution>> = {
  NONE: 'Passthrough',
  STATIC: 'ClientSideLB',
  DNS: 'DNSLB',
  DNS_ROUND_ROBIN: 'DNSRoundRobinLB',
  DYNAMIC_DNS: 'DynamicDNS',
}

/** What of a namespace its ServiceEntries are made by: its labels, and where its annotation sends traffic. */
export interface NamespaceTraits {
  readonly labels: Readonly<Record<string, string>>
  readonly distribution: string
}

const NO_TRAITS: NamespaceTraits = { labels: {}, distribution: '' }

/** One service for each host and, with several addresses, each address. `allocated` are addresses from status or allocator. */
export function convertServiceEntry(
  item: ServiceEntry,
  allocated: ReadonlyMap<string, readonly string[]>,
  settings: RegistrySettings,
  namespace: NamespaceTraits = NO_TRAITS,
): Service[] {
  const { spec } = item
  const declared = parseExportTo(
    spec.exportTo?.length ? spec.exportTo : settings.defaultServiceExportTo,
    item.metadata.namespace,
  )
  const { serviceEntryVisibility } = settings
  const exportTo = serviceEntryVisibility
    ? cappedExportTo(declared, item.metadata.namespace, visibilityIn(serviceEntryVisibility, namespace.labels))
    : declared
  const ports = (spec.ports ?? []).map(convertPort)
  const addresses = (spec.addresses ?? []).map(normalizeAddress)
  const services: Service[] = []
  for (const hostname of spec.hosts) {
    const attributes: ServiceAttributes = {
      registry: 'External',
      name: hostname,
      namespace: item.metadata.namespace,
      labels: item.metadata.labels,
      selector: spec.workloadSelector?.labels ?? null,
      exportTo,
      writtenExportTo: [...(spec.exportTo ?? [])].sort().join(),
      type: '',
      externalName: '',
      nodeLocal: false,
      publishNotReadyAddresses: false,
      trafficDistribution: trafficDistributionOf(
        undefined,
        item.metadata.annotations[TRAFFIC_DISTRIBUTION] || namespace.distribution,
      ),
      racesConnects: item.metadata.annotations['istio.io/connect-strategy']?.toUpperCase() === 'RACE_FIRST_TCP_CONNECT',
      passthroughTargetPorts: passthroughPorts(spec),
      persistentSession: persistentSessionOf(item.metadata.labels),
      resourceName: item.metadata.name,
      headless: false,
      external: null,
    }
    for (const address of addresses.length > 0 ? addresses : [null]) {
      services.push({
        hostname,
        aliases: [],
        ports,
        addresses: address === null ? [] : [address],
        autoAllocatedAddresses: allocated.get(hostname) ?? [],
        resolution: RESOLUTION[spec.resolution ?? 'NONE'],
        meshExternal: spec.location !== 'MESH_INTERNAL',
        subjectAltNames: spec.subjectAltNames ?? [],
        creationMs: item.metadata.creationMs,
        attributes,
      })
    }
  }
  return services
}

function passthroughPorts({ resolution = 'NONE', ports }: ServiceEntrySpec): Record<number, number> {
  if (resolution !== 'NONE') return {}
  return Object.fromEntries(
    (ports ?? []).flatMap(({ number, targetPort }) => (targetPort ? [[number, targetPort]] : [])),
  )
}

/** A CIDR of one address is that address. */
function normalizeAddress(address: string): string {
  return address.endsWith('/32') && !address.includes(':')
    ? address.slice(0, -3)
    : address.endsWith('/128')
      ? address.slice(0, -4)
      : address
}

function convertPort(port: NonNullable<ServiceEntrySpec['ports']>[number]): ServicePort {
  return {
    name: port.name,
    port: port.number,
    protocol: parseProtocol(port.protocol ?? ''),
    targetPort: port.targetPort ?? port.number,
    targetPortName: '',
  }
}

/** A WorkloadEntry as a workload that selectors can pick. */
export function convertWorkloadEntry(item: WorkloadEntry, settings: RegistrySettings, status?: unknown): Workload {
  const { spec } = item
  const labels = { ...item.metadata.labels, ...spec.labels }
  const address = spec.address ?? ''
  return {
    kind: 'WorkloadEntry',
    name: item.metadata.name,
    namespace: item.metadata.namespace,
    address,
    addresses: [address],
    labels,
    serviceAccount: spec.serviceAccount
      ? spiffeId(settings.trustDomain, item.metadata.namespace, spec.serviceAccount)
      : '',
    locality: spec.locality ? parseLocality(spec.locality) : NO_LOCALITY,
    health: healthOf(item, status),
    nodeName: '',
    // Neither labels nor address ranges count here, as in istiod.
    network: spec.network ?? '',
    weight: spec.weight ?? 0,
    tlsMode: tlsModeOf(labels, spec.serviceAccount),
    ports: spec.ports ?? {},
    workloadName: item.metadata.name,
    hostName: '',
    subDomain: '',
  }
}

/** Annotation of WorkloadEntries whose workload is checked by its own agent. */
export const HEALTH_CHECKED = 'proxy.istio.io/health-checks-enabled'

/** A workload that is health-checked counts as usable once its agent has said so; the others always do. */
function healthOf({ metadata }: WorkloadEntry, status: unknown): Workload['health'] {
  if (metadata.annotations[HEALTH_CHECKED] !== 'true') return 'UNKNOWN'
  const { conditions } = (status ?? {}) as { conditions?: { type?: unknown; status?: unknown }[] }
  const healthy = Array.isArray(conditions) && conditions.some((c) => c?.type === 'Healthy' && c.status === 'True')
  return healthy ? 'HEALTHY' : 'UNHEALTHY'
}

function tlsModeOf(labels: Readonly<Record<string, string>>, serviceAccount: string | undefined): 'istio' | 'disabled' {
  const label = labels['security.istio.io/tlsMode']
  if (label !== undefined) return label === 'istio' ? 'istio' : 'disabled'
  return serviceAccount ? 'istio' : 'disabled'
}

/** The endpoints that a ServiceEntry lists itself, or its host when DNS has to find them. */
export function inlineEndpoints(item: ServiceEntry, hostname: string, settings: RegistrySettings): Endpoint[] {
  const { spec } = item
  if (spec.workloadSelector) return []
  const endpoints: Endpoint[] = []
  const listed = spec.endpoints ?? []
  if (listed.length === 0) {
    const dns = spec.resolution === 'DNS' || spec.resolution === 'DNS_ROUND_ROBIN'
    if (!dns || hostname.startsWith('*')) return []
    return (spec.ports ?? []).map((port) => ({
      ...entryEndpoint({}, hostname, item.metadata.name, item, settings),
      portName: port.name,
      servicePort: port.number,
      port: port.targetPort ?? port.number,
    }))
  }
  for (const port of spec.ports ?? []) {
    for (const [index, entry] of listed.entries()) {
      const base = entryEndpoint(entry, entry.address ?? '', `${item.metadata.name}-${index}`, item, settings)
      const unix = base.address.startsWith('unix://')
      endpoints.push({
        ...base,
        portName: port.name,
        servicePort: port.number,
        port: unix ? 0 : (ownValue(entry.ports ?? {}, port.name) ?? port.targetPort ?? port.number),
      })
    }
  }
  return endpoints
}

function entryEndpoint(
  entry: WorkloadEntrySpec,
  address: string,
  workloadName: string,
  item: ServiceEntry,
  settings: RegistrySettings,
): Endpoint {
  const locality = entry.locality ? parseLocality(entry.locality) : NO_LOCALITY
  const labels = entry.labels ?? {}
  const network = entry.network ?? ''
  return {
    address,
    addresses: [address],
    portName: '',
    servicePort: 0,
    port: 0,
    labels: topologyLabels(labels, locality, '', network, settings.clusterId),
    locality,
    health: 'UNKNOWN',
    serviceAccount: entry.serviceAccount
      ? spiffeId(settings.trustDomain, item.metadata.namespace, entry.serviceAccount)
      : '',
    tlsMode: tlsModeOf(labels, entry.serviceAccount),
    workloadName,
    namespace: item.metadata.namespace,
    nodeName: '',
    network,
    weight: entry.weight ?? 0,
    hostName: '',
    subDomain: '',
    clusterId: settings.clusterId,
  }
}

/**
 * WorkloadEntries that a Kubernetes Service selects: workloads outside the cluster behind the same name as its pods. A
 * port by name is looked up among the entry's; one that must have the name and has it not is left out.
 */
export function selectedByService(
  service: Service,
  workloads: Iterable<Workload>,
  { clusterId }: Pick<RegistrySettings, 'clusterId'>,
): Endpoint[] {
  const { selector } = service.attributes
  if (!selector || service.resolution !== 'ClientSideLB') return []
  const chosen = [...workloads].filter(
    (w) =>
      w.kind === 'WorkloadEntry' &&
      isIP(w.address) !== 0 &&
      w.health !== 'UNHEALTHY' &&
      labelsMatch(selector, w.labels),
  )
  return service.ports.flatMap((port) =>
    chosen.flatMap((workload) => {
      const number =
        ownValue(workload.ports, port.targetPortName || port.name) ?? (port.targetPortName ? 0 : port.targetPort)
      return number ? [{ ...workloadEndpoint(workload, clusterId), portName: port.name, port: number }] : []
    }),
  )
}

/** The endpoints of a selecting ServiceEntry: every workload of its namespace with the labels. */
export function selectedEndpoints(
  item: ServiceEntry,
  workloads: Iterable<Workload>,
  settings: RegistrySettings,
): Endpoint[] {
  const selector = item.spec.workloadSelector?.labels
  if (!selector) return []
  const endpoints: Endpoint[] = []
  for (const workload of workloads) {
    // Unlike Services, ServiceEntries do not know of workloads that are not ready.
    if (workload.health === 'TERMINATING' || workload.health === 'UNHEALTHY') continue
    if (!labelsMatch(selector, workload.labels)) continue
    const pod = workload.kind === 'Pod'
    for (const port of item.spec.ports ?? []) {
      const number = (pod ? undefined : ownValue(workload.ports, port.name)) ?? port.targetPort ?? port.number
      endpoints.push({
        ...workloadEndpoint(workload, settings.clusterId),
        portName: port.name,
        servicePort: port.number,
        port: workload.address.startsWith('unix://') ? 0 : number,
      })
    }
  }
  return endpoints
}
