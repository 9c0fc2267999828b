// backendRefs as destinations.
import type { BackendReference, Destination } from '../../config/index.ts'
import { kubeHostname } from '../model/host.ts'
import type { RefProblem } from './certificates.ts'
import type { GatewayApiIndex } from './inputs.ts'
import type { Route } from './parents.ts'

/** The route whose backends are looked up, and where it applies. */
export interface RouteContext {
  readonly route: Pick<Route, 'kind' | 'metadata'>
  /** In the mesh clients reach every namespace anyway: no ReferenceGrant is asked for. */
  readonly mesh: boolean
  readonly index: GatewayApiIndex
  /** Takes note of what becomes the route's condition `ResolvedRefs`. */
  readonly problem: (problem: RefProblem) => void
}

/** A subset that no DestinationRule has: the cluster does not exist, so that the share of a bad backend answers 500. */
const REFUSED = 'reference-not-permitted'

/** A destination whose share of the requests answers 500. */
export function refusedBackend(
  { name, port = 80, namespace }: BackendReference,
  { route, index }: Pick<RouteContext, 'route' | 'index'>,
): Destination {
  const host = kubeHostname(name, namespace ?? route.metadata.namespace, index.domain)
  return { host, port: { number: port }, subset: REFUSED }
}

/** Where nothing is: connections are closed, as the Gateway API asks of a TCP or TLS route without backends. */
export const NOWHERE: Destination = { host: 'internal.cluster.local', port: { number: 65535 }, subset: 'zero-weight' }

/** The destination of a backend; a bad one is noted and, unless it merely is not there yet, refused. */
export function backendDestination(backend: BackendReference, context: RouteContext): Destination {
  const { route, mesh, index, problem } = context
  const { group = '', kind = 'Service', name, namespace = route.metadata.namespace } = backend
  const refuse = (reason: string, message: string): Destination => {
    problem({ reason, message })
    return refusedBackend(backend, context)
  }
  const at = `backendRef ${namespace}/${name}`
  const from = { kind: route.kind, namespace: route.metadata.namespace }
  if (!mesh && !index.mayRefer(from, { group, kind, namespace, name })) {
    const who = `a ${from.kind} in namespace ${from.namespace}`
    return refuse('RefNotPermitted', `${at} may not be used by ${who}: a ReferenceGrant is missing`)
  }
  const named = hostOf(backend, namespace, index)
  if (named === null) return refuse('InvalidKind', `${at}: kind ${group ? `${group}/` : ''}${kind} is not supported`)
  if (typeof named === 'object') return refuse('InvalidDestination', `${at}: ${named.message}`)
  if (backend.port === undefined) return refuse('InvalidDestination', `${at}: port is required`)
  const known = kind === 'Hostname' ? index.servicesOf(named).length > 0 : index.service(named, namespace) !== undefined
  if (!known) problem({ reason: 'BackendNotFound', message: `${at}: there is no service ${named}` })
  return { host: named, port: { number: backend.port } }
}

/** Null: no kind that can be called. */
function hostOf(
  { group = '', kind = 'Service', name, namespace: asked }: BackendReference,
  namespace: string,
  { domain }: GatewayApiIndex,
): string | { readonly message: string } | null {
  if (group === 'networking.istio.io' && kind === 'Hostname') {
    return asked === undefined ? name : { message: 'kind Hostname takes no namespace' }
  }
  const service =
    (group === '' && kind === 'Service') || (group === 'multicluster.x-k8s.io' && kind === 'ServiceImport')
  if (!service) return null
  if (name.includes('.')) return { message: 'must be the name of a Service, not a host name' }
  return kubeHostname(name, namespace, domain)
}
