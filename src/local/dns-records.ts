import type { Store } from '../cluster/index.ts'
import { CLUSTER_DOMAIN } from './addresses.ts'
import type { EndpointSlice, Service } from './pod-types.ts'

/** What the cluster's zone has for a name. */
export type DnsAnswer =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[] }
  | { readonly kind: 'services'; readonly services: readonly { port: number; target: string }[] }
  | { readonly kind: 'alias'; readonly target: string }
  /** The name exists, but has nothing of the type asked for. */
  | { readonly kind: 'empty' }
  | { readonly kind: 'nonexistent' }
  /** Not a name of this zone. */
  | { readonly kind: 'outside' }

const ZONE = `.${CLUSTER_DOMAIN}`

/**
 * Answers a question from Services and EndpointSlices, by the Kubernetes DNS specification: `svc.ns.svc.zone` is the
 * Service's address, or every ready pod's when headless; `host.svc.ns.svc.zone` one pod; `_port._proto.svc…` SRV.
 */
export function lookUp(store: Store, question: string, type: string): DnsAnswer {
  const name = question.toLowerCase().replace(/\.$/, '')
  if (name !== CLUSTER_DOMAIN && !name.endsWith(ZONE)) return { kind: 'outside' }
  const labels = name.slice(0, -ZONE.length).split('.')
  if (labels.length < 3 || labels.at(-1) !== 'svc') {
    // `svc.cluster.local`, `ns.svc.cluster.local` and the zone itself exist without records.
    const parent =
      name === CLUSTER_DOMAIN ||
      name === `svc${ZONE}` ||
      (labels.length === 2 && labels[1] === 'svc' && store.get('Namespace', undefined, labels[0]!) !== undefined)
    return { kind: parent ? 'empty' : 'nonexistent' }
  }
  const [namespace, serviceName] = [labels.at(-2)!, labels.at(-3)!]
  const service = store.get('Service', namespace, serviceName) as Service | undefined
  if (!service) return { kind: 'nonexistent' }
  if (service.spec.type === 'ExternalName') return { kind: 'alias', target: service.spec.externalName ?? '' }
  const prefix = labels.slice(0, -3)
  const endpoints = endpointsOf(store, service)
  if (prefix.length === 0) {
    if (type !== 'A') return { kind: 'empty' }
    if (service.spec.clusterIP !== 'None') return { kind: 'addresses', addresses: [service.spec.clusterIP!] }
    return endpoints.length > 0
      ? { kind: 'addresses', addresses: endpoints.map((e) => e.address) }
      : { kind: 'nonexistent' }
  }
  if (prefix.length === 2 && prefix[0]!.startsWith('_') && prefix[1]!.startsWith('_')) {
    const port = service.spec.ports?.find(
      (p) => `_${p.name}` === prefix[0] && `_${(p.protocol ?? 'TCP').toLowerCase()}` === prefix[1],
    )
    if (!port) return { kind: 'nonexistent' }
    if (type !== 'SRV') return { kind: 'empty' }
    const target = labels.slice(-3).join('.') + ZONE
    return { kind: 'services', services: [{ port: port.port, target }] }
  }
  const pod =
    prefix.length === 1 && service.spec.clusterIP === 'None'
      ? endpoints.find((e) => e.hostname === prefix[0])
      : undefined
  if (!pod) return { kind: 'nonexistent' }
  return type === 'A' ? { kind: 'addresses', addresses: [pod.address] } : { kind: 'empty' }
}

/** Ready endpoints; a pod without a hostname of its own is called by its address with dashes, as CoreDNS does. */
function endpointsOf(store: Store, service: Service): { address: string; hostname: string }[] {
  const { name, namespace } = service.metadata
  return (store.list('EndpointSlice.discovery.k8s.io', namespace) as EndpointSlice[])
    .filter((slice) => slice.metadata.labels?.['kubernetes.io/service-name'] === name)
    .flatMap((slice) => slice.endpoints)
    .filter((endpoint) => endpoint.conditions?.ready !== false)
    .flatMap((endpoint) =>
      endpoint.addresses.map((address) => ({ address, hostname: endpoint.hostname ?? address.replaceAll('.', '-') })),
    )
}
