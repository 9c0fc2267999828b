import { UserError } from '../base/errors.ts'
import type { Store } from '../cluster/index.ts'
import { PROXY_IMAGE } from './images.ts'
import { type InjectionOptions, injectSidecar, proxyArgs, proxyEnv, wantsSidecar } from './inject.ts'
import type { Pod } from './pod-types.ts'

/** The pod as it will run: service account checked, sidecar injected, gateways given their proxy's identity. */
export function admitPod(store: Pick<Store, 'get'>, pod: Pod, options: InjectionOptions): Pod {
  const { namespace } = pod.metadata
  const serviceAccountName = pod.spec.serviceAccountName ?? 'default'
  if (!store.get('ServiceAccount', namespace, serviceAccountName)) {
    throw new UserError(
      `error looking up service account ${namespace}/${serviceAccountName}: serviceaccount "${serviceAccountName}" not found`,
    )
  }
  const named: Pod = { ...pod, spec: { ...pod.spec, serviceAccountName } }
  if (wantsSidecar(named, store.get('Namespace', undefined, namespace!))) return injectSidecar(named, options)
  return withGatewayProxy(named, options)
}

/** Fills in the command line and environment of a gateway: a container of the proxy image without arguments. */
function withGatewayProxy(pod: Pod, options: InjectionOptions): Pod {
  const containers = pod.spec.containers.map((container) =>
    container.image === PROXY_IMAGE && !container.args
      ? {
          ...container,
          args: ['agent', 'router', ...proxyArgs(pod, options)],
          env: [...proxyEnv(pod, options), ...(container.env ?? [])],
        }
      : container,
  )
  return { ...pod, spec: { ...pod.spec, containers } }
}
