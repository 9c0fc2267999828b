// Everything a RouteMatch asks besides a literal path that the index already compared. Pure.

import type { RuntimeSnapshot } from '../config/extension.ts'
import type { HeaderMap } from '../http/header-map.ts'
import { isGrpcContentType } from '../http/local-reply.ts'
import { type FilterState, stateText } from '../network/filter.ts'
import type { StreamInfo } from '../stream-info.ts'
import type {
  CookieMatcherData,
  FractionData,
  PathMatchData,
  QueryParameterMatcherData,
  RouteMatchData,
} from './config.ts'
import { compileHeaderMatchers, type HeadersMatch } from './header-matcher.ts'
import { compileMetadataMatcher, type MetadataMatch } from './metadata-matcher.ts'
import { compileFullMatch } from './regex.ts'
import { cookieValue, queryParameter } from './request-path.ts'
import { compileByteMatcher, compileStringMatcher, type StringMatch } from './string-matcher.ts'

const MILLION = 1_000_000

/** True with the fraction's probability, decided by the stream's random number. */
export function inFraction(fraction: FractionData, runtime: RuntimeSnapshot, random: number): boolean {
  const millionths =
    fraction.runtimeKey === '' ? fraction.millionths : runtime.fraction(fraction.runtimeKey, fraction.millionths)
  return random % MILLION < millionths
}

/** null when a list is empty: asking nothing costs nothing. */
export function compileQueryParameters(list: readonly QueryParameterMatcherData[]): ((path: string) => boolean) | null {
  if (list.length === 0) return null
  const matchers = list.map((matcher) => ({
    name: matcher.name,
    present: matcher.present,
    match: matcher.match ? compileByteMatcher(matcher.match) : null,
  }))
  return (path) => {
    for (let i = 0; i < matchers.length; i++) {
      const { name, present, match } = matchers[i]!
      const value = queryParameter(path, name)
      if (match ? value === undefined || !match(value) : (value !== undefined) !== present) return false
    }
    return true
  }
}

/** null when a list is empty. A cookie that is not there matches only an inverted matcher. */
function compileCookies(list: readonly CookieMatcherData[]): ((headers: HeaderMap) => boolean) | null {
  if (list.length === 0) return null
  const matchers = list.map(({ name, match, invert }) => ({ name, invert, match: compileByteMatcher(match) }))
  return (headers) =>
    matchers.every(({ name, invert, match }) => {
      const value = cookieValue(headers, name)
      return (value !== undefined && match(value)) !== invert
    })
}

/** null when the list is empty. Objects are compared by their texts, as in Envoy. */
function compileFilterState(list: RouteMatchData['filterState']): ((state: FilterState) => boolean) | null {
  if (list.length === 0) return null
  const matchers = list.map(({ key, match }) => ({ key, matches: compileStringMatcher(match) }))
  return (state) =>
    matchers.every(({ key, matches }) => {
      const text = stateText(state.get(key))
      return text !== undefined && matches(text)
    })
}

/** Path comparisons that the index cannot make; null for those it can. */
function compilePath(path: PathMatchData, caseSensitive: boolean): StringMatch | null {
  if (path.kind === 'connect') return null
  if (path.kind === 'regex') return compileFullMatch(path.value)
  if (caseSensitive) return null
  const value = path.value.toLowerCase()
  switch (path.kind) {
    case 'path':
      return (text) => text.length === value.length && text.toLowerCase() === value
    case 'prefix':
      return (text) => text.toLowerCase().startsWith(value)
    case 'path_separated_prefix':
      return (text) =>
        text.toLowerCase().startsWith(value) && (text.length === value.length || text.charCodeAt(value.length) === 47)
  }
}

/** One compiled RouteMatch. */
export class RouteMatcher {
  readonly path: PathMatchData
  /** True when PathIndex can hold the path. */
  readonly literal: boolean
  private readonly matchPath: StringMatch | null
  private readonly matchHeaders: HeadersMatch | null
  private readonly matchQuery: ((path: string) => boolean) | null
  private readonly matchCookies: ((headers: HeaderMap) => boolean) | null
  private readonly matchMetadata: readonly MetadataMatch[]
  private readonly matchState: ((state: FilterState) => boolean) | null
  private readonly data: RouteMatchData
  private readonly runtime: RuntimeSnapshot

  constructor(data: RouteMatchData, runtime: RuntimeSnapshot) {
    this.data = data
    this.runtime = runtime
    this.path = data.path
    this.literal = data.path.kind !== 'regex' && data.path.kind !== 'connect' && data.caseSensitive
    this.matchPath = compilePath(data.path, data.caseSensitive)
    this.matchHeaders = data.headers.length > 0 ? compileHeaderMatchers(data.headers) : null
    this.matchQuery = compileQueryParameters(data.queryParameters)
    this.matchCookies = compileCookies(data.cookies)
    this.matchMetadata = data.dynamicMetadata.map(compileMetadataMatcher)
    this.matchState = compileFilterState(data.filterState)
  }

  /** The literal path, for lists too short for an index. */
  matchesPath(path: string): boolean {
    const { path: wanted } = this
    if (!this.literal || wanted.kind === 'regex' || wanted.kind === 'connect') return true
    if (wanted.kind === 'path') return path === wanted.value
    if (!path.startsWith(wanted.value)) return false
    return (
      wanted.kind === 'prefix' || path.length === wanted.value.length || path.charCodeAt(wanted.value.length) === 47
    )
  }

  /** `path`: `:path` without query, as it is to be compared. The literal path is the index's matter. */
  matches(headers: HeaderMap, path: string, info: StreamInfo, random: number): boolean {
    const data = this.data
    if (this.path.kind === 'connect') {
      if (headers.method !== 'CONNECT') return false
    } else if (this.matchPath !== null && !this.matchPath(path)) return false
    if (data.fraction !== null && !inFraction(data.fraction, this.runtime, random)) return false
    if (data.grpc && !isGrpcContentType(headers.get('content-type'))) return false
    if (this.matchHeaders !== null && !this.matchHeaders(headers)) return false
    if (this.matchQuery !== null && !this.matchQuery(headers.path)) return false
    if (this.matchCookies !== null && !this.matchCookies(headers)) return false
    if (data.tls !== null && !this.matchesTls(info)) return false
    for (let i = 0; i < this.matchMetadata.length; i++) {
      if (!this.matchMetadata[i]!(info.dynamicMetadata)) return false
    }
    return this.matchState === null || this.matchState(info.filterState)
  }

  private matchesTls(info: StreamInfo): boolean {
    const wanted = this.data.tls!
    const ssl = info.downstream.ssl()
    // Envoy: without TLS, or without a certificate, only "not presented" and "not validated" hold.
    const presented = ssl?.peerCertificatePresented ?? false
    const validated = ssl?.peerCertificateValidated ?? false
    if (wanted.presented !== null && wanted.presented !== presented) return false
    return wanted.validated === null || wanted.validated === validated
  }
}
