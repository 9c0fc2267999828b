// HTTPRoute and GRPCRoute as HTTP routes of VirtualServices, one a match, in the Gateway API's order of precedence.
import type {
  GatewayApiResource,
  GrpcRouteRule,
  HeaderModifier,
  HeaderOperations,
  HttpMatchRequest,
  HttpRoute,
  HttpRouteDestination,
  HttpRouteFilter,
  HttpRouteMatch,
  HttpRouteRule,
  RouteValueMatch,
  StringMatch,
} from '../../config/index.ts'
import { backendDestination, refusedBackend } from './backends.ts'
import type { GatewayApiIndex } from './inputs.ts'

/** A route with what decides its place among others of the same host. */
export interface RankedRoute {
  readonly route: HttpRoute
  readonly creationMs: number
  /** `namespace/name` of the source: decides between routes of one age. */
  readonly source: string
}

export function convertHttpRoute(resource: GatewayApiResource<'HTTPRoute'>, index: GatewayApiIndex): RankedRoute[] {
  return (resource.spec.rules ?? [{}]).flatMap((rule, i) =>
    rank(
      resource,
      (rule.matches?.length ? rule.matches : [{}]).map((match) => httpMatch(match)),
      i,
      (name) => httpRule(rule, name, resource, index),
    ),
  )
}

export function convertGrpcRoute(resource: GatewayApiResource<'GRPCRoute'>, index: GatewayApiIndex): RankedRoute[] {
  return (resource.spec.rules ?? [{}]).flatMap((rule, i) =>
    rank(resource, grpcMatches(rule), i, (name) => httpRule(rule as HttpRouteRule, name, resource, index)),
  )
}

function rank(
  { metadata }: GatewayApiResource<'HTTPRoute' | 'GRPCRoute'>,
  matches: readonly HttpMatchRequest[],
  ruleIndex: number,
  build: (name: string) => HttpRoute,
): RankedRoute[] {
  const { namespace, name, creationMs } = metadata
  const route = build(`${namespace}.${name}.${ruleIndex}`)
  return matches.map((match) => ({
    route: Object.keys(match).length > 0 ? { ...route, match: [match] } : route,
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
  const { uri, method, headers, queryParams } = match ?? {}
  const kind = uri?.exact !== undefined ? 3 : uri?.prefix !== undefined ? 2 : uri?.regex !== undefined ? 1 : 0
  const length = (uri?.exact ?? uri?.prefix ?? uri?.regex ?? '').length
  // No path at all means the prefix "/".
  const path = uri ? [kind, length] : [2, 1]
  return [...path, method ? 1 : 0, Object.keys(headers ?? {}).length, Object.keys(queryParams ?? {}).length]
}

function httpMatch({ path, headers, queryParams, method }: HttpRouteMatch): HttpMatchRequest {
  const value = path?.value || '/'
  const uri =
    path?.type === 'Exact'
      ? { exact: value }
      : path?.type === 'RegularExpression'
        ? { regex: value }
        : value === '/'
          ? undefined
          : { prefix: value }
  return {
    ...(uri ? { uri } : {}),
    ...(method ? { method: { exact: method } } : {}),
    ...(headers?.length ? { headers: valueMatches(headers, true) } : {}),
    ...(queryParams?.length ? { queryParams: valueMatches(queryParams, false) } : {}),
  }
}

/** Of several conditions on one name the first counts. */
function valueMatches(list: readonly RouteValueMatch[], ignoreCase: boolean): Record<string, StringMatch> {
  const out: Record<string, StringMatch> = {}
  for (const { name, value, type } of list) {
    const key = ignoreCase ? name.toLowerCase() : name
    out[key] ??= type === 'RegularExpression' ? { regex: value } : { exact: value }
  }
  return out
}

function grpcMatches(rule: GrpcRouteRule): HttpMatchRequest[] {
  return (rule.matches?.length ? rule.matches : [{}]).map(({ method, headers }) => {
    const uri = method && grpcPath(method.type === 'RegularExpression', method.service, method.method)
    return { ...(uri ? { uri } : {}), ...(headers?.length ? { headers: valueMatches(headers, true) } : {}) }
  })
}

function grpcPath(regex: boolean, service: string | undefined, method: string | undefined): StringMatch | undefined {
  if (regex) return { regex: `/${service || '[^/]+'}/${method || '[^/]+'}` }
  if (service && method) return { exact: `/${service}/${method}` }
  if (service) return { prefix: `/${service}/` }
  return method ? { regex: `/[^/]+/${method}` } : undefined
}

function httpRule(
  rule: HttpRouteRule,
  name: string,
  { kind, metadata }: GatewayApiResource<'HTTPRoute' | 'GRPCRoute'>,
  index: GatewayApiIndex,
): HttpRoute {
  const from = { kind, namespace: metadata.namespace }
  const route: Writable<HttpRoute> = { name }
  // A filter we do not have must not be skipped.
  if (rule.filters?.some(({ type }) => type === 'ExtensionRef')) return { name, directResponse: { status: 500 } }
  applyFilters(route, rule.filters ?? [], from, index)
  const request = rule.timeouts?.request
  if (request !== undefined) route.timeout = request
  const { retry } = rule
  const perTryTimeout = rule.timeouts?.backendRequest
  if (retry || perTryTimeout !== undefined) {
    route.retries = {
      attempts: retry?.attempts ?? 2,
      ...(perTryTimeout === undefined ? {} : { perTryTimeout }),
      ...(retry?.backoff === undefined ? {} : { backoff: retry.backoff }),
      ...(retry?.codes?.length ? { retryOn: retry.codes.join(',') } : {}),
    }
  }
  if (route.redirect) return route
  const destinations = destinationsOf(rule, from, index)
  if (destinations.length > 0) route.route = destinations
  // Nothing to send requests to: the Gateway API asks for 500.
  else route.directResponse = { status: 500 }
  return route
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

function destinationsOf(
  { backendRefs = [] }: HttpRouteRule,
  from: { readonly kind: string; readonly namespace: string },
  index: GatewayApiIndex,
): HttpRouteDestination[] {
  const list: HttpRouteDestination[] = []
  for (const backend of backendRefs) {
    const destination = backendDestination(backend, from, index)
    const weight = backend.weight ?? 1
    if (weight === 0) continue
    const own: Writable<HttpRoute> = {}
    applyFilters(own, backend.filters ?? [], from, index)
    const refused = !destination || backend.filters?.some(({ type }) => type === 'ExtensionRef')
    list.push({
      destination: refused ? refusedBackend(backend, from) : destination,
      ...(backendRefs.length > 1 ? { weight } : {}),
      ...(own.headers ? { headers: own.headers } : {}),
    })
  }
  return list
}

function applyFilters(
  route: Writable<HttpRoute>,
  filters: readonly HttpRouteFilter[],
  from: { readonly kind: string; readonly namespace: string },
  index: GatewayApiIndex,
): void {
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
      const destination = backendDestination(backendRef, from, index)
      const share = fraction ? (fraction.numerator * 100) / (fraction.denominator ?? 100) : percent
      if (destination) {
        const percentage = share === undefined ? {} : { percentage: { value: share } }
        route.mirrors = [...(route.mirrors ?? []), { destination, ...percentage }]
      }
    }
  }
}

function headerOperations({ set, add, remove }: HeaderModifier): HeaderOperations {
  const record = (list: HeaderModifier['set']) => Object.fromEntries(list?.map((h) => [h.name, h.value]) ?? [])
  return {
    ...(set ? { set: record(set) } : {}),
    ...(add ? { add: record(add) } : {}),
    ...(remove ? { remove } : {}),
  }
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
    ...(path?.type === 'ReplacePrefixMatch' ? { uri: path.replacePrefixMatch || '/' } : {}),
    ...(path?.type === 'ReplaceFullPath'
      ? { uriRegexRewrite: { match: '/.*', rewrite: path.replaceFullPath || '/' } }
      : {}),
  }
}

function cors(filter: NonNullable<HttpRouteFilter['cors']>): HttpRoute['corsPolicy'] {
  const { allowOrigins, maxAge, ...rest } = filter
  return {
    ...rest,
    // Preflights of other origins are answered without reaching the backend.
    unmatchedPreflights: 'IGNORE',
    allowOrigins: allowOrigins?.map(originMatch),
    ...(maxAge === undefined ? {} : { maxAge: maxAge * 1000 }),
  }
}

/** `*` within an origin stands for any text without a slash. */
function originMatch(origin: string): StringMatch {
  if (origin === '*') return { regex: '.*' }
  if (!origin.includes('*')) return { exact: origin }
  return { regex: origin.replace(/[\\.+?()|[\]{}^$]/g, '\\$&').replaceAll('*', '[^/]+') }
}
