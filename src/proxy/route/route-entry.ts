// Compiled routes. Everything that does not depend on the request is worked out here, once per configuration.

import type { RuntimeSnapshot } from '../config/extension.ts'
import { compileLogFormat, type LineFormat } from '../filters/access-loggers/log-format.ts'
import type { HeaderMap } from '../http/header-map.ts'
import { compileHeaderFormat, type HeaderFormat } from '../observe/format/text-format.ts'
import type { RouteTracingData } from '../observe/tracing/config.ts'
import type { StreamInfo } from '../stream-info.ts'
import type {
  DirectResponseData,
  HeaderMutationsData,
  HedgePolicyData,
  InternalRedirectData,
  MirrorData,
  PerFilterConfigs,
  RateLimitData,
  RedirectData,
  RouteActionData,
  RouteConfigData,
  RouteData,
  VirtualHostData,
  WeightedClusterData,
} from './config.ts'
import { HashPolicy } from './hash-policy.ts'
import { compileHeaderMatchers, type HeadersMatch } from './header-matcher.ts'
import { HeaderMutations } from './header-mutation.ts'
import { redirectLocation } from './redirect.ts'
import { compileRetryPolicy, type RetryPolicy } from './retry-policy.ts'
import {
  compileHostRewrite,
  compilePathRewrite,
  type HostRewrite,
  type PathRewrite,
  updateAuthority,
} from './rewrite.ts'
import type { DirectAction, ForwardAction, Mirror, Route, VirtualHost } from './route.ts'
import { inFraction } from './route-match.ts'

/** What routes of one virtual host share. */
export class VirtualHostEntry implements VirtualHost {
  readonly name: string
  readonly includeRequestAttemptCount: boolean
  readonly includeAttemptCountInResponse: boolean
  readonly includeIsTimeoutRetryHeader: boolean
  readonly rateLimits: readonly RateLimitData[]
  readonly data: VirtualHostData
  readonly config: RouteConfigData
  readonly runtime: RuntimeSnapshot
  readonly hasVirtualClusters: boolean
  readonly virtualClusters: readonly { readonly name: string; readonly matches: HeadersMatch }[]

  constructor(data: VirtualHostData, config: RouteConfigData, runtime: RuntimeSnapshot) {
    this.name = data.name
    this.includeRequestAttemptCount = data.includeRequestAttemptCount
    this.includeAttemptCountInResponse = data.includeAttemptCountInResponse
    this.includeIsTimeoutRetryHeader = data.includeIsTimeoutRetryHeader
    this.rateLimits = data.rateLimits
    this.data = data
    this.config = config
    this.runtime = runtime
    this.hasVirtualClusters = data.virtualClusters.length > 0
    this.virtualClusters = data.virtualClusters.map((cluster) => ({
      name: cluster.name,
      matches: compileHeaderMatchers(cluster.headers),
    }))
  }
}

class ForwardEntry implements ForwardAction {
  readonly timeoutMs: number
  readonly maxGrpcTimeoutMs: number | null
  readonly grpcTimeoutOffsetMs: number | null
  readonly hasMaxStreamDuration: boolean
  readonly maxStreamDurationMs: number | null
  readonly grpcTimeoutHeaderMaxMs: number | null
  readonly grpcTimeoutHeaderOffsetMs: number | null
  readonly clusterNotFoundStatus: number
  readonly priority: 'DEFAULT' | 'HIGH'
  readonly metadataMatch: Readonly<Record<string, unknown>> | null
  readonly hashPolicy: HashPolicy | null
  readonly retryPolicy: RetryPolicy | null
  readonly hedgePolicy: HedgePolicyData | null
  readonly mirrors: readonly Mirror[]
  readonly rateLimits: readonly RateLimitData[]
  readonly includeVhRateLimits: boolean
  readonly internalRedirect: InternalRedirectData | null
  readonly connectTerminates: RouteActionData['connectTerminates']
  readonly autoHostRewrite: boolean
  readonly appendXForwardedHost: boolean

  constructor(action: RouteActionData, host: VirtualHostEntry, weighted: WeightedClusterData | null) {
    this.timeoutMs = action.timeoutMs
    this.maxGrpcTimeoutMs = action.maxGrpcTimeoutMs
    this.grpcTimeoutOffsetMs = action.grpcTimeoutOffsetMs
    this.hasMaxStreamDuration = action.hasMaxStreamDuration
    this.maxStreamDurationMs = action.maxStreamDurationMs
    this.grpcTimeoutHeaderMaxMs = action.grpcTimeoutHeaderMaxMs
    this.grpcTimeoutHeaderOffsetMs = action.grpcTimeoutHeaderOffsetMs
    this.clusterNotFoundStatus = action.clusterNotFoundStatus
    this.priority = action.priority
    this.metadataMatch = weighted?.metadataMatch
      ? { ...action.metadataMatch, ...weighted.metadataMatch }
      : action.metadataMatch
    this.hashPolicy = action.hashPolicies.length > 0 ? new HashPolicy(action.hashPolicies) : null
    const retry = action.retryPolicy ?? host.data.retryPolicy
    this.retryPolicy = retry ? compileRetryPolicy(retry) : null
    this.hedgePolicy = action.hedgePolicy ?? host.data.hedgePolicy
    this.mirrors = compileMirrors(action.mirrors, host)
    this.rateLimits = action.rateLimits
    this.includeVhRateLimits = action.includeVhRateLimits
    this.internalRedirect = action.internalRedirect
    this.connectTerminates = action.connectTerminates
    this.autoHostRewrite = action.hostRewrite?.kind === 'auto' && !weighted?.hostRewriteLiteral
    this.appendXForwardedHost = action.appendXForwardedHost
  }
}

/** The most specific level that has any decides. */
function compileMirrors(own: readonly MirrorData[], host: VirtualHostEntry): Mirror[] {
  const { runtime } = host
  const list = own.length > 0 ? own : host.data.mirrors.length > 0 ? host.data.mirrors : host.config.mirrors
  return list.map(({ fraction, headers, ...mirror }) => ({
    ...mirror,
    headers: headers.map((mutation) => new HeaderMutations(mutation)),
    selects: (random) => fraction === null || inFraction(fraction, runtime, random),
  }))
}

/** Changes nothing: the location is where the request went. */
const NO_REDIRECT: RedirectData = {
  kind: 'redirect',
  status: 301,
  schemeRedirect: '',
  httpsRedirect: false,
  hostRedirect: '',
  portRedirect: 0,
  pathRedirect: '',
  pathFormat: '',
  pathRewrite: null,
  stripQuery: false,
}

class DirectEntry implements DirectAction {
  readonly status: number
  readonly body: string
  private readonly redirect: RedirectData | null
  private readonly pathRewrite: PathRewrite | null
  private readonly pathFormat: HeaderFormat | null

  readonly contentType: string
  private readonly format: LineFormat | null

  constructor(
    status: number,
    body: string,
    bodyFormat: DirectResponseData['bodyFormat'],
    redirect: RedirectData | null,
    pathRewrite: PathRewrite | null,
  ) {
    this.status = status
    this.body = body
    this.format = bodyFormat && compileLogFormat(bodyFormat.format)
    const json = bodyFormat?.format.kind === 'json' ? 'application/json' : ''
    this.contentType = bodyFormat?.contentType || json
    this.redirect = redirect
    this.pathFormat = redirect?.pathFormat ? compileHeaderFormat(redirect.pathFormat, 'path_rewrite') : null
    this.pathRewrite = pathRewrite
  }

  text(headers: HeaderMap, info: StreamInfo): string {
    if (this.format === null) return this.body
    return this.format.format({
      info,
      requestHeaders: headers,
      responseHeaders: null,
      responseTrailers: null,
      localReplyBody: this.body,
      type: 'NotSet',
    })
  }

  location(headers: HeaderMap, info: StreamInfo, insertOriginalPath: boolean): string {
    // A direct response that creates or redirects names the request's own URL (RFC 9110 §10.2.2).
    if (this.redirect === null)
      return this.status === 201 || (this.status >= 300 && this.status < 400)
        ? redirectLocation(NO_REDIRECT, headers, '')
        : ''
    if (this.pathRewrite !== null) rewritePath(headers, this.pathRewrite, info, insertOriginalPath)
    const path = this.pathFormat === null ? this.redirect.pathRedirect : this.pathFormat.format(headers, null, info)
    return redirectLocation(this.redirect, headers, path)
  }
}

function rewritePath(headers: HeaderMap, rewrite: PathRewrite, info: StreamInfo, insertOriginalPath: boolean): void {
  const path = rewrite(headers.path, headers, info)
  if (path === '') return
  if (insertOriginalPath) headers.set('x-envoy-original-path', headers.path)
  headers.path = path
}

/** A route, or one weighted cluster of it. */
export class RouteEntry implements Route {
  readonly name: string
  readonly virtualHost: VirtualHostEntry
  readonly virtualHostName: string
  readonly routeConfigName: string
  readonly action: Route['action']
  readonly metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>> | null
  readonly decorator: { readonly operation: string; readonly propagate: boolean } | null
  readonly idleTimeoutMs: number | null
  readonly flushTimeoutMs: number | null
  readonly upgradeTypes: ReadonlyMap<string, boolean> | null
  readonly maxRequestBufferBytes: number | null
  readonly statPrefix: string
  readonly forward: ForwardAction | null
  readonly direct: DirectAction | null
  readonly tracing: RouteTracingData | null
  private readonly cluster: string
  private readonly clusterHeader: string
  private readonly perFilter: ReadonlyMap<string, PerFilter>
  private readonly requestHeaders: readonly HeaderMutations[]
  private readonly responseHeaders: readonly HeaderMutations[]
  private readonly pathRewrite: PathRewrite | null
  private readonly hostRewrite: HostRewrite | null

  constructor(data: RouteData, host: VirtualHostEntry, weighted: WeightedClusterData | null) {
    const action = data.action
    const forward = action.kind === 'route' ? action : null
    const config = host.config
    this.name = data.name
    this.virtualHost = host
    this.virtualHostName = host.name
    this.routeConfigName = config.name
    this.action = action.kind
    this.metadata = data.metadata
    this.decorator = data.decorator
    this.idleTimeoutMs = forward?.idleTimeoutMs ?? null
    this.flushTimeoutMs = forward?.flushTimeoutMs ?? null
    const upgrades = forward ? Object.entries(forward.upgrades) : []
    this.upgradeTypes = upgrades.length > 0 ? new Map(upgrades) : null
    this.maxRequestBufferBytes = data.maxRequestBufferBytes ?? host.data.maxRequestBufferBytes
    this.statPrefix = data.statPrefix
    this.forward = forward ? new ForwardEntry(forward, host, weighted) : null
    this.direct = compileDirect(data)
    this.tracing = data.tracing
    const specifier = forward?.cluster
    this.cluster = weighted ? weighted.name : specifier?.kind === 'cluster' ? specifier.name : ''
    this.clusterHeader = weighted
      ? weighted.clusterHeader
      : specifier?.kind === 'cluster_header'
        ? specifier.header
        : ''
    this.perFilter = mergePerFilter([config.perFilter, host.data.perFilter, data.perFilter, weighted?.perFilter ?? {}])
    const levels = (weightedLevel: HeaderMutationsData | null, pick: 'requestHeaders' | 'responseHeaders') =>
      compileMutations(
        weightedLevel,
        [data[pick], host.data[pick], config[pick]],
        config.mostSpecificHeaderMutationsWins,
      )
    this.requestHeaders = levels(weighted?.requestHeaders ?? null, 'requestHeaders')
    this.responseHeaders = levels(weighted?.responseHeaders ?? null, 'responseHeaders')
    this.pathRewrite = forward ? compilePathRewrite(forward.pathRewrite, data.match.path) : null
    this.hostRewrite = weighted?.hostRewriteLiteral
      ? compileHostRewrite({ kind: 'literal', host: weighted.hostRewriteLiteral })
      : compileHostRewrite(forward?.hostRewrite ?? null)
  }

  clusterName(headers: HeaderMap): string {
    return this.clusterHeader === '' ? this.cluster : (headers.get(this.clusterHeader) ?? '')
  }

  virtualClusterName(headers: HeaderMap): string {
    const list = this.virtualHost.virtualClusters
    for (let i = 0; i < list.length; i++) if (list[i]!.matches(headers)) return list[i]!.name
    return ''
  }

  perFilterConfig(filterName: string): unknown {
    return this.perFilter.get(filterName)?.config
  }

  perFilterConfigs(filterName: string): readonly unknown[] {
    return this.perFilter.get(filterName)?.configs ?? NONE
  }

  filterDisabled(filterName: string): boolean | undefined {
    return this.perFilter.get(filterName)?.disabled
  }

  finalizeRequestHeaders(headers: HeaderMap, info: StreamInfo, keepOriginals: boolean): void {
    // Mutations first: they may read what the rewrites below replace.
    for (let i = 0; i < this.requestHeaders.length; i++) this.requestHeaders[i]!.apply(headers, info, headers, null)
    if (this.hostRewrite !== null) {
      const host = this.hostRewrite(headers, info)
      if (host !== '') updateAuthority(headers, host, this.forward!.appendXForwardedHost, keepOriginals)
    }
    if (this.pathRewrite !== null) rewritePath(headers, this.pathRewrite, info, keepOriginals)
  }

  finalizeResponseHeaders(headers: HeaderMap, info: StreamInfo, requestHeaders: HeaderMap): void {
    for (let i = 0; i < this.responseHeaders.length; i++) {
      this.responseHeaders[i]!.apply(headers, info, requestHeaders, headers)
    }
  }
}

const NONE: readonly unknown[] = []

function compileDirect(data: RouteData): DirectAction | null {
  const action = data.action
  if (action.kind === 'direct_response')
    return new DirectEntry(action.status, action.body, action.bodyFormat, null, null)
  if (action.kind !== 'redirect') return null
  return new DirectEntry(action.status, '', null, action, compilePathRewrite(action.pathRewrite, data.match.path))
}

/**
 * Most specific level first, as they run; the other way round when the most specific is to win. Those of a weighted
 * cluster always run first (Envoy).
 */
function compileMutations(
  weighted: HeaderMutationsData | null,
  levels: (HeaderMutationsData | null)[],
  mostSpecificWins: boolean,
): HeaderMutations[] {
  const set = mostSpecificWins ? levels.reverse() : levels
  return [weighted, ...set].filter((level) => level !== null).map((level) => new HeaderMutations(level))
}

interface PerFilter {
  config: unknown
  disabled: boolean | undefined
  readonly configs: unknown[]
}

/** Levels from the least specific. */
function mergePerFilter(levels: readonly PerFilterConfigs[]): ReadonlyMap<string, PerFilter> {
  const merged = new Map<string, PerFilter>()
  for (const level of levels) {
    for (const [name, { config, disabled }] of Object.entries(level)) {
      let entry = merged.get(name)
      if (!entry) merged.set(name, (entry = { config: undefined, disabled: undefined, configs: [] }))
      // Who configures a filter wants it, too: also one that the chain has disabled (Envoy).
      if (disabled !== undefined || config !== undefined) entry.disabled = disabled ?? false
      if (config === undefined) continue
      entry.config = config
      entry.configs.push(config)
    }
  }
  return merged
}
