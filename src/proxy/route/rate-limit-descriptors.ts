// The descriptors of a request: what rate_limits of its route and virtual host make of it (envoy-contract §7.8). Pure.

import { cidrContains, parseCidr } from '../../base/cidr.ts'
import type { RuntimeSnapshot } from '../config/extension.ts'
import type { HeaderMap } from '../http/header-map.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { RateLimitActionData, RateLimitData } from './config.ts'
import { compileHeaderMatchers, type HeadersMatch } from './header-matcher.ts'
import { metadataValue } from './metadata-matcher.ts'
import type { Route } from './route.ts'
import { compileQueryParameters } from './route-match.ts'

export type DescriptorEntry = readonly [key: string, value: string]
export type Descriptor = readonly DescriptorEntry[]

/** What the actions read. */
export interface DescriptorFacts {
  readonly headers: HeaderMap
  readonly info: StreamInfo
  readonly route: Route
  /** `--service-cluster` or node.cluster. */
  readonly localCluster: string
  /** `ratelimit.<disable_key>.http_filter_enabled` (percent, 100) switches limits off; without it those with a key are. */
  readonly runtime?: RuntimeSnapshot
}

/** What a route does with the limits of its virtual host. */
export type VhRateLimits = 'override' | 'include' | 'ignore'

/** `SKIP`: the action adds nothing but spoils nothing; null: the whole descriptor is dropped. */
const SKIP = Symbol('skip')
type Action = (facts: DescriptorFacts) => DescriptorEntry | typeof SKIP | null

/** Compiled limits by the data they came from, which lives as long as its route table. */
const compiled = new WeakMap<
  readonly RateLimitData[],
  readonly { readonly stage: number; readonly disableKey: string; readonly actions: readonly Action[] }[]
>()

/**
 * Descriptors for `stage`, of the route's limits and of its virtual host's: those count where the route has none of its
 * own (`override`), always, or never.
 */
export function descriptorsOf(
  facts: DescriptorFacts,
  stage: number,
  vhRateLimits: VhRateLimits = 'override',
): Descriptor[] {
  const { forward, virtualHost } = facts.route
  if (!forward) return []
  const out = describeAll(forward.rateLimits, facts, stage)
  const include = forward.includeVhRateLimits || vhRateLimits === 'include'
  if (include || (vhRateLimits === 'override' && forward.rateLimits.length === 0))
    collect(virtualHost.rateLimits, facts, stage, out)
  return out
}

/** Descriptors of these limits alone. */
export function describeAll(limits: readonly RateLimitData[], facts: DescriptorFacts, stage: number): Descriptor[] {
  const out: Descriptor[] = []
  collect(limits, facts, stage, out)
  return out
}

function collect(limits: readonly RateLimitData[], facts: DescriptorFacts, stage: number, out: Descriptor[]): void {
  let list = compiled.get(limits)
  if (!list) {
    list = limits.map((limit) => ({
      stage: limit.stage,
      disableKey: limit.disableKey,
      actions: limit.actions.map(compileAction),
    }))
    compiled.set(limits, list)
  }
  for (const limit of list) {
    if (limit.stage !== stage || isDisabled(limit.disableKey, facts)) continue
    const descriptor = describe(limit.actions, facts)
    if (descriptor !== null && descriptor.length > 0) out.push(descriptor)
  }
}

function isDisabled(key: string, { runtime, info }: DescriptorFacts): boolean {
  if (key === '') return false
  return runtime === undefined || info.random % 100 >= runtime.number(`ratelimit.${key}.http_filter_enabled`, 100)
}

function describe(actions: readonly Action[], facts: DescriptorFacts): DescriptorEntry[] | null {
  const entries: DescriptorEntry[] = []
  for (const action of actions) {
    const entry = action(facts)
    if (entry === null) return null
    if (entry !== SKIP) entries.push(entry)
  }
  return entries
}

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
    case 'metadata':
      return ({ info, route }) => {
        const metadata = data.source === 'dynamic' ? info.dynamicMetadata : route.metadata
        const value = metadataValue(metadata, data.filter, data.path)
        if (typeof value === 'string' && value !== '') return [data.key, value]
        if (data.defaultValue !== '') return [data.key, data.defaultValue]
        return data.skipIfAbsent ? SKIP : null
      }
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
