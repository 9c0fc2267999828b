// envoy.filters.http.cors (envoy-contract §10.3): answers preflights and marks responses, by the route's policy.

import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import { CORS_FILTER, type CorsPolicyData } from '../../../route/cors-policy.ts'
import { PassThroughFilter } from '../pass-through.ts'
import { CorsPolicy } from './policy.ts'

interface Shared {
  readonly runtime: RuntimeSnapshot
  readonly valid: Counter
  readonly invalid: Counter
  /** Policies merged once, keyed by their most specific level. */
  readonly policies: WeakMap<CorsPolicyData, CorsPolicy>
}

export function createCorsFilter(_config: null, context: WorkerContext, statPrefix: string): HttpFilterFactory {
  const scope = context.stats.scope(`http.${statPrefix}.cors`)
  const shared: Shared = {
    runtime: context.runtime,
    valid: scope.counter('origin_valid'),
    invalid: scope.counter('origin_invalid'),
    policies: new WeakMap(),
  }
  return (callbacks) => callbacks.addStreamFilter(new CorsFilter(shared))
}

class CorsFilter extends PassThroughFilter {
  private readonly shared: Shared
  /** Set when the response is to be marked. */
  private policy: CorsPolicy | null = null
  private origin = ''

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const origin = headers.get('origin')
    if (origin === undefined || origin === '') return FilterHeadersStatus.Continue
    const policy = this.findPolicy()
    if (!policy) return FilterHeadersStatus.Continue
    const { runtime, valid, invalid } = this.shared
    const { random } = this.callbacks.streamInfo
    const enforced = policy.enabled(runtime, random)
    if (!enforced && !policy.shadow(runtime, random)) return FilterHeadersStatus.Continue
    const allowed = policy.allowsOrigin(origin)
    ;(allowed ? valid : invalid).inc()
    if (!enforced) return FilterHeadersStatus.Continue
    const preflight = headers.method === 'OPTIONS' && (headers.get('access-control-request-method') ?? '') !== ''
    if (!preflight) {
      if (allowed) this.policy = policy
      this.origin = origin
      return FilterHeadersStatus.Continue
    }
    if (!allowed && policy.forwardNotMatchingPreflights) return FilterHeadersStatus.Continue
    const modify = allowed ? (response: HeaderMap): void => allowPreflight(response, headers, policy, origin) : null
    this.callbacks.sendLocalReply(200, '', modify, null, 'cors_response')
    return FilterHeadersStatus.StopIteration
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { policy } = this
    if (!policy) return FilterHeadersStatus.Continue
    headers.set('access-control-allow-origin', this.origin)
    if (policy.allowCredentials) headers.set('access-control-allow-credentials', 'true')
    if (policy.exposeHeaders !== '') headers.set('access-control-expose-headers', policy.exposeHeaders)
    return FilterHeadersStatus.Continue
  }

  /** Redirects and direct responses are not guarded. */
  private findPolicy(): CorsPolicy | null {
    const route = this.callbacks.route()
    if (!route || route.direct) return null
    const levels = route.perFilterConfigs(CORS_FILTER) as readonly CorsPolicyData[]
    const mostSpecific = levels.at(-1)
    if (!mostSpecific) return null
    let policy = this.shared.policies.get(mostSpecific)
    if (!policy) this.shared.policies.set(mostSpecific, (policy = new CorsPolicy(levels)))
    return policy
  }
}

function allowPreflight(response: HeaderMap, request: HeaderMap, policy: CorsPolicy, origin: string): void {
  response.set('access-control-allow-origin', origin)
  if (policy.allowCredentials) response.set('access-control-allow-credentials', 'true')
  if (policy.allowMethods !== '') response.set('access-control-allow-methods', policy.allowMethods)
  const asked = request.get('access-control-request-headers')
  if (policy.allowHeaders === '*' && asked !== undefined) response.set('access-control-allow-headers', asked)
  else if (policy.allowHeaders !== '') response.set('access-control-allow-headers', policy.allowHeaders)
  if (policy.maxAge !== '') response.set('access-control-max-age', policy.maxAge)
  if (policy.allowPrivateNetworkAccess && request.get('access-control-request-private-network') === 'true') {
    response.set('access-control-allow-private-network', 'true')
  }
}
