// Debug pages about what the control plane knows: services, endpoints, resources.
import type { JsonValue } from '@bufbuild/protobuf'
import { ownObject } from '../../base/own-property.ts'
import type { KubeObject, Store } from '../../cluster/index.ts'
import { GATEWAY_API_KINDS, gatewayApiGroupKind, ISTIO_KINDS, istioGroupKind } from '../../config/index.ts'
import type { PushContext } from '../model/push-context.ts'
import { type Endpoint, localityText, type Service, serviceKey } from '../model/service.ts'

/** `/debug/registryz`: every service. */
export function registryz(push: PushContext): JsonValue {
  return push.services.all.map((service) => serviceJson(service, push))
}

function serviceJson(service: Service, push: PushContext): JsonValue {
  const { attributes } = service
  const set = push.endpoints.get(serviceKey(service.hostname, attributes.namespace))
  return {
    Attributes: {
      ServiceRegistry: attributes.registry,
      Name: attributes.name,
      Namespace: attributes.namespace,
      Labels: { ...attributes.labels },
      ExportTo: exportToJson(service),
      LabelSelectors: attributes.selector ? { ...attributes.selector } : null,
      Aliases: [...service.aliases],
    },
    ports: service.ports.map((p) => ({ name: p.name, port: p.port, protocol: p.protocol })),
    serviceAccounts: [...(set?.serviceAccounts ?? [])],
    creationTime: new Date(service.creationMs).toISOString(),
    hostname: service.hostname,
    clusterVIPs: { Addresses: { [push.clusterId]: [...service.addresses] } },
    defaultAddress: service.addresses[0] ?? '0.0.0.0',
    autoAllocatedIPv4Address: service.autoAllocatedAddresses[0] ?? '',
    Resolution: service.resolution,
    MeshExternal: service.meshExternal,
  }
}

function exportToJson(service: Service): JsonValue {
  const { exportTo } = service.attributes
  return exportTo === 'all' ? ['*'] : exportTo === 'none' ? ['~'] : [...exportTo]
}

/** `/debug/endpointShardz`: endpoints by host, namespace and registry. */
export function endpointShardz(push: PushContext): JsonValue {
  const out: { [host: string]: { [namespace: string]: JsonValue } } = {}
  for (const set of push.endpoints.values()) {
    const registry = push.services.byKey.get(serviceKey(set.hostname, set.namespace))?.attributes.registry ?? 'External'
    const accounts: { [account: string]: JsonValue } = {}
    for (const account of set.serviceAccounts) accounts[account] = {}
    ownObject(out, set.hostname)[set.namespace] = {
      Shards: { [`${registry}/${push.clusterId}`]: set.endpoints.map(endpointJson) },
      ServiceAccounts: accounts,
    }
  }
  return out
}

function endpointJson(endpoint: Endpoint): JsonValue {
  return {
    Addresses: [...endpoint.addresses],
    EndpointPort: endpoint.port,
    ServicePortName: endpoint.portName,
    Labels: { ...endpoint.labels },
    ServiceAccount: endpoint.serviceAccount,
    Network: endpoint.network,
    Locality: { Label: localityText(endpoint.locality), ClusterID: endpoint.clusterId },
    LbWeight: endpoint.weight,
    TLSMode: endpoint.tlsMode,
    Namespace: endpoint.namespace,
    WorkloadName: endpoint.workloadName,
    HealthStatus: endpoint.health,
    NodeName: endpoint.nodeName,
  }
}

/** `/debug/clusterz`: the cluster of this control plane; remote ones are not read. */
export function clusterz(push: PushContext | null): JsonValue {
  if (!push) return []
  return [{ id: push.clusterId, secretName: '', syncStatus: 'synced' }]
}

/** Kinds of resources that configure the mesh, as a store keys them. */
const CONFIG_KINDS: readonly string[] = [
  ...ISTIO_KINDS.map(istioGroupKind),
  ...GATEWAY_API_KINDS.map(gatewayApiGroupKind),
  'Ingress.networking.k8s.io',
]

/** `/debug/resourcesz`. */
export function resourcesz(): JsonValue {
  return CONFIG_KINDS.map((key) => {
    const dot = key.indexOf('.')
    return { Group: key.slice(dot + 1), Kind: key.slice(0, dot) }
  })
}

/** `/debug/configz`: every resource of Istio's and of the Gateway API, as it was written, with its status. */
export function configz(store: Store): JsonValue {
  const objects: KubeObject[] = CONFIG_KINDS.flatMap((kind) => store.list(kind))
  return objects.map(({ apiVersion, kind, metadata, spec, status }) => ({
    apiVersion,
    kind,
    metadata: metadata as unknown as JsonValue,
    spec: (spec ?? {}) as JsonValue,
    ...(status === undefined ? {} : { status: status as JsonValue }),
  }))
}
