// What a matched request does: goes to clusters, is redirected, or is answered at once.
import { create } from '@bufbuild/protobuf'
import {
  type HeaderValueOption,
  HeaderValueOption_HeaderAppendAction,
  HeaderValueOptionSchema,
} from '../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  RouteAction_ClusterNotFoundResponseCode as ClusterNotFound,
  RedirectAction_RedirectResponseCode as Code,
  type DirectResponseAction,
  DirectResponseActionSchema,
  type RedirectAction,
  RedirectActionSchema,
  type RouteAction,
  type RouteAction_HashPolicy,
  type RouteAction_RequestMirrorPolicy,
  RouteAction_RequestMirrorPolicySchema,
  RouteActionSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { FractionalPercentSchema } from '../../api/gen/envoy/type/v3/percent_pb.js'
import type {
  Destination,
  HeaderOperations,
  HttpDirectResponse,
  HttpMatchRequest,
  HttpRedirect,
  HttpRoute,
  MeshConfig,
  Percent,
} from '../../config/index.ts'
import { quoteRegex } from '../authorization/matchers.ts'
import type { RouteSemantics } from '../gateway-api/names.ts'
import { compareText } from '../model/host.ts'
import { durationOf } from '../xds/messages.ts'
import { outboundRetryPolicy } from './retry.ts'
import { HUNDRED_PERCENT, millionths } from './typed-filters.ts'

/** How destinations become clusters, and what hashing they have. */
export interface Destinations {
  readonly mesh: MeshConfig
  cluster(destination: Destination): string
  hashPolicy(destination: Destination): RouteAction_HashPolicy | null
}

/** Header changes of a route or of one weighted cluster. */
export interface HeaderChanges {
  requestHeadersToAdd: HeaderValueOption[]
  requestHeadersToRemove: string[]
  responseHeadersToAdd: HeaderValueOption[]
  responseHeadersToRemove: string[]
  /** Setting the authority is a host rewrite. */
  authority: string
}

export function headerChanges(headers: HttpRoute['headers']): HeaderChanges {
  return {
    requestHeadersToAdd: headersToAdd(headers?.request),
    requestHeadersToRemove: [...(headers?.request?.remove ?? [])],
    responseHeadersToAdd: headersToAdd(headers?.response),
    responseHeadersToRemove: [...(headers?.response?.remove ?? [])],
    authority: authorityOf(headers?.request),
  }
}

function isAuthority(name: string): boolean {
  const lower = name.toLowerCase()
  return lower === ':authority' || lower === 'host'
}

function authorityOf(operations: HeaderOperations | undefined): string {
  for (const [name, value] of Object.entries(operations?.set ?? {})) if (isAuthority(name)) return value
  return ''
}

function headersToAdd(operations: HeaderOperations | undefined): HeaderValueOption[] {
  const list: HeaderValueOption[] = []
  const append = (
    headers: Readonly<Record<string, string>> | undefined,
    action: HeaderValueOption_HeaderAppendAction,
  ) => {
    for (const [key, value] of Object.entries(headers ?? {}).sort(([a], [b]) => compareText(a, b))) {
      if (isAuthority(key)) continue
      list.push(create(HeaderValueOptionSchema, { header: { key, value }, appendAction: action }))
    }
  }
  append(operations?.set, HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD)
  append(operations?.add, HeaderValueOption_HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD)
  return list
}

/** The action of a route with destinations; `own` is told of the header changes of a single destination. */
export function routeAction(
  route: HttpRoute,
  destinations: Destinations,
  changes: HeaderChanges,
  semantics: RouteSemantics,
  match: HttpMatchRequest | null,
): RouteAction {
  const timeout = durationOf(route.timeout ?? 0)
  const action = create(RouteActionSchema, { timeout, maxGrpcTimeout: timeout })
  const list = route.route ?? []
  if (list.length === 1) {
    const { destination, headers } = list[0]!
    action.clusterSpecifier = { case: 'cluster', value: destinations.cluster(destination) }
    mergeChanges(changes, headerChanges(headers))
    const hash = destinations.hashPolicy(destination)
    if (hash) action.hashPolicy.push(hash)
  } else weighted(action, route, destinations)
  action.retryPolicy = outboundRetryPolicy(
    destinations.mesh,
    route.retries,
    list.length === 1 && action.hashPolicy.length > 0,
  )
  // The Gateway API asks for 500 where Envoy answers 503 for a cluster that does not exist.
  if (semantics === 'gateway') action.clusterNotFoundResponseCode = ClusterNotFound.INTERNAL_SERVER_ERROR
  rewrite(action, route, changes)
  if (semantics !== 'istio' && action.prefixRewrite === '/') rewriteToRoot(action, match)
  action.requestMirrorPolicies = mirrors(route, destinations)
  return action
}

function mergeChanges(into: HeaderChanges, more: HeaderChanges): void {
  into.requestHeadersToAdd.push(...more.requestHeadersToAdd)
  into.requestHeadersToRemove.push(...more.requestHeadersToRemove)
  into.responseHeadersToAdd.push(...more.responseHeadersToAdd)
  into.responseHeadersToRemove.push(...more.responseHeadersToRemove)
  if (more.authority) into.authority = more.authority
}

function weighted(action: RouteAction, route: HttpRoute, destinations: Destinations): void {
  const clusters = []
  for (const { destination, weight, headers } of route.route ?? []) {
    if (!weight) continue
    const { authority, ...changes } = headerChanges(headers)
    clusters.push({
      name: destinations.cluster(destination),
      weight,
      ...changes,
      hostRewriteSpecifier: authority ? { case: 'hostRewriteLiteral' as const, value: authority } : undefined,
    })
    const hash = destinations.hashPolicy(destination)
    if (hash) action.hashPolicy.push(hash)
  }
  action.clusterSpecifier = create(RouteActionSchema, {
    clusterSpecifier: { case: 'weightedClusters', value: { clusters } },
  }).clusterSpecifier
}

function rewrite(action: RouteAction, { rewrite }: HttpRoute, changes: HeaderChanges): void {
  const authority = rewrite?.authority || changes.authority
  if (authority) action.hostRewriteSpecifier = { case: 'hostRewriteLiteral', value: authority }
  if (!rewrite) return
  const regex = rewrite.uriRegexRewrite
  if (regex) {
    action.regexRewrite = create(RouteActionSchema, {
      regexRewrite: { pattern: { regex: regex.match ?? '' }, substitution: regex.rewrite ?? '' },
    }).regexRewrite
  } else if (rewrite.uri) action.prefixRewrite = rewrite.uri
}

/** `/a` rewritten to `/` must turn `/a/b` into `/b`, not into `//b`. As in istiod, other paths than prefixes stay whole. */
function rewriteToRoot(action: RouteAction, match: HttpMatchRequest | null): void {
  const prefix = match?.uri?.prefix ?? ''
  const trimmed = prefix.endsWith('/') ? prefix.slice(0, -1) : prefix
  action.prefixRewrite = ''
  action.regexRewrite = create(RouteActionSchema, {
    regexRewrite: { pattern: { regex: `^${quoteRegex(trimmed)}(/?)(.*)` }, substitution: '/\\2' },
  }).regexRewrite
}

function mirrors(route: HttpRoute, destinations: Destinations): RouteAction_RequestMirrorPolicy[] {
  const list: RouteAction_RequestMirrorPolicy[] = []
  if (route.mirror) {
    const legacy = route.mirrorPercent === undefined ? undefined : { value: route.mirrorPercent }
    const policy = mirror(destinations, route.mirror, route.mirrorPercentage ?? legacy)
    // The older field is a whole number of hundredths.
    if (policy && route.mirrorPercentage === undefined && route.mirrorPercent !== undefined)
      policy.runtimeFraction!.defaultValue = create(FractionalPercentSchema, { numerator: route.mirrorPercent })
    if (policy) list.push(policy)
  }
  for (const { destination, percentage } of route.mirrors ?? []) {
    const policy = mirror(destinations, destination, percentage)
    if (policy) list.push(policy)
  }
  return list
}

/** Null for 0 percent. */
function mirror(
  destinations: Destinations,
  destination: Destination,
  percentage: Percent | undefined,
): RouteAction_RequestMirrorPolicy | null {
  if (percentage && !percentage.value) return null
  return create(RouteAction_RequestMirrorPolicySchema, {
    cluster: destinations.cluster(destination),
    runtimeFraction: { defaultValue: percentage ? millionths(percentage) : HUNDRED_PERCENT },
    traceSampled: false,
    disableShadowHostSuffixAppend: true,
  })
}

const REDIRECT_CODES: Readonly<Record<number, Code>> = {
  301: Code.MOVED_PERMANENTLY,
  302: Code.FOUND,
  303: Code.SEE_OTHER,
  307: Code.TEMPORARY_REDIRECT,
  308: Code.PERMANENT_REDIRECT,
}

/** `port` and `tls` are of the listener that the route is for. */
export function redirectAction(redirect: HttpRedirect, port: number, tls: boolean): RedirectAction {
  const action = create(RedirectActionSchema, {
    hostRedirect: redirect.authority ?? '',
    pathRewriteSpecifier: redirect.prefixRewrite
      ? { case: 'prefixRewrite', value: redirect.prefixRewrite }
      : { case: 'pathRedirect', value: redirect.uri ?? '' },
    responseCode: REDIRECT_CODES[redirect.redirectCode || 301] ?? Code.MOVED_PERMANENTLY,
  })
  if (redirect.scheme) action.schemeRewriteSpecifier = { case: 'schemeRedirect', value: redirect.scheme }
  if (redirect.port) action.portRedirect = redirect.port
  else if (redirect.derivePort === 'FROM_REQUEST_PORT') action.portRedirect = port
  // The scheme's own port need not be written.
  const scheme = redirect.scheme || (tls ? 'https' : 'http')
  if ((scheme === 'http' && action.portRedirect === 80) || (scheme === 'https' && action.portRedirect === 443)) {
    action.portRedirect = 0
  }
  return action
}

export function directResponseAction(response: HttpDirectResponse): DirectResponseAction {
  const { body } = response
  return create(DirectResponseActionSchema, {
    status: response.status,
    body:
      body?.string !== undefined
        ? { specifier: { case: 'inlineString', value: body.string } }
        : body?.bytes !== undefined
          ? { specifier: { case: 'inlineBytes', value: Buffer.from(body.bytes, 'base64') } }
          : undefined,
  })
}
