// Pods as workloads of the model.
import type { KubeObject } from '../../cluster/index.ts'
import { type Locality, NO_LOCALITY, type Workload } from '../model/service.ts'
import { type RegistrySettings, spiffeId } from './settings.ts'

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
