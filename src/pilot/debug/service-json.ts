// A service as istiod's debug pages show it: the JSON that Go makes of its model, numbers for enumerations and null for
// what is not set.
import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import type { PushContext } from '../model/push-context.ts'
import type { Endpoint, Resolution, Service, ServiceAttributes, ServicePort } from '../model/service.ts'

const RESOLUTIONS: Readonly<Record<Resolution, number>> = {
  ClientSideLB: 0,
  DNSLB: 1,
  Passthrough: 2,
  DNSRoundRobinLB: 3,
  Alias: 4,
  DynamicDNS: 5,
}

const DISTRIBUTIONS: Readonly<Record<ServiceAttributes['trafficDistribution'], number>> = {
  '': 0,
  PreferSameZone: 1,
  PreferSameNode: 2,
}

/** One service of a push context. */
export function serviceJson(service: Service, push: PushContext): JsonValue {
  const { attributes, hostname, subjectAltNames, addresses } = service
  const [v4, v6] = [false, true].map((six) => service.autoAllocatedAddresses.find((a) => a.includes(':') === six))
  const kubernetes = attributes.registry === 'Kubernetes'
  return {
    Attributes: attributesJson(service, push),
    ...(service.ports.length > 0 && { ports: service.ports.map(portJson) }),
    ...(subjectAltNames.length > 0 && { serviceAccounts: [...subjectAltNames] }),
    creationTime: goTime(service.creationMs),
    hostname,
    clusterVIPs: { Addresses: kubernetes ? { [push.clusterId]: orAny(addresses) } : null },
    defaultAddress: orAny(addresses)[0]!,
    ...(v4 !== undefined && { autoAllocatedIPv4Address: v4 }),
    ...(v6 !== undefined && { autoAllocatedIPv6Address: v6 }),
    Resolution: RESOLUTIONS[service.resolution],
    MeshExternal: service.meshExternal,
    ResourceVersion: '',
  }
}

function attributesJson({ attributes, aliases }: Service, push: PushContext): JsonObject {
  const { external } = attributes
  const ports = Object.entries(external?.nodePorts ?? {})
  return {
    ServiceRegistry: attributes.registry,
    Name: attributes.name,
    Namespace: attributes.namespace,
    Labels: orNull(attributes.labels),
    ExportTo: writtenExportTo(attributes),
    Visibility: 0,
    LabelSelectors: orNull(attributes.selector ?? {}),
    Aliases: aliases.length === 0 ? null : aliases.map((alias) => aliasJson(alias, push)),
    ClusterExternalAddresses: {
      Addresses: external?.addresses.length ? { [push.clusterId]: [...external.addresses] } : null,
    },
    ClusterExternalPorts: ports.length > 0 ? { [push.clusterId]: Object.fromEntries(ports) } : null,
    PassthroughTargetPorts: orNull(attributes.passthroughTargetPorts),
    Type: attributes.type,
    ExternalName: attributes.externalName,
    NodeLocal: attributes.nodeLocal,
    TrafficDistribution: DISTRIBUTIONS[attributes.trafficDistribution],
    ObjectName: attributes.registry === 'External' ? attributes.resourceName : '',
    DNSConnectStrategy: attributes.racesConnects ? 1 : 0,
    PublishNotReadyAddresses: attributes.publishNotReadyAddresses,
  }
}

function aliasJson(hostname: string, push: PushContext): JsonObject {
  return { Hostname: hostname, Namespace: push.services.byHost.get(hostname)?.[0]?.attributes.namespace ?? '' }
}

/** A set, as Go has none: an object with empty values; null where the resource says nothing. */
function writtenExportTo({ writtenExportTo: text }: ServiceAttributes): JsonValue {
  return text === '' ? null : Object.fromEntries(text.split(',').map((one) => [one, {}]))
}

/** Ports of an undeclared protocol are of none that is supported, in istiod's words. */
export function portJson({ name, port, protocol }: ServicePort): JsonObject {
  return { name, port, protocol: protocol === 'Unsupported' ? 'UnsupportedProtocol' : protocol }
}

const HEALTH: Readonly<Record<Endpoint['health'], number>> = {
  UNKNOWN: 0,
  HEALTHY: 1,
  UNHEALTHY: 2,
  DRAINING: 3,
  TERMINATING: 4,
}

/** Where an endpoint lives in words (`region/zone/subzone`) is the caller's to say. */
export function endpointJson(endpoint: Endpoint, locality: string, kubernetes: boolean): JsonObject {
  return {
    Labels: sorted(endpoint.labels),
    Addresses: [...endpoint.addresses],
    ServicePortName: endpoint.portName,
    LegacyClusterPortKey: endpoint.servicePort,
    ServiceAccount: endpoint.serviceAccount,
    Network: endpoint.network,
    Locality: { Label: locality, ClusterID: endpoint.clusterId },
    EndpointPort: endpoint.port,
    LbWeight: endpoint.weight,
    TLSMode: endpoint.tlsMode,
    Namespace: endpoint.namespace,
    WorkloadName: endpoint.workloadName,
    HostName: endpoint.hostName,
    SubDomain: endpoint.subDomain,
    HealthStatus: HEALTH[endpoint.health],
    // PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS, which is on: those of Kubernetes are.
    SendUnhealthyEndpoints: kubernetes,
    NodeName: endpoint.nodeName,
  }
}

function sorted(values: Readonly<Record<string, string>>): JsonObject {
  return Object.fromEntries(Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function orNull(values: Readonly<Record<string, string | number>>): JsonValue {
  return Object.keys(values).length === 0 ? null : { ...values }
}

/** A service without an address is reached at any. */
function orAny(addresses: readonly string[]): string[] {
  return addresses.length > 0 ? [...addresses] : ['0.0.0.0']
}

/** RFC 3339 as Go writes it: without zeros at the end of the fraction. */
export function goTime(ms: number): string {
  return new Date(ms)
    .toISOString()
    .replace(/(\.\d*?)0+Z$/, '$1Z')
    .replace('.Z', 'Z')
}
