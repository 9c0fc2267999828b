// The RBAC verdict (envoy-contract §10.4): a pure function of the rules and of what is known of a request or connection.

import { type Cidr, cidrContains, parseIp } from '../../base/cidr.ts'
import { mapActions, someAction } from '../matching/actions.ts'
import { compileCelTest } from '../matching/cel.ts'
import type { MatcherData } from '../matching/config.ts'
import type { MatchEnvironment } from '../matching/input-matchers.ts'
import type { MatchFacts } from '../matching/inputs.ts'
import { compileMatcher } from '../matching/matcher.ts'
import type { Address } from '../network/connection.ts'
import type { DynamicMetadata } from '../network/filter.ts'
import { compileHeaderMatcher } from '../route/header-matcher.ts'
import { compileMetadataMatcher } from '../route/metadata-matcher.ts'
import { compileFullMatch } from '../route/regex.ts'
import { compileByteMatcher, compileStringMatcher, type StringMatch } from '../route/string-matcher.ts'
import type { Condition, RbacActionData, RbacData, RulesData } from './config.ts'

/** The facts. `headers` is null on a TCP connection: header and path conditions then do not match. */
export interface RbacFacts extends MatchFacts {
  readonly metadata: DynamicMetadata | null
}

export interface RbacVerdict {
  readonly allowed: boolean
  /** Name of the policy that matched, '' for none. */
  readonly policy: string
  /** What to write under `access_log_hint`; null = nothing: no action LOG here, or the tree led nowhere. */
  readonly log: boolean | null
}

/** Compiled rules. Policies are tried in order; the first that matches decides. */
export type RbacEngine = (facts: RbacFacts) => RbacVerdict

type Test = (facts: RbacFacts) => boolean

export function compileRbac(data: RbacData, environment: MatchEnvironment): RbacEngine {
  return data.kind === 'rules' ? compileRules(data) : compileActions(data.matcher, environment)
}

/** The action that the tree leads to decides; none denies. */
function compileActions(data: MatcherData<RbacActionData>, environment: MatchEnvironment): RbacEngine {
  const logs = someAction(data, ({ action }) => action === 'LOG')
  const match = compileMatcher(
    mapActions(data, ({ action, name }): RbacVerdict => {
      return { allowed: action !== 'DENY', policy: name, log: logs ? action === 'LOG' : null }
    }),
    environment,
  )
  const otherwise: RbacVerdict = { allowed: false, policy: '', log: null }
  return (facts) => match(facts) ?? otherwise
}

/** ALLOW lets in what some policy matches, DENY what none matches, LOG everything. */
export function compileRules(rules: RulesData): RbacEngine {
  const policies = rules.policies.map((policy) => ({
    permission: compile(policy.permission),
    principal: compile(policy.principal),
    condition: policy.condition && compileCelTest(policy.condition),
    // One verdict object per policy: none is made per request.
    verdict: {
      allowed: rules.action !== 'DENY',
      policy: policy.name,
      log: rules.action === 'LOG' ? true : null,
    } satisfies RbacVerdict,
  }))
  const otherwise: RbacVerdict = {
    allowed: rules.action !== 'ALLOW',
    policy: '',
    log: rules.action === 'LOG' ? false : null,
  }
  return (facts) => {
    for (let i = 0; i < policies.length; i++) {
      const policy = policies[i]!
      if (policy.condition !== null && !policy.condition(facts)) continue
      if (policy.permission(facts) && policy.principal(facts)) return policy.verdict
    }
    return otherwise
  }
}

function compile(condition: Condition): Test {
  switch (condition.kind) {
    case 'any':
      return () => true
    case 'and': {
      const tests = condition.of.map(compile)
      return (facts) => {
        for (let i = 0; i < tests.length; i++) if (!tests[i]!(facts)) return false
        return true
      }
    }
    case 'or': {
      const tests = condition.of.map(compile)
      if (tests.length === 1) return tests[0]!
      return (facts) => {
        for (let i = 0; i < tests.length; i++) if (tests[i]!(facts)) return true
        return false
      }
    }
    case 'not': {
      const test = compile(condition.of)
      return (facts) => !test(facts)
    }
    case 'header': {
      const match = compileHeaderMatcher(condition.matcher)
      return (facts) => facts.headers !== null && match(facts.headers)
    }
    case 'path':
      return pathTest(compileByteMatcher(condition.matcher))
    case 'uri_template':
      return pathTest(compileFullMatch(condition.regex))
    case 'destination_ip':
      return (facts) => inRange(condition.range, facts.localAddress)
    case 'direct_remote_ip':
    case 'source_ip':
      return (facts) => inRange(condition.range, facts.directRemoteAddress)
    case 'remote_ip':
      return (facts) => inRange(condition.range, facts.remoteAddress)
    case 'destination_port':
      return ({ localAddress: { port } }) => port >= condition.start && port < condition.end
    case 'metadata': {
      const match = compileMetadataMatcher(condition.matcher)
      return (facts) => match(facts.metadata)
    }
    case 'filter_state': {
      const match = compileStringMatcher(condition.matcher)
      return (facts) => {
        const value = facts.filterState.get(condition.key)
        return typeof value === 'string' && match(value)
      }
    }
    case 'sni': {
      const match = compileStringMatcher(condition.matcher)
      return (facts) => match(facts.requestedServerName)
    }
    case 'authenticated':
      return authenticated(condition.name ? compileStringMatcher(condition.name) : null)
  }
}

function pathTest(match: StringMatch): Test {
  return ({ headers }) => {
    if (!headers) return false
    const query = headers.path.indexOf('?')
    return match(query < 0 ? headers.path : headers.path.slice(0, query))
  }
}

function inRange(range: Cidr, address: Address): boolean {
  const ip = parseIp(address.ip)
  return ip !== null && cidrContains(range, ip)
}

/** Each URI SAN; without any, each DNS SAN; without any, the subject. No matcher: any verified client certificate. */
function authenticated(match: StringMatch | null): Test {
  return ({ ssl }) => {
    if (!ssl?.peerCertificatePresented) return false
    if (!match) return true
    if (ssl.uriSanPeer.length > 0) return ssl.uriSanPeer.some(match)
    if (ssl.dnsSanPeer.length > 0) return ssl.dnsSanPeer.some(match)
    return match(ssl.subjectPeer)
  }
}
