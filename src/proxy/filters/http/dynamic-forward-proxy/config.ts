// envoy.filters.http.dynamic_forward_proxy: configuration.

import {
  type FilterConfig,
  FilterConfigSchema,
  type PerRouteConfig,
  PerRouteConfigSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { type DnsCacheData, parseDnsCache } from '../../../upstream/dynamic-forward-proxy/config.ts'
import { createDynamicForwardProxyFilter } from './filter.ts'

export interface DynamicForwardProxyFilterConfig {
  /** null = sub clusters. */
  readonly dnsCache: DnsCacheData | null
  /** How long a request waits for its sub cluster. */
  readonly clusterInitTimeoutMs: number
  /** The first address goes into filter state `envoy.stream.upstream_address`. */
  readonly saveUpstreamAddress: boolean
  /** Filter state `envoy.upstream.dynamic_host` and `.dynamic_port` win over the Host header. */
  readonly hostFromFilterState: boolean
}

/** Of a route: what takes the place of the Host header before the name is looked up. */
export interface DynamicForwardProxyRouteConfig {
  readonly literal: string
  /** '' = none. */
  readonly header: string
}

const DEFAULT_INIT_TIMEOUT_MS = 5000

function parse(config: FilterConfig, context: ParseContext): DynamicForwardProxyFilterConfig {
  const common = {
    saveUpstreamAddress: config.saveUpstreamAddress,
    hostFromFilterState: config.allowDynamicHostFromFilterState,
  }
  const choice = config.implementationSpecifier
  switch (choice.case) {
    case 'dnsCacheConfig':
      return {
        ...common,
        dnsCache: parseDnsCache(choice.value, context.at('dns_cache_config')),
        clusterInitTimeoutMs: 0,
      }
    case 'subClusterConfig':
      return {
        ...common,
        dnsCache: null,
        clusterInitTimeoutMs: durationMsOr(choice.value.clusterInitTimeout, DEFAULT_INIT_TIMEOUT_MS),
      }
    default:
      throw new ConfigError(context.path, 'one of dns_cache_config, sub_cluster_config is required')
  }
}

export const dynamicForwardProxyFilter: HttpFilterExtension<
  DynamicForwardProxyFilterConfig,
  DynamicForwardProxyRouteConfig
> = {
  name: 'envoy.filters.http.dynamic_forward_proxy',
  desc: FilterConfigSchema,
  parse: (message, context) => parse(message as FilterConfig, context),
  routeDesc: PerRouteConfigSchema,
  parseRoute: (message) => {
    const { hostRewriteSpecifier: rewrite } = message as PerRouteConfig
    return {
      literal: rewrite.case === 'hostRewriteLiteral' ? rewrite.value : '',
      header: rewrite.case === 'hostRewriteHeader' ? rewrite.value.toLowerCase() : '',
    }
  },
  create: createDynamicForwardProxyFilter,
}
