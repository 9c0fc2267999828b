// RouteAction → plain data: where to, rewritten how, with which hash, mirrors and time limits.

import type { Duration } from '@bufbuild/protobuf/wkt'
import { RoutingPriority } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { TypedExtensionConfig } from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import {
  ProxyProtocolConfig_Version,
  ProxyProtocolConfigSchema,
} from '../../api/gen/envoy/config/core/v3/proxy_protocol_pb.js'
import {
  type InternalRedirectPolicy,
  RouteAction_ClusterNotFoundResponseCode as NotFoundCode,
  type RouteAction,
  type RouteAction_HashPolicy,
  RouteAction_InternalRedirectAction,
  type RouteAction_RequestMirrorPolicy,
  RouteAction_RequestMirrorPolicySchema,
  RouteActionSchema,
  type WeightedCluster,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { AllowListedRoutesConfigSchema } from '../../api/gen/envoy/extensions/internal_redirect/allow_listed_routes/v3/allow_listed_routes_config_pb.js'
import { PreviousRoutesConfigSchema } from '../../api/gen/envoy/extensions/internal_redirect/previous_routes/v3/previous_routes_config_pb.js'
import { SafeCrossSchemeConfigSchema } from '../../api/gen/envoy/extensions/internal_redirect/safe_cross_scheme/v3/safe_cross_scheme_config_pb.js'
import { UriTemplateMatchConfigSchema } from '../../api/gen/envoy/extensions/path/match/uri_template/v3/uri_template_match_pb.js'
import { UriTemplateRewriteConfigSchema } from '../../api/gen/envoy/extensions/path/rewrite/uri_template/v3/uri_template_rewrite_pb.js'
import type { RegexMatchAndSubstitute } from '../../api/gen/envoy/type/matcher/v3/regex_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import { durationMs, durationMsOr } from '../config/duration.ts'
import type { ParseContext } from '../config/extension.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import type {
  ClusterSpecifierData,
  HashPolicyData,
  HostRewriteData,
  InternalRedirectData,
  InternalRedirectPredicateData,
  MirrorData,
  PathRewriteData,
  RouteActionData,
} from './config.ts'
import { checkHeaderFormat } from './header-mutation.ts'
import {
  parseFraction,
  parseHeaderMutation,
  parseHeaderMutations,
  parseLbMetadata,
  parsePerFilter,
} from './parse-common.ts'
import { parseRateLimits } from './parse-rate-limit.ts'
import { parseHedgePolicy, parseRetryPolicy } from './parse-retry.ts'
import { checkRegexSubstitution, type RegexSubstitutionData } from './regex.ts'
import { templateRegex, templateSubstitution } from './uri-template.ts'

const SUPPORTED: ReadonlySet<string> = new Set([
  'cluster', 'cluster_header', 'weighted_clusters', 'cluster_not_found_response_code', 'metadata_match', 'prefix_rewrite',
  'regex_rewrite', 'path_rewrite_policy', 'path_rewrite', 'host_rewrite', 'host_rewrite_literal', 'auto_host_rewrite', 'host_rewrite_header',
  'host_rewrite_path_regex', 'append_x_forwarded_host', 'timeout', 'idle_timeout', 'flush_timeout', 'retry_policy', 'request_mirror_policies',
  'priority', 'rate_limits', 'include_vh_rate_limits', 'hash_policy', 'cors', 'max_grpc_timeout', 'grpc_timeout_offset',
  'upgrade_configs', 'internal_redirect_policy', 'internal_redirect_action', 'max_internal_redirects',
  'hedge_policy', 'max_stream_duration',
]) // biome-ignore format: one list

const NOT_FOUND_STATUS: Readonly<Record<NotFoundCode, number>> = {
  [NotFoundCode.SERVICE_UNAVAILABLE]: 503,
  [NotFoundCode.NOT_FOUND]: 404,
  [NotFoundCode.INTERNAL_SERVER_ERROR]: 500,
}

/** Envoy's route timeout when none is set. */
const DEFAULT_TIMEOUT_MS = 15_000

function maybeMs(duration: Duration | undefined): number | null {
  return durationMsOr(duration, null)
}

/** `template`: the route's uri_template, which a path_rewrite_policy refers to. Cluster names are added to `clusters`. */
export function parseRouteAction(
  action: RouteAction,
  matchPolicy: TypedExtensionConfig | undefined,
  clusters: Set<string>,
  context: ParseContext,
): RouteActionData {
  refuseUnsupported(RouteActionSchema, action, SUPPORTED, context.path)
  const stream = action.maxStreamDuration
  const upgrades: Record<string, boolean> = {}
  let connectTerminates: RouteActionData['connectTerminates'] = null
  for (const [i, upgrade] of action.upgradeConfigs.entries()) {
    const type = upgrade.upgradeType.toLowerCase()
    if (type in upgrades)
      throw new ConfigError(context.at(`upgrade_configs[${i}]`).path, `Duplicate upgrade ${upgrade.upgradeType}`)
    upgrades[type] = upgrade.enabled ?? true
    if (!upgrade.connectConfig) continue
    const at = context.at(`upgrade_configs[${i}].connect_config`)
    if (type !== 'connect') throw new ConfigError(at.path, 'Non-CONNECT upgrade type has ConnectConfig')
    const { allowPost, proxyProtocolConfig: proxy } = upgrade.connectConfig
    // Envoy reads no more of it here.
    if (proxy)
      refuseUnsupported(ProxyProtocolConfigSchema, proxy, new Set(['version']), at.at('proxy_protocol_config').path)
    const version = proxy?.version === ProxyProtocolConfig_Version.V2 ? 2 : 1
    connectTerminates = { allowPost, proxyProtocol: proxy ? version : null }
  }
  return {
    kind: 'route',
    cluster: parseClusterSpecifier(action, clusters, context),
    clusterNotFoundStatus: NOT_FOUND_STATUS[action.clusterNotFoundResponseCode] ?? 503,
    metadataMatch: parseLbMetadata(action.metadataMatch),
    pathRewrite: parsePathRewrite(action, matchPolicy, context),
    hostRewrite: parseHostRewrite(action, context),
    appendXForwardedHost: action.appendXForwardedHost,
    timeoutMs: durationMsOr(action.timeout, DEFAULT_TIMEOUT_MS),
    idleTimeoutMs: maybeMs(action.idleTimeout),
    flushTimeoutMs: maybeMs(action.flushTimeout),
    retryPolicy: action.retryPolicy ? parseRetryPolicy(action.retryPolicy, context.at('retry_policy')) : null,
    hedgePolicy: parseHedgePolicy(action.hedgePolicy),
    mirrors: parseMirrors(action.requestMirrorPolicies, clusters, context),
    priority: action.priority === RoutingPriority.HIGH ? 'HIGH' : 'DEFAULT',
    rateLimits: parseRateLimits(action.rateLimits, context),
    includeVhRateLimits: action.includeVhRateLimits ?? false,
    hashPolicies: action.hashPolicy.flatMap(
      (policy, i) => parseHashPolicy(policy, context.at(`hash_policy[${i}]`)) ?? [],
    ),
    maxGrpcTimeoutMs: maybeMs(action.maxGrpcTimeout),
    grpcTimeoutOffsetMs: maybeMs(action.grpcTimeoutOffset),
    hasMaxStreamDuration: stream !== undefined,
    maxStreamDurationMs: maybeMs(stream?.maxStreamDuration),
    grpcTimeoutHeaderMaxMs: maybeMs(stream?.grpcTimeoutHeaderMax),
    grpcTimeoutHeaderOffsetMs: maybeMs(stream?.grpcTimeoutHeaderOffset),
    upgrades,
    connectTerminates,
    internalRedirect: parseInternalRedirect(action, context),
  }
}

function parseClusterSpecifier(
  action: RouteAction,
  clusters: Set<string>,
  context: ParseContext,
): ClusterSpecifierData {
  const specifier = action.clusterSpecifier
  switch (specifier.case) {
    case 'cluster':
      clusters.add(specifier.value)
      return { kind: 'cluster', name: specifier.value }
    case 'clusterHeader':
      return { kind: 'cluster_header', header: specifier.value.toLowerCase() }
    case 'weightedClusters':
      return parseWeighted(specifier.value, clusters, context.at('weighted_clusters'))
    default:
      throw new ConfigError(context.path, 'one of cluster, cluster_header, weighted_clusters is required')
  }
}

function weightOf(weight: number | undefined, context: ParseContext): number {
  if (weight === undefined) throw new ConfigError(context.at('weight').path, "Field 'weight' is missing")
  return weight
}

function parseWeighted(weighted: WeightedCluster, clusters: Set<string>, context: ParseContext): ClusterSpecifierData {
  const entries = weighted.clusters.map((cluster, i) => {
    const at = context.at(`clusters[${i}]`)
    if ((cluster.name === '') === (cluster.clusterHeader === '')) {
      throw new ConfigError(at.path, 'exactly one of name, cluster_header must be set')
    }
    if (cluster.name) clusters.add(cluster.name)
    return {
      name: cluster.name,
      clusterHeader: cluster.clusterHeader.toLowerCase(),
      weight: weightOf(cluster.weight, at),
      metadataMatch: parseLbMetadata(cluster.metadataMatch),
      requestHeaders: parseHeaderMutations(cluster.requestHeadersToAdd, cluster.requestHeadersToRemove, 'request', at),
      responseHeaders: parseHeaderMutations(
        cluster.responseHeadersToAdd,
        cluster.responseHeadersToRemove,
        'response',
        at,
      ),
      perFilter: parsePerFilter(cluster.typedPerFilterConfig, at),
      hostRewriteLiteral: cluster.hostRewriteSpecifier.value ?? '',
    }
  })
  const total = entries.reduce((sum, entry) => sum + entry.weight, 0)
  if (total === 0) throw new ConfigError(context.path, 'Sum of weights in the weighted_cluster must be greater than 0.')
  if (total > 0xffffffff)
    throw new ConfigError(context.path, `The sum of weights of all weighted clusters exceeds ${0xffffffff}`)
  const random = weighted.randomValueSpecifier
  return {
    kind: 'weighted',
    clusters: entries,
    randomValueHeader: random.case === 'headerName' ? random.value.toLowerCase() : '',
    useHashPolicy: random.case === 'useHashPolicy' && random.value.value,
    runtimeKeyPrefix: weighted.runtimeKeyPrefix,
  }
}

/** `regex_rewrite` messages wherever they occur. */
export function parseRegexSubstitution(rewrite: RegexMatchAndSubstitute, path: string): RegexSubstitutionData {
  const data = { regex: rewrite.pattern?.regex ?? '', substitution: rewrite.substitution }
  checkRegexSubstitution(data, path)
  return data
}

function parsePathRewrite(
  action: RouteAction,
  matchPolicy: TypedExtensionConfig | undefined,
  context: ParseContext,
): PathRewriteData | null {
  const given = [
    action.pathRewrite !== '',
    action.prefixRewrite !== '',
    action.regexRewrite !== undefined,
    action.pathRewritePolicy !== undefined,
  ]
  if (given.filter(Boolean).length > 1) {
    throw new ConfigError(context.path, 'Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy')
  }
  if (action.pathRewrite !== '') {
    checkHeaderFormat(action.pathRewrite, context.at('path_rewrite').path)
    return { kind: 'format', format: action.pathRewrite }
  }
  if (action.prefixRewrite !== '') return { kind: 'prefix', value: action.prefixRewrite }
  if (action.regexRewrite) {
    return { kind: 'regex', rewrite: parseRegexSubstitution(action.regexRewrite, context.at('regex_rewrite').path) }
  }
  if (!action.pathRewritePolicy) return null
  const at = context.at('path_rewrite_policy.typed_config')
  if (!action.pathRewritePolicy.typedConfig) throw new ConfigError(at.path, 'is required')
  if (!matchPolicy?.typedConfig)
    throw new ConfigError(at.path, 'needs a path_match_policy of the same kind in the match')
  const rewrite = at.unpack(action.pathRewritePolicy.typedConfig, UriTemplateRewriteConfigSchema).pathTemplateRewrite
  const match = templateRegex(
    context.unpack(matchPolicy.typedConfig, UriTemplateMatchConfigSchema).pathTemplate,
    at.path,
  )
  return {
    kind: 'regex',
    rewrite: { regex: `^${match.regex}$`, substitution: templateSubstitution(rewrite, match, at.path) },
  }
}

function parseHostRewrite(action: RouteAction, context: ParseContext): HostRewriteData | null {
  const specifier = action.hostRewriteSpecifier
  switch (specifier.case) {
    case 'hostRewriteLiteral':
      return { kind: 'literal', host: specifier.value }
    case 'hostRewrite':
      checkHeaderFormat(specifier.value, context.at('host_rewrite').path)
      return { kind: 'format', format: specifier.value }
    case 'autoHostRewrite':
      return specifier.value.value ? { kind: 'auto' } : null
    case 'hostRewriteHeader':
      return { kind: 'header', name: specifier.value.toLowerCase() }
    case 'hostRewritePathRegex':
      return {
        kind: 'path_regex',
        rewrite: parseRegexSubstitution(specifier.value, context.at('host_rewrite_path_regex').path),
      }
    default:
      return null
  }
}

/** request_mirror_policies of a route, virtual host or route configuration. */
const MIRROR_FIELDS: ReadonlySet<string> = new Set([
  'cluster', 'cluster_header', 'runtime_fraction', 'trace_sampled', 'disable_shadow_host_suffix_append',
  'request_headers_mutations', 'host_rewrite_literal',
]) // biome-ignore format: one list

export function parseMirrors(
  policies: readonly RouteAction_RequestMirrorPolicy[],
  clusters: Set<string>,
  context: ParseContext,
): MirrorData[] {
  return policies.map((policy, i) => {
    const at = context.at(`request_mirror_policies[${i}]`)
    refuseUnsupported(RouteAction_RequestMirrorPolicySchema, policy, MIRROR_FIELDS, at.path)
    if ((policy.cluster === '') === (policy.clusterHeader === '')) {
      throw new ConfigError(at.path, 'exactly one of cluster, cluster_header must be set')
    }
    if (policy.cluster) clusters.add(policy.cluster)
    return {
      cluster: policy.cluster,
      clusterHeader: policy.clusterHeader.toLowerCase(),
      fraction: parseFraction(policy.runtimeFraction),
      disableHostSuffix: policy.disableShadowHostSuffixAppend,
      traceSampled: policy.traceSampled ?? null,
      headers: policy.requestHeadersMutations.map((mutation, j) =>
        parseHeaderMutation(mutation, at.at(`request_headers_mutations[${j}]`)),
      ),
      hostRewrite: policy.hostRewriteLiteral,
    }
  })
}

/** null: a policy that hashes nothing. */
function parseHashPolicy(policy: RouteAction_HashPolicy, context: ParseContext): HashPolicyData | null {
  const { policySpecifier: specifier, terminal } = policy
  switch (specifier.case) {
    case 'header': {
      const rewrite = specifier.value.regexRewrite
      return {
        kind: 'header',
        terminal,
        name: specifier.value.headerName.toLowerCase(),
        rewrite: rewrite ? parseRegexSubstitution(rewrite, context.at('header.regex_rewrite').path) : null,
      }
    }
    case 'cookie':
      return {
        kind: 'cookie',
        terminal,
        name: specifier.value.name,
        path: specifier.value.path,
        ttlS: specifier.value.ttl ? Math.floor(durationMs(specifier.value.ttl) / 1000) : null,
        attributes: specifier.value.attributes.map(({ name, value }) => ({ name, value })),
      }
    case 'connectionProperties':
      return specifier.value.sourceIp ? { kind: 'source_ip', terminal } : null
    case 'queryParameter':
      return { kind: 'query_parameter', terminal, name: specifier.value.name }
    case 'filterState':
      return { kind: 'filter_state', terminal, key: specifier.value.key }
    default:
      throw new ConfigError(context.path, 'a hash policy needs a policy_specifier')
  }
}

function parseInternalRedirect(action: RouteAction, context: ParseContext): InternalRedirectData | null {
  const policy = action.internalRedirectPolicy
  if (policy) return parseInternalRedirectPolicy(policy, context.at('internal_redirect_policy'))
  if (action.internalRedirectAction !== RouteAction_InternalRedirectAction.HANDLE_INTERNAL_REDIRECT) return null
  return {
    maxRedirects: action.maxInternalRedirects ?? 1,
    responseCodes: [302],
    allowCrossScheme: false,
    headersToCopy: [],
    predicates: [],
  }
}

/** Redirect codes a policy may name (others are ignored by Envoy). */
const REDIRECT_CODES: readonly number[] = [301, 302, 303, 307, 308]

function parseInternalRedirectPolicy(policy: InternalRedirectPolicy, context: ParseContext): InternalRedirectData {
  const codes = policy.redirectResponseCodes.filter((code) => REDIRECT_CODES.includes(code))
  return {
    maxRedirects: policy.maxInternalRedirects ?? 1,
    responseCodes: policy.redirectResponseCodes.length === 0 ? [302] : codes,
    allowCrossScheme: policy.allowCrossSchemeRedirect,
    headersToCopy: policy.responseHeadersToCopy.map((name) => name.toLowerCase()),
    predicates: policy.predicates.map((predicate, i) => parsePredicate(predicate, context.at(`predicates[${i}]`))),
  }
}

function parsePredicate(extension: TypedExtensionConfig, context: ParseContext): InternalRedirectPredicateData {
  const any = extension.typedConfig
  switch (typeNameOf(any?.typeUrl ?? '')) {
    case PreviousRoutesConfigSchema.typeName:
      return { kind: 'previous_routes' }
    case SafeCrossSchemeConfigSchema.typeName:
      return { kind: 'safe_cross_scheme' }
    case AllowListedRoutesConfigSchema.typeName:
      return {
        kind: 'allow_listed_routes',
        names: context.unpack(any!, AllowListedRoutesConfigSchema).allowedRouteNames,
      }
    default:
      throw new ConfigError(
        context.path,
        `no internal redirect predicate "${extension.name}" of type ${any?.typeUrl ?? '(empty)'}`,
      )
  }
}
