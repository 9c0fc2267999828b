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

/** A destination whose share of the requests answers 500: its cluster does not exist. */
export const REFUSED: Destination = { host: '' }

/** Where nothing is: connections are closed, as the Gateway API asks of a TCP or TLS route without backends. */
export const NOWHERE: Destination = { host: 'internal.cluster.local', port: { number: 65535 }, subset: 'zero-weight' }

/** The destination of a backend; a bad one is noted and, unless it merely is not there yet, refused. */
export function backendDestination(backend: BackendReference, context: RouteContext): Destination {
  const { route, mesh, index, problem } = context
  const { group = '', kind = 'Service', name, namespace = route.metadata.namespace } = backend
  const refuse = (reason: string, message: string): Destination => {
    problem({ reason, message })
    return REFUSED
  }
  const from = { kind: route.kind, namespace: route.metadata.namespace }
  if (!mesh && !index.mayRefer(from, { group, kind, namespace, name })) {
    const who = `a ${from.kind} in namespace ${JSON.stringify(from.namespace)}`
    const message = `backendRef ${name}/${namespace} not accessible to ${who} (missing a ReferenceGrant?)`
    return refuse('RefNotPermitted', message)
  }
  const named = hostOf(backend, namespace, index)
  if (named === null) {
    const what = `group ${JSON.stringify(group)} kind ${JSON.stringify(kind)}`
    return refuse('InvalidKind', `referencing unsupported backendRef: ${what}`)
  }
  if (typeof named === 'object') return refuse('InvalidDestination', named.message)
  if (backend.port === undefined) return refuse('InvalidDestination', 'port is required in backendRef')
  const found = kind === 'Hostname' ? index.service(named, namespace) : index.kubeService(named, namespace)
  if (!found) {
    problem({ reason: 'BackendNotFound', message: `backend(${named}) not found` })
  }
  return { host: named, port: { number: backend.port } }
}

/** Null: no kind that can be called. */
function hostOf(
  { group = '', kind = 'Service', name, namespace: asked }: BackendReference,
  namespace: string,
  { domain }: GatewayApiIndex,
): string | { readonly message: string } | null {
  if (group === 'networking.istio.io' && kind === 'Hostname') {
    return asked === undefined ? name : { message: 'namespace may not be set with Hostname type' }
  }
  const service =
    (group === '' && kind === 'Service') || (group === 'multicluster.x-k8s.io' && kind === 'ServiceImport')
  if (!service) return null
  if (name.includes('.')) return { message: 'service name invalid: it must be the name of a Service, not a host name' }
  return kubeHostname(name, namespace, domain)
}
