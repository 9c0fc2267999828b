// What a VirtualService's match becomes in a route, and which of its conditions are decided right here.
import { create } from '@bufbuild/protobuf'
import {
  type HeaderMatcher,
  HeaderMatcherSchema,
  type QueryParameterMatcher,
  QueryParameterMatcherSchema,
  type RouteMatch,
  RouteMatchSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type MetadataMatcher, MetadataMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/metadata_pb.js'
import { type StringMatcher, StringMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/string_pb.js'
import { type ValueMatcher, ValueMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/value_pb.js'
import type { HttpMatchRequest, StringMatch } from '../../config/index.ts'
import { compareText, labelsMatch } from '../model/host.ts'

/** Who asks, and where: what decides the static part of a match. */
export interface MatchSubject {
  readonly labels: Readonly<Record<string, string>>
  readonly namespace: string
  /** `mesh`, or the names of gateways a router serves the route for. */
  readonly gateways: ReadonlySet<string>
  /** Port of the listener. */
  readonly port: number
}

/** Port, gateway, source: a route whose match cannot apply to this proxy is left out. */
export function matchApplies(match: HttpMatchRequest, subject: MatchSubject): boolean {
  if (match.port && match.port !== subject.port) return false
  // Naming gateways says everything about the source.
  if (match.gateways?.length) return match.gateways.some((gateway) => subject.gateways.has(gateway))
  if (match.sourceNamespace && match.sourceNamespace !== subject.namespace) return false
  return labelsMatch(match.sourceLabels, subject.labels)
}

/** `wholeSegments`: a prefix matches whole path segments, as the Gateway API and Ingress want. */
export function routeMatch(match: HttpMatchRequest | null, wholeSegments = false): RouteMatch {
  const out = create(RouteMatchSchema, { pathSpecifier: { case: 'prefix', value: '/' } })
  if (!match) return out
  addHeaders(out, match.headers, false)
  addHeaders(out, match.withoutHeaders, true)
  out.headers.sort((a, b) => compareText(a.name, b.name))
  addPath(out, match, wholeSegments)
  if (match.method) out.headers.push(headerMatcher(':method', match.method))
  if (match.authority) out.headers.push(headerMatcher(':authority', match.authority))
  if (match.scheme) out.headers.push(headerMatcher(':scheme', match.scheme))
  for (const [name, value] of Object.entries(match.queryParams ?? {}).sort(([a], [b]) => compareText(a, b))) {
    out.queryParameters.push(queryMatcher(name, value))
  }
  return out
}

function addPath(out: RouteMatch, { uri, ignoreUriCase }: HttpMatchRequest, wholeSegments: boolean): void {
  out.caseSensitive = !ignoreUriCase
  if (!uri) return
  if (uri.exact !== undefined) out.pathSpecifier = { case: 'path', value: uri.exact }
  else if (uri.prefix !== undefined) {
    out.pathSpecifier =
      wholeSegments && uri.prefix !== '/'
        ? { case: 'pathSeparatedPrefix', value: uri.prefix.endsWith('/') ? uri.prefix.slice(0, -1) : uri.prefix }
        : { case: 'prefix', value: uri.prefix }
  } else if (uri.regex !== undefined) {
    out.pathSpecifier = {
      case: 'safeRegex',
      value: { $typeName: 'envoy.type.matcher.v3.RegexMatcher', regex: uri.regex, engineType: { case: undefined } },
    }
  }
}

function addHeaders(
  out: RouteMatch,
  headers: Readonly<Record<string, StringMatch>> | undefined,
  invert: boolean,
): void {
  for (const name of Object.keys(headers ?? {}).sort()) {
    const value = headers![name]!
    const claim = claimPath(name)
    if (claim) out.dynamicMetadata.push(claimMatcher(claim, value, invert))
    else {
      const matcher = headerMatcher(name, value)
      matcher.invertMatch = invert
      matcher.treatMissingHeaderAsEmpty = invert && !meansPresent(value)
      out.headers.push(matcher)
    }
  }
}

/** An empty match asks only whether the header is there. */
function meansPresent(value: StringMatch): boolean {
  return !value.exact && !value.prefix && !value.regex
}

function headerMatcher(name: string, value: StringMatch): HeaderMatcher {
  return create(HeaderMatcherSchema, {
    name,
    headerMatchSpecifier: meansPresent(value)
      ? { case: 'presentMatch', value: true }
      : { case: 'stringMatch', value: stringMatcher(value) },
  })
}

function queryMatcher(name: string, value: StringMatch): QueryParameterMatcher {
  return create(QueryParameterMatcherSchema, {
    name,
    queryParameterMatchSpecifier: meansPresent(value)
      ? { case: 'presentMatch', value: true }
      : { case: 'stringMatch', value: stringMatcher(value) },
  })
}

export function stringMatcher(value: StringMatch): StringMatcher {
  if (value.exact !== undefined)
    return create(StringMatcherSchema, { matchPattern: { case: 'exact', value: value.exact } })
  if (value.prefix !== undefined) {
    return create(StringMatcherSchema, { matchPattern: { case: 'prefix', value: value.prefix } })
  }
  if (value.regex !== undefined) {
    return create(StringMatcherSchema, { matchPattern: { case: 'safeRegex', value: { regex: value.regex } } })
  }
  return create(StringMatcherSchema)
}

const CLAIMS = '@request.auth.claims'

/** `@request.auth.claims.a.b` or `@request.auth.claims[a][b]`: the path of a JWT claim; null for a real header. */
function claimPath(name: string): string[] | null {
  if (!name.toLowerCase().startsWith(CLAIMS)) return null
  const rest = name.slice(CLAIMS.length)
  if (rest.startsWith('.') && rest.length > 1) return rest.slice(1).split('.')
  if (/^(\[[^[\]]+\])+$/.test(rest)) return rest.slice(1, -1).split('][')
  return null
}

/** A claim may be a string or a list of strings; an empty match asks only whether it is there. */
function claimMatcher(path: readonly string[], value: StringMatch, invert: boolean): MetadataMatcher {
  if (meansPresent(value)) {
    const present = create(ValueMatcherSchema, { matchPattern: { case: 'presentMatch', value: true } })
    return claimMetadata(path, present, invert)
  }
  const text = create(ValueMatcherSchema, { matchPattern: { case: 'stringMatch', value: stringMatcher(value) } })
  const inList = create(ValueMatcherSchema, {
    matchPattern: { case: 'listMatch', value: { matchPattern: { case: 'oneOf', value: text } } },
  })
  const either = create(ValueMatcherSchema, {
    matchPattern: { case: 'orMatch', value: { valueMatchers: [inList, text] } },
  })
  return claimMetadata(path, either, invert)
}

function claimMetadata(path: readonly string[], value: ValueMatcher, invert: boolean): MetadataMatcher {
  return create(MetadataMatcherSchema, {
    filter: 'envoy.filters.http.jwt_authn',
    path: ['payload', ...path].map((key) => ({ segment: { case: 'key' as const, value: key } })),
    value,
    invert,
  })
}

/** Nothing after such a route is reached. */
export function isCatchAll(match: RouteMatch): boolean {
  if (match.headers.length > 0 || match.queryParameters.length > 0 || match.dynamicMetadata.length > 0) return false
  const path = match.pathSpecifier
  if (path.case === 'safeRegex') return path.value.regex === '.*'
  return (path.case === 'prefix' || path.case === 'pathSeparatedPrefix') && path.value === '/'
}
