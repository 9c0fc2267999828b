// internal_redirect_policy: a redirect that the proxy follows itself (envoy-contract §7.8).

import { ownValue } from '../../../../base/own-property.ts'
import { REDIRECT_COUNT_KEY, REDIRECT_ROUTES_KEY } from '../../../http/connection-manager/redirect-state.ts'
import type { StreamDecoderFilterCallbacks } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter, Scope } from '../../../observe/stats.ts'
import type { InternalRedirectData } from '../../../route/config.ts'
import { parseAbsoluteUrl } from './absolute-url.ts'
import type { RequestCopy } from './request-copy.ts'
import type { RoutedRequest } from './routed-request.ts'

/** Why a redirect was passed on: `http.<prefix>.passthrough_internal_redirect_*`. */
export interface PassedRedirects {
  readonly badLocation: Counter
  readonly unsafeScheme: Counter
  readonly tooMany: Counter
  readonly noRoute: Counter
  readonly predicate: Counter
}

export function passedRedirects(scope: Scope): PassedRedirects {
  const counter = (why: string): Counter => scope.counter(`passthrough_internal_redirect_${why}`)
  return {
    badLocation: counter('bad_location'),
    unsafeScheme: counter('unsafe_scheme'),
    tooMany: counter('too_many_redirects'),
    noRoute: counter('no_route'),
    predicate: counter('predicate'),
  }
}

/** True when `response` is a redirect that is followed: another stream serves the request then. `copy`: of its body. */
export function redirectInternally(routed: RoutedRequest, copy: RequestCopy | null, response: HeaderMap): boolean {
  const { callbacks, cluster, headers, info, shared } = routed
  const policy = routed.forward.internalRedirect!
  if (!routed.done || !policy.responseCodes.includes(response.status)) return false
  const request = copy?.dropped ? null : tryRedirect(headers, response, policy, callbacks, shared.passedRedirects)
  if (request !== null) {
    // A redirect that makes a GET of it leaves the body behind.
    if (copy && request.method === headers.method)
      for (const chunk of copy.chunks) if (chunk.length > 0) callbacks.addDecodedData(chunk, true)
    info.responseCode = response.status
    info.responseCodeDetails = 'internal_redirect'
    if (callbacks.recreateStream(request)) {
      cluster.stats.internalRedirectSucceeded.inc()
      return true
    }
    callbacks.restoreRequest(headers)
  }
  cluster.stats.internalRedirectFailed.inc()
  return false
}

/** The request to serve instead, or null when the response must be passed on. */
function tryRedirect(
  request: HeaderMap,
  response: HeaderMap,
  policy: InternalRedirectData,
  callbacks: StreamDecoderFilterCallbacks,
  passed: PassedRedirects,
): HeaderMap | null {
  const location = response.get('location')
  const target = location === undefined ? null : parseAbsoluteUrl(location)
  if (target === null) return pass(passed.badLocation)
  const { scheme } = target
  const { filterState } = callbacks.streamInfo
  const tls = callbacks.connection.info.transportProtocol === 'tls'
  if (!policy.allowCrossScheme && (scheme === 'http') === tls) return pass(passed.unsafeScheme)
  const count = (filterState.get(REDIRECT_COUNT_KEY) as number | undefined) ?? 0
  if (count >= policy.maxRedirects) return pass(passed.tooMany)
  const next = request.clone()
  next.scheme = scheme
  next.authority = target.authority
  next.path = target.path
  for (const name of policy.headersToCopy) {
    const value = response.getAll(name)
    if (value === undefined) next.remove(name)
    else next.set(name, value)
  }
  // Over plain text the client cannot have asked for https, whatever the scheme was made.
  const asked = tls ? request.scheme : 'http'
  next.set('x-envoy-original-url', `${asked}://${request.authority}${request.path}`)
  if (response.status === 303 && next.method !== 'GET' && next.method !== 'HEAD') {
    next.method = 'GET'
    next.remove('content-length')
    next.remove('transfer-encoding')
  }
  const from = callbacks.route()?.name ?? ''
  // From here on the request's log names the route that the redirect leads to, followed or not (Envoy).
  const route = callbacks.reroute(next)
  if (!route) return refuse(passed.noRoute, request, callbacks)
  const unsafe = scheme !== 'http' && !tls
  if (!routeAllowed(policy, from, route.name, unsafe, filterState)) return refuse(passed.predicate, request, callbacks)
  filterState.set(REDIRECT_COUNT_KEY, count + 1)
  return next
}

function pass(why: Counter): null {
  why.inc()
  return null
}

/** The request is what it was again. */
function refuse(why: Counter, request: HeaderMap, callbacks: StreamDecoderFilterCallbacks): null {
  callbacks.restoreRequest(request)
  return pass(why)
}

/** `unsafe`: the redirect leads from a plain connection to https, or to what nobody knows. */
function routeAllowed(
  policy: InternalRedirectData,
  from: string,
  target: string,
  unsafe: boolean,
  filterState: StreamDecoderFilterCallbacks['streamInfo']['filterState'],
): boolean {
  for (const predicate of policy.predicates) {
    if (predicate.kind === 'safe_cross_scheme' && unsafe) return false
    if (predicate.kind === 'allow_listed_routes' && !predicate.names.includes(target)) return false
    if (predicate.kind === 'previous_routes') {
      const seen = (filterState.get(REDIRECT_ROUTES_KEY) ?? {}) as Readonly<Record<string, readonly string[]>>
      const ofThis = ownValue(seen, from) ?? []
      if (ofThis.includes(target)) return false
      filterState.set(REDIRECT_ROUTES_KEY, { ...seen, [from]: [...ofThis, target] })
    }
  }
  return true
}
