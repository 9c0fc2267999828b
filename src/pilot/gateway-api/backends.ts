// backendRefs as destinations.
import type { BackendReference, Destination } from '../../config/index.ts'
import { kubeHostname } from '../model/host.ts'
import type { GatewayApiIndex } from './inputs.ts'

/** A subset that no DestinationRule has: the cluster does not exist, so that the share of a bad backend answers 500. */
const REFUSED = 'reference-not-permitted'

/** A destination whose share of the requests answers 500. */
export function refusedBackend(
  { name, port = 80 }: BackendReference,
  route: { readonly namespace: string },
): Destination {
  return { host: `${name}.${route.namespace}`, port: { number: port }, subset: REFUSED }
}

/** Null: a kind of backend that cannot be called. */
export function backendDestination(
  backend: BackendReference,
  route: { readonly kind: string; readonly namespace: string },
  index: GatewayApiIndex,
): Destination | null {
  const { group = '', kind = 'Service', name, namespace = route.namespace } = backend
  const port = backend.port === undefined ? undefined : { number: backend.port }
  if (group === 'networking.istio.io' && kind === 'Hostname') return port ? { host: name, port } : null
  if (group !== '' || kind !== 'Service' || !port) return null
  const allowed = index.mayRefer(
    { group: 'gateway.networking.k8s.io', kind: route.kind, namespace: route.namespace },
    { group, kind, namespace, name },
  )
  const host = kubeHostname(name, namespace, index.domain)
  return allowed ? { host, port } : { host, port, subset: REFUSED }
}
