import { UserError } from '../base/errors.ts'
import type { Store } from '../cluster/index.ts'
import { effectiveProxyConfig } from './effective-proxy-config.ts'
import { PROXY_IMAGE } from './images.ts'
import {
  type InjectionOptions,
  injectSidecar,
  PROXY_MOUNTS,
  PROXY_VOLUMES,
  proxyArgs,
  proxyEnv,
  wantsSidecar,
} from './inject.ts'
import type { Pod, Probe } from './pod-types.ts'

/** The pod as it will run: service account checked, sidecar injected, gateways given their proxy's identity. */
export function admitPod(store: Pick<Store, 'get' | 'list'>, pod: Pod, options: InjectionOptions): Pod {
  const { namespace } = pod.metadata
  const serviceAccountName = pod.spec.serviceAccountName ?? 'default'
  if (!store.get('ServiceAccount', namespace, serviceAccountName)) {
    throw new UserError(
      `error looking up service account ${namespace}/${serviceAccountName}: serviceaccount "${serviceAccountName}" not found`,
    )
  }
  const named: Pod = { ...pod, spec: { ...pod.spec, serviceAccountName } }
  return (
    injectedPod(store, named, options) ??
    withGatewayProxy(named, { ...options, proxyConfig: effectiveProxyConfig(store, named, options.meshConfig) })
  )
}

/** What Istio's injection makes of a pod: a sidecar, or a gateway for image `auto`. Undefined: nothing. */
export function injectedPod(store: Pick<Store, 'get' | 'list'>, pod: Pod, common: InjectionOptions): Pod | undefined {
  const options = { ...common, proxyConfig: effectiveProxyConfig(store, pod, common.meshConfig) }
  if (isInjectedGateway(pod)) return withGatewayProxy(withProxyImage(pod), options)
  const namespace = store.get('Namespace', undefined, pod.metadata.namespace!)
  return wantsSidecar(pod, namespace) ? injectSidecar(pod, options) : undefined
}

/** The image that Istio's injection replaces: `istio-proxy` is then a gateway, not a sidecar. */
const INJECTED_IMAGE = 'auto'

function isInjectedGateway({ spec }: Pod): boolean {
  return spec.containers.some(({ name, image }) => name === 'istio-proxy' && image === INJECTED_IMAGE)
}

/** A gateway that has no configuration yet is not given connections: Istio's gateway template. */
const GATEWAY_READINESS: Probe = {
  httpGet: { path: '/healthz/ready', port: 15021 },
  initialDelaySeconds: 1,
  periodSeconds: 2,
  timeoutSeconds: 3,
  failureThreshold: 30,
}

/** The proxy's image, its readiness, and the volumes it needs beside those it asks for. */
function withProxyImage(pod: Pod): Pod {
  const { containers, volumes = [] } = pod.spec
  const missing = PROXY_VOLUMES.filter(({ name }) => !volumes.some((volume) => volume.name === name))
  return {
    ...pod,
    spec: {
      ...pod.spec,
      volumes: [...volumes, ...missing],
      containers: containers.map((container) => {
        if (container.image !== INJECTED_IMAGE) return container
        const own = container.volumeMounts ?? []
        const mounts = PROXY_MOUNTS.filter(({ name }) => !own.some((mount) => mount.name === name))
        return {
          readinessProbe: GATEWAY_READINESS,
          ...container,
          image: PROXY_IMAGE,
          volumeMounts: [...own, ...mounts],
        }
      }),
    },
  }
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
