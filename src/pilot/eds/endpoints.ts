// ClusterLoadAssignments: which endpoints of a service one proxy gets, grouped by locality, with priorities.
import { isIP } from 'node:net'
import { create } from '@bufbuild/protobuf'
import { HealthStatus as EnvoyHealth } from '../../api/gen/envoy/config/core/v3/health_check_pb.js'
import {
  type LbEndpoint,
  LbEndpointSchema,
  type LocalityLbEndpoints,
  LocalityLbEndpointsSchema,
} from '../../api/gen/envoy/config/endpoint/v3/endpoint_components_pb.js'
import {
  type ClusterLoadAssignment,
  ClusterLoadAssignmentSchema,
} from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import type { Subset } from '../../config/index.ts'
import { type ClusterPolicy, endpointTlsMode } from '../cds/policy.ts'
import { localitySetting } from '../cds/traffic-policy.ts'
import { compareText, labelsMatch } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import {
  type Endpoint,
  type HealthStatus,
  localityText,
  type Service,
  type ServicePort,
  serviceKey,
} from '../model/service.ts'
import type { MergedDestinationRule } from '../model/sidecar-scope.ts'
import { addressOf } from '../xds/messages.ts'
import { SNI_PREFIX } from '../xds/names.ts'
import { isClusterLocal } from './cluster-local.ts'
import { applyLocality, weightOf } from './locality.ts'
import { type GatewayEndpoints, throughGateways } from './split-horizon.ts'

/** What decides one assignment. */
export interface AssignmentInputs {
  readonly name: string
  readonly service: Service
  /** Port of the service. */
  readonly port: number
  readonly subset: Subset | null
  readonly rule: MergedDestinationRule | null
  readonly policy: ClusterPolicy
  readonly proxy: Pick<ProxyNode, 'locality' | 'labels' | 'nodeName' | 'clusterId' | 'network' | 'networkView' | 'ips'>
  readonly push: PushContext
}

/** Endpoints of one locality, before they are messages. */
export interface LocalityGroup {
  readonly region: string
  readonly zone: string
  readonly subzone: string
  readonly endpoints: readonly Endpoint[]
  weight: number
  priority: number
  /** False: the group is kept, its endpoints are not sent (distribute names other localities). */
  sent: boolean
}

const HEALTH: Readonly<Record<HealthStatus, EnvoyHealth>> = {
  UNKNOWN: EnvoyHealth.UNKNOWN,
  HEALTHY: EnvoyHealth.HEALTHY,
  UNHEALTHY: EnvoyHealth.UNHEALTHY,
  DRAINING: EnvoyHealth.DRAINING,
  TERMINATING: EnvoyHealth.UNHEALTHY,
}

/**
 * The assignment of one cluster that is found by EDS; without endpoints it is empty, never absent. Services that are found
 * by DNS have none here, as in istiod: only gRPC clients ask for theirs.
 */
export function buildAssignment(inputs: AssignmentInputs): ClusterLoadAssignment {
  const { resolution } = inputs.service
  const byName = resolution === 'DNSLB' || resolution === 'DNSRoundRobinLB'
  const endpoints = byName ? [] : selectEndpoints(inputs, listedIn)
  const accepts = acceptsMutualTls(inputs)
  const { networks } = inputs.push
  const all = groupByLocality(endpoints)
  const { groups, gateways } = networks
    ? throughGateways(all, networks, inputs.proxy, accepts)
    : { groups: all, gateways: NO_GATEWAYS }
  const mtls = (endpoint: Endpoint): boolean => gateways.has(endpoint) || accepts(endpoint)
  // A gateway cannot tell whether what it passes on is mutual TLS: it only knows endpoints that insist on it.
  if (inputs.name.startsWith(SNI_PREFIX)) keepMutualTls(groups, mtls)
  return assignmentOf(groups, mtls, inputs)
}

/** The assignment within a cluster that is found by DNS: names are dialled wherever they lead, as in istiod. */
export function buildInlineAssignment(inputs: AssignmentInputs): ClusterLoadAssignment {
  const groups = groupByLocality(selectEndpoints(inputs, dialledFor))
  const mtls = acceptsMutualTls(inputs)
  if (inputs.name.startsWith(SNI_PREFIX)) keepMutualTls(groups, mtls)
  // A cluster that nobody may use is there all the same.
  const isEmpty = groups.every(({ endpoints }) => endpoints.length === 0)
  return isEmpty ? messageOf(groups, mtls, inputs) : assignmentOf(groups, mtls, inputs)
}

function assignmentOf(
  groups: LocalityGroup[],
  mtls: (endpoint: Endpoint) => boolean,
  inputs: AssignmentInputs,
): ClusterLoadAssignment {
  const setting = localitySetting(inputs.policy.loadBalancer, inputs.push.mesh)
  return messageOf(applyLocality(groups, inputs, setting), mtls, inputs)
}

function messageOf(
  groups: readonly LocalityGroup[],
  mtls: (endpoint: Endpoint) => boolean,
  inputs: AssignmentInputs,
): ClusterLoadAssignment {
  const out: LocalityLbEndpoints[] = []
  for (const group of groups) {
    out.push(
      create(LocalityLbEndpointsSchema, {
        locality: { region: group.region, zone: group.zone, subZone: group.subzone },
        priority: group.priority,
        // A place whose endpoints were all left out: Envoy refuses the weight 0, and with it every assignment sent along.
        loadBalancingWeight: group.weight || undefined,
        lbEndpoints: group.sent ? group.endpoints.map((e) => lbEndpoint(e, mtls(e))) : [],
      }),
    )
  }
  return create(ClusterLoadAssignmentSchema, { clusterName: inputs.name, endpoints: out })
}

function selectEndpoints(
  inputs: AssignmentInputs,
  serves: (endpoint: Endpoint, port: ServicePort) => boolean,
): Endpoint[] {
  const { service, push, proxy } = inputs
  const set = push.endpoints.get(serviceKey(service.hostname, service.attributes.namespace))
  const port = service.ports.find((p) => p.port === inputs.port)
  if (!set || !port) return []
  // With a panic threshold of its own the cluster would count unhealthy endpoints: they are left out then.
  // Not where places are preferred: what spills over to the next place is told by health.
  const sendUnhealthy =
    service.attributes.trafficDistribution !== '' || !inputs.policy.outlierDetection?.minHealthPercent
  const selected: Endpoint[] = []
  for (const endpoint of set.endpoints) {
    if (!serves(endpoint, port)) continue
    if (endpoint.health === 'UNHEALTHY' && !sendUnhealthy) continue
    if (endpoint.health === 'TERMINATING') continue
    if (isDraining(endpoint) && service.attributes.persistentSession !== 'cookie') continue
    if (inputs.subset && !labelsMatch(inputs.subset.labels, endpoint.labels)) continue
    if (endpoint.network !== '' && proxy.networkView && !proxy.networkView.has(endpoint.network)) continue
    if (endpoint.clusterId !== proxy.clusterId && isClusterLocal(service.hostname, push)) continue
    if (service.attributes.nodeLocal && endpoint.nodeName !== proxy.nodeName) continue
    selected.push(endpoint)
  }
  return selected
}

/** Clusters that resolve names know ports of a ServiceEntry by number, so that entries of one host may name them otherwise. */
function dialledFor(endpoint: Endpoint, { name, port }: ServicePort): boolean {
  return endpoint.servicePort === 0 ? endpoint.portName === name : endpoint.servicePort === port
}

/** EDS knows ports by name, and addresses only. */
function listedIn(endpoint: Endpoint, { name }: ServicePort): boolean {
  return endpoint.portName === name && (endpoint.port === 0 || endpoint.address === '' || isIP(endpoint.address) !== 0)
}

/** By its slice, or because its pod is labelled so. */
function isDraining(endpoint: Endpoint): boolean {
  return endpoint.health === 'DRAINING' || Boolean(endpoint.labels['istio.io/draining'])
}

const NO_GATEWAYS: GatewayEndpoints = new Set()

function keepMutualTls(groups: LocalityGroup[], mtls: (endpoint: Endpoint) => boolean): void {
  for (const [i, group] of groups.entries()) {
    const endpoints = group.endpoints.filter(mtls)
    groups[i] = { ...group, endpoints, weight: weightOf(endpoints) }
  }
}

/** Whether clients use mutual TLS to an endpoint that takes it: as the rule says, else as the server does. */
function acceptsMutualTls(inputs: AssignmentInputs): (endpoint: Endpoint) => boolean {
  const { push } = inputs
  const mode = endpointTlsMode(inputs.rule, inputs.subset, inputs.port)
  if (mode !== undefined) return ({ tlsMode }) => tlsMode === 'istio' && mode === 'ISTIO_MUTUAL'
  return (endpoint) =>
    endpoint.tlsMode === 'istio' &&
    push.peerAuthentications.forPort(endpoint.namespace, endpoint.labels, endpoint.port) !== 'DISABLE'
}

function groupByLocality(endpoints: readonly Endpoint[]): LocalityGroup[] {
  const groups = new Map<string, Endpoint[]>()
  for (const endpoint of endpoints) {
    const key = localityText(endpoint.locality)
    const group = groups.get(key)
    if (group) group.push(endpoint)
    else groups.set(key, [endpoint])
  }
  return [...groups]
    .sort(([a], [b]) => compareText(a, b))
    .map(([, list]) => {
      const { region, zone, subzone } = list[0]!.locality
      return { region, zone, subzone, endpoints: list, weight: weightOf(list), priority: 0, sent: true }
    })
}

function lbEndpoint(endpoint: Endpoint, mutualTls: boolean): LbEndpoint {
  const istio = { workload: workloadMetadata(endpoint) }
  return create(LbEndpointSchema, {
    hostIdentifier: {
      case: 'endpoint',
      value: {
        address: addressOf(endpoint.address, endpoint.port),
        additionalAddresses: endpoint.addresses.slice(1).map((a) => ({ address: addressOf(a, endpoint.port) })),
      },
    },
    healthStatus: HEALTH[isDraining(endpoint) ? 'DRAINING' : endpoint.health],
    loadBalancingWeight: endpoint.weight || 1,
    metadata: {
      filterMetadata: mutualTls ? { 'envoy.transport_socket_match': { tlsMode: 'istio' }, istio } : { istio },
    },
  })
}

/** `workload;namespace;canonical name;revision;cluster`: what telemetry of the client says about the server. */
function workloadMetadata(endpoint: Endpoint): string {
  const { labels } = endpoint
  const name =
    labels['service.istio.io/canonical-name'] ?? labels['app.kubernetes.io/name'] ?? labels.app ?? endpoint.workloadName
  const revision =
    labels['service.istio.io/canonical-revision'] ?? labels['app.kubernetes.io/version'] ?? labels.version ?? ''
  return [
    endpoint.workloadName,
    endpoint.namespace,
    name,
    revision === 'latest' ? '' : revision,
    endpoint.clusterId,
  ].join(';')
}
