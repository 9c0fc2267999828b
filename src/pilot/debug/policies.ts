// Debug pages about what applies to whom: policies, telemetry, scopes, networks.
import type { JsonValue } from '@bufbuild/protobuf'
import type { Store } from '../../cluster/index.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Client } from '../push/discovery-server.ts'

/** `/debug/authorizationz`. */
export function authorizationz(store: Store, push: PushContext): JsonValue {
  return { authorization_policies: authorizationPolicies(store, push) }
}

function authorizationPolicies(store: Store, push: PushContext): JsonValue {
  return {
    namespace_to_policies: byNamespace(store, 'AuthorizationPolicy.security.istio.io'),
    root_namespace: push.mesh.rootNamespace,
  }
}

/** `/debug/pushcontext`. */
export function pushcontext(store: Store, push: PushContext): JsonValue {
  return {
    AuthorizationPolicies: authorizationPolicies(store, push),
    NetworkGateways: networkz(push),
    UnresolvedGateways: null,
  }
}

/** `/debug/telemetryz`. */
export function telemetryz(store: Store, push: PushContext): JsonValue {
  return {
    telemetries: {
      NamespaceToTelemetries: byNamespace(store, 'Telemetry.telemetry.istio.io'),
      RootNamespace: push.mesh.rootNamespace,
    },
  }
}

/** As they were written. */
function byNamespace(store: Store, kind: string): JsonValue {
  const out = new Map<string, JsonValue[]>()
  for (const { metadata, spec } of store.list(kind)) {
    const { name, namespace = '', annotations } = metadata
    const shown: JsonValue = {
      name,
      namespace,
      annotations: annotations ? { ...annotations } : null,
      spec: (spec ?? {}) as JsonValue,
    }
    const known = out.get(namespace)
    if (known) known.push(shown)
    else out.set(namespace, [shown])
  }
  return Object.fromEntries(out)
}

/** `/debug/sidecarz?proxyID=`. */
export function sidecarz(proxy: ProxyNode, push: PushContext): JsonValue {
  const scope = push.sidecarScope(proxy)
  const { mode } = scope.outboundTrafficPolicy
  return {
    name: scope.sidecar?.metadata.name ?? 'default-sidecar',
    namespace: scope.sidecar?.metadata.namespace ?? scope.namespace,
    version: push.version,
    services: scope.services.map(({ hostname }) => hostname),
    egressListeners: scope.egressListeners.map(({ services }) => services.map(({ hostname }) => hostname)),
    outboundTrafficPolicy: { mode: mode ?? 'ALLOW_ANY' },
  }
}

/** `/debug/instancesz`: service ports by proxy. */
export function instancesz(clients: Iterable<Client>, push: PushContext): JsonValue {
  const out: { [proxy: string]: JsonValue } = {}
  for (const { proxy } of clients) {
    out[`${proxy.name}.${proxy.namespace}`] = push.serviceInstances(proxy).map(({ service, port, targetPort }) => ({
      Service: { hostname: service.hostname, namespace: service.attributes.namespace },
      Port: { ServicePort: { name: port.name, port: port.port, protocol: port.protocol }, TargetPort: targetPort },
    }))
  }
  return out
}

/** `/debug/networkz`. */
export function networkz(push: PushContext): JsonValue {
  const gateways = push.networks?.all ?? []
  if (gateways.length === 0) return null
  return gateways.map(({ network, cluster, address, port }) => ({
    Network: network,
    Cluster: cluster,
    Addr: address,
    Port: port,
    HBONEPort: 0,
    ServiceAccount: { Namespace: '', Name: '' },
  }))
}
