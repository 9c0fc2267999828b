// HTTPRoute and GRPCRoute as HTTP routes of VirtualServices, one a match, in the Gateway API's order of precedence.
import type {
  GatewayApiResource,
  GrpcRouteRule,
  HeaderModifier,
  HeaderOperations,
  HttpBackendRef,
  HttpMatchRequest,
  HttpRoute,
  HttpRouteDestination,
  HttpRouteFilter,
  HttpRouteMatch,
  HttpRouteRule,
  RouteValueMatch,
  StringMatch,
} from '../../config/index.ts'
import { backendDestination, REFUSED, type RouteContext } from './backends.ts'
import type { RefProblem } from './certificates.ts'

/** A route with what decides its place among others of the same host. */
export interface RankedRoute {
  readonly route: HttpRoute
  readonly creationMs: number
  /** `namespace/name` of the source: decides between routes of one age. */
  readonly source: string
}

export type HttpLikeRoute = GatewayApiResource<'HTTPRoute'> | GatewayApiResource<'GRPCRoute'>

/** The rules of an HTTPRoute or GRPCRoute, each match a route of its own. */
export function convertHttpLikeRoute(resource: HttpLikeRoute, context: RouteContext): RankedRoute[] {
  const { kind, metadata, spec } = resource
  if (kind === 'GRPCRoute') {
    return (spec.rules ?? [{}]).flatMap((rule, i) =>
      rank(metadata, rule as HttpRouteRule, grpcMatches(rule), i, context),
    )
  }
  return (spec.rules ?? [{}]).flatMap((rule, i) => rank(metadata, rule, httpMatches(rule), i, context))
}

function rank(
  { namespace, name, creationMs }: HttpLikeRoute['metadata'],
  rule: HttpRouteRule,
  matches: readonly (HttpMatchRequest | null)[],
  ruleIndex: number,
  context: RouteContext,
): RankedRoute[] {
  const route = httpRule(rule, rule.name ?? `${namespace}.${name}.${ruleIndex}`, context)
  return matches.map((match) => ({
    route: match ? { ...route, match: [match] } : route,
    creationMs,
    source: `${namespace}/${name}`,
  }))
}

/**
 * The Gateway API's precedence: exact path, then prefix, then regex; longer paths; a method; more headers; more query
 * parameters; the older route; the name.
 */
export function compareRoutes(a: RankedRoute, b: RankedRoute): number {
  const left = specificity(a.route.match?.[0])
  const right = specificity(b.route.match?.[0])
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return right[i]! - left[i]!
  return a.creationMs - b.creationMs || (a.source < b.source ? -1 : a.source > b.source ? 1 : 0)
}

function specificity(match: HttpMatchRequest | undefined): number[] {
  // Only a GRPCRoute's match has no path, or is not there at all.
  if (!match) return [-1, 0, 0, 0, 0]
  const { uri, method, headers, queryParams } = match
  const kind = uri?.exact !== undefined ? 3 : uri?.prefix !== undefined ? 2 : uri?.regex !== undefined ? 1 : 0
  const length = (uri?.exact ?? uri?.prefix ?? uri?.regex ?? '').length
  return [kind, length, method ? 1 : 0, Object.keys(headers ?? {}).length, Object.keys(queryParams ?? {}).length]
}

function httpMatches({ matches }: HttpRouteRule): HttpMatchRequest[] {
  return (matches?.length ? matches : [{}]).map(httpMatch)
}

/** Without a path everything matches: the API's default is the prefix `/`. */
function httpMatch({ path, headers, queryParams, method }: HttpRouteMatch): HttpMatchRequest {
  const value = path?.value || '/'
  const uri =
    path?.type === 'Exact'
      ? { exact: value }
      : path?.type === 'RegularExpression'
        ? { regex: value }
        : { prefix: withoutSlash(value) }
  return {
    uri,
    ...(method ? { method: { exact: method } } : {}),
    ...(headers?.length ? { headers: valueMatches(headers, true) } : {}),
    ...(queryParams?.length ? { queryParams: valueMatches(queryParams, false) } : {}),
  }
}

/** A prefix is of whole segments: a slash at its end says nothing. */
function withoutSlash(prefix: string): string {
  return (prefix.endsWith('/') ? prefix.slice(0, -1) : prefix) || '/'
}

/** Of several conditions on one name the first counts. */
function valueMatches(list: readonly RouteValueMatch[], ignoreCase: boolean): Record<string, StringMatch> {
  const out: [string, StringMatch][] = []
  const seen = new Set<string>()
  for (const { name, value, type } of list) {
    const key = ignoreCase ? name.toLowerCase() : name
    if (seen.has(key)) continue
    seen.add(key)
    out.push([name, type === 'RegularExpression' ? { regex: value } : { exact: value }])
  }
  return Object.fromEntries(out)
}

/** Null: whatever is asked for. */
function grpcMatches(rule: GrpcRouteRule): (HttpMatchRequest | null)[] {
  if (!rule.matches?.length) return [null]
  return rule.matches.map(({ method, headers }) => {
    const uri = method && grpcPath(method.type === 'RegularExpression', method.service, method.method)
    return { ...(uri ? { uri } : {}), ...(headers?.length ? { headers: valueMatches(headers, true) } : {}) }
  })
}

function grpcPath(regex: boolean, service: string | undefined, method: string | undefined): StringMatch | undefined {
  if (regex) return { regex: `/${service || '[^/]+'}/${method || '.+'}` }
  if (service && method) return { exact: `/${service}/${method}` }
  if (service) return { prefix: `/${service}/` }
  return method ? { regex: `/[^/]+/${method}` } : undefined
}

/** Tells of at most one problem: the last one of backends and the last one of mirrors, as istiod puts them together. */
function httpRule(rule: HttpRouteRule, name: string, context: RouteContext): HttpRoute {
  const own: RefProblem[] = []
  const ofMirrors: RefProblem[] = []
  const route = convertRule(
    rule,
    name,
    { ...context, problem: (problem) => own.push(problem) },
    { ...context, problem: (problem) => ofMirrors.push(problem) },
  )
  const first = own.at(-1)
  const second = ofMirrors.at(-1)
  if (first && second) context.problem({ ...first, message: `${first.message}; ${second.message}` })
  else if (first ?? second) context.problem((first ?? second)!)
  return route
}

function convertRule(rule: HttpRouteRule, name: string, context: RouteContext, mirrors: RouteContext): HttpRoute {
  const { filters = [], retry } = rule
  const route: Writable<HttpRoute> = { name }
  const backends = (rule.backendRefs ?? []).filter(({ weight = 1 }) => weight > 0)
  // What stands on the only backend stands on the rule.
  const [only] = backends
  const own = backends.length === 1 && only ? (only.filters ?? []).filter(({ type }) => !ofBackend(type)) : []
  const bad = [...filters, ...own].find(({ type }) => type === 'ExtensionRef')
  if (bad) {
    context.problem({ reason: 'InvalidFilter', message: extensionMessage(bad) })
    // A filter we do not have must not be skipped.
    return { name, directResponse: { status: 500 } }
  }
  applyFilters(route, [...filters, ...own], mirrors)
  const timeout = rule.timeouts?.request
  if (timeout !== undefined) route.timeout = timeout
  const perTryTimeout = rule.timeouts?.backendRequest || undefined
  if (retry) {
    const attempts = retry.attempts ?? DEFAULT_ATTEMPTS
    route.retries = {
      attempts,
      ...(perTryTimeout === undefined ? {} : { perTryTimeout }),
      ...(retry.backoff === undefined ? {} : { backoff: retry.backoff }),
      ...(attempts > 0 ? { retryOn: [...RETRY_ON, ...(retry.codes ?? [])].join(',') } : {}),
    }
  } else if (perTryTimeout !== undefined) route.timeout = perTryTimeout
  if (route.redirect) return route
  if (backends.length > 0) route.route = backends.map((backend) => destinationOf(backend, backends, context))
  // Nothing to send requests to: the Gateway API asks for 500.
  else route.directResponse = { status: 500 }
  return route
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

const DEFAULT_ATTEMPTS = 2
/** What is retried beside the codes that a rule names: the Gateway API asks for connection errors. */
const RETRY_ON = ['connect-failure', 'refused-stream', 'unavailable', 'cancelled']

/** Filters that one of several backends can have. */
function ofBackend(type: HttpRouteFilter['type']): boolean {
  return type === 'RequestHeaderModifier' || type === 'ResponseHeaderModifier'
}

function extensionMessage({ extensionRef }: HttpRouteFilter): string {
  const { kind = '', name = '' } = extensionRef ?? {}
  return `filter ExtensionRef${kind ? ` ${kind}/${name}` : ''} is not supported: its requests are answered 500`
}

function destinationOf(
  backend: HttpBackendRef,
  backends: readonly HttpBackendRef[],
  context: RouteContext,
): HttpRouteDestination {
  let destination = backendDestination(backend, context)
  const { filters = [], weight = 1 } = backend
  const own: Writable<HttpRoute> = {}
  applyFilters(
    own,
    filters.filter(({ type }) => ofBackend(type)),
    context,
  )
  const bad = backends.length > 1 ? filters.find(({ type }) => !ofBackend(type)) : undefined
  if (bad) {
    const message = `filter ${bad.type} is not supported on one of several backendRefs: its requests are answered 500`
    context.problem({ reason: 'InvalidFilter', message })
    destination = REFUSED
  }
  return {
    destination,
    ...(backends.length > 1 ? { weight } : {}),
    ...(own.headers ? { headers: own.headers } : {}),
  }
}

/** `context` hears of mirrors that lead nowhere. */
function applyFilters(route: Writable<HttpRoute>, filters: readonly HttpRouteFilter[], context: RouteContext): void {
  for (const filter of filters) {
    if (filter.requestHeaderModifier) {
      route.headers = { ...route.headers, request: headerOperations(filter.requestHeaderModifier) }
    }
    if (filter.responseHeaderModifier) {
      route.headers = { ...route.headers, response: headerOperations(filter.responseHeaderModifier) }
    }
    if (filter.requestRedirect) route.redirect = redirect(filter.requestRedirect)
    if (filter.urlRewrite) route.rewrite = rewrite(filter.urlRewrite)
    if (filter.cors) route.corsPolicy = cors(filter.cors)
    if (filter.requestMirror) {
      const { backendRef, percent, fraction } = filter.requestMirror
      const before: RefProblem[] = []
      const destination = backendDestination(backendRef, { ...context, problem: (problem) => before.push(problem) })
      for (const problem of before) context.problem(problem)
      const share = fraction ? (fraction.numerator * 100) / (fraction.denominator ?? 100) : percent
      // A mirror that cannot be had costs the request nothing.
      if (before.length === 0) {
        const percentage = share === undefined ? {} : { percentage: { value: share } }
        route.mirrors = [...(route.mirrors ?? []), { destination, ...percentage }]
      }
    }
  }
}

function headerOperations({ set, add, remove }: HeaderModifier): HeaderOperations {
  return {
    ...(set ? { set: headerRecord(set) } : {}),
    ...(add ? { add: headerRecord(add) } : {}),
    ...(remove ? { remove } : {}),
  }
}

/** Of several entries of one name the first counts. */
function headerRecord(list: NonNullable<HeaderModifier['set']>): Record<string, string> {
  const out = new Map<string, string>()
  for (const { name, value } of list) {
    const key = name.toLowerCase()
    if (!out.has(key)) out.set(key, value)
  }
  return Object.fromEntries(out)
}

function redirect(filter: NonNullable<HttpRouteFilter['requestRedirect']>): HttpRoute['redirect'] {
  const { scheme, hostname, port, path, statusCode } = filter
  return {
    redirectCode: statusCode ?? 302,
    ...(scheme ? { scheme } : {}),
    ...(hostname ? { authority: hostname } : {}),
    ...(port ? { port } : { derivePort: scheme ? ('FROM_PROTOCOL_DEFAULT' as const) : ('FROM_REQUEST_PORT' as const) }),
    ...(path?.type === 'ReplaceFullPath' ? { uri: path.replaceFullPath || '/' } : {}),
    ...(path?.type === 'ReplacePrefixMatch' ? { prefixRewrite: path.replacePrefixMatch || '/' } : {}),
  }
}

function rewrite({ hostname, path }: NonNullable<HttpRouteFilter['urlRewrite']>): HttpRoute['rewrite'] {
  return {
    ...(hostname ? { authority: hostname } : {}),
    ...(path?.type === 'ReplacePrefixMatch' ? { uri: withoutSlash(path.replacePrefixMatch ?? '') } : {}),
    ...(path?.type === 'ReplaceFullPath'
      ? { uriRegexRewrite: { match: '/.*', rewrite: path.replaceFullPath || '/' } }
      : {}),
  }
}

function cors(filter: NonNullable<HttpRouteFilter['cors']>): HttpRoute['corsPolicy'] {
  const { allowOrigins, allowCredentials, maxAge, ...rest } = filter
  return {
    ...rest,
    ...(allowCredentials ? { allowCredentials } : {}),
    // Preflights of other origins are answered without reaching the backend.
    unmatchedPreflights: 'IGNORE',
    allowOrigins: allowOrigins?.map(originMatch),
    ...(maxAge === undefined ? {} : { maxAge: maxAge * 1000 }),
  }
}

/** RFC 6454: scheme, host and perhaps a port. */
const ANY_ORIGIN = '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\\s?#]+$'

/** `*` within an origin stands for any text. */
function originMatch(origin: string): StringMatch {
  if (origin === '*') return { regex: ANY_ORIGIN }
  if (!origin.includes('*')) return { exact: origin }
  if (origin.indexOf('*') === origin.length - 1) return { prefix: origin.slice(0, -1) }
  return { regex: `^${origin.replace(/[\\.+?()|[\]{}^$]/g, '\\$&').replaceAll('*', '.*')}$` }
}
