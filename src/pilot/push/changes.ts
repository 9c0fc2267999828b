// Which types of resources a set of changes concerns, and how sets of changes add up.
import type { IstioKind } from '../../config/index.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE } from '../../xds/type-urls.ts'
import type { Changes } from '../commit.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Service } from '../model/service.ts'
import { NDS_TYPE } from '../nds/generate.ts'

/** Istio kinds that each type is translated from. What is not listed cannot change the type. */
const KINDS_OF_TYPE: Readonly<Record<string, ReadonlySet<IstioKind>>> = {
  [CDS_TYPE]: new Set(['DestinationRule', 'PeerAuthentication', 'Sidecar', 'EnvoyFilter']),
  [EDS_TYPE]: new Set(['DestinationRule', 'PeerAuthentication', 'Sidecar']),
  [LDS_TYPE]: new Set([
    'AuthorizationPolicy',
    'DestinationRule',
    'EnvoyFilter',
    'Gateway',
    'PeerAuthentication',
    'RequestAuthentication',
    'Sidecar',
    'Telemetry',
    'TrafficExtension',
    'WasmPlugin',
  ]),
  [ECDS_TYPE]: new Set(['EnvoyFilter', 'TrafficExtension', 'WasmPlugin']),
  [RDS_TYPE]: new Set(['DestinationRule', 'EnvoyFilter', 'Gateway', 'Sidecar', 'VirtualService']),
}

/** Changes of both, for a push that was not sent yet. */
export function mergeChanges(a: Changes, b: Changes): Changes {
  return {
    services: union(a.services, b.services),
    endpoints: union(a.endpoints, b.endpoints),
    identities: union(a.identities, b.identities),
    addresses: union(a.addresses, b.addresses),
    workloads: union(a.workloads, b.workloads),
    kinds: union(a.kinds, b.kinds),
    resources: union(a.resources, b.resources),
    l4Routes: a.l4Routes || b.l4Routes,
    credentials: union(a.credentials, b.credentials),
    all: a.all || b.all,
  }
}

function union<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): ReadonlySet<T> {
  if (b.size === 0) return a
  if (a.size === 0) return b
  return new Set([...a, ...b])
}

/** How much of a type has to be generated for a proxy: nothing, only the endpoints of changed services, everything. */
export type Extent = 'none' | 'endpoints' | 'all'

/** Decides, from what changed alone, how much of `typeUrl` a proxy needs anew. Never too little; cheap. */
export function extentOf(typeUrl: string, changes: Changes, proxy: ProxyNode, push: PushContext): Extent {
  if (changes.all) return 'all'
  if (typeUrl === SDS_TYPE) return concernsCredentials(changes.credentials, proxy.namespace, push) ? 'all' : 'none'
  // Pull secrets of extensions.
  if (typeUrl === ECDS_TYPE && changes.credentials.size > 0 && push.extensions.length > 0) return 'all'
  if (typeUrl === NDS_TYPE) return changesNames(changes, push) ? 'all' : 'none'
  const kinds = KINDS_OF_TYPE[typeUrl]
  if (!kinds) return 'none'
  for (const kind of changes.kinds) if (kinds.has(kind)) return 'all'
  // A server with AUTO_PASSTHROUGH needs clusters of its own.
  if (typeUrl === CDS_TYPE && proxy.type !== 'sidecar' && changes.kinds.has('Gateway')) return 'all'
  if (changes.kinds.has('VirtualService') && IMPORTED_TYPES.has(typeUrl) && importsByRoute(push)) return 'all'
  if (changes.kinds.has('VirtualService') && typeUrl === LDS_TYPE) {
    // HTTP routes reach a sidecar by RDS; a gateway's listeners follow which hosts have routes.
    if (changes.l4Routes || proxy.type !== 'sidecar') return 'all'
  }
  if (changes.services.size > 0) return typeUrl === EDS_TYPE ? 'endpoints' : 'all'
  // The proxy's own workload decides its inbound listeners and clusters.
  if (typeUrl === CDS_TYPE || typeUrl === LDS_TYPE) {
    for (const ip of proxy.ips) if (changes.workloads.has(ip) || changes.addresses.has(ip)) return 'all'
  }
  if (typeUrl === EDS_TYPE) return changes.endpoints.size > 0 ? 'endpoints' : 'none'
  if (typeUrl === CDS_TYPE) {
    if (changes.identities.size > 0) return 'all'
    // Clusters of DNS services carry their endpoints themselves.
    return anyService(changes.endpoints, push, (s) => s.resolution === 'DNSLB' || s.resolution === 'DNSRoundRobinLB')
      ? 'all'
      : 'none'
  }
  // Headless services have a listener for each endpoint.
  if (typeUrl === LDS_TYPE)
    return anyService(changes.endpoints, push, (s) => s.resolution === 'Passthrough') ? 'all' : 'none'
  return 'none'
}

/** What a service that a VirtualService's destinations bring into a scope appears in. */
const IMPORTED_TYPES: ReadonlySet<string> = new Set([CDS_TYPE, EDS_TYPE, LDS_TYPE])

/** VirtualServices bring their destinations into scopes that would not have them: of Sidecars, or where exportTo hides some. */
function importsByRoute({ sidecars, services }: PushContext): boolean {
  return sidecars.length > 0 || hidesSome(services)
}

const hidden = new WeakMap<PushContext['services'], boolean>()

function hidesSome(services: PushContext['services']): boolean {
  let known = hidden.get(services)
  if (known === undefined) {
    known = services.all.some(({ attributes }) => attributes.exportTo !== 'all')
    hidden.set(services, known)
  }
  return known
}

/** Names follow services, what Sidecars show of them, and the endpoints of headless ones. */
function changesNames(changes: Changes, push: PushContext): boolean {
  if (changes.services.size > 0 || changes.kinds.has('Sidecar')) return true
  if (changes.kinds.has('VirtualService') && importsByRoute(push)) return true
  return anyService(changes.endpoints, push, (service) => service.resolution === 'Passthrough')
}

/** Some `Kind/namespace/name` is of the namespace, or may be one it is granted. */
function concernsCredentials(keys: ReadonlySet<string>, namespace: string, push: PushContext): boolean {
  if (keys.size === 0) return false
  for (const key of keys) if (key.split('/')[1] === namespace) return true
  for (const grant of push.credentialGrants) {
    if (grant.startsWith(`${namespace}|`) || grant.startsWith('*|')) return true
  }
  return false
}

function anyService(keys: ReadonlySet<string>, push: PushContext, test: (service: Service) => boolean): boolean {
  for (const key of keys) {
    const service = push.services.byKey.get(key)
    if (service && test(service)) return true
  }
  return false
}
