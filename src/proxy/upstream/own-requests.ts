// `http.async-client.`: requests of the proxy's own, mirrors included, which Envoy sends through a router of their own.

import type { Counter, Scope } from '../observe/stats.ts'

/** What that router has names for and nothing here counts: there are no routes, redirects or direct answers. */
const NEVER = [
  'no_cluster',
  'no_route',
  'passthrough_internal_redirect_bad_location',
  'passthrough_internal_redirect_no_route',
  'passthrough_internal_redirect_predicate',
  'passthrough_internal_redirect_too_many_redirects',
  'passthrough_internal_redirect_unsafe_scheme',
  'rq_direct_response',
  'rq_overload_local_reply',
  'rq_redirect',
  'rq_reset_after_downstream_response_started',
]

/** The counter of all such requests of a worker; `stats` is its root. */
export function ownRequestCounter(stats: Scope): Counter {
  const scope = stats.scope('http.async-client')
  for (const name of NEVER) scope.counter(name)
  return scope.counter('rq_total')
}
