// Dynamic forward proxy: hosts that the proxy resolves while requests ask for them. A cluster and the filters in front of
// it must name the same DNS cache with the same settings: Envoy shares caches by name.
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { type Cluster, Cluster_DnsLookupFamily } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Filter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { FilterSchema } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { ClusterConfigSchema } from '../../api/gen/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster_pb.js'
import {
  type DnsCacheConfig,
  DnsCacheConfigSchema,
} from '../../api/gen/envoy/extensions/common/dynamic_forward_proxy/v3/dns_cache_pb.js'
import { FilterConfigSchema as HttpFilterConfigSchema } from '../../api/gen/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy_pb.js'
import {
  type HttpFilter,
  HttpFilterSchema,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { FilterConfigSchema as SniFilterConfigSchema } from '../../api/gen/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3/sni_dynamic_forward_proxy_pb.js'
import { CaresDnsResolverConfigSchema } from '../../api/gen/envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver_pb.js'
import type { ProxyNode } from '../model/node.ts'
import type { Service } from '../model/service.ts'
import { addressOf } from './messages.ts'

/** Hosts kept in the cache of ALLOW_ANY_DYNAMIC_DNS: istiod's PILOT_ALLOW_ANY_DYNAMIC_DNS_MAX_HOSTS. */
const MAX_HOSTS = 1024
/** Where the agent answers DNS when the node does not say: host and port. */
const DNS_PROXY = ['127.0.0.1', '15053'] as const

/** A wildcard ServiceEntry of resolution DYNAMIC_DNS: its hosts are resolved as they are asked for. */
export function isDynamicDns(service: Pick<Service, 'resolution' | 'hostname'>): boolean {
  return service.resolution === 'DynamicDNS' && service.hostname.startsWith('*')
}

/** The address families that a proxy of these addresses can reach. */
export function lookupFamily(ips: readonly string[]): Cluster_DnsLookupFamily {
  const v6 = ips.some((ip) => ip.includes(':'))
  const v4 = ips.some((ip) => !ip.includes(':'))
  if (v4 && v6) return Cluster_DnsLookupFamily.ALL
  return v6 ? Cluster_DnsLookupFamily.V6_ONLY : Cluster_DnsLookupFamily.V4_ONLY
}

/** The DNS cache of one wildcard service. */
export function serviceDnsCache(service: Pick<Service, 'hostname'>, proxy: Pick<ProxyNode, 'ips'>): DnsCacheConfig {
  return create(DnsCacheConfigSchema, {
    name: `${service.hostname}_dfp_dns_cache`,
    dnsLookupFamily: lookupFamily(proxy.ips),
  })
}

/** The DNS cache of ALLOW_ANY_DYNAMIC_DNS; with DNS capture it asks the agent, which knows the mesh's own names. */
export function anyHostDnsCache({ ips, metadata }: Pick<ProxyNode, 'ips' | 'metadata'>): DnsCacheConfig {
  const cache = create(DnsCacheConfigSchema, {
    name: 'allow_any_dfp_dns_cache',
    dnsLookupFamily: lookupFamily(ips),
    maxHosts: MAX_HOSTS,
  })
  if (metadata.DNS_CAPTURE !== 'true' && metadata.DNS_CAPTURE !== true) return cache
  const [host, port] = dnsProxyAddress(metadata.DNS_PROXY_ADDR)
  cache.typedDnsResolverConfig = {
    $typeName: 'envoy.config.core.v3.TypedExtensionConfig',
    name: 'envoy.network.dns_resolver.cares',
    typedConfig: anyPack(
      CaresDnsResolverConfigSchema,
      create(CaresDnsResolverConfigSchema, { resolvers: [addressOf(host, port)] }),
    ),
  }
  return cache
}

function dnsProxyAddress(text: unknown): [host: string, port: number] {
  const [, host, port] = /^\[?(.+?)\]?:(\d+)$/.exec(typeof text === 'string' ? text : '') ?? ['', ...DNS_PROXY]
  return [host === 'localhost' ? DNS_PROXY[0] : host!, Number(port)]
}

/** Makes a cluster resolve hosts through `cache`. `insecure`: without the checks that only TLS with SNI can pass. */
export function dynamicForwardProxyType(cache: DnsCacheConfig, insecure: boolean): Cluster['clusterDiscoveryType'] {
  return {
    case: 'clusterType',
    value: {
      $typeName: 'envoy.config.cluster.v3.Cluster.CustomClusterType',
      name: 'envoy.clusters.dynamic_forward_proxy',
      typedConfig: anyPack(
        ClusterConfigSchema,
        create(ClusterConfigSchema, {
          clusterImplementationSpecifier: { case: 'dnsCacheConfig', value: cache },
          allowInsecureClusterOptions: insecure,
        }),
      ),
    },
  }
}

/** Resolves the host of a request before the router asks the cluster for it. */
export function dynamicForwardProxyFilter(cache: DnsCacheConfig): HttpFilter {
  const config = create(HttpFilterConfigSchema, {
    implementationSpecifier: { case: 'dnsCacheConfig', value: cache },
  })
  return create(HttpFilterSchema, {
    name: 'envoy.filters.http.dynamic_forward_proxy',
    configType: { case: 'typedConfig', value: anyPack(HttpFilterConfigSchema, config) },
  })
}

/** The same for TLS that is passed on: the host is the server name asked for. */
export function sniForwardProxyFilter(cache: DnsCacheConfig, port: number): Filter {
  const config = create(SniFilterConfigSchema, {
    dnsCacheConfig: cache,
    portSpecifier: { case: 'portValue', value: port },
  })
  return create(FilterSchema, {
    name: 'envoy.extensions.filters.network.sni_dynamic_forward_proxy',
    configType: { case: 'typedConfig', value: anyPack(SniFilterConfigSchema, config) },
  })
}
