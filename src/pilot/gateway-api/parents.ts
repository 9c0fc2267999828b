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

/** A parentRef with what it leaves out: statuses are in the order of these texts, as in istiod. */
export function referenceText(reference: ParentReference, own: string): string {
  const { group = GATEWAY_API_GROUP, kind = 'Gateway', name, sectionName = '', port = 0, namespace = own } = reference
  return `${group}/${kind}/${name}/${sectionName}/${port}.${namespace}`
}

function accepted(status: Condition['status'], reason: string, message: string): Condition {
  return { type: 'Accepted', status, reason, message }
}

const VALID = 'Route was valid'

function meshParent({ metadata }: Route, reference: ParentReference, hosts: readonly string[]): Parent {
  const { kind, name, namespace = metadata.namespace, port = 0 } = reference
  if (hosts.length === 0) {
    const what = kind === 'Service' ? 'service' : 'service entry'
    const verdict = accepted('False', 'NoMatchingParent', `parent ${what}: ${JSON.stringify(name)} not found`)
    return { reference, mesh: true, attachments: [], accepted: verdict }
  }
  const consumer = namespace !== metadata.namespace
  return {
    reference,
    mesh: true,
    attachments: [{ gateway: MESH_GATEWAY, hosts, port, private: consumer, listener: null }],
    accepted: accepted('True', 'Accepted', VALID),
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
  if (attachments.length > 0 || !reason) {
    const message = attachments.length > 1 ? `${VALID}, bound to ${attachments.length} parents` : VALID
    return { reference, mesh: false, attachments, accepted: accepted('True', 'Accepted', message) }
  }
  const messages = denials.filter((denial) => denial.reason === reason).map(({ message }) => message)
  return { reference, mesh: false, attachments, accepted: accepted('False', reason, messages.join('; ')) }
}

function hostnamesOf({ spec }: Route): readonly string[] {
  const hostnames = 'hostnames' in spec ? (spec.hostnames ?? []) : []
  return hostnames.length > 0 ? hostnames : ['*']
}

function denialOf(
  route: Route,
  { sectionName, port }: ParentReference,
  { listener, namespaces, kinds }: AttachableListener,
): Denial | null {
  if (port && port !== listener.port) return { reason: 'NoMatchingParent', message: `port ${port} not found` }
  if (sectionName && sectionName !== listener.name) {
    return { reason: 'NoMatchingParent', message: `sectionName ${JSON.stringify(sectionName)} not found` }
  }
  const { hostname = '' } = listener
  const parent = `matched parent hostname ${JSON.stringify(hostname)}`
  if (hostname !== '' && !hostnamesOf(route).some((host) => overlap(host, hostname))) {
    return { reason: 'NoMatchingListenerHostname', message: `no hostnames ${parent}` }
  }
  const { namespace } = route.metadata
  if (namespaces && !namespaces.has(namespace)) {
    const message = `hostnames ${parent}, but namespace ${JSON.stringify(namespace)} is not allowed by the parent`
    return { reason: 'NotAllowedByListeners', message }
  }
  if (!kinds.has(route.kind)) {
    return { reason: 'NotAllowedByListeners', message: `kind ${GATEWAY_API_GROUP}/v1/${route.kind} is not allowed` }
  }
  return null
}

function overlap(a: string, b: string): boolean {
  return hostSubsetOf(a, b) || hostSubsetOf(b, a)
}

/**
 * The hosts of an attached route at one listener. A TLSRoute's are narrowed to the listener's; an HTTP route leaves those
 * that a more specific listener of the port has to that.
 */
function hostsAt(
  route: Route,
  { listener }: AttachableListener,
  siblings: readonly AttachableListener[],
): readonly string[] {
  const { hostname: own = '', port, protocol } = listener
  const hosts = hostnamesOf(route).filter((host) => own === '' || overlap(host, own))
  if (route.kind === 'TCPRoute') return hosts
  if (route.kind === 'TLSRoute') {
    return own === '' ? hosts : [...new Set(hosts.map((host) => (hostSubsetOf(host, own) ? host : own)))]
  }
  if (own !== '' && !own.startsWith('*')) return hosts
  const rivals = siblings
    .map((sibling) => sibling.listener)
    .filter((other) => other.port === port && other.protocol === protocol && (other.hostname ?? '') !== own)
    .map(({ hostname = '' }) => hostname)
    .filter((hostname) => hostname.length >= own.length)
  return hosts.filter((host) => !rivals.some((rival) => hostSubsetOf(host, rival)))
}
