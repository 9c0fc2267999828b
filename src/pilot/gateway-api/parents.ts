// What a route attaches to: listeners of Gateways and ListenerSets, or services of the mesh; and why it does not.
import { GATEWAY_API_GROUP, type GatewayApiResource, type ParentReference } from '../../config/index.ts'
import { hostSubsetOf, kubeHostname } from '../model/host.ts'
import { MESH_GATEWAY } from '../model/virtual-service.ts'
import type { Condition } from '../status.ts'
import type { GatewayApiIndex } from './inputs.ts'
import type { AttachableListener } from './listeners.ts'

/** One place where a route applies. */
export interface Attachment {
  /** `mesh`, or `namespace/name` of an Istio Gateway. */
  readonly gateway: string
  readonly hosts: readonly string[]
  /** Port of the Service that the parent names; 0: all. */
  readonly port: number
  /** In the mesh: only clients of the route's own namespace see it (a consumer's route). */
  readonly private: boolean
  /** Null in the mesh. */
  readonly listener: AttachableListener | null
}

/** A parentRef that is ours to judge. */
export interface Parent {
  readonly reference: ParentReference
  readonly mesh: boolean
  readonly attachments: readonly Attachment[]
  /** The route's condition `Accepted` for this parent. */
  readonly accepted: Condition
}

export type Route = GatewayApiResource<'HTTPRoute' | 'GRPCRoute' | 'TCPRoute' | 'TLSRoute'>

/** Parents of other controllers, and those that do not exist, are left out: they may be somebody else's. */
export function parentsOf(route: Route, listeners: ListenersByOwner, index: GatewayApiIndex): Parent[] {
  const found: Parent[] = []
  for (const reference of route.spec.parentRefs ?? []) {
    const { group = GATEWAY_API_GROUP, kind = 'Gateway', name } = reference
    const namespace = reference.namespace ?? route.metadata.namespace
    if (group === '' && kind === 'Service') {
      const host = kubeHostname(name, namespace, index.domain)
      found.push(meshParent(route, reference, index.service(host, namespace) ? [host] : []))
    } else if (group === 'networking.istio.io' && kind === 'ServiceEntry') {
      const hosts = index.servicesOfEntry(namespace, name).map(({ hostname }) => hostname)
      found.push(meshParent(route, reference, [...new Set(hosts)]))
    } else if (group === GATEWAY_API_GROUP && (kind === 'Gateway' || kind === 'ListenerSet')) {
      const candidates = listeners.get(ownerKey(kind, namespace, name))
      if (candidates) found.push(gatewayParent(route, reference, candidates))
    }
  }
  return found
}

/** Listeners by the Gateway or ListenerSet that brings them. */
export type ListenersByOwner = ReadonlyMap<string, readonly AttachableListener[]>

export function listenersByOwner(listeners: readonly AttachableListener[]): ListenersByOwner {
  return Map.groupBy(listeners, ({ owner }) => ownerKey(owner.kind, owner.metadata.namespace, owner.metadata.name))
}

function ownerKey(kind: string, namespace: string, name: string): string {
  return `${kind}/${namespace}/${name}`
}

function accepted(status: Condition['status'], reason: string, message: string): Condition {
  return { type: 'Accepted', status, reason, message }
}

const ACCEPTED = accepted('True', 'Accepted', 'the route is accepted')

function meshParent({ metadata }: Route, reference: ParentReference, hosts: readonly string[]): Parent {
  const { kind, name, namespace = metadata.namespace, port = 0 } = reference
  if (hosts.length === 0) {
    const verdict = accepted('False', 'NoMatchingParent', `there is no ${kind} ${namespace}/${name}`)
    return { reference, mesh: true, attachments: [], accepted: verdict }
  }
  const consumer = namespace !== metadata.namespace
  return {
    reference,
    mesh: true,
    attachments: [{ gateway: MESH_GATEWAY, hosts, port, private: consumer, listener: null }],
    accepted: ACCEPTED,
  }
}

/** Reasons against a listener, the one that says most first. */
const DENIALS = ['NotAllowedByListeners', 'NoMatchingListenerHostname', 'NoMatchingParent'] as const
interface Denial {
  readonly reason: (typeof DENIALS)[number]
  readonly message: string
}

function gatewayParent(route: Route, reference: ParentReference, candidates: readonly AttachableListener[]): Parent {
  const attachments: Attachment[] = []
  const denials: Denial[] = []
  for (const candidate of candidates) {
    const denial = denialOf(route, reference, candidate)
    if (denial) {
      denials.push(denial)
      continue
    }
    const hosts = hostsAt(route, candidate, candidates)
    attachments.push({ gateway: candidate.istioGateway, hosts, port: 0, private: false, listener: candidate })
  }
  const reason = DENIALS.find((one) => denials.some((denial) => denial.reason === one))
  if (attachments.length > 0 || !reason) return { reference, mesh: false, attachments, accepted: ACCEPTED }
  const messages = new Set(denials.filter((denial) => denial.reason === reason).map(({ message }) => message))
  return { reference, mesh: false, attachments, accepted: accepted('False', reason, [...messages].join('; ')) }
}

function hostnamesOf({ spec }: Route): readonly string[] {
  return 'hostnames' in spec ? (spec.hostnames ?? []) : []
}

function denialOf(
  route: Route,
  { sectionName, port }: ParentReference,
  { listener, namespaces, kinds }: AttachableListener,
): Denial | null {
  if (port && port !== listener.port)
    return { reason: 'NoMatchingParent', message: `there is no listener on port ${port}` }
  if (sectionName && sectionName !== listener.name) {
    return { reason: 'NoMatchingParent', message: `there is no listener ${sectionName}` }
  }
  const hostnames = hostnamesOf(route)
  if (hostnames.length > 0 && listener.hostname && !hostnames.some((host) => overlap(host, listener.hostname!))) {
    const message = `no hostname matches that of listener ${listener.name}, ${listener.hostname}`
    return { reason: 'NoMatchingListenerHostname', message }
  }
  if (namespaces && !namespaces.has(route.metadata.namespace)) {
    const message = `listener ${listener.name} does not allow routes of namespace ${route.metadata.namespace}`
    return { reason: 'NotAllowedByListeners', message }
  }
  if (!kinds.has(route.kind)) {
    return { reason: 'NotAllowedByListeners', message: `listener ${listener.name} does not allow a ${route.kind}` }
  }
  return null
}

function overlap(a: string, b: string): boolean {
  return hostSubsetOf(a, b) || hostSubsetOf(b, a)
}

/**
 * The hosts of an attached route at one listener, without those that a more specific listener of the port has. Those of
 * a TLSRoute are narrowed to the listener's; those of HTTP routes are when they are merged with its Gateway.
 */
function hostsAt(
  route: Route,
  { listener }: AttachableListener,
  siblings: readonly AttachableListener[],
): readonly string[] {
  const own = listener.hostname ?? ''
  const narrowed = (host: string): string => (!own || hostSubsetOf(host, own) ? host : own)
  const hostnames = hostnamesOf(route)
  const attached = (hostnames.length > 0 ? hostnames : ['*']).filter((host) => !own || overlap(host, own))
  const hosts = route.kind === 'TLSRoute' ? [...new Set(attached.map(narrowed))] : attached
  if (own && !own.startsWith('*')) return hosts
  const rivals = siblings
    .map((sibling) => sibling.listener)
    .filter((other) => other.port === listener.port && other.protocol === listener.protocol)
    .map(({ hostname = '' }) => hostname)
    .filter((hostname) => hostname.length > own.length)
  return hosts.filter((host) => !rivals.some((rival) => hostSubsetOf(narrowed(host), rival)))
}
