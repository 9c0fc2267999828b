// The descriptors of a request: what rate_limits of its route and virtual host make of it (envoy-contract §7.8). Pure.

import { RateLimitUnit } from '../../api/gen/envoy/type/v3/ratelimit_unit_pb.js'
import { cidrContains, parseCidr } from '../../base/cidr.ts'
import type { RuntimeSnapshot } from '../config/extension.ts'
import type { HeaderMap } from '../http/header-map.ts'
import type { LogContext } from '../observe/access-log.ts'
import { compileHeaderFormat } from '../observe/format/text-format.ts'
import type { StreamInfo } from '../stream-info.ts'
import { matchesAddress } from './address-matcher.ts'
import type { RateLimitActionData, RateLimitData } from './config.ts'
import { compileHeaderMatchers, type HeadersMatch } from './header-matcher.ts'
import { metadataValue } from './metadata-matcher.ts'
import { compileHits, type Hits } from './rate-limit-hits.ts'
import { decodedQueryParameter } from './request-path.ts'
import type { Route } from './route.ts'
import { compileQueryParameters } from './route-match.ts'

export type DescriptorEntry = readonly [key: string, value: string]
export type Descriptor = readonly DescriptorEntry[]

/** A limit that the request brings along, in place of the service's. */
export interface LimitOverride {
  readonly requestsPerUnit: number
  readonly unit: RateLimitUnit
}

/** What a limit makes of a request. */
export interface RequestDescriptor {
  readonly entries: Descriptor
  /** null = the service decides, which adds 1. */
  readonly hits: number | null
  /** The hits are given back. */
  readonly negative: boolean
  readonly limit: LimitOverride | null
  /** x-ratelimit headers tell of this limit; null = as the filter's configuration says. */
  readonly told: boolean | null
}

/** Limits for the request, those that are asked about when it is over, or both. */
export type LimitsFor = 'request' | 'stream done' | 'both'

/** What the actions read. */
export interface DescriptorFacts {
  readonly headers: HeaderMap
  /** null before there is a response. */
  readonly responseHeaders: HeaderMap | null
  readonly info: StreamInfo
  readonly route: Route
  /** `--service-cluster` or node.cluster. */
  readonly localCluster: string
  /** `ratelimit.<disable_key>.http_filter_enabled` (percent, 100) switches limits off; without it those with a key are. */
  readonly runtime?: RuntimeSnapshot
}

type Metadata = Readonly<Record<string, Readonly<Record<string, unknown>>>>

/** What a route does with the limits of its virtual host. */
export type VhRateLimits = 'override' | 'include' | 'ignore'

/** `SKIP`: the action adds nothing but spoils nothing; null: the whole descriptor is dropped. */
const SKIP = Symbol('skip')
type Action = (facts: DescriptorFacts) => DescriptorEntry | typeof SKIP | null

/** Compiled limits by the data they came from, which lives as long as its route table. */
const compiled = new WeakMap<readonly RateLimitData[], readonly CompiledLimit[]>()

interface CompiledLimit {
  readonly data: RateLimitData
  readonly actions: readonly Action[]
  readonly hits: Hits | null
}

/**
 * Descriptors for `stage`, of the route's limits and of its virtual host's: those count where the route has none of its
 * own (`override`), always, or never.
 */
export function descriptorsOf(
  facts: DescriptorFacts,
  stage: number,
  vhRateLimits: VhRateLimits,
  limitsFor: LimitsFor,
): RequestDescriptor[] {
  const { forward, virtualHost } = facts.route
  if (!forward) return []
  const out = describeAll(forward.rateLimits, facts, stage, limitsFor)
  const include = forward.includeVhRateLimits || vhRateLimits === 'include'
  if (include || (vhRateLimits === 'override' && forward.rateLimits.length === 0))
    collect(virtualHost.rateLimits, facts, stage, limitsFor, out)
  return out
}

/** Descriptors of these limits alone. */
export function describeAll(
  limits: readonly RateLimitData[],
  facts: DescriptorFacts,
  stage: number,
  limitsFor: LimitsFor,
): RequestDescriptor[] {
  const out: RequestDescriptor[] = []
  collect(limits, facts, stage, limitsFor, out)
  return out
}

function collect(
  limits: readonly RateLimitData[],
  facts: DescriptorFacts,
  stage: number,
  limitsFor: LimitsFor,
  out: RequestDescriptor[],
): void {
  let list = compiled.get(limits)
  if (!list) {
    list = limits.map((data) => ({
      data,
      actions: data.actions.map(compileAction),
      hits: data.hitsAddend && compileHits(data.hitsAddend),
    }))
    compiled.set(limits, list)
  }
  for (const limit of list) {
    const { data } = limit
    if (limitsFor !== 'both' && data.onStreamDone !== (limitsFor === 'stream done')) continue
    if (data.stage !== stage || isDisabled(data.disableKey, facts)) continue
    const descriptor = describe(limit, facts)
    if (descriptor !== null) out.push(descriptor)
  }
}

function isDisabled(key: string, { runtime, info }: DescriptorFacts): boolean {
  if (key === '') return false
  return runtime === undefined || info.random % 100 >= runtime.number(`ratelimit.${key}.http_filter_enabled`, 100)
}

function describe({ data, actions, hits }: CompiledLimit, facts: DescriptorFacts): RequestDescriptor | null {
  const entries: DescriptorEntry[] = []
  for (const action of actions) {
    const entry = action(facts)
    if (entry === null) return null
    if (entry !== SKIP) entries.push(entry)
  }
  const count = hits === null ? null : hits(formatContext(facts))
  if (hits !== null && count === null) return null
  const limit = data.limit && overrideOf(data.limit, facts.info)
  return { entries, hits: count, negative: data.hitsAddend?.negative ?? false, limit, told: data.told }
}

function formatContext({ headers, responseHeaders, info }: DescriptorFacts): LogContext {
  return { info, requestHeaders: headers, responseHeaders, responseTrailers: null, localReplyBody: '', type: 'NotSet' }
}

function overrideOf(limit: NonNullable<RateLimitData['limit']>, info: StreamInfo): LimitOverride | null {
  return limit.kind === 'fixed' ? limit : limitOf(metadataValue(info.dynamicMetadata, limit.filter, limit.path))
}

/** `{requests_per_unit, unit}` of metadata; null for what is no such thing, which overrides nothing. */
function limitOf(value: unknown): LimitOverride | null {
  if (typeof value !== 'object' || value === null) return null
  const { requests_per_unit: requests, unit } = value as Readonly<Record<string, unknown>>
  if (typeof requests !== 'number' || typeof unit !== 'string') return null
  const known = UNITS.get(unit)
  // A number that does not fit wraps, as when it is cut to 32 bits.
  return known === undefined ? null : { requestsPerUnit: Math.trunc(requests) >>> 0, unit: known }
}

/** By name. */
const UNITS: ReadonlyMap<string, RateLimitUnit> = new Map(
  Object.entries(RateLimitUnit).filter((entry): entry is [string, RateLimitUnit] => typeof entry[1] === 'number'),
)

function compileAction(data: RateLimitActionData): Action {
  switch (data.kind) {
    case 'source_cluster':
      return ({ localCluster }) => ['source_cluster', localCluster]
    case 'destination_cluster':
      return ({ route, headers }) => ['destination_cluster', route.clusterName(headers)]
    case 'remote_address':
      return ({ info }) =>
        info.downstream.remoteAddress.ip ? ['remote_address', info.downstream.remoteAddress.ip] : null
    case 'masked_remote_address':
      return ({ info }) => {
        const range = maskedRange(info.downstream.remoteAddress.ip, data.v4PrefixLength, data.v6PrefixLength)
        return range === null ? null : ['masked_remote_address', range]
      }
    case 'request_headers':
      return ({ headers }) => {
        const value = headers.getAll(data.name)
        return value === undefined ? (data.skipIfAbsent ? SKIP : null) : [data.key, value]
      }
    case 'generic_key':
      return () => [data.key, data.value]
    case 'header_value_match': {
      const match: HeadersMatch = compileHeaderMatchers(data.headers)
      return ({ headers }) => (match(headers) === data.expect ? [data.key, data.value] : null)
    }
    case 'query_parameter_value_match': {
      const match = compileQueryParameters(data.queryParameters)
      return ({ headers }) => ((match === null || match(headers.path)) === data.expect ? [data.key, data.value] : null)
    }
    case 'query_parameters':
      return ({ headers }) => {
        const value = decodedQueryParameter(headers.path, data.name)
        return value === undefined ? (data.skipIfAbsent ? SKIP : null) : [data.key, value]
      }
    case 'remote_address_match': {
      const format = compileHeaderFormat(data.value, 'descriptor_value')
      return ({ headers, responseHeaders, info }) => {
        if (!matchesAddress(data.addresses, info.downstream.remoteAddress.ip)) return null
        const value = format.format(headers, responseHeaders, info) || data.defaultValue
        return value === '' ? null : [data.key, value]
      }
    }
    case 'metadata':
      return ({ info, route }) => {
        const metadata = metadataOf(data.source, info, route)
        const value = metadataValue(metadata, data.filter, data.path)
        if (typeof value === 'string' && value !== '') return [data.key, value]
        if (data.defaultValue !== '') return [data.key, data.defaultValue]
        return data.skipIfAbsent ? SKIP : null
      }
  }
}

function metadataOf(source: 'dynamic' | 'route' | 'cluster', info: StreamInfo, route: Route): Metadata | null {
  switch (source) {
    case 'dynamic':
      return info.dynamicMetadata
    case 'route':
      return route.metadata
    case 'cluster':
      return info.upstreamClusterMetadata as Metadata | null
  }
}

/** `10.1.0.0/16` of an address; null when it is none. */
function maskedRange(ip: string, v4: number, v6: number): string | null {
  const length = ip.includes(':') ? v6 : v4
  const range = parseCidr(ip, length)
  if (range === null || !cidrContains(range, range)) return null
  if (!range.v6) {
    const word = range.words[0]! >>> 0
    return `${[word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255].join('.')}/${length}`
  }
  const groups = range.words.flatMap((word) => [((word >>> 16) & 0xffff).toString(16), (word & 0xffff).toString(16)])
  const url = new URL(`http://[${groups.join(':')}]`)
  return `${url.hostname.slice(1, -1)}/${length}`
}
