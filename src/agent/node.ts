// The identity a proxy shows to the control plane: node id, cluster, locality and metadata (istio-contract 10).
import type { AgentSettings } from './settings.ts'

/** The Istio release whose configuration this data plane understands; control planes adapt to it. */
const ISTIO_VERSION = '1.32.0'

/** Envoy's Node message in JSON. */
export interface NodeJson {
  readonly id: string
  readonly cluster: string
  readonly locality: { readonly region?: string; readonly zone?: string; readonly sub_zone?: string }
  readonly metadata: Readonly<Record<string, unknown>>
}

/** `sidecar~<ip>~<pod>.<namespace>~<domain>`. */
function nodeId(settings: AgentSettings): string {
  return [settings.role, settings.instanceIps[0], `${settings.podName}.${settings.namespace}`, settings.domain].join(
    '~',
  )
}

export function buildNode(settings: AgentSettings): NodeJson {
  const { config, labels, annotations } = settings
  return {
    id: nodeId(settings),
    cluster: settings.serviceCluster,
    locality: locality(labels),
    metadata: {
      ...settings.metadata,
      ISTIO_VERSION,
      NAME: settings.podName,
      NAMESPACE: settings.namespace,
      SERVICE_ACCOUNT: settings.serviceAccount,
      INSTANCE_IPS: settings.instanceIps.join(','),
      CLUSTER_ID: settings.clusterId,
      LABELS: labels,
      ANNOTATIONS: annotations,
      PROXY_CONFIG: config.raw,
      PILOT_SAN: [config.discoveryAddress.slice(0, config.discoveryAddress.lastIndexOf(':'))],
      ENVOY_STATUS_PORT: 15021,
      ENVOY_PROMETHEUS_PORT: 15090,
      ...(settings.exitOnZeroActiveConnections ? { EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'true' } : {}),
    },
  }
}

/** Label `istio-locality: region.zone.subzone` (with `.` because labels have no `/`), else the topology labels. */
function locality(labels: Readonly<Record<string, string>>): NodeJson['locality'] {
  const [region, zone, subZone] = labels['istio-locality']?.split('.') ?? [
    labels['topology.kubernetes.io/region'],
    labels['topology.kubernetes.io/zone'],
    labels['topology.istio.io/subzone'],
  ]
  return { ...(region ? { region } : {}), ...(zone ? { zone } : {}), ...(subZone ? { sub_zone: subZone } : {}) }
}
