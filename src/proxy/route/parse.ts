// RouteConfiguration → plain data: the one place that validates routes. Past it nothing is checked again.

import {
  type DirectResponseAction,
  DirectResponseActionSchema,
  type RedirectAction,
  RedirectAction_RedirectResponseCode as RedirectCode,
  type Route,
  RouteListSchema,
  RouteSchema,
  type Tracing,
  type VirtualHost,
  VirtualHost_TlsRequirementType,
  VirtualHostSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import { readDataSource } from '../config/data-source.ts'
import type { ParseContext } from '../config/extension.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import { parseLogFormat } from '../filters/access-loggers/log-format.ts'
import { type MatcherUse, parseMatcher } from '../matching/config.ts'
import { ROUTE_INPUTS } from '../matching/inputs.ts'
import type { RouteTracingData } from '../observe/tracing/config.ts'
import { parseRouteTracing } from '../observe/tracing/parse.ts'
import type {
  DirectResponseData,
  PathRewriteData,
  PerFilterConfigs,
  RedirectData,
  RouteConfigData,
  RouteData,
  VirtualHostData,
} from './config.ts'
import { CORS_FILTER, parseCorsPolicy } from './cors-policy.ts'
import { parseHeaderMatchers } from './header-matcher.ts'
import { checkHeaderFormat } from './header-mutation.ts'
import { parseMirrors, parseRegexSubstitution, parseRouteAction } from './parse-action.ts'
import { millionths, parseHeaderMutations, parseMetadata, parsePerFilter } from './parse-common.ts'
import { parseRouteMatch } from './parse-match.ts'
import { parseRateLimits } from './parse-rate-limit.ts'
import { parseHedgePolicy, parseRetryPolicy } from './parse-retry.ts'
import { DomainIndex } from './virtual-host-match.ts'

const CONFIG_FIELDS: ReadonlySet<string> = new Set([
  'name', 'virtual_hosts', 'internal_only_headers', 'response_headers_to_add', 'response_headers_to_remove',
  'request_headers_to_add', 'request_headers_to_remove', 'most_specific_header_mutations_wins', 'validate_clusters',
  'max_direct_response_body_size_bytes', 'request_mirror_policies', 'ignore_port_in_host_matching',
  'ignore_path_parameters_in_path_matching', 'typed_per_filter_config', 'metadata',
  'vhost_header',
]) // biome-ignore format: one list
const VIRTUAL_HOST_FIELDS: ReadonlySet<string> = new Set([
  'name', 'domains', 'routes', 'matcher', 'require_tls', 'virtual_clusters', 'rate_limits', 'request_headers_to_add',
  'request_headers_to_remove', 'response_headers_to_add', 'response_headers_to_remove', 'cors', 'typed_per_filter_config',
  'include_request_attempt_count', 'include_attempt_count_in_response', 'retry_policy', 'hedge_policy',
  'include_is_timeout_retry_header', 'request_body_buffer_limit', 'per_request_buffer_limit_bytes', 'request_mirror_policies', 'metadata',
]) // biome-ignore format: one list
const ROUTE_FIELDS: ReadonlySet<string> = new Set([
  'name', 'match', 'route', 'redirect', 'direct_response', 'non_forwarding_action', 'metadata', 'decorator',
  'typed_per_filter_config', 'request_headers_to_add', 'request_headers_to_remove', 'response_headers_to_add',
  'response_headers_to_remove', 'tracing', 'per_request_buffer_limit_bytes', 'request_body_buffer_limit', 'stat_prefix',
]) // biome-ignore format: one list

const DIRECT_RESPONSE_FIELDS: ReadonlySet<string> = new Set(['status', 'body', 'body_format'])

/** Largest direct response body unless max_direct_response_body_size_bytes says otherwise. */
const DEFAULT_MAX_BODY_BYTES = 4096

/** What the routes of one configuration share while it is parsed. */
interface Shared {
  readonly clusters: Set<string>
  readonly maxBodyBytes: number
}

/** Throws ConfigError naming the field for anything Envoy refuses or this proxy cannot do. validate.rules are checked before. */
export function parseRouteConfiguration(config: RouteConfiguration, context: ParseContext): RouteConfigData {
  refuseUnsupported(RouteConfigurationSchema, config, CONFIG_FIELDS, context.path)
  const shared: Shared = {
    clusters: new Set(),
    maxBodyBytes: config.maxDirectResponseBodySizeBytes ?? DEFAULT_MAX_BODY_BYTES,
  }
  checkUniqueNames(config, context)
  const virtualHosts = config.virtualHosts.map((host, i) =>
    parseVirtualHost(host, shared, context.at(`virtual_hosts[${i}]`)),
  )
  checkDomains(config.name, virtualHosts, context)
  return {
    name: config.name,
    virtualHosts,
    internalOnlyHeaders: config.internalOnlyHeaders.map((name) => name.toLowerCase()),
    requestHeaders: parseHeaderMutations(config.requestHeadersToAdd, config.requestHeadersToRemove, 'request', context),
    responseHeaders: parseHeaderMutations(
      config.responseHeadersToAdd,
      config.responseHeadersToRemove,
      'response',
      context,
    ),
    mostSpecificHeaderMutationsWins: config.mostSpecificHeaderMutationsWins,
    vhostHeader: config.vhostHeader.toLowerCase(),
    ignorePortInHostMatching: config.ignorePortInHostMatching,
    ignorePathParametersInPathMatching: config.ignorePathParametersInPathMatching,
    perFilter: parsePerFilter(config.typedPerFilterConfig, context),
    mirrors: parseMirrors(config.requestMirrorPolicies, shared.clusters, context),
    metadata: parseMetadata(config.metadata),
    validateClusters: config.validateClusters ?? null,
    clusters: [...shared.clusters],
  }
}

function checkUniqueNames(config: RouteConfiguration, context: ParseContext): void {
  const names = new Set<string>()
  for (const [i, host] of config.virtualHosts.entries()) {
    if (names.has(host.name)) {
      throw new ConfigError(context.at(`virtual_hosts[${i}].name`).path, `virtual host name ${host.name} is used twice`)
    }
    names.add(host.name)
  }
}

function checkDomains(name: string, virtualHosts: readonly VirtualHostData[], context: ParseContext): void {
  const index = new DomainIndex<VirtualHostData>()
  for (const [i, host] of virtualHosts.entries()) {
    for (const [j, domain] of host.domains.entries()) {
      if (index.add(domain, host)) continue
      throw new ConfigError(
        context.at(`virtual_hosts[${i}].domains[${j}]`).path,
        domain === '*'
          ? `Only a single wildcard domain is permitted in route ${name}`
          : `Only unique values for domains are permitted. Duplicate entry of domain ${domain.toLowerCase()} in route ${name}`,
      )
    }
  }
}

const TLS = {
  [VirtualHost_TlsRequirementType.NONE]: 'NONE',
  [VirtualHost_TlsRequirementType.EXTERNAL_ONLY]: 'EXTERNAL_ONLY',
  [VirtualHost_TlsRequirementType.ALL]: 'ALL',
} as const

function parseVirtualHost(host: VirtualHost, shared: Shared, context: ParseContext): VirtualHostData {
  refuseUnsupported(VirtualHostSchema, host, VIRTUAL_HOST_FIELDS, context.path)
  if (host.matcher && host.routes.length > 0)
    throw new ConfigError(context.path, 'cannot set both matcher and routes on virtual host')
  return {
    name: host.name,
    domains: host.domains,
    routes: host.routes.map((route, i) => parseRoute(route, shared, context.at(`routes[${i}]`))),
    matcher: host.matcher ? parseMatcher(host.matcher, routeActions(shared), context.at('matcher')) : null,
    requireTls: TLS[host.requireTls] ?? 'NONE',
    virtualClusters: host.virtualClusters.map((cluster, i) => {
      const at = context.at(`virtual_clusters[${i}]`)
      if (cluster.headers.length === 0) throw new ConfigError(at.path, "virtual clusters must define 'headers'")
      return { name: cluster.name, headers: parseHeaderMatchers(cluster.headers, at.at('headers').path) }
    }),
    rateLimits: parseRateLimits(host.rateLimits, context),
    requestHeaders: parseHeaderMutations(host.requestHeadersToAdd, host.requestHeadersToRemove, 'request', context),
    responseHeaders: parseHeaderMutations(host.responseHeadersToAdd, host.responseHeadersToRemove, 'response', context),
    perFilter: withCors(parsePerFilter(host.typedPerFilterConfig, context), host.cors, context),
    includeRequestAttemptCount: host.includeRequestAttemptCount,
    includeAttemptCountInResponse: host.includeAttemptCountInResponse,
    includeIsTimeoutRetryHeader: host.includeIsTimeoutRetryHeader,
    retryPolicy: host.retryPolicy ? parseRetryPolicy(host.retryPolicy, context.at('retry_policy')) : null,
    hedgePolicy: parseHedgePolicy(host.hedgePolicy),
    maxRequestBufferBytes: bufferLimit(host),
    mirrors: parseMirrors(host.requestMirrorPolicies, shared.clusters, context),
    metadata: parseMetadata(host.metadata),
  }
}

/** Actions of a virtual host's matcher: one route, or a list of which the first that matches serves. */
function routeActions(shared: Shared): MatcherUse<readonly RouteData[]> {
  return {
    inputs: ROUTE_INPUTS,
    action: ({ name, typedConfig }, context) => {
      if (!typedConfig) throw new ConfigError(context.path, `action "${name}" has no typed_config`)
      const typeName = typeNameOf(typedConfig.typeUrl)
      if (typeName === RouteSchema.typeName)
        return [parseRoute(context.unpack(typedConfig, RouteSchema), shared, context)]
      if (typeName === RouteListSchema.typeName) {
        const { routes } = context.unpack(typedConfig, RouteListSchema)
        return routes.map((route, i) => parseRoute(route, shared, context.at(`routes[${i}]`)))
      }
      throw new ConfigError(
        context.path,
        `action "${name}" of type ${typeName} is no route; possible are ${RouteSchema.typeName} and ${RouteListSchema.typeName}`,
      )
    },
  }
}

/** request_body_buffer_limit, else what it replaced. */
function bufferLimit(message: {
  readonly requestBodyBufferLimit?: bigint
  readonly perRequestBufferLimitBytes?: number
}): number | null {
  const { requestBodyBufferLimit: limit } = message
  return limit === undefined ? (message.perRequestBufferLimitBytes ?? null) : Number(limit)
}

/** The deprecated `cors` fields mean what the CORS filter's own per-route configuration means, which wins over them. */
function withCors(
  configs: PerFilterConfigs,
  cors: Parameters<typeof parseCorsPolicy>[0] | undefined,
  context: ParseContext,
): PerFilterConfigs {
  if (!cors || configs[CORS_FILTER]) return configs
  return { ...configs, [CORS_FILTER]: { config: parseCorsPolicy(cors, context.at('cors')), disabled: undefined } }
}

function parseRoute(route: Route, shared: Shared, context: ParseContext): RouteData {
  refuseUnsupported(RouteSchema, route, ROUTE_FIELDS, context.path)
  if (!route.match) throw new ConfigError(context.at('match').path, 'is required')
  const cors = route.action.case === 'route' ? route.action.value.cors : undefined
  return {
    name: route.name,
    match: parseRouteMatch(route.match, context.at('match')),
    action: parseAction(route, shared, context),
    metadata: parseMetadata(route.metadata),
    decorator: route.decorator
      ? { operation: route.decorator.operation, propagate: route.decorator.propagate ?? true }
      : null,
    requestHeaders: parseHeaderMutations(route.requestHeadersToAdd, route.requestHeadersToRemove, 'request', context),
    responseHeaders: parseHeaderMutations(
      route.responseHeadersToAdd,
      route.responseHeadersToRemove,
      'response',
      context,
    ),
    perFilter: withCors(parsePerFilter(route.typedPerFilterConfig, context), cors, context.at('route')),
    tracing: parseTracing(route.tracing, context.at('tracing')),
    maxRequestBufferBytes: bufferLimit(route),
    statPrefix: route.statPrefix,
  }
}

function parseAction(route: Route, shared: Shared, context: ParseContext): RouteData['action'] {
  const { action, match } = route
  switch (action.case) {
    case 'route': {
      const policy = match?.pathSpecifier.case === 'pathMatchPolicy' ? match.pathSpecifier.value : undefined
      return parseRouteAction(action.value, policy, shared.clusters, context.at('route'))
    }
    case 'redirect':
      return parseRedirect(action.value, context.at('redirect'))
    case 'directResponse':
      return parseDirectResponse(action.value, shared, context.at('direct_response'))
    case 'nonForwardingAction':
      return { kind: 'non_forwarding_action' }
    default:
      throw new ConfigError(context.path, 'one of route, redirect, direct_response, non_forwarding_action is required')
  }
}

const REDIRECT_STATUS: Readonly<Record<RedirectCode, number>> = {
  [RedirectCode.MOVED_PERMANENTLY]: 301,
  [RedirectCode.FOUND]: 302,
  [RedirectCode.SEE_OTHER]: 303,
  [RedirectCode.TEMPORARY_REDIRECT]: 307,
  [RedirectCode.PERMANENT_REDIRECT]: 308,
}

function parseRedirect(redirect: RedirectAction, context: ParseContext): RedirectData {
  const scheme = redirect.schemeRewriteSpecifier
  const path = redirect.pathRewriteSpecifier
  if (path.case === 'pathRewrite') checkHeaderFormat(path.value, context.at('path_rewrite').path)
  let pathRewrite: PathRewriteData | null = null
  if (path.case === 'prefixRewrite') pathRewrite = { kind: 'prefix', value: path.value }
  if (path.case === 'regexRewrite') {
    pathRewrite = { kind: 'regex', rewrite: parseRegexSubstitution(path.value, context.at('regex_rewrite').path) }
  }
  return {
    kind: 'redirect',
    status: REDIRECT_STATUS[redirect.responseCode] ?? 301,
    httpsRedirect: scheme.case === 'httpsRedirect' && scheme.value,
    schemeRedirect: scheme.case === 'schemeRedirect' ? scheme.value : '',
    hostRedirect: redirect.hostRedirect,
    portRedirect: redirect.portRedirect,
    pathRedirect: path.case === 'pathRedirect' ? path.value : '',
    pathFormat: path.case === 'pathRewrite' ? path.value : '',
    pathRewrite,
    stripQuery: redirect.stripQuery,
  }
}

function parseDirectResponse(
  response: DirectResponseAction,
  shared: Shared,
  context: ParseContext,
): DirectResponseData {
  refuseUnsupported(DirectResponseActionSchema, response, DIRECT_RESPONSE_FIELDS, context.path)
  let body = ''
  if (response.body) {
    const bytes = readDataSource(response.body, context.at('body').path)
    if (bytes.length > shared.maxBodyBytes) {
      throw new ConfigError(
        context.at('body').path,
        `response body size is ${bytes.length} bytes; maximum is ${shared.maxBodyBytes} (max_direct_response_body_size_bytes)`,
      )
    }
    body = bytes.toString('latin1')
  }
  const format = response.bodyFormat
  const bodyFormat = format
    ? { format: parseLogFormat(format, context.at('body_format').path), contentType: format.contentType }
    : null
  return { kind: 'direct_response', status: response.status, body, bodyFormat }
}

function parseTracing(tracing: Tracing | undefined, context: ParseContext): RouteTracingData | null {
  if (!tracing) return null
  return {
    client: millionths(tracing.clientSampling, 1_000_000),
    random: millionths(tracing.randomSampling, 1_000_000),
    overall: millionths(tracing.overallSampling, 1_000_000),
    ...parseRouteTracing(tracing, context),
  }
}
