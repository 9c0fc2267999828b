// Keys of encoded resources. Each names every input of what it stands for: equal keys, equal bytes.

import type { MeshConfig } from '../../config/index.ts'
import { acceptedNames, addressingOf, type OutboundSpec } from '../cds/outbound.ts'
import { nodeCertificates } from '../cds/tls.ts'
import { localitySetting, zoneAwareSetting } from '../cds/traffic-policy.ts'
import { isClusterLocal } from '../eds/cluster-local.ts'
import type { AssignmentInputs } from '../eds/endpoints.ts'
import { patchesFor } from '../envoy-filter/select.ts'
import { versionOf } from '../model/identity.ts'
import type { ProxyNode } from '../model/node.ts'
import { providerHost } from '../model/provider-service.ts'
import { proxyConfigOf } from '../model/proxy-config.ts'
import type { PushContext } from '../model/push-context.ts'
import { localityText, serviceKey } from '../model/service.ts'
import { countsAttempts } from '../rds/index.ts'
import { ownSources } from '../xds/credential-secrets.ts'

/** Filters that extensions need. */
const RUNNABLE = ['envoy.filters.http.wasm', 'envoy.filters.network.wasm', 'envoy.filters.http.lua']

/** What of a proxy itself decides its clusters: kind, extensions, address families, own certificates and ProxyConfig. */
export function proxyClass(proxy: ProxyNode): string {
  const v4 = proxy.ips.some((ip) => !ip.includes(':'))
  const v6 = proxy.ips.some((ip) => ip.includes(':'))
  const extensions = proxy.extensions
    ? [...proxy.extensions]
        .filter((name) => name.startsWith('istio.'))
        .sort()
        .join(',')
    : '-'
  const upstream = proxy.extensions?.has('envoy.filters.network.upstream.metadata_exchange') ?? false
  const runs = RUNNABLE.filter((name) => proxy.extensions?.has(name)).join(',')
  return `${proxy.type}/${extensions}/${upstream}/${runs}/${v4 ? 4 : ''}${v6 ? 6 : ''}/${JSON.stringify([nodeCertificates(proxy), ownSources(proxy), proxy.metadata.PROXY_CONFIG ?? ''])}`
}

/** Where a proxy is, for what depends on places: locality, node, labels. */
export function placeOf(proxy: AssignmentInputs['proxy']): string {
  return `${localityText(proxy.locality)}@${proxy.nodeName}@${proxy.clusterId}@${networkOf(proxy)}@${labelsText(proxy.labels)}`
}

/** What of a proxy decides through which network gateways it reaches endpoints. */
function networkOf({ network, networkView, ips }: AssignmentInputs['proxy']): string {
  return `${network}/${viewOf({ networkView })}/${ips.some((ip) => !ip.includes(':'))}/${ips.some((ip) => ip.includes(':'))}`
}

/** The networks whose endpoints a proxy wants to see, whether there are gateways between them or not. */
function viewOf({ networkView }: Pick<AssignmentInputs['proxy'], 'networkView'>): string {
  return networkView ? [...networkView].sort().join(',') : '*'
}

/** Labels as one text, in a fixed order. */
function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.keys(labels)
    .sort()
    .map((key) => `${key}=${labels[key]}`)
    .join(',')
}

/** The key of one outbound cluster. */
export function clusterKey(spec: OutboundSpec, proxy: ProxyNode, push: PushContext, className: string): string {
  const { service, subset, rule } = spec
  const set = push.endpoints.get(serviceKey(service.hostname, service.attributes.namespace))
  const base = [
    spec.name,
    versionOf(service),
    versionOf(spec.port),
    versionOf(rule?.rule ?? null),
    versionOf(subset),
    versionOf(push.mesh),
    className,
    acceptedNames(service, push).join(','),
    push.peerAuthentications.namespaceMode(service.attributes.namespace),
    versionOf(patchesFor(proxy, push)),
  ].join('|')
  const addressing = addressingOf(service, proxy)
  const policy = rule?.rule.spec.trafficPolicy
  // Automatic mutual TLS of a headless service asks what all of its endpoints speak, for gateways too.
  const original =
    addressing === 'ORIGINAL_DST' ||
    service.resolution === 'Passthrough' ||
    policy?.loadBalancer !== undefined ||
    subset?.trafficPolicy?.loadBalancer !== undefined
  const dns = addressing === 'STRICT_DNS' || addressing === 'LOGICAL_DNS'
  if (!original && !dns) return base
  // These look at the endpoints themselves.
  const endpoints = `${base}|${versionOf(set ?? null)}|${versionOf(push.peerAuthentications)}|${push.networks?.key ?? ''}`
  return dns ? `${endpoints}|${placeOf(proxy)}` : endpoints
}

/**
 * The key of one route configuration of a sidecar; null for other proxies, whose tables are their own.
 * The scope's key covers services, VirtualServices, DestinationRules, Sidecar and mesh.
 */
export function routeKey(name: string, proxy: ProxyNode, push: PushContext): string | null {
  if (proxy.type !== 'sidecar') return null
  const scope = push.sidecarScope(proxy)
  const labelled = scope.selectingRules || push.virtualServices.selectsSources
  return [
    name,
    countsAttempts(proxy, push),
    proxyConfigOf(proxy, push.mesh).proxyHeaders?.xForwardedHost?.enabled === true,
    scope.key,
    proxy.namespace,
    proxy.dnsDomain,
    proxy.metadata.DNS_CAPTURE,
    proxy.ips.some((ip) => !ip.includes(':')),
    proxy.ips.some((ip) => ip.includes(':')),
    labelled ? labelsText(proxy.labels) : '',
    versionOf(patchesFor(proxy, push)),
  ].join('|')
}

/** Metadata that names the instance and never decides its outbound listeners. */
const INSTANCE_METADATA: ReadonlySet<string> = new Set(['INSTANCE_IPS', 'NAME', 'NODE_NAME', 'OWNER', 'WORKLOAD_ENTRY'])
const listenerClasses = new WeakMap<ProxyNode, string>()

/** What of a proxy itself decides its outbound listeners. */
function listenerClass(proxy: ProxyNode): string {
  let name = listenerClasses.get(proxy)
  if (name === undefined) {
    const metadata = Object.entries(proxy.metadata)
      .filter(([key]) => !INSTANCE_METADATA.has(key))
      .sort(([a], [b]) => (a < b ? -1 : 1))
    name = `${proxyClass(proxy)}|${proxy.namespace}|${proxy.dnsDomain}|${JSON.stringify(metadata)}`
    listenerClasses.set(proxy, name)
  }
  return name
}

/** The key of a sidecar's outbound listeners, all of them. */
export function outboundListenersKey(proxy: ProxyNode, push: PushContext): string {
  const scope = push.sidecarScope(proxy)
  const base = `${scope.key}|${versionOf(push.telemetries)}|${versionOf(push.extensions)}|${versionOf(patchesFor(proxy, push))}|${listenerClass(proxy)}`
  // Headless services have a listener for each endpoint but the proxy's own.
  const headless = scope.hasPassthrough
  return headless ? `${base}|${versionOf(push.endpoints)}|${proxy.ips.join(',')}` : base
}

/** The key of one assignment. Proxies in different places share it unless something looks at places. */
export function assignmentKey(inputs: AssignmentInputs): string {
  const { service, push, proxy, policy } = inputs
  const set = push.endpoints.get(serviceKey(service.hostname, service.attributes.namespace))
  const base = [
    inputs.name,
    versionOf(service),
    versionOf(set ?? null),
    versionOf(inputs.rule?.rule ?? null),
    versionOf(inputs.subset),
    versionOf(push.mesh),
    versionOf(push.peerAuthentications),
    push.networks ? `${push.networks.key}@${networkOf(proxy)}` : viewOf(proxy),
    isClusterLocal(service.hostname, push) ? proxy.clusterId : '',
  ].join('|')
  const setting = localitySetting(policy.loadBalancer, push.mesh)
  const { trafficDistribution, nodeLocal } = service.attributes
  const placed =
    nodeLocal ||
    zoneAwareSetting(policy.loadBalancer, service, push.mesh) !== null ||
    trafficDistribution !== '' ||
    (setting !== null && ((setting.distribute?.length ?? 0) > 0 || policy.outlierDetection !== undefined))
  return placed ? `${base}|${placeOf(proxy)}` : base
}

/**
 * The objects that decide what a sidecar has for itself (fixed and inbound clusters, inbound listeners), beside itself:
 * equal lists, equal resources. Services it does not serve are not among them; only whether providers' services exist.
 */
export function ownInputs(proxy: ProxyNode, push: PushContext): readonly unknown[] {
  const scope = push.sidecarScope(proxy)
  const { mesh } = push
  const inputs: unknown[] = [
    mesh,
    scope.sidecar,
    patchesFor(proxy, push),
    push.peerAuthentications,
    push.requestAuthentications,
    push.authorizationPolicies,
    push.keySets,
    push.telemetries,
    push.extensions,
    push.networks?.key,
    ...providerServices(mesh).map((service) => providerHost(push, service)),
  ]
  for (const { service, port, targetPort } of push.serviceInstances(proxy)) {
    inputs.push(service, port, targetPort, scope.destinationRule(service, proxy.labels)?.rule)
  }
  return inputs
}

const services = new WeakMap<MeshConfig, readonly string[]>()

/** The services that extension providers of a mesh name. */
function providerServices(mesh: MeshConfig): readonly string[] {
  let known = services.get(mesh)
  if (!known) {
    const settings = mesh.extensionProviders.flatMap((provider) => Object.values(provider) as unknown[])
    known = settings.flatMap((value) => {
      const { service } = (typeof value === 'object' && value !== null ? value : {}) as { service?: unknown }
      return typeof service === 'string' ? [service] : []
    })
    services.set(mesh, known)
  }
  return known
}
