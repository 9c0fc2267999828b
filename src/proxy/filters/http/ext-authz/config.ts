// envoy.filters.http.ext_authz: configuration (envoy-contract §10.6).

import type { GrpcService } from '../../../../api/gen/envoy/config/core/v3/grpc_service_pb.js'
import type { HttpUri } from '../../../../api/gen/envoy/config/core/v3/http_uri_pb.js'
import {
  type BufferSettings,
  type CheckSettings,
  type ExtAuthz,
  type ExtAuthzPerRoute,
  ExtAuthzPerRouteSchema,
  ExtAuthzSchema,
  type HttpService,
} from '../../../../api/gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import type { ListStringMatcher } from '../../../../api/gen/envoy/type/matcher/v3/string_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { hostAndPath } from '../../../config/host-and-path.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import type { FractionData } from '../../../route/config.ts'
import { type MetadataMatcherData, parseMetadataMatcher } from '../../../route/metadata-matcher.ts'
import { parseFraction } from '../../../route/parse-common.ts'
import { parseStringMatcher, type StringMatcherData } from '../../../route/string-matcher.ts'
import { type GrpcTarget, parseGrpcTarget } from '../../../upstream/grpc-target.ts'
import { type MutationRulesData, parseMutationRules } from '../../common/mutation-rules.ts'
import { createExtAuthzFilter } from './filter.ts'

export interface BodyConfig {
  readonly maxBytes: number
  readonly allowPartial: boolean
  readonly packAsBytes: boolean
}

export type AuthzService =
  | ({ readonly kind: 'grpc' } & GrpcTarget)
  | {
      readonly kind: 'http'
      readonly cluster: string
      readonly authority: string
      /** In place of the request's path, query and all; '' = none. */
      readonly pathOverride: string
      readonly pathPrefix: string
      readonly timeoutMs: number
      readonly headersToAdd: readonly { readonly name: string; readonly value: string }[]
      readonly allowedHeaders: readonly StringMatcherData[]
      readonly upstreamHeaders: readonly StringMatcherData[]
      readonly upstreamHeadersToAppend: readonly StringMatcherData[]
      readonly clientHeaders: readonly StringMatcherData[]
      readonly clientHeadersOnSuccess: readonly StringMatcherData[]
      readonly metadataFromHeaders: readonly StringMatcherData[]
    }

export interface ExtAuthzConfig {
  readonly service: AuthzService
  readonly failureModeAllow: boolean
  readonly failureModeAllowHeader: boolean
  readonly statusOnError: number
  readonly body: BodyConfig | null
  readonly clearRouteCache: boolean
  readonly validateMutations: boolean
  /** What the service may change in requests; null = anything. */
  readonly mutationRules: MutationRulesData | null
  /** Dynamic metadata of the answer is taken over. */
  readonly takesMetadata: boolean
  /** Of the body of a refusal; 0 = no limit. */
  readonly maxDeniedBodyBytes: number
  readonly metadataNamespaces: readonly string[]
  /** Of the route's metadata. */
  readonly routeMetadataNamespaces: readonly string[]
  /** A gRPC service gets headers as they are, in their order, each by itself. */
  readonly encodeRawHeaders: boolean
  readonly enabled: FractionData | null
  readonly enabledMetadata: MetadataMatcherData | null
  readonly denyAtDisable: { readonly value: boolean; readonly runtimeKey: string } | null
  readonly includePeerCertificate: boolean
  readonly includeTlsSession: boolean
  /** A refusal counts as a response of the cluster that the request would go to. */
  readonly chargeClusterResponseStats: boolean
  readonly statPrefix: string
  /** null = all. */
  readonly allowedHeaders: readonly StringMatcherData[] | null
  readonly disallowedHeaders: readonly StringMatcherData[]
}

/** Of a route. */
export interface ExtAuthzRouteConfig {
  readonly disabled: boolean
  readonly contextExtensions: Readonly<Record<string, string>>
  /** In place of the filter's; null = none. */
  readonly service: AuthzService | null
  readonly disableBody: boolean
  readonly body: BodyConfig | null
}

const SUPPORTED: ReadonlySet<string> = new Set([
  'grpc_service',
  'http_service',
  'transport_api_version',
  'failure_mode_allow',
  'failure_mode_allow_header_add',
  'with_request_body',
  'clear_route_cache',
  'status_on_error',
  'validate_mutations',
  'metadata_context_namespaces',
  'route_metadata_context_namespaces',
  'encode_raw_headers',
  'filter_enabled',
  'filter_enabled_metadata',
  'deny_at_disable',
  'include_peer_certificate',
  'include_tls_session',
  'stat_prefix',
  'allowed_headers',
  'disallowed_headers',
  'charge_cluster_response_stats',
  'decoder_header_mutation_rules',
  'enable_dynamic_metadata_ingestion',
  'max_denied_response_body_bytes',
])
const DEFAULT_TIMEOUT_MS = 200
const FORBIDDEN = 403

export const extAuthzFilter: HttpFilterExtension<ExtAuthzConfig, ExtAuthzRouteConfig> = {
  name: 'envoy.filters.http.ext_authz',
  desc: ExtAuthzSchema,
  parse: (message, context) => parseExtAuthz(message as ExtAuthz, context),
  routeDesc: ExtAuthzPerRouteSchema,
  parseRoute: (message, context) => {
    const { override } = message as ExtAuthzPerRoute
    const settings = override.case === 'checkSettings' ? override.value : undefined
    return {
      disabled: override.case === 'disabled' && override.value,
      contextExtensions: settings?.contextExtensions ?? {},
      service: parseOverride(settings, context.at('check_settings')),
      disableBody: settings?.disableRequestBodyBuffering ?? false,
      body: parseBody(settings?.withRequestBody),
    }
  },
  create: createExtAuthzFilter,
}

function parseExtAuthz(message: ExtAuthz, context: ParseContext): ExtAuthzConfig {
  refuseUnsupported(ExtAuthzSchema, message, SUPPORTED, context.path)
  const status = message.statusOnError?.code ?? 0
  return {
    service: parseService(message, context),
    failureModeAllow: message.failureModeAllow,
    failureModeAllowHeader: message.failureModeAllowHeaderAdd,
    statusOnError: status || FORBIDDEN,
    body: parseBody(message.withRequestBody),
    clearRouteCache: message.clearRouteCache,
    validateMutations: message.validateMutations,
    mutationRules: message.decoderHeaderMutationRules
      ? parseMutationRules(message.decoderHeaderMutationRules, context.at('decoder_header_mutation_rules'))
      : null,
    takesMetadata: message.enableDynamicMetadataIngestion ?? true,
    maxDeniedBodyBytes: message.maxDeniedResponseBodyBytes,
    metadataNamespaces: message.metadataContextNamespaces,
    routeMetadataNamespaces: message.routeMetadataContextNamespaces,
    encodeRawHeaders: message.encodeRawHeaders,
    enabled: parseFraction(message.filterEnabled),
    enabledMetadata: message.filterEnabledMetadata
      ? parseMetadataMatcher(message.filterEnabledMetadata, context.at('filter_enabled_metadata').path)
      : null,
    denyAtDisable: message.denyAtDisable
      ? { value: message.denyAtDisable.defaultValue ?? false, runtimeKey: message.denyAtDisable.runtimeKey }
      : null,
    includePeerCertificate: message.includePeerCertificate,
    includeTlsSession: message.includeTlsSession,
    chargeClusterResponseStats: message.chargeClusterResponseStats ?? true,
    statPrefix: message.statPrefix,
    allowedHeaders: message.allowedHeaders ? matchers(message.allowedHeaders, context.at('allowed_headers')) : null,
    disallowedHeaders: matchers(message.disallowedHeaders, context.at('disallowed_headers')),
  }
}

function parseBody(settings: BufferSettings | undefined): BodyConfig | null {
  if (!settings) return null
  return {
    maxBytes: settings.maxRequestBytes,
    allowPartial: settings.allowPartialMessage,
    packAsBytes: settings.packAsBytes,
  }
}

function matchers(list: ListStringMatcher | undefined, context: ParseContext): StringMatcherData[] {
  return (list?.patterns ?? []).map((matcher, i) => parseStringMatcher(matcher, context.at(`patterns[${i}]`).path))
}

function parseService(message: ExtAuthz, context: ParseContext): AuthzService {
  const { services } = message
  if (services.case === 'httpService') return parseHttpService(services.value, context.at('http_service'))
  if (services.case !== 'grpcService')
    throw new ConfigError(context.path, 'one of grpc_service, http_service is required')
  return parseGrpcService(services.value, context.at('grpc_service'))
}

function parseOverride(settings: CheckSettings | undefined, context: ParseContext): AuthzService | null {
  const override = settings?.serviceOverride
  if (override?.case === 'httpService') return parseHttpService(override.value, context.at('http_service'))
  if (override?.case === 'grpcService') return parseGrpcService(override.value, context.at('grpc_service'))
  return null
}

function parseGrpcService(service: GrpcService, context: ParseContext): AuthzService {
  const timeoutMs = durationMsOr(service.timeout, DEFAULT_TIMEOUT_MS)
  return { kind: 'grpc', ...parseGrpcTarget(service, timeoutMs, context) }
}

function parseHttpService(service: HttpService, context: ParseContext): AuthzService {
  const uri: HttpUri | undefined = service.serverUri
  if (!uri) throw new ConfigError(context.at('server_uri').path, 'is required')
  const request = service.authorizationRequest
  const response = service.authorizationResponse
  const list = (message: ListStringMatcher | undefined, field: string) => matchers(message, context.at(field))
  return {
    kind: 'http',
    cluster: uri.httpUpstreamType.value ?? '',
    authority: hostAndPath(uri.uri).host,
    pathOverride: checkedOverride(service, context.at('path_override').path),
    pathPrefix: checkedPrefix(service.pathPrefix, context.at('path_prefix').path),
    timeoutMs: durationMsOr(uri.timeout, DEFAULT_TIMEOUT_MS),
    headersToAdd: (request?.headersToAdd ?? []).map(({ key, value }) => ({ name: key.toLowerCase(), value })),
    allowedHeaders: list(request?.allowedHeaders, 'authorization_request.allowed_headers'),
    upstreamHeaders: list(response?.allowedUpstreamHeaders, 'authorization_response.allowed_upstream_headers'),
    upstreamHeadersToAppend: list(
      response?.allowedUpstreamHeadersToAppend,
      'authorization_response.allowed_upstream_headers_to_append',
    ),
    clientHeaders: list(response?.allowedClientHeaders, 'authorization_response.allowed_client_headers'),
    clientHeadersOnSuccess: list(
      response?.allowedClientHeadersOnSuccess,
      'authorization_response.allowed_client_headers_on_success',
    ),
    metadataFromHeaders: list(
      response?.dynamicMetadataFromHeaders,
      'authorization_response.dynamic_metadata_from_headers',
    ),
  }
}

function checkedOverride({ pathOverride, pathPrefix }: HttpService, path: string): string {
  if (pathOverride === '') return ''
  if (pathPrefix !== '') throw new ConfigError(path, 'Only one of path_prefix or path_override may be specified.')
  if (!pathOverride.startsWith('/')) throw new ConfigError(path, 'path_override should start with "/".')
  return pathOverride
}

function checkedPrefix(prefix: string, path: string): string {
  if (prefix !== '' && !prefix.startsWith('/')) throw new ConfigError(path, 'path_prefix should start with "/".')
  return prefix
}
