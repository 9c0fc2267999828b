// Debug pages about what applies to whom: policies, telemetry, scopes, networks.
import type { JsonValue } from '@bufbuild/protobuf'
import type { Store } from '../../cluster/index.ts'
import { KINDS } from '../../config/index.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Service } from '../model/service.ts'
import type { MergedDestinationRule } from '../model/sidecar-scope.ts'
import type { Client } from '../push/client.ts'
import { goTime, portJson, serviceJson } from './service-json.ts'

/** `/debug/authorizationz`. */
export function authorizationz(store: Store, push: PushContext): JsonValue {
  return { authorization_policies: authorizationPolicies(store, push) }
}

function authorizationPolicies(store: Store, push: PushContext): JsonValue {
  return {
    namespace_to_policies: byNamespace(store, 'AuthorizationPolicy.security.istio.io', true),
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
      namespace_to_telemetries: byNamespace(store, 'Telemetry.telemetry.istio.io', false),
      root_namespace: push.mesh.rootNamespace,
    },
  }
}

/** As they were written. */
function byNamespace(store: Store, kind: string, withAnnotations: boolean): JsonValue {
  const out = new Map<string, JsonValue[]>()
  for (const { metadata, spec } of store.list(kind)) {
    const { name, namespace = '', annotations } = metadata
    const shown: JsonValue = {
      name,
      namespace,
      ...(withAnnotations && { annotations: annotations ? { ...annotations } : null }),
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
  const shown = (services: readonly Service[]): JsonValue[] => services.map((service) => serviceJson(service, push))
  const rules = scope.services.flatMap((service): [string, JsonValue][] => {
    const rule = scope.destinationRule(service, proxy.labels)
    return rule ? [[service.hostname, [ruleJson(rule)]]] : []
  })
  return {
    destinationRules: Object.fromEntries(rules),
    egressListenerServices: scope.egressListeners.map(({ services }) => shown(services)),
    name: scope.sidecar?.metadata.name ?? 'default-sidecar',
    namespace: scope.sidecar?.metadata.namespace ?? scope.namespace,
    outboundTrafficPolicy: { mode: mode ?? 'ALLOW_ANY' },
    services: shown(scope.services),
    servicesByHostname: Object.fromEntries(
      [...scope.servicesByHost].map(([host, service]) => [host, serviceJson(service, push)]),
    ),
    sidecar: scope.sidecar ? (KINDS.Sidecar.spec.json!(scope.sidecar.spec) as JsonValue) : null,
    version: push.version,
  }
}

/** A merged rule, and the resources that it came from. */
function ruleJson({ rule, sources }: MergedDestinationRule): JsonValue {
  const { name, namespace = '' } = rule.metadata
  const exportTo = rule.spec.exportTo ?? []
  return {
    exportTo: Object.fromEntries(exportTo.map((one) => [one, {}])),
    from: sources.map(({ metadata }) => ({ Namespace: metadata.namespace ?? '', Name: metadata.name })),
    rule: {
      type: { group: KINDS.DestinationRule.group, version: KINDS.DestinationRule.versions[0], kind: rule.kind },
      name,
      namespace,
      creationTimestamp: goTime(rule.metadata.creationMs),
      Spec: KINDS.DestinationRule.spec.json!(rule.spec) as JsonValue,
      Status: null,
      Extra: null,
    },
  }
}

/** `/debug/instancesz`: service ports by proxy. */
export function instancesz(clients: Iterable<Client>, push: PushContext): JsonValue {
  const out: { [proxy: string]: JsonValue } = {}
  for (const { proxy } of clients) {
    out[`${proxy.name}.${proxy.namespace}`] = push.serviceInstances(proxy).map(({ service, port, targetPort }) => ({
      Service: serviceJson(service, push),
      Port: { ...portJson(port), TargetPort: targetPort },
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
