// CUSTOM policies: a shadow RBAC decides which requests an external service is asked about.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { ApiVersion } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import type { Filter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type RBAC, RBAC_Action, RBACSchema } from '../../api/gen/envoy/config/rbac/v3/rbac_pb.js'
import { ExtAuthzSchema } from '../../api/gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import { RBACSchema as HttpRbacSchema } from '../../api/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { ExtAuthzSchema as NetworkExtAuthzSchema } from '../../api/gen/envoy/extensions/filters/network/ext_authz/v3/ext_authz_pb.js'
import type { HttpFilter } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../api/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import { type StatusCode, StatusCodeSchema } from '../../api/gen/envoy/type/v3/http_status_pb.js'
import type { AuthorizationPolicy, ExtensionProvider } from '../../config/index.ts'
import { httpFilter, networkFilter } from '../lds/filters.ts'
import { compareText } from '../model/host.ts'
import { providerHost } from '../model/provider-service.ts'
import type { PushContext } from '../model/push-context.ts'
import { durationOf } from '../xds/messages.ts'
import { outboundClusterName } from '../xds/names.ts'
import { metadataMatcher, prefixMatcher, textMatcher } from './matchers.ts'
import { addPolicies } from './rbac.ts'

/** How long the external service may take when its provider does not say. */
const DEFAULT_TIMEOUT_MS = 600_000
const NAME_PREFIX = 'istio-ext-authz-'

type ExtAuthzInit = Exclude<MessageInitShape<typeof ExtAuthzSchema>, { $typeName: string }>

/** Filters for CUSTOM policies; a provider that cannot be used denies what its policies name. */
export function customHttpFilters(
  policies: readonly AuthorizationPolicy[],
  push: PushContext,
  trustDomains: readonly string[],
): HttpFilter[] {
  const byProvider = groupByProvider(policies)
  const filters: HttpFilter[] = []
  for (const [provider, list] of byProvider) {
    // Only one provider can decide about a workload.
    const config = byProvider.length > 1 ? null : providerConfig(push, provider)
    const rules = customRules(list, provider, false, trustDomains, config === null)
    if (!config) {
      filters.push(httpFilter('envoy.filters.http.rbac', anyPack(HttpRbacSchema, create(HttpRbacSchema, { rules }))))
      continue
    }
    const rbac = create(HttpRbacSchema, { shadowRules: rules, shadowRulesStatPrefix: 'istio_ext_authz_' })
    filters.push(httpFilter('envoy.filters.http.rbac', anyPack(HttpRbacSchema, rbac)))
    const extAuthz = create(ExtAuthzSchema, {
      ...config.http,
      transportApiVersion: ApiVersion.V3,
      filterEnabledMetadata: enabledFor('envoy.filters.http.rbac', provider),
    })
    filters.push(httpFilter('envoy.filters.http.ext_authz', anyPack(ExtAuthzSchema, extAuthz)))
  }
  return filters
}

/** The same for TCP: only gRPC providers can be asked. */
export function customNetworkFilters(
  policies: readonly AuthorizationPolicy[],
  push: PushContext,
  trustDomains: readonly string[],
): Filter[] {
  const byProvider = groupByProvider(policies)
  const filters: Filter[] = []
  for (const [provider, list] of byProvider) {
    const config = byProvider.length > 1 ? null : providerConfig(push, provider)
    if (config && !config.network) continue
    const rules = customRules(list, provider, true, trustDomains, config === null)
    if (!config?.network) {
      const rbac = create(NetworkRbacSchema, { rules, statPrefix: 'tcp.' })
      filters.push(networkFilter('envoy.filters.network.rbac', anyPack(NetworkRbacSchema, rbac)))
      continue
    }
    const rbac = create(NetworkRbacSchema, {
      shadowRules: rules,
      shadowRulesStatPrefix: 'istio_ext_authz_',
      statPrefix: 'tcp.',
    })
    filters.push(networkFilter('envoy.filters.network.rbac', anyPack(NetworkRbacSchema, rbac)))
    const extAuthz = create(NetworkExtAuthzSchema, {
      ...config.network,
      statPrefix: 'tcp.',
      transportApiVersion: ApiVersion.V3,
      filterEnabledMetadata: enabledFor('envoy.filters.network.rbac', provider),
    })
    filters.push(networkFilter('envoy.filters.network.ext_authz', anyPack(NetworkExtAuthzSchema, extAuthz)))
  }
  return filters
}

function groupByProvider(policies: readonly AuthorizationPolicy[]): [string, AuthorizationPolicy[]][] {
  const groups = new Map<string, AuthorizationPolicy[]>()
  for (const policy of policies) {
    const provider = policy.spec.provider?.name ?? ''
    const list = groups.get(provider)
    if (list) list.push(policy)
    else groups.set(provider, [policy])
  }
  return [...groups].sort(([a], [b]) => compareText(a, b))
}

function customRules(
  policies: readonly AuthorizationPolicy[],
  provider: string,
  tcp: boolean,
  trustDomains: readonly string[],
  bad: boolean,
): RBAC {
  const rules = create(RBACSchema, { action: RBAC_Action.DENY })
  for (const policy of policies) {
    addPolicies(rules, policy, {
      tcp,
      // A connection is asked about that a rule may be about: what only HTTP has is left aside, as in a DENY policy.
      lenient: tcp,
      trustDomains,
      prefix: `${NAME_PREFIX}${provider}-`,
      suffix: bad ? '-deny-due-to-bad-CUSTOM-action' : '',
    })
  }
  return rules
}

function enabledFor(filter: string, provider: string) {
  return metadataMatcher(filter, ['istio_ext_authz_shadow_effective_policy_id'], {
    $typeName: 'envoy.type.matcher.v3.ValueMatcher',
    matchPattern: { case: 'stringMatch', value: prefixMatcher(NAME_PREFIX + provider) },
  })
}

interface ProviderConfig {
  readonly http: ExtAuthzInit
  /** Null: an HTTP provider, which cannot decide about connections. */
  readonly network: Exclude<MessageInitShape<typeof NetworkExtAuthzSchema>, { $typeName: string }> | null
}

/** Null: no such provider, or one whose settings make no sense. */
function providerConfig(push: PushContext, name: string): ProviderConfig | null {
  const provider = push.mesh.extensionProviders.find((p) => p.name === name)
  const port = (provider?.envoyExtAuthzHttp ?? provider?.envoyExtAuthzGrpc)?.port ?? 0
  if (port < 1 || port > 65535) return null
  if (provider?.envoyExtAuthzHttp) return httpProvider(push, provider.envoyExtAuthzHttp)
  if (provider?.envoyExtAuthzGrpc) return grpcProvider(push, provider.envoyExtAuthzGrpc)
  return null
}

type HttpProvider = NonNullable<ExtensionProvider['envoyExtAuthzHttp']>
type GrpcProvider = NonNullable<ExtensionProvider['envoyExtAuthzGrpc']>

/** Undefined: nothing asked; null: not a status that Envoy knows. */
function statusOnError(text: string | undefined): { code: StatusCode } | undefined | null {
  if (!text) return undefined
  const status = Number(text)
  return StatusCodeSchema.values.some((value) => value.number === status) ? { code: status as StatusCode } : null
}

function httpProvider(push: PushContext, provider: HttpProvider): ProviderConfig | null {
  const host = providerHost(push, provider.service)
  const status = statusOnError(provider.statusOnError)
  const path = provider.pathPrefix ?? ''
  if (host === null || status === null || (path !== '' && !path.startsWith('/'))) return null
  const patterns = (names: readonly string[] | undefined) =>
    names?.length ? { patterns: names.map((name) => textMatcher(name, true)) } : undefined
  const headersToAdd = Object.entries(provider.includeAdditionalHeadersInCheck ?? {})
    .sort(([a], [b]) => compareText(a, b))
    .map(([key, value]) => ({ key, value }))
  const checked = provider.includeRequestHeadersInCheck?.length
    ? provider.includeRequestHeadersInCheck
    : provider.includeHeadersInCheck
  return {
    network: null,
    http: {
      failureModeAllow: provider.failOpen ?? false,
      statusOnError: status,
      allowedHeaders: patterns(checked),
      withRequestBody: provider.includeRequestBodyInCheck && { ...provider.includeRequestBodyInCheck },
      services: {
        case: 'httpService',
        value: {
          pathPrefix: path,
          serverUri: {
            uri: `http://${host}`,
            httpUpstreamType: { case: 'cluster', value: outboundClusterName(provider.port, '', host) },
            timeout: durationOf(provider.timeout ?? DEFAULT_TIMEOUT_MS),
          },
          authorizationRequest: headersToAdd.length > 0 ? { headersToAdd } : undefined,
          authorizationResponse:
            provider.headersToUpstreamOnAllow ||
            provider.headersToDownstreamOnDeny ||
            provider.headersToDownstreamOnAllow
              ? {
                  allowedUpstreamHeaders: patterns(provider.headersToUpstreamOnAllow),
                  allowedClientHeaders: patterns(provider.headersToDownstreamOnDeny),
                  allowedClientHeadersOnSuccess: patterns(provider.headersToDownstreamOnAllow),
                }
              : undefined,
        },
      },
    },
  }
}

function grpcProvider(push: PushContext, provider: GrpcProvider): ProviderConfig | null {
  const host = providerHost(push, provider.service)
  const status = statusOnError(provider.statusOnError)
  if (host === null || status === null) return null
  const grpcService = {
    targetSpecifier: {
      case: 'envoyGrpc' as const,
      value: { clusterName: outboundClusterName(provider.port, '', host), authority: host },
    },
    timeout: durationOf(provider.timeout ?? DEFAULT_TIMEOUT_MS),
  }
  const failureModeAllow = provider.failOpen ?? false
  return {
    network: { failureModeAllow, grpcService },
    http: {
      failureModeAllow,
      statusOnError: status,
      withRequestBody: provider.includeRequestBodyInCheck && { ...provider.includeRequestBodyInCheck },
      services: { case: 'grpcService', value: grpcService },
    },
  }
}
