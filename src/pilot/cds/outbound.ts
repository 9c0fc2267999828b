// Outbound clusters: one for each service port, then one for each subset.
import { create, type JsonObject } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_DnsLookupFamily,
  Cluster_LbPolicy,
  Cluster_OriginalDstLbConfigSchema,
  ClusterSchema,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { FilterSchema } from '../../api/gen/envoy/config/cluster/v3/filter_pb.js'
import type { TransportSocket } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { HealthStatus } from '../../api/gen/envoy/config/core/v3/health_check_pb.js'
import { CaresDnsResolverConfigSchema } from '../../api/gen/envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver_pb.js'
import type { Subset } from '../../config/index.ts'
import { buildInlineAssignment } from '../eds/endpoints.ts'
import { type ProxyNode, runsExtension, supportsExtension } from '../model/node.ts'
import { isHttp, isHttp2, type Protocol } from '../model/protocol.ts'
import { proxyConfigOf } from '../model/proxy-config.ts'
import type { PushContext } from '../model/push-context.ts'
import { resourcePath } from '../model/resource.ts'
import { type Service, type ServicePort, serviceKey } from '../model/service.ts'
import type { MergedDestinationRule } from '../model/sidecar-scope.ts'
import { ownSources } from '../xds/credential-secrets.ts'
import { dynamicForwardProxyType, isDynamicDns, lookupFamily, serviceDnsCache } from '../xds/dynamic-dns.ts'
import { ADS_WITHOUT_TIMEOUT, durationOf, RAW_BUFFER_SOCKET, typedStruct } from '../xds/messages.ts'
import { outboundClusterName, outboundSni } from '../xds/names.ts'
import { type HttpOptions, type UpstreamProtocol, writeHttpOptions } from './http-options.ts'
import { type ClusterPolicy, clusterPolicy } from './policy.ts'
import { statName } from './stat-name.ts'
import {
  autoTlsMatches,
  type ClusterTls,
  explicitTls,
  istioMutualContext,
  nodeCertificates,
  nodeTls,
  type TlsInputs,
  tlsSocket,
  withProxyProtocol,
} from './tls.ts'
import {
  applyConnectionPool,
  applyLoadBalancer,
  applyOutlierDetection,
  unlimitedCircuitBreakers,
} from './traffic-policy.ts'

/** One cluster to be: everything that decides it, before the work is done. */
export interface OutboundSpec {
  readonly name: string
  readonly service: Service
  readonly port: ServicePort
  readonly subset: Subset | null
  readonly rule: MergedDestinationRule | null
}

function outboundStatName(template: string, { name, service, port, subset }: OutboundSpec): string {
  const parts = { name, subject: service, port: port.port, portName: port.name, subset: subset?.name, targetPort: 0 }
  return statName(template, parts)
}

/** The clusters a proxy should have, in Istio's order; of equal names the first counts. */
export function outboundSpecs(proxy: ProxyNode, push: PushContext): OutboundSpec[] {
  const scope = push.sidecarScope(proxy)
  const specs: OutboundSpec[] = []
  const names = new Set<string>()
  const add = (spec: OutboundSpec): void => {
    if (names.has(spec.name)) return
    names.add(spec.name)
    specs.push(spec)
  }
  for (const service of scope.services) {
    if (service.resolution === 'Alias') continue
    const rule = scope.destinationRule(service, proxy.labels)
    const dynamic = isDynamicDns(service)
    for (const port of service.ports) {
      if (port.protocol === 'UDP' || (dynamic && !FORWARDABLE.has(port.protocol))) continue
      const { hostname } = service
      add({ name: outboundClusterName(port.port, '', hostname), service, port, subset: null, rule })
      // Its hosts are not known beforehand: there is nothing to make subsets of.
      if (dynamic) continue
      for (const subset of rule?.rule.spec.subsets ?? []) {
        add({ name: outboundClusterName(port.port, subset.name, hostname), service, port, subset, rule })
      }
    }
  }
  return specs
}

/** The clusters of an AUTO_PASSTHROUGH gateway: as those above, under the names that clients in other networks ask for. */
export function passthroughClusters(proxy: ProxyNode, push: PushContext): Cluster[] {
  const clusters: Cluster[] = []
  for (const spec of outboundSpecs(proxy, push)) {
    const { service, port, subset } = spec
    if (service.meshExternal) continue
    const name = outboundSni(port.port, subset?.name ?? '', service.hostname)
    const cluster = buildOutboundCluster({ ...spec, name }, proxy, push, true)
    if (cluster) clusters.push(cluster)
  }
  return clusters
}

/** Protocols that name the host asked for, so that it can be resolved per request. */
const FORWARDABLE: ReadonlySet<Protocol> = new Set<Protocol>(['HTTP', 'HTTP2', 'GRPC', 'TLS'])

type Addressing = 'EDS' | 'STRICT_DNS' | 'LOGICAL_DNS' | 'ORIGINAL_DST' | 'DYNAMIC_DNS'

/** How a proxy reaches a service. Gateways have no original destination to forward to. */
export function addressingOf(service: Service, proxy: Pick<ProxyNode, 'type'>): Addressing {
  switch (service.resolution) {
    case 'DNSLB':
      return service.attributes.racesConnects ? 'LOGICAL_DNS' : 'STRICT_DNS'
    case 'DNSRoundRobinLB':
      return 'LOGICAL_DNS'
    case 'DynamicDNS':
      return 'DYNAMIC_DNS'
    case 'Passthrough':
      return proxy.type === 'sidecar' ? 'ORIGINAL_DST' : 'EDS'
    default:
      return 'EDS'
  }
}

/** Hosts that a session may go back to: those on their way out, too. */
const SESSION_STATUSES = [HealthStatus.HEALTHY, HealthStatus.DRAINING, HealthStatus.UNKNOWN, HealthStatus.DEGRADED]

/** Builds one cluster; null for a DNS service without any name to resolve. `passthrough`: TLS goes through as it came. */
export function buildOutboundCluster(
  spec: OutboundSpec,
  proxy: ProxyNode,
  push: PushContext,
  passthrough = false,
): Cluster | null {
  if (isDynamicDns(spec.service)) return buildDynamicCluster(spec, proxy, push)
  const { service, port, name } = spec
  const { mesh } = push
  const policy = clusterPolicy(spec.rule, spec.subset, port.port, mesh)
  const passes = spec.subset !== null && passesSubset(spec.rule, spec.subset, port.port)
  // A service that has nobody to reach has no cluster, and no subsets either, also where those would need nobody.
  if (passes && !hasNames({ ...spec, subset: null }, policy, proxy, push)) return null
  const addressing = passes ? 'ORIGINAL_DST' : addressingOf(service, proxy)
  // Sessions are those of the whole service.
  const sticks = service.attributes.persistentSession !== null && !spec.subset && !passthrough
  const cluster = create(ClusterSchema, {
    name,
    altStatName: `${outboundStatName(mesh.outboundClusterStatName, spec)};`,
    connectTimeout: durationOf(mesh.connectTimeout),
    commonLbConfig: {
      healthyPanicThreshold: {},
      overrideHostStatus: sticks ? { statuses: SESSION_STATUSES } : undefined,
    },
    circuitBreakers: unlimitedCircuitBreakers(),
    filters: metadataExchangeFilters(proxy),
  })
  if (!setAddressing(cluster, addressing, spec, policy, proxy, push)) return null
  setMetadata(cluster, spec, policy)
  const http: HttpOptions = {
    protocol: upstreamProtocol(port.protocol, policy, proxy, push),
    preservesCase: preservesCase(port.protocol, proxy, push),
  }
  applyConnectionPool(cluster, http, policy.connectionPool, mesh)
  applyOutlierDetection(cluster, http, policy.outlierDetection, service)
  applyLoadBalancer(cluster, policy, service, mesh)
  applyRetryBudget(cluster, policy, proxy)
  if (!passthrough) setTls(cluster, http, spec, policy, proxy, push)
  writeHttpOptions(cluster, http)
  return cluster
}

/**
 * Connections of a subset go where they were meant to: its own balancer says so, whatever its port's settings are, or that
 * of the whole host, whose way a subset takes even with a balancer of its own.
 */
function passesSubset(rule: OutboundSpec['rule'], { trafficPolicy }: Subset, port: number): boolean {
  const ofHost = clusterPolicy(rule, null, port, null).loadBalancer
  return trafficPolicy?.loadBalancer?.simple === 'PASSTHROUGH' || ofHost?.simple === 'PASSTHROUGH'
}

/** A wildcard service whose hosts the proxy resolves itself: no endpoints, no balancing, TLS for the host asked for. */
function buildDynamicCluster(spec: OutboundSpec, proxy: ProxyNode, push: PushContext): Cluster {
  const { service, port, name } = spec
  const policy = clusterPolicy(spec.rule, null, port.port, push.mesh)
  const http: HttpOptions = {
    protocol: upstreamProtocol(port.protocol, policy, proxy, push),
    preservesCase: preservesCase(port.protocol, proxy, push),
  }
  const { tls } = policy
  const plain = !tls || (tls.mode ?? 'DISABLE') === 'DISABLE'
  // Envoy insists on checking the server's name; a rule that forbids the check, or names another host, needs leave.
  const insecure = !plain && (tls.insecureSkipVerify === true || (tls.sni ?? '') !== '')
  const cluster = create(ClusterSchema, {
    name,
    altStatName: `${name};`,
    clusterDiscoveryType: dynamicForwardProxyType(serviceDnsCache(service, proxy), insecure),
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    connectTimeout: durationOf(push.mesh.connectTimeout),
    circuitBreakers: unlimitedCircuitBreakers(),
    filters: metadataExchangeFilters(proxy),
  })
  applyConnectionPool(cluster, http, policy.connectionPool, push.mesh)
  applyOutlierDetection(cluster, http, policy.outlierDetection, service)
  applyRetryBudget(cluster, policy, proxy)
  if (!plain) {
    const inputs = tlsInputs(spec, http, proxy, push)
    const found = explicitTls(tls, { ...inputs, sni: '' })
    cluster.transportSocket = found?.socket ?? undefined
    if (found) {
      http.autoSni = !tls.sni
      http.autoSan = !tls.insecureSkipVerify
    }
  }
  setProxyProtocol(cluster, policy)
  const istio: JsonObject = {}
  if (service.meshExternal) istio.external = true
  if (spec.rule) istio.config = resourcePath(spec.rule.rule)
  if (tls?.mode === 'SIMPLE' || tls?.mode === 'MUTUAL') istio.alpn_override = 'false'
  cluster.metadata = { $typeName: 'envoy.config.core.v3.Metadata', filterMetadata: { istio }, typedFilterMetadata: {} }
  writeHttpOptions(cluster, http)
  if (plain && Object.keys(cluster.typedExtensionProtocolOptions).length > 0) {
    // Envoy checks server names of such clusters by default, but refuses options that leave the checks out.
    writeHttpOptions(cluster, { ...http, autoSni: true, autoSan: true })
  }
  return cluster
}

/** The cluster network filter of Istio's Envoy build that learns who the peer is; only for proxies that have it. */
export function metadataExchangeFilters(proxy: ProxyNode) {
  if (!supportsExtension(proxy, METADATA_EXCHANGE)) return []
  return [
    create(FilterSchema, {
      name: METADATA_EXCHANGE,
      typedConfig: typedStruct('type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange', {
        enable_discovery: true,
        protocol: 'istio-peer-exchange',
      }),
    }),
  ]
}

const METADATA_EXCHANGE = 'istio.metadata_exchange'

function setAddressing(
  cluster: Cluster,
  addressing: Addressing,
  spec: OutboundSpec,
  policy: ClusterPolicy,
  proxy: ProxyNode,
  push: PushContext,
): boolean {
  switch (addressing) {
    case 'EDS':
      cluster.clusterDiscoveryType = { case: 'type', value: Cluster_DiscoveryType.EDS }
      cluster.edsClusterConfig = {
        $typeName: 'envoy.config.cluster.v3.Cluster.EdsClusterConfig',
        serviceName: spec.name,
        edsConfig: ADS_WITHOUT_TIMEOUT,
      }
      return true
    case 'ORIGINAL_DST':
      cluster.clusterDiscoveryType = { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST }
      setPortOverride(cluster, spec)
      return true
    case 'DYNAMIC_DNS':
      // Without a wildcard there is no host to find out: validation refuses it.
      return false
    default: {
      const assignment = namesOf(spec, policy, proxy, push)
      if (assignment.endpoints.length === 0) return false
      const type = addressing === 'STRICT_DNS' ? Cluster_DiscoveryType.STRICT_DNS : Cluster_DiscoveryType.LOGICAL_DNS
      cluster.clusterDiscoveryType = { case: 'type', value: type }
      cluster.loadAssignment = assignment
      setDns(cluster, proxy, push)
      if (spec.service.attributes.racesConnects) cluster.dnsLookupFamily = Cluster_DnsLookupFamily.ALL
      return true
    }
  }
}

/** The names that DNS is to resolve for a cluster. */
function namesOf(
  { name, service, port, subset, rule }: OutboundSpec,
  policy: ClusterPolicy,
  proxy: ProxyNode,
  push: PushContext,
) {
  return buildInlineAssignment({ name, service, port: port.port, subset, rule, policy, proxy, push })
}

/** False: a DNS service without any name to resolve. */
function hasNames(spec: OutboundSpec, policy: ClusterPolicy, proxy: ProxyNode, push: PushContext): boolean {
  const addressing = addressingOf(spec.service, proxy)
  if (addressing !== 'STRICT_DNS' && addressing !== 'LOGICAL_DNS') return true
  return namesOf(spec, policy, proxy, push).endpoints.length > 0
}

/** A ServiceEntry without endpoints may still say at which port a service is. */
function setPortOverride(cluster: Cluster, { service, port }: OutboundSpec): void {
  const upstreamPortOverride = service.attributes.passthroughTargetPorts[port.port]
  if (!upstreamPortOverride) return
  cluster.lbConfig = {
    case: 'originalDstLbConfig',
    value: create(Cluster_OriginalDstLbConfigSchema, { upstreamPortOverride }),
  }
}

/** Spreads the queries of many proxies: istiod's PILOT_DNS_JITTER_DURATION. */
const DNS_JITTER_MS = 100
/** A c-ares channel is renewed after so many queries over UDP: istiod's PILOT_DNS_CARES_UDP_MAX_QUERIES. */
const DNS_UDP_MAX_QUERIES = 100

function setDns(cluster: Cluster, proxy: ProxyNode, push: PushContext): void {
  cluster.respectDnsTtl = true
  cluster.dnsRefreshRate = durationOf(push.mesh.dnsRefreshRate)
  cluster.dnsJitter = durationOf(DNS_JITTER_MS)
  cluster.dnsLookupFamily = lookupFamily(proxy.ips)
  cluster.typedDnsResolverConfig = {
    $typeName: 'envoy.config.core.v3.TypedExtensionConfig',
    name: 'envoy.network.dns_resolver.cares',
    typedConfig: anyPack(
      CaresDnsResolverConfigSchema,
      create(CaresDnsResolverConfigSchema, { udpMaxQueries: DNS_UDP_MAX_QUERIES }),
    ),
  }
}

function setMetadata(cluster: Cluster, spec: OutboundSpec, policy: ClusterPolicy): void {
  const { service, rule } = spec
  const mode = policy.tls?.mode
  const istio: { [key: string]: string | boolean | { host: string; name: string; namespace: string }[] } = {
    services: [serviceMetadata(service)],
  }
  if (rule) istio.config = resourcePath(rule.rule)
  if (spec.subset) istio.subset = spec.subset.name
  if (mode === 'SIMPLE' || mode === 'MUTUAL') istio.alpn_override = 'false'
  if (service.meshExternal && !spec.subset) istio.external = true
  cluster.metadata = { $typeName: 'envoy.config.core.v3.Metadata', filterMetadata: { istio }, typedFilterMetadata: {} }
}

/** How Istio names a service in cluster metadata. */
export function serviceMetadata(service: Service): { host: string; name: string; namespace: string } {
  return { host: service.hostname, name: service.attributes.name, namespace: service.attributes.namespace }
}

function upstreamProtocol(
  protocol: Protocol,
  policy: ClusterPolicy,
  proxy: ProxyNode,
  push: PushContext,
): UpstreamProtocol {
  const pool = policy.connectionPool?.http
  if (pool?.useClientProtocol) return 'downstream'
  if (isHttp2(protocol)) return 'http2'
  // Gateways do not sniff, so they have no downstream protocol to repeat.
  if (protocol === 'Unsupported' && proxy.type === 'sidecar') return 'downstream'
  // Options of HTTP/1 are not given up for HTTP/2.
  if (preservesCase(protocol, proxy, push)) return 'http1'
  const own = pool?.h2UpgradePolicy ?? 'DEFAULT'
  // Who asks for HTTP/2 on a port says that the port speaks HTTP; the mesh's wish is for ports that say so themselves.
  if (own === 'UPGRADE') return 'http2'
  if (isHttp(protocol)) return own === 'DEFAULT' && push.mesh.h2UpgradePolicy === 'UPGRADE' ? 'http2' : 'http1'
  return 'http1'
}

/** Where HTTP/1 may be spoken to a service and ProxyConfig asks for it. */
export function preservesCase(protocol: Protocol, proxy: ProxyNode, push: PushContext): boolean {
  const http1 = protocol === 'Unsupported' || (isHttp(protocol) && !isHttp2(protocol))
  return http1 && proxyConfigOf(proxy, push.mesh).proxyHeaders?.preserveHttp1HeaderCase === true
}

/** Percent 20 and concurrency 3 when the rule does not say. The interval is for Envoy: our proxy has no such window. */
export function applyRetryBudget(cluster: Cluster, policy: ClusterPolicy, proxy: ProxyNode): void {
  const budget = policy.retryBudget
  if (!budget) return
  const interval = runsExtension(proxy, WASM) ? budget.budgetInterval : undefined
  cluster.circuitBreakers!.thresholds[0]!.retryBudget = {
    $typeName: 'envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget',
    budgetPercent: { $typeName: 'envoy.type.v3.Percent', value: budget.percent ?? 20 },
    budgetInterval: interval === undefined ? undefined : durationOf(interval),
    minRetryConcurrency: budget.minRetryConcurrency || 3,
  }
}

/** A filter that Envoy always lists and our proxy never: what only Envoy reads may be sent to it. */
const WASM = 'envoy.filters.http.wasm'

function tlsInputs(
  { service, port, subset, rule }: OutboundSpec,
  http: HttpOptions,
  proxy: ProxyNode,
  push: PushContext,
): TlsInputs {
  return {
    mesh: push.mesh,
    http2: http.protocol === 'http2',
    sni: outboundSni(port.port, subset?.name ?? '', service.hostname),
    subjectAltNames: acceptedNames(service, push),
    external: service.attributes.registry === 'External',
    router: proxy.type !== 'sidecar',
    selecting: rule?.rule.spec.workloadSelector !== undefined,
    secrets: ownSources(proxy),
  }
}

function setTls(
  cluster: Cluster,
  http: HttpOptions,
  spec: OutboundSpec,
  policy: ClusterPolicy,
  proxy: ProxyNode,
  push: PushContext,
): void {
  const inputs = tlsInputs(spec, http, proxy, push)
  const certificates = nodeCertificates(proxy)
  const set = (tls: ClusterTls | null): void => {
    if (!tls) return
    cluster.transportSocket = tls.socket ?? undefined
    if (tls.autoSni) http.autoSni = true
    if (tls.autoSan) http.autoSan = true
  }
  if (policy.tls) {
    const { mode = 'DISABLE' } = policy.tls
    const ownFiles = certificates !== null && !spec.service.meshExternal && mode !== 'DISABLE' && mode !== 'SIMPLE'
    // Beside files of the node a rule for what is outside the mesh holds as it is written: nothing stands in for its names.
    const asWritten = certificates !== null && spec.service.meshExternal && mode === 'ISTIO_MUTUAL'
    const named = asWritten ? { ...inputs, sni: cluster.name, subjectAltNames: [] } : inputs
    set(explicitTls(ownFiles ? nodeTls(certificates, policy.tls) : policy.tls, named))
  } else if (autoMutualTls(spec, push)) {
    // Files of the node are used to every endpoint: nothing is decided by an endpoint's metadata.
    if (certificates) set(explicitTls(nodeTls(certificates, inputs), inputs))
    else setAutomaticTls(cluster, tlsSocket(istioMutualContext(inputs.sni, inputs.subjectAltNames, inputs)))
  }
  setProxyProtocol(cluster, policy)
}

/** Whatever the transport, the PROXY protocol's header goes first where the policy asks for one. */
function setProxyProtocol(cluster: Cluster, { proxyProtocol }: ClusterPolicy): void {
  if (!proxyProtocol) return
  const version = proxyProtocol.version ?? 'V1'
  if (cluster.transportSocketMatches.length > 0) {
    for (const match of cluster.transportSocketMatches) {
      match.transportSocket = withProxyProtocol(match.transportSocket!, version)
    }
  } else {
    // istiod's short name, as it stands there.
    const plain = { ...RAW_BUFFER_SOCKET, name: 'raw_buffer' }
    cluster.transportSocket = withProxyProtocol(cluster.transportSocket ?? plain, version)
  }
}

/** Mutual TLS to those endpoints that take it; to all where the proxy cannot tell them apart. */
function setAutomaticTls(cluster: Cluster, socket: TransportSocket): void {
  const type = cluster.clusterDiscoveryType
  if (type.case === 'type' && type.value === Cluster_DiscoveryType.ORIGINAL_DST) cluster.transportSocket = socket
  else cluster.transportSocketMatches = autoTlsMatches(socket)
}

/** Automatic mutual TLS may be used to some endpoint of the service. */
function autoMutualTls(spec: OutboundSpec, push: PushContext): boolean {
  const { service } = spec
  if (!push.mesh.enableAutoMtls || service.meshExternal) return false
  const own = spec.subset ? spec.subset.trafficPolicy : spec.rule?.rule.spec.trafficPolicy
  if (service.resolution === 'Passthrough' || own?.loadBalancer?.simple === 'PASSTHROUGH') {
    // The proxy cannot tell endpoints apart here: all must accept mutual TLS.
    const set = push.endpoints.get(serviceKey(service.hostname, service.attributes.namespace))
    const endpoints = set?.endpoints.filter((e) => e.portName === spec.port.name) ?? []
    if (endpoints.length === 0 || endpoints.some((e) => e.tlsMode !== 'istio')) return false
  }
  return push.peerAuthentications.namespaceMode(service.attributes.namespace) !== 'DISABLE'
}

/** A workload's identity: what follows the trust domain. */
const IDENTITY = /^spiffe:\/\/[^/]*(\/ns\/[^/]*\/sa\/[^/]*)$/

/** Identities of the endpoints and those that the service itself names, each in every trust domain that stands for ours. */
export function acceptedNames(service: Service, push: PushContext): readonly string[] {
  const set = push.endpoints.get(serviceKey(service.hostname, service.attributes.namespace))
  const accounts = set?.serviceAccounts ?? []
  const aliases = push.mesh.trustDomainAliases
  // Of several resources with the host in one namespace the youngest says which names are accepted, as in istiod.
  const { namespace } = service.attributes
  const speaker = push.services.byHost.get(service.hostname)?.findLast((s) => s.attributes.namespace === namespace)
  const own = (speaker ?? service).subjectAltNames
  if (own.length === 0 && aliases.length === 0) return accounts
  const names = new Set([...accounts, ...own])
  for (const name of [...names]) {
    const path = IDENTITY.exec(name)?.[1]
    if (path !== undefined) for (const alias of aliases) names.add(`spiffe://${alias}${path}`)
  }
  return [...names].sort()
}
