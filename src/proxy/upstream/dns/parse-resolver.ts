// typed_dns_resolver_config, dns_resolution_config and dns_resolvers → plain data.

import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { Cluster_DnsLookupFamily } from '../../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Address as AddressMessage } from '../../../api/gen/envoy/config/core/v3/address_pb.js'
import type { TypedExtensionConfig } from '../../../api/gen/envoy/config/core/v3/extension_pb.js'
import {
  type DnsResolutionConfig,
  DnsResolutionConfigSchema,
  type DnsResolverOptions,
} from '../../../api/gen/envoy/config/core/v3/resolver_pb.js'
import { CaresDnsResolverConfigSchema } from '../../../api/gen/envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver_pb.js'
import { GetAddrInfoDnsResolverConfigSchema } from '../../../api/gen/envoy/extensions/network/dns_resolver/getaddrinfo/v3/getaddrinfo_dns_resolver_pb.js'
import { typeNameOf } from '../../../api/registry.ts'
import { ConfigError } from '../../../base/errors.ts'
import type { ParseContext } from '../../config/extension.ts'
import { refuseUnsupported } from '../../config/supported-fields.ts'
import { parseAddress } from '../parse-endpoints.ts'
import { type DnsLookupFamily, type DnsResolverData, SYSTEM_RESOLVER } from './config.ts'

const FAMILIES: Readonly<Record<Cluster_DnsLookupFamily, DnsLookupFamily>> = {
  [Cluster_DnsLookupFamily.AUTO]: 'AUTO',
  [Cluster_DnsLookupFamily.V4_ONLY]: 'V4_ONLY',
  [Cluster_DnsLookupFamily.V6_ONLY]: 'V6_ONLY',
  [Cluster_DnsLookupFamily.V4_PREFERRED]: 'V4_PREFERRED',
  [Cluster_DnsLookupFamily.ALL]: 'ALL',
}

export function lookupFamilyOf(family: Cluster_DnsLookupFamily): DnsLookupFamily {
  return FAMILIES[family] ?? 'AUTO'
}

/** What clusters and DNS caches say of their resolver; the typed configuration wins over the deprecated fields. */
export interface ResolverFields {
  readonly typedDnsResolverConfig?: TypedExtensionConfig | undefined
  readonly dnsResolutionConfig?: DnsResolutionConfig | undefined
  readonly dnsResolvers?: readonly AddressMessage[]
}

const CARES_FIELDS = new Set([
  'resolvers',
  'use_resolvers_as_fallback',
  'dns_resolver_options',
  'udp_max_queries',
  'query_timeout_seconds',
  'query_tries',
])

/** Throws ConfigError for resolvers and options that this proxy lacks. */
export function parseDnsResolver(fields: ResolverFields, context: ParseContext): DnsResolverData {
  const typed = fields.typedDnsResolverConfig
  if (typed) return parseTyped(typed, context.at('typed_dns_resolver_config.typed_config'))
  const old = fields.dnsResolutionConfig
  if (old) {
    const at = context.at('dns_resolution_config')
    refuseUnsupported(DnsResolutionConfigSchema, old, new Set(['resolvers', 'dns_resolver_options']), at.path)
    refuseTcp(old.dnsResolverOptions, at)
    return { ...SYSTEM_RESOLVER, servers: servers(old.resolvers, at) }
  }
  return { ...SYSTEM_RESOLVER, servers: servers(fields.dnsResolvers ?? [], context.at('dns_resolvers')) }
}

function parseTyped(typed: TypedExtensionConfig, context: ParseContext): DnsResolverData {
  const any = typed.typedConfig
  const name = typeNameOf(any?.typeUrl ?? '')
  // getaddrinfo's own options (retries, threads) have no counterpart: the system retries by resolv.conf.
  if (any && name === GetAddrInfoDnsResolverConfigSchema.typeName) return SYSTEM_RESOLVER
  if (!any || name !== CaresDnsResolverConfigSchema.typeName) {
    throw new ConfigError(
      context.path,
      `Didn't find a registered DNS resolver factory for '${typed.name}' of type ${name || '(empty)'}`,
    )
  }
  // Not through context.unpack: the rule that asks for a resolver is gone from today's API, and Istio names none.
  const cares = anyUnpack(any, CaresDnsResolverConfigSchema)
  if (!cares) throw new ConfigError(context.path, `does not decode as ${name}`)
  refuseUnsupported(CaresDnsResolverConfigSchema, cares, CARES_FIELDS, context.path)
  refuseTcp(cares.dnsResolverOptions, context)
  return {
    kind: 'cares',
    servers: servers(cares.resolvers, context.at('resolvers')),
    serversAsFallback: cares.useResolversAsFallback,
    timeoutMs: Number(cares.queryTimeoutSeconds ?? 0n) * 1000,
    tries: cares.queryTries ?? 0,
  }
}

/** Search domains are only ever used by the system's own resolution, so no_default_search_domain needs no switch. */
function refuseTcp(options: DnsResolverOptions | undefined, context: ParseContext): void {
  if (options?.useTcpForDnsLookups) {
    throw new ConfigError(
      context.at('dns_resolver_options.use_tcp_for_dns_lookups').path,
      'not supported by this proxy; remove the field',
    )
  }
}

function servers(list: readonly AddressMessage[], context: ParseContext): string[] {
  return list.map((address, i) => parseAddress(address, false, context.at(`[${i}]`)).text)
}
