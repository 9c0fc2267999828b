// Security that nothing here would enforce: refused on apply, because a policy that seems to hold is worse than none.
import type { Problem } from '../../base/errors.ts'
import type { AuthorizationPolicy, TargetReference } from '../../config/index.ts'

interface Targeted {
  readonly targetRef?: TargetReference
  readonly targetRefs?: readonly TargetReference[]
}

/** Targets that policies attach to by way of waypoints, of which there are none. */
export function unenforcedTargets({ targetRef, targetRefs = [] }: Targeted): Problem[] {
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

/** Filters of our proxy that leave metadata which conditions can look at. */
const WRITERS: ReadonlySet<string> = new Set([
  'envoy.filters.http.ext_authz',
  'envoy.filters.http.fault',
  'envoy.filters.http.jwt_authn',
  'envoy.filters.http.ratelimit',
  'envoy.filters.http.rbac',
  'envoy.filters.network.rbac',
])
const METADATA_KEY = /^experimental\.(envoy\.filters\.[^[]+)\[/

/** What of an AuthorizationPolicy no proxy would enforce. */
export function unenforcedPolicy({ spec }: AuthorizationPolicy): Problem[] {
  const problems = unenforcedTargets(spec)
  spec.rules?.forEach((rule, i) => {
    rule.when?.forEach(({ key }, j) => {
      const filter = METADATA_KEY.exec(key)?.[1]
      if (filter === undefined || WRITERS.has(filter)) return
      problems.push({
        path: `spec.rules[${i}].when[${j}].key`,
        message: `no filter "${filter}" in our proxy writes metadata, so the condition would never hold`,
        hint: `use metadata of ${[...WRITERS].join(', ')}`,
        level: 'error',
      })
    })
  })
  if (spec.action === 'CUSTOM') {
    problems.push({
      path: 'spec.action',
      message: 'proxies of Outrigger ask about HTTP requests only: TCP connections that the rules name are denied',
      level: 'warning',
    })
  }
  return problems
}
