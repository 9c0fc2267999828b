// envoy.filters.network.rbac (envoy-contract §9.2): decides on the first byte, or on every read.

import type { WorkerContext } from '../../../config/extension.ts'
import { ConnectionFacts } from '../../../matching/connection-facts.ts'
import { CloseType } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import { type Counter, prefixed } from '../../../observe/stats.ts'
import { compileRbac, type RbacEngine, type RbacVerdict } from '../../../rbac/engine.ts'
import { ACCESS_LOG_HINT, ACCESS_LOG_NAMESPACE, deniedDetails } from '../../http/rbac/filter.ts'
import type { NetworkRbacConfig } from './config.ts'

const METADATA_NAMESPACE = 'envoy.filters.network.rbac'

interface Compiled {
  readonly config: NetworkRbacConfig
  readonly rules: RbacEngine | null
  readonly shadow: RbacEngine | null
  readonly allowed: Counter
  readonly denied: Counter
  readonly shadowAllowed: Counter
  readonly shadowDenied: Counter
}

export function createNetworkRbac(
  config: NetworkRbacConfig,
  context: WorkerContext,
): (callbacks: ReadFilterCallbacks) => NetworkFilter {
  const scope = context.stats.scope(`${config.statPrefix}rbac`)
  const shadow = config.shadowRulesStatPrefix
  const compiled: Compiled = {
    config,
    rules: config.rules && compileRbac(config.rules, context),
    shadow: config.shadowRules && compileRbac(config.shadowRules, context),
    allowed: scope.counter('allowed'),
    denied: scope.counter('denied'),
    shadowAllowed: scope.counter(prefixed(shadow, 'shadow_allowed')),
    shadowDenied: scope.counter(prefixed(shadow, 'shadow_denied')),
  }
  return (callbacks) => new NetworkRbac(compiled, callbacks)
}

class NetworkRbac implements NetworkFilter {
  private readonly compiled: Compiled
  private readonly callbacks: ReadFilterCallbacks
  private decided = false

  constructor(compiled: Compiled, callbacks: ReadFilterCallbacks) {
    this.compiled = compiled
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    return FilterStatus.Continue
  }

  onData(): FilterStatus {
    const { config } = this.compiled
    if (this.decided && !config.continuous) return FilterStatus.Continue
    const { connection, filterState, dynamicMetadata } = this.callbacks
    const facts = new ConnectionFacts(connection.info, filterState, dynamicMetadata)
    this.decided = true
    if (this.compiled.shadow) this.note(this.compiled.shadow(facts))
    if (!this.compiled.rules) return FilterStatus.Continue
    const verdict = this.compiled.rules(facts)
    if (verdict.log !== null) (dynamicMetadata[ACCESS_LOG_NAMESPACE] ??= {})[ACCESS_LOG_HINT] = verdict.log
    if (verdict.allowed) {
      this.compiled.allowed.inc()
      return FilterStatus.Continue
    }
    this.compiled.denied.inc()
    connection.info.connectionTerminationDetails = deniedDetails(verdict.policy)
    connection.close(CloseType.NoFlush, deniedDetails(verdict.policy))
    return FilterStatus.StopIteration
  }

  private note(verdict: RbacVerdict): void {
    const prefix = this.compiled.config.shadowRulesStatPrefix
    const values = (this.callbacks.dynamicMetadata[METADATA_NAMESPACE] ??= {})
    if (verdict.policy) values[`${prefix}shadow_effective_policy_id`] = verdict.policy
    values[`${prefix}shadow_engine_result`] = verdict.allowed ? 'allowed' : 'denied'
    ;(verdict.allowed ? this.compiled.shadowAllowed : this.compiled.shadowDenied).inc()
  }

  onEvent(): void {}
}
