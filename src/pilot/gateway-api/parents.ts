// What a route attaches to: listeners of Gateways, or Services of the mesh.
import type { GatewayApiResource, ParentReference } from '../../config/index.ts'
import { hostSubsetOf, kubeHostname } from '../model/host.ts'
import { MESH_GATEWAY } from '../model/virtual-service.ts'
import type { AttachableListener } from './gateways.ts'
import type { GatewayApiInputs } from './inputs.ts'

/** One place where a route applies. */
export interface Attachment {
  /** `mesh`, or `namespace/name` of an Istio Gateway. */
  readonly gateway: string
  readonly hosts: readonly string[]
  /** Port of the Service that the parent names; 0: all. */
  readonly port: number
  /** In the mesh: only clients of the route's own namespace see it (a consumer's route). */
  readonly private: boolean
}

type Route = GatewayApiResource<'HTTPRoute' | 'GRPCRoute' | 'TCPRoute' | 'TLSRoute'>

/** A parent that does not exist is no place. */
export function attachments(
  route: Route,
  listeners: readonly AttachableListener[],
  { domain, serviceExists }: Pick<GatewayApiInputs, 'domain' | 'serviceExists'>,
): Attachment[] {
  const { namespace } = route.metadata
  const hostnames = 'hostnames' in route.spec ? (route.spec.hostnames ?? []) : []
  const found: Attachment[] = []
  for (const parent of route.spec.parentRefs ?? []) {
    const kind = parent.kind ?? 'Gateway'
    const parentNamespace = parent.namespace ?? namespace
    if (kind === 'Service' || (kind === 'ServiceEntry' && parent.group === 'networking.istio.io')) {
      const host = kubeHostname(parent.name, parentNamespace, domain)
      if (!serviceExists(host)) continue
      const port = parent.port ?? 0
      found.push({ gateway: MESH_GATEWAY, hosts: [host], port, private: parentNamespace !== namespace })
    } else if (kind === 'Gateway') {
      for (const candidate of listeners) {
        const hosts = attach(route, hostnames, parent, parentNamespace, candidate)
        if (hosts.length > 0) found.push({ gateway: candidate.istioGateway, hosts, port: 0, private: false })
      }
    }
  }
  return found
}

/** The hosts under which a route attaches to a listener; none when it does not. */
function attach(
  route: Route,
  hostnames: readonly string[],
  parent: ParentReference,
  parentNamespace: string,
  { gateway, listener, namespaces, kinds }: AttachableListener,
): string[] {
  if (gateway.metadata.name !== parent.name || gateway.metadata.namespace !== parentNamespace) return []
  if (parent.sectionName && parent.sectionName !== listener.name) return []
  if (parent.port && parent.port !== listener.port) return []
  if (!kinds.has(route.kind)) return []
  if (namespaces && !namespaces.has(route.metadata.namespace)) return []
  const own = listener.hostname
  if (hostnames.length === 0) return [own || '*']
  if (!own) return [...hostnames]
  return hostnames.filter((host) => hostSubsetOf(host, own) || hostSubsetOf(own, host))
}
