// Security that nothing here would enforce: refused on apply, because a policy that seems to hold is worse than none.
import type { Problem } from '../../base/errors.ts'
import { parseKeySet } from '../../base/json-web-keys.ts'
import type { AuthorizationPolicy, RequestAuthentication, TargetReference } from '../../config/index.ts'

interface Targeted {
  readonly targetRef?: TargetReference
  readonly targetRefs?: readonly TargetReference[]
}

/** Targets that policies attach to by way of waypoints, of which there are none. */
function unenforcedTargets({ targetRef, targetRefs = [] }: Targeted): Problem[] {
  const targets = targetRefs.map((target, i) => ({ target, path: `spec.targetRefs[${i}]` }))
  if (targetRef) targets.push({ target: targetRef, path: 'spec.targetRef' })
  return targets
    .filter(({ target }) => target.kind !== 'Gateway')
    .map(({ target: { kind, name }, path }) => ({
      path,
      message: `nothing would enforce this: policies of a ${kind} hold in waypoints, which are not built`,
      hint: `name a Gateway, or leave ${kind} ${name} out and select its workloads by spec.selector`,
      level: 'error',
    }))
}

/** What of a RequestAuthentication no proxy would enforce. Key sets without a usable key make proxies refuse a listener. */
export function unenforcedAuthentication({ spec }: RequestAuthentication): Problem[] {
  const problems = unenforcedTargets(spec)
  spec.jwtRules?.forEach(({ jwks }, i) => {
    const keys = jwks ? parseKeySet(jwks) : []
    if (typeof keys !== 'string') return
    problems.push({
      path: `spec.jwtRules[${i}].jwks`,
      message: `no proxy can use these keys: ${keys}`,
      hint: 'RSA, EC P-256, P-384, P-521, Ed25519 and HMAC keys can be used',
      level: 'error',
    })
  })
  return problems
}

/** Filters of our proxy that leave metadata which conditions can look at. */
const WRITERS: ReadonlySet<string> = new Set([
  'envoy.filters.http.ext_authz',
  'envoy.filters.http.fault',
  'envoy.filters.http.ratelimit',
  'envoy.filters.http.rbac',
  'envoy.filters.network.ext_authz',
  'envoy.filters.network.ratelimit',
  'envoy.filters.network.rbac',
])
const METADATA_KEY = /^experimental\.(envoy\.filters\.[^[]+)\[(.*)\]$/
const TOKENS = 'envoy.filters.http.jwt_authn'

/** What of an AuthorizationPolicy no proxy would enforce. */
export function unenforcedPolicy({ spec }: AuthorizationPolicy): Problem[] {
  const problems = unenforcedTargets(spec)
  spec.rules?.forEach((rule, i) => {
    rule.when?.forEach(({ key }, j) => {
      const [, filter, entry = ''] = METADATA_KEY.exec(key) ?? []
      if (filter === undefined) return
      const path = `spec.rules[${i}].when[${j}].key`
      const never = (why: string, hint: string) =>
        problems.push({ path, message: `${why}, so the condition would never hold`, hint, level: 'error' })
      if (filter === TOKENS) never('what a token says is a map', 'use request.auth.claims[CLAIM]')
      else if (entry.includes('][')) never(`"${entry}" is read as the name of one entry`, 'name one entry: [KEY]')
      else if (!WRITERS.has(filter))
        never(`no filter "${filter}" in our proxy writes metadata`, `use metadata of ${[...WRITERS].join(', ')}`)
    })
  })
  return problems
}
