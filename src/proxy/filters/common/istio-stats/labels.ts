// The labels of Istio's standard metrics, from what is known of the two ends (envoy-contract §11.1).

import type { StreamInfo } from '../../../stream-info.ts'
import type { PeerMetadata } from '../peer-metadata.ts'

export const UNKNOWN = 'unknown'

/** In the order in which Istio prints them. */
export const LABELS = [
  'reporter',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'destination_workload',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_service',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_service_name',
  'destination_service_namespace',
  'destination_cluster',
  'request_protocol',
  'response_code',
  'grpc_response_status',
  'response_flags',
  'connection_security_policy',
] as const
export type Label = (typeof LABELS)[number]
/** TCP metrics lack these. */
export const HTTP_ONLY: ReadonlySet<string> = new Set<Label>(['response_code', 'grpc_response_status'])

/** A destination service. */
export interface ServiceNames {
  readonly host: string
  readonly name: string
  readonly namespace: string
}

const NOBODY: PeerMetadata = {
  name: '',
  namespace: '',
  workload: '',
  cluster: '',
  identity: '',
  type: '',
  service: '',
  revision: '',
  app: '',
  version: '',
  region: '',
  zone: '',
}

/** What endpoint metadata tells of a workload that did not introduce itself: `name;namespace;service;revision;cluster`. */
export function peerOfEndpoint(info: StreamInfo): PeerMetadata {
  const text = info.upstreamHost?.metadata.istio?.workload
  if (typeof text !== 'string') return NOBODY
  const [workload = '', namespace = '', service = '', revision = '', cluster = ''] = text.split(';')
  return { ...NOBODY, workload, namespace, service, revision, cluster }
}

/** The service a cluster stands for; the host a client asked for may stand in where that is allowed. */
export function serviceOf(info: StreamInfo, host: string, fallbackNamespace: string): ServiceNames {
  const istio = info.upstreamClusterMetadata?.istio as { services?: unknown } | undefined
  const services = istio?.services
  const first: unknown = Array.isArray(services) ? services[0] : undefined
  if (typeof first === 'object' && first !== null) {
    const { host: name, name: short, namespace } = first as Record<string, unknown>
    return {
      host: typeof name === 'string' && name !== '' ? name : UNKNOWN,
      name: typeof short === 'string' && short !== '' ? short : UNKNOWN,
      namespace: typeof namespace === 'string' && namespace !== '' ? namespace : UNKNOWN,
    }
  }
  const special = SPECIAL[info.routeName] ?? SPECIAL_CLUSTER[info.upstreamCluster]
  return { host: host || UNKNOWN, name: special ?? (host || UNKNOWN), namespace: fallbackNamespace || UNKNOWN }
}

/** Routes for traffic that leaves the mesh. */
const SPECIAL: Readonly<Record<string, string>> = { block_all: 'BlackHoleCluster', allow_any: 'PassthroughCluster' }
const SPECIAL_CLUSTER: Readonly<Record<string, string>> = {
  BlackHoleCluster: 'BlackHoleCluster',
  PassthroughCluster: 'PassthroughCluster',
  InboundPassthroughCluster: 'InboundPassthroughCluster',
}

function known(text: string): string {
  return text === '' ? UNKNOWN : text
}

/** Values of the labels, in their order; those of the source and the destination workload. */
export function workloadLabels(
  source: PeerMetadata | null,
  destination: PeerMetadata | null,
): Partial<Record<Label, string>> {
  const from = source ?? NOBODY
  const to = destination ?? NOBODY
  return {
    source_workload: known(from.workload),
    source_canonical_service: known(from.service),
    source_canonical_revision: from.revision || 'latest',
    source_workload_namespace: known(from.namespace),
    source_app: known(from.app),
    source_version: known(from.version),
    source_cluster: known(from.cluster),
    destination_workload: known(to.workload),
    destination_workload_namespace: known(to.namespace),
    destination_app: known(to.app),
    destination_version: known(to.version),
    destination_canonical_service: known(to.service),
    destination_canonical_revision: to.revision || 'latest',
    destination_cluster: known(to.cluster),
  }
}

/** `spiffe://td/ns/NAMESPACE/sa/x` → NAMESPACE, or ''. */
export function namespaceOfPrincipal(principal: string): string {
  const match = /\/ns\/([^/]+)\//.exec(principal)
  return match?.[1] ?? ''
}
