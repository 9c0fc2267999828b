// envoy.config.common.mutation_rules.v3.HeaderMutationRules: which headers a service may change in a request.

import type { HeaderMutationRules } from '../../../api/gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js'
import type { RegexMatcher } from '../../../api/gen/envoy/type/matcher/v3/regex_pb.js'
import type { ParseContext } from '../../config/extension.ts'
import { checkRegex, compileFullMatch } from '../../route/regex.ts'

export interface MutationRulesData {
  readonly allowAllRouting: boolean
  readonly allowEnvoy: boolean
  readonly disallowSystem: boolean
  readonly disallowAll: boolean
  /** Of whole names; '' = none. */
  readonly allowExpression: string
  readonly disallowExpression: string
  /** What is not allowed makes the answer invalid, else it is passed over. */
  readonly disallowIsError: boolean
}

/** Throws ConfigError for an expression that is none. */
export function parseMutationRules(rules: HeaderMutationRules, context: ParseContext): MutationRulesData {
  return {
    allowAllRouting: rules.allowAllRouting ?? false,
    allowEnvoy: rules.allowEnvoy ?? false,
    disallowSystem: rules.disallowSystem ?? false,
    disallowAll: rules.disallowAll ?? false,
    allowExpression: expression(rules.allowExpression, context.at('allow_expression')),
    disallowExpression: expression(rules.disallowExpression, context.at('disallow_expression')),
    disallowIsError: rules.disallowIsError ?? false,
  }
}

function expression(matcher: RegexMatcher | undefined, context: ParseContext): string {
  if (matcher !== undefined) checkRegex(matcher.regex, context.at('regex').path)
  return matcher?.regex ?? ''
}

const ROUTING: ReadonlySet<string> = new Set(['host', ':authority', ':scheme', ':method'])

/** Whether a header (lower case) may be set; what may be removed is told apart by the caller. */
export type MutationAllowed = (name: string) => boolean

export function compileMutationRules(rules: MutationRulesData): MutationAllowed {
  const matcher = (regex: string) => (regex === '' ? null : compileFullMatch(regex))
  const allowed = matcher(rules.allowExpression)
  const disallowed = matcher(rules.disallowExpression)
  return (name) => {
    if (disallowed?.(name)) return false
    if (allowed?.(name)) return true
    if (rules.disallowAll) return false
    if (ROUTING.has(name) && !rules.allowAllRouting) return false
    if (name.startsWith('x-envoy-') && !rules.allowEnvoy) return false
    return !(rules.disallowSystem && name.startsWith(':'))
  }
}
