// EndpointSlices as endpoints of the model: all slices of one Service at a time.
import type { KubeObject } from '../../cluster/index.ts'
import { compareText } from '../model/host.ts'
import {
  type Endpoint,
  type HealthStatus,
  type Locality,
  NO_LOCALITY,
  type Service,
  type Workload,
} from '../model/service.ts'
import type { RegistrySettings } from './settings.ts'

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
