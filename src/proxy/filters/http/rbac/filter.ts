// envoy.filters.http.rbac (envoy-contract §10.4): shadow rules are noted, rules decide.

import type { WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
  type StreamDecoderFilter,
  type StreamDecoderFilterCallbacks,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { ConnectionFacts } from '../../../matching/connection-facts.ts'
import { type Counter, prefixed, type Scope } from '../../../observe/stats.ts'
import { compileRbac, type RbacEngine, type RbacVerdict } from '../../../rbac/engine.ts'
import type { RbacConfig, RbacRouteConfig } from './config.ts'

const METADATA_NAMESPACE = 'envoy.filters.http.rbac'
/** Where a LOG action says whether it matched. */
export const ACCESS_LOG_NAMESPACE = 'envoy.common'
export const ACCESS_LOG_HINT = 'access_log_hint'

interface Compiled {
  readonly rules: RbacEngine | null
  readonly shadow: RbacEngine | null
  readonly shadowPolicyKey: string
  readonly shadowResultKey: string
  readonly allowed: Counter
  readonly denied: Counter
  readonly shadowAllowed: Counter
  readonly shadowDenied: Counter
  /** Scopes of per-policy counters, or null. */
  readonly perPolicy: Scope | null
  readonly perShadowPolicy: Scope | null
}

export function createRbacFilter(config: RbacConfig, context: WorkerContext, statPrefix: string): HttpFilterFactory {
  const scope = context.stats.scope(`http.${statPrefix}.rbac`)
  const own = compile(config, context, scope)
  // Route overrides are plain data that live as long as their route table: compiled once each.
  const overrides = new WeakMap<RbacRouteConfig, Compiled | null>()
  const effective = (route: RbacRouteConfig | undefined): Compiled | null => {
    if (!route) return own
    let compiled = overrides.get(route)
    if (compiled === undefined)
      overrides.set(route, (compiled = route.rbac ? compile(route.rbac, context, scope) : null))
    return compiled
  }
  return (callbacks) => callbacks.addStreamDecoderFilter(new RbacFilter(effective))
}

function compile(config: RbacConfig, context: WorkerContext, scope: Scope): Compiled {
  const rules = config.rulesStatPrefix
  const shadow = config.shadowRulesStatPrefix
  return {
    rules: config.rules && compileRbac(config.rules, context),
    shadow: config.shadowRules && compileRbac(config.shadowRules, context),
    shadowPolicyKey: `${shadow}shadow_effective_policy_id`,
    shadowResultKey: `${shadow}shadow_engine_result`,
    allowed: scope.counter(prefixed(rules, 'allowed')),
    denied: scope.counter(prefixed(rules, 'denied')),
    shadowAllowed: scope.counter(prefixed(shadow, 'shadow_allowed')),
    shadowDenied: scope.counter(prefixed(shadow, 'shadow_denied')),
    perPolicy: config.trackPerRuleStats ? scope.scope(prefixed(rules, 'policy')) : null,
    perShadowPolicy: config.trackPerRuleStats ? scope.scope(prefixed(shadow, 'policy')) : null,
  }
}

class RbacFilter implements StreamDecoderFilter {
  private callbacks!: StreamDecoderFilterCallbacks
  private readonly effective: (route: RbacRouteConfig | undefined) => Compiled | null

  constructor(effective: (route: RbacRouteConfig | undefined) => Compiled | null) {
    this.effective = effective
  }

  setDecoderFilterCallbacks(callbacks: StreamDecoderFilterCallbacks): void {
    this.callbacks = callbacks
  }

  decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const compiled = this.effective(this.callbacks.perFilterConfig<RbacRouteConfig>())
    if (!compiled) return FilterHeadersStatus.Continue
    const info = this.callbacks.streamInfo
    const facts = new ConnectionFacts(info.downstream, info.filterState, info.dynamicMetadata)
    facts.headers = headers
    facts.stream = info
    if (compiled.shadow) this.note(compiled, compiled.shadow(facts))
    if (!compiled.rules) return FilterHeadersStatus.Continue
    const verdict = compiled.rules(facts)
    if (verdict.log !== null) info.setDynamicMetadata(ACCESS_LOG_NAMESPACE, ACCESS_LOG_HINT, verdict.log)
    const result = verdict.allowed ? 'allowed' : 'denied'
    info.setDynamicMetadata(METADATA_NAMESPACE, 'enforced_engine_result', result)
    if (verdict.policy) info.setDynamicMetadata(METADATA_NAMESPACE, 'enforced_effective_policy_id', verdict.policy)
    ;(verdict.allowed ? compiled.allowed : compiled.denied).inc()
    if (verdict.policy) compiled.perPolicy?.counter(`${verdict.policy}.${result}`).inc()
    if (verdict.allowed) return FilterHeadersStatus.Continue
    this.callbacks.sendLocalReply(403, 'RBAC: access denied', null, null, deniedDetails(verdict.policy))
    return FilterHeadersStatus.StopIteration
  }

  private note(compiled: Compiled, verdict: RbacVerdict): void {
    const result = verdict.allowed ? 'allowed' : 'denied'
    const info = this.callbacks.streamInfo
    if (verdict.policy) info.setDynamicMetadata(METADATA_NAMESPACE, compiled.shadowPolicyKey, verdict.policy)
    info.setDynamicMetadata(METADATA_NAMESPACE, compiled.shadowResultKey, result)
    ;(verdict.allowed ? compiled.shadowAllowed : compiled.shadowDenied).inc()
    if (verdict.policy) compiled.perShadowPolicy?.counter(`${verdict.policy}.shadow_${result}`).inc()
  }

  decodeData(): FilterDataStatus {
    return FilterDataStatus.Continue
  }

  decodeTrailers(): FilterTrailersStatus {
    return FilterTrailersStatus.Continue
  }

  onDestroy(): void {}
}

/** The response code detail of a denial; white space in the policy's name would break log formats. */
export function deniedDetails(policy: string): string {
  return `rbac_access_denied_matched_policy[${policy === '' ? 'none' : policy.replace(/\s/g, '_')}]`
}
