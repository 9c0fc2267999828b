// A route configuration as plain data: what parse makes on the main thread, structured clone carries to the workers and
// compile turns into a RouteTable there. No class instance, function or regex in here. Times are milliseconds.

import type { LogFormatData } from '../filters/access-loggers/log-format.ts'
import type { MatcherData } from '../matching/config.ts'
import type { RouteTracingData } from '../observe/tracing/config.ts'
import type { AddressMatcherData } from './address-matcher.ts'
import type { HeaderMatcherData } from './header-matcher.ts'
import type { MetadataMatcherData } from './metadata-matcher.ts'
import type { RegexSubstitutionData } from './regex.ts'
import type { StringMatcherData } from './string-matcher.ts'

/** `filter_metadata`: namespace → values. */
export type MetadataData = Readonly<Record<string, Readonly<Record<string, unknown>>>>

export const AppendAction = {
  AppendIfExistsOrAdd: 0,
  AddIfAbsent: 1,
  OverwriteIfExistsOrAdd: 2,
  OverwriteIfExists: 3,
} as const
export type AppendAction = (typeof AppendAction)[keyof typeof AppendAction]

export interface HeaderToAddData {
  readonly name: string
  /** A substitution format string. */
  readonly value: string
  readonly action: AppendAction
  readonly keepEmpty: boolean
}

/** One level's request_headers_to_add/remove or response_headers_to_add/remove; null when it has none. */
export interface HeaderMutationsData {
  readonly add: readonly HeaderToAddData[]
  readonly remove: readonly string[]
  /** Also every header whose name matches. */
  readonly removeMatching?: StringMatcherData
}

/** One of query_parameter_mutations; `value` is a format, '' for a removal. */
export interface QueryMutationData {
  readonly name: string
  readonly value: string
  readonly action: AppendAction | 'remove'
}

/** One entry of typed_per_filter_config. `config` undefined: only enables or disables the filter. */
export interface PerFilterData {
  readonly config: unknown
  readonly disabled: boolean | undefined
}
export type PerFilterConfigs = Readonly<Record<string, PerFilterData>>

/** Runtime fraction in millionths. */
export interface FractionData {
  readonly millionths: number
  readonly runtimeKey: string
}

export type PathMatchData =
  | { readonly kind: 'prefix' | 'path' | 'path_separated_prefix'; readonly value: string }
  | { readonly kind: 'regex'; readonly value: string }
  | { readonly kind: 'connect' }

export interface QueryParameterMatcherData {
  readonly name: string
  /** null: only presence (or absence) counts. */
  readonly match: StringMatcherData | null
  readonly present: boolean
}

export interface CookieMatcherData {
  readonly name: string
  readonly match: StringMatcherData
  readonly invert: boolean
}

export interface RouteMatchData {
  readonly path: PathMatchData
  readonly caseSensitive: boolean
  readonly fraction: FractionData | null
  readonly headers: readonly HeaderMatcherData[]
  readonly queryParameters: readonly QueryParameterMatcherData[]
  readonly cookies: readonly CookieMatcherData[]
  readonly grpc: boolean
  readonly tls: { readonly presented: boolean | null; readonly validated: boolean | null } | null
  readonly dynamicMetadata: readonly MetadataMatcherData[]
  readonly filterState: readonly { readonly key: string; readonly match: StringMatcherData }[]
}

export type HashPolicyData = { readonly terminal: boolean } & (
  | { readonly kind: 'header'; readonly name: string; readonly rewrite: RegexSubstitutionData | null }
  | {
      readonly kind: 'cookie'
      readonly name: string
      readonly path: string
      /** Seconds; null = never generate one, 0 = session cookie. */
      readonly ttlS: number | null
      readonly attributes: readonly { readonly name: string; readonly value: string }[]
    }
  | { readonly kind: 'source_ip' }
  | { readonly kind: 'query_parameter'; readonly name: string }
  | { readonly kind: 'filter_state'; readonly key: string }
)

export interface RetryPolicyData {
  /** Bits of RetryOn. */
  readonly retryOn: number
  readonly numRetries: number
  /** 0 = none. */
  readonly perTryTimeoutMs: number
  readonly perTryIdleTimeoutMs: number
  readonly retriableStatusCodes: readonly number[]
  readonly retriableHeaders: readonly HeaderMatcherData[]
  readonly retriableRequestHeaders: readonly HeaderMatcherData[]
  /** null = 25 ms (runtime upstream.base_retry_backoff_ms) and ten times that. */
  readonly backOff: { readonly baseMs: number; readonly maxMs: number } | null
  readonly rateLimitedBackOff: {
    readonly resetHeaders: readonly { readonly name: string; readonly format: 'SECONDS' | 'UNIX_TIMESTAMP' }[]
    readonly maxMs: number
  } | null
  readonly hostPredicates: readonly RetryHostPredicateData[]
  readonly hostSelectionMaxAttempts: number
  /** `envoy.retry_priorities.previous_priorities`: attempts after which the priorities tried are recounted; 0 = none. */
  readonly previousPrioritiesFrequency: number
}

export type RetryHostPredicateData =
  | { readonly kind: 'previous_hosts' }
  | { readonly kind: 'omit_canary_hosts' }
  | { readonly kind: 'omit_host_metadata'; readonly metadata: Readonly<Record<string, unknown>> }

export interface HedgePolicyData {
  readonly onPerTryTimeout: boolean
}

export interface MirrorData {
  readonly cluster: string
  readonly clusterHeader: string
  readonly fraction: FractionData | null
  readonly disableHostSuffix: boolean
  /** null = the copy's span is sampled as the request's. */
  readonly traceSampled: boolean | null
  /** Changes of the copy's headers, one after the other. */
  readonly headers: readonly HeaderMutationsData[]
  /** '' = the request's host, with a suffix. */
  readonly hostRewrite: string
}

export interface InternalRedirectData {
  readonly maxRedirects: number
  readonly responseCodes: readonly number[]
  readonly allowCrossScheme: boolean
  readonly headersToCopy: readonly string[]
  readonly predicates: readonly InternalRedirectPredicateData[]
}

export type InternalRedirectPredicateData =
  | { readonly kind: 'previous_routes' }
  | { readonly kind: 'safe_cross_scheme' }
  | { readonly kind: 'allow_listed_routes'; readonly names: readonly string[] }

export type RateLimitActionData =
  | { readonly kind: 'source_cluster' | 'destination_cluster' | 'remote_address' }
  | { readonly kind: 'masked_remote_address'; readonly v4PrefixLength: number; readonly v6PrefixLength: number }
  | { readonly kind: 'request_headers'; readonly name: string; readonly key: string; readonly skipIfAbsent: boolean }
  | { readonly kind: 'generic_key'; readonly key: string; readonly value: string }
  | {
      readonly kind: 'header_value_match'
      readonly key: string
      readonly value: string
      readonly expect: boolean
      readonly headers: readonly HeaderMatcherData[]
    }
  | {
      readonly kind: 'query_parameter_value_match'
      readonly key: string
      readonly value: string
      readonly expect: boolean
      readonly queryParameters: readonly QueryParameterMatcherData[]
    }
  | {
      readonly kind: 'query_parameters'
      readonly key: string
      readonly name: string
      readonly skipIfAbsent: boolean
    }
  | {
      readonly kind: 'remote_address_match'
      readonly key: string
      /** A format string. */
      readonly value: string
      /** In place of a value that the format leaves empty; '' = there is none, and the descriptor is dropped. */
      readonly defaultValue: string
      readonly addresses: AddressMatcherData
    }
  | {
      readonly kind: 'metadata'
      readonly key: string
      readonly source: 'dynamic' | 'route' | 'cluster'
      readonly filter: string
      readonly path: readonly string[]
      readonly defaultValue: string
      readonly skipIfAbsent: boolean
    }

export interface RateLimitData {
  readonly stage: number
  readonly disableKey: string
  readonly actions: readonly RateLimitActionData[]
  /** null = the service decides, which adds 1. */
  readonly hitsAddend: HitsAddendData | null
  /** A limit for the descriptor in place of the service's: a fixed one, or where the dynamic metadata holds it. */
  readonly limit:
    | { readonly kind: 'fixed'; readonly requestsPerUnit: number; readonly unit: number }
    | { readonly kind: 'metadata'; readonly filter: string; readonly path: readonly string[] }
    | null
  /** x-ratelimit headers tell of this limit; null = as the filter's configuration says. */
  readonly told: boolean | null
  /** Asked about when the request is over, and without effect on it. */
  readonly onStreamDone: boolean
}

export interface HitsAddendData {
  readonly source: 'number' | 'format'
  readonly number: number
  /** A single command. */
  readonly format: string
  /** The hits are given back. */
  readonly negative: boolean
}

export type HostRewriteData =
  | { readonly kind: 'literal'; readonly host: string }
  | { readonly kind: 'auto' }
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'path_regex'; readonly rewrite: RegexSubstitutionData }
  /** A substitution format string. */
  | { readonly kind: 'format'; readonly format: string }

export type PathRewriteData =
  | { readonly kind: 'prefix'; readonly value: string }
  | { readonly kind: 'regex'; readonly rewrite: RegexSubstitutionData }
  /** A substitution format string for the whole path. */
  | { readonly kind: 'format'; readonly format: string }

export interface WeightedClusterData {
  readonly name: string
  readonly clusterHeader: string
  readonly weight: number
  readonly metadataMatch: Readonly<Record<string, unknown>> | null
  readonly requestHeaders: HeaderMutationsData | null
  readonly responseHeaders: HeaderMutationsData | null
  readonly perFilter: PerFilterConfigs
  readonly hostRewriteLiteral: string
}

export type ClusterSpecifierData =
  | { readonly kind: 'cluster'; readonly name: string }
  | { readonly kind: 'cluster_header'; readonly header: string }
  | {
      readonly kind: 'weighted'
      readonly clusters: readonly WeightedClusterData[]
      /** The drawn value is this header's integer, where set. */
      readonly randomValueHeader: string
      /** The drawn value is the hash of the route's hash policy, where that gives one. */
      readonly useHashPolicy: boolean
      /** Weights are overridden by `<prefix>.<cluster name>` in the runtime, where set. */
      readonly runtimeKeyPrefix: string
    }

export interface RouteActionData {
  readonly kind: 'route'
  readonly cluster: ClusterSpecifierData
  readonly clusterNotFoundStatus: number
  readonly metadataMatch: Readonly<Record<string, unknown>> | null
  readonly pathRewrite: PathRewriteData | null
  readonly hostRewrite: HostRewriteData | null
  readonly appendXForwardedHost: boolean
  /** 0 = none. */
  readonly timeoutMs: number
  readonly idleTimeoutMs: number | null
  readonly flushTimeoutMs: number | null
  readonly retryPolicy: RetryPolicyData | null
  readonly hedgePolicy: HedgePolicyData | null
  /** Empty = the virtual host's, then the route configuration's. */
  readonly mirrors: readonly MirrorData[]
  readonly priority: 'DEFAULT' | 'HIGH'
  readonly rateLimits: readonly RateLimitData[]
  readonly includeVhRateLimits: boolean
  readonly hashPolicies: readonly HashPolicyData[]
  readonly maxGrpcTimeoutMs: number | null
  readonly grpcTimeoutOffsetMs: number | null
  /** max_stream_duration is there, if empty: `timeout` and max_grpc_timeout do not apply then. */
  readonly hasMaxStreamDuration: boolean
  readonly maxStreamDurationMs: number | null
  readonly grpcTimeoutHeaderMaxMs: number | null
  readonly grpcTimeoutHeaderOffsetMs: number | null
  /** Upgrade type (lower case) → enabled. */
  readonly upgrades: Readonly<Record<string, boolean>>
  /** CONNECT (and POST, where allowed) ends here and becomes raw TCP. */
  readonly connectTerminates: {
    readonly allowPost: boolean
    /** Version of the PROXY header that goes ahead of the bytes; null = none does. */
    readonly proxyProtocol: 1 | 2 | null
  } | null
  readonly internalRedirect: InternalRedirectData | null
}

export interface RedirectData {
  readonly kind: 'redirect'
  readonly status: number
  readonly httpsRedirect: boolean
  readonly schemeRedirect: string
  readonly hostRedirect: string
  readonly portRedirect: number
  readonly pathRedirect: string
  /** `path_rewrite`: a substitution format string for what path_redirect says. */
  readonly pathFormat: string
  readonly pathRewrite: PathRewriteData | null
  readonly stripQuery: boolean
}

export interface DirectResponseData {
  readonly kind: 'direct_response'
  readonly status: number
  readonly body: string
  /** Makes the body of `body` and the request. */
  readonly bodyFormat: { readonly format: LogFormatData; readonly contentType: string } | null
}

export interface RouteData {
  readonly name: string
  readonly match: RouteMatchData
  readonly action: RouteActionData | RedirectData | DirectResponseData | { readonly kind: 'non_forwarding_action' }
  readonly metadata: MetadataData | null
  readonly decorator: { readonly operation: string; readonly propagate: boolean } | null
  readonly requestHeaders: HeaderMutationsData | null
  readonly responseHeaders: HeaderMutationsData | null
  readonly perFilter: PerFilterConfigs
  readonly tracing: RouteTracingData | null
  readonly maxRequestBufferBytes: number | null
  readonly statPrefix: string
}

export interface VirtualClusterData {
  readonly name: string
  readonly headers: readonly HeaderMatcherData[]
}

export interface VirtualHostData {
  readonly name: string
  readonly domains: readonly string[]
  readonly routes: readonly RouteData[]
  /** Chooses the routes that are looked through, in place of `routes`; null = there is none. */
  readonly matcher: MatcherData<readonly RouteData[]> | null
  readonly requireTls: 'NONE' | 'EXTERNAL_ONLY' | 'ALL'
  readonly virtualClusters: readonly VirtualClusterData[]
  readonly rateLimits: readonly RateLimitData[]
  readonly requestHeaders: HeaderMutationsData | null
  readonly responseHeaders: HeaderMutationsData | null
  readonly perFilter: PerFilterConfigs
  readonly includeRequestAttemptCount: boolean
  readonly includeAttemptCountInResponse: boolean
  readonly includeIsTimeoutRetryHeader: boolean
  readonly retryPolicy: RetryPolicyData | null
  readonly hedgePolicy: HedgePolicyData | null
  readonly maxRequestBufferBytes: number | null
  readonly mirrors: readonly MirrorData[]
  readonly metadata: MetadataData | null
}

export interface RouteConfigData {
  readonly name: string
  readonly virtualHosts: readonly VirtualHostData[]
  readonly internalOnlyHeaders: readonly string[]
  readonly requestHeaders: HeaderMutationsData | null
  readonly responseHeaders: HeaderMutationsData | null
  readonly mostSpecificHeaderMutationsWins: boolean
  /** The header whose value chooses the virtual host, lower case; '' = the host. */
  readonly vhostHeader: string
  readonly ignorePortInHostMatching: boolean
  readonly ignorePathParametersInPathMatching: boolean
  readonly perFilter: PerFilterConfigs
  readonly mirrors: readonly MirrorData[]
  readonly metadata: MetadataData | null
  /** null: static route configurations check that clusters exist, dynamic ones do not. */
  readonly validateClusters: boolean | null
  /** Clusters named by routes, for that check. */
  readonly clusters: readonly string[]
}

/** How a route configuration of RDS differs from the one before. */
export interface RouteConfigChange {
  /** Holds the virtual hosts that are new or differ, and no others; all else is as before. */
  readonly config: RouteConfigData
  /** For each virtual host there now its position before, or -1: it is the next of `config`. */
  readonly from: readonly number[]
  /** Names, domains and their order are as before. */
  readonly sameDomains: boolean
}
