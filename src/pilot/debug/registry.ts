// Debug pages about what the control plane knows: services, endpoints, resources.
import type { JsonValue } from '@bufbuild/protobuf'
import { ownObject } from '../../base/own-property.ts'
import type { KubeObject, Store } from '../../cluster/index.ts'
import { GATEWAY_API_KINDS, gatewayApiGroupKind, ISTIO_KINDS, istioGroupKind, KINDS } from '../../config/index.ts'
import type { PushContext } from '../model/push-context.ts'
import { localityText, type Service, serviceKey } from '../model/service.ts'
import { endpointJson, serviceJson } from './service-json.ts'

/** Of the kinds that are not v1. */
const GATEWAY_API_VERSIONS: Readonly<Record<string, string>> = {
  ReferenceGrant: 'v1beta1',
  XBackendTrafficPolicy: 'v1alpha1',
}

/** `/debug/registryz`: every service, those of Kubernetes first, by host. */
export function registryz(push: PushContext): JsonValue {
  const rank = ({ attributes, hostname }: Service) => `${attributes.registry === 'Kubernetes' ? 0 : 1}${hostname}`
  return push.services.all
    .map((service): [string, Service] => [rank(service), service])
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, service]) => serviceJson(service, push))
}

/** `/debug/endpointShardz`: endpoints by host, namespace and registry. */
export function endpointShardz(push: PushContext): JsonValue {
  const out: { [host: string]: { [namespace: string]: JsonValue } } = {}
  for (const set of push.endpoints.values()) {
    if (set.endpoints.length === 0) continue
    const registry = push.services.byKey.get(serviceKey(set.hostname, set.namespace))?.attributes.registry ?? 'External'
    const accounts: { [account: string]: JsonValue } = {}
    for (const account of set.serviceAccounts) accounts[account] = {}
    const endpoints = set.endpoints.map((endpoint) =>
      endpointJson(endpoint, localityText(endpoint.locality), registry === 'Kubernetes'),
    )
    ownObject(out, set.hostname)[set.namespace] = {
      Shards: { [`${registry}/${push.clusterId}`]: endpoints },
      ServiceAccounts: accounts,
    }
  }
  return out
}

/** `/debug/clusterz`: the cluster of this control plane; remote ones are not read. */
export function clusterz(push: PushContext | null): JsonValue {
  if (!push) return []
  return [{ id: push.clusterId, secretName: '', syncStatus: 'synced' }]
}

/** Kinds of resources that configure the mesh: group and kind, as a store keys them, to the version they are kept in. */
const CONFIG_KINDS: ReadonlyMap<string, string> = new Map(
  [
    ...ISTIO_KINDS.map((kind): [string, string] => [istioGroupKind(kind), KINDS[kind].versions[0]]),
    ...GATEWAY_API_KINDS.map((kind): [string, string] => [
      gatewayApiGroupKind(kind),
      GATEWAY_API_VERSIONS[kind] ?? 'v1',
    ]),
  ].sort(([a], [b]) => (a < b ? -1 : 1)),
)

/** `/debug/resourcesz`. */
export function resourcesz(): JsonValue {
  return [...CONFIG_KINDS].map(([key, version]) => {
    const dot = key.indexOf('.')
    return { group: key.slice(dot + 1), version, kind: key.slice(0, dot) }
  })
}

/** `/debug/configz`: every resource of Istio's and of the Gateway API, and Ingresses, as written, with their status. */
export function configz(store: Store): JsonValue {
  const kinds = [...CONFIG_KINDS.keys(), 'Ingress.networking.k8s.io']
  const objects: KubeObject[] = kinds.flatMap((kind) => store.list(kind))
  return objects.map(({ apiVersion, kind, metadata, spec, status }) => ({
    kind,
    apiVersion,
    metadata: metadata as unknown as JsonValue,
    spec: (spec ?? {}) as JsonValue,
    ...(status === undefined ? {} : { status: status as JsonValue }),
  }))
}

/** Whose content is nobody's business who looks for a fault. */
const SECRET = 'Secret'

/**
 * `/debug/krtz`: the state that everything is made of. istiod shows the collections of its own library; here they are the
 * kinds of stored objects, each with its objects by namespace and name; Secrets without their data.
 */
export function krtz(store: Store): JsonValue {
  return store
    .kindsPresent()
    .sort()
    .map((kind, i) => {
      const objects = store.list(kind).map(({ data, stringData, ...shown }) => {
        const whole = shown.kind === SECRET ? shown : { ...shown, ...(data !== undefined && { data }) }
        return [objectName(shown.metadata), whole]
      })
      const outputs = objects.length > 0 && { outputs: Object.fromEntries(objects) as JsonValue }
      return { name: `store/${kind}`, state: { ...outputs, synced: true }, uid: i + 1 }
    })
}

function objectName({ name, namespace }: KubeObject['metadata']): string {
  return namespace === undefined ? name : `${namespace}/${name}`
}
