// The matching tree as one function of the facts (Envoy's generic matching API): an action, or null for no match.
//
// A match whose nested matcher finds nothing counts as no match: the next one is tried, and when none is left `on_no_match`.

import { type Cidr, cidrContains, parseIp } from '../../base/cidr.ts'
import { compileByteMatcher, compileStringMatcher } from '../route/string-matcher.ts'
import { compileCelTest } from './cel.ts'
import type { MatcherData, OnMatchData, PredicateData, TreeData } from './config.ts'
import { compileInputMatcher, type MatchEnvironment } from './input-matchers.ts'
import { compileInput, type Input, type MatchFacts } from './inputs.ts'

export type Match<A> = (facts: MatchFacts) => A | null

type Test = (facts: MatchFacts) => boolean

/** Pure: same facts, same action. Actions must not be null. */
export function compileMatcher<A>(data: MatcherData<A>, environment: MatchEnvironment): Match<A> {
  const tree = data.tree === null ? nothing : compileTree(data.tree, environment)
  if (data.onNoMatch === null) return tree
  const otherwise = compileOnMatch(data.onNoMatch, environment)
  return (facts) => tree(facts) ?? otherwise(facts)
}

function nothing(): null {
  return null
}

function compileOnMatch<A>(data: OnMatchData<A>, environment: MatchEnvironment): Match<A> {
  if (data.kind === 'matcher') return compileMatcher(data.matcher, environment)
  const { action } = data
  return () => action
}

function compileTree<A>(data: TreeData<A>, environment: MatchEnvironment): Match<A> {
  switch (data.kind) {
    case 'list':
      return listMatch(
        data.entries.map((entry) => compilePredicate(entry.predicate, environment)),
        data.entries.map((entry) => compileOnMatch(entry.onMatch, environment)),
      )
    case 'exact':
      return exactMatch(compileInput(data.input), compileEntries(data.entries, environment))
    case 'prefix':
      return prefixMatch(compileInput(data.input), compileEntries(data.entries, environment))
    case 'domain':
      return domainMatch(compileInput(data.input), compileEntries(data.entries, environment))
    case 'ip':
      return ipMatch(
        compileInput(data.input),
        data.entries.map((entry) => ({ ...entry, match: compileOnMatch(entry.onMatch, environment) })),
      )
  }
}

function compileEntries<A>(
  entries: readonly { readonly key: string; readonly onMatch: OnMatchData<A> }[],
  environment: MatchEnvironment,
): Map<string, Match<A>> {
  return new Map(entries.map(({ key, onMatch }) => [key, compileOnMatch(onMatch, environment)]))
}

function listMatch<A>(tests: readonly Test[], matches: readonly Match<A>[]): Match<A> {
  return (facts) => {
    for (let i = 0; i < tests.length; i++) {
      if (!tests[i]!(facts)) continue
      const action = matches[i]!(facts)
      if (action !== null) return action
    }
    return null
  }
}

function exactMatch<A>(input: Input, map: ReadonlyMap<string, Match<A>>): Match<A> {
  return (facts) => {
    const value = input(facts)
    return value === null ? null : (map.get(value)?.(facts) ?? null)
  }
}

/** The longest prefix that leads to an action. */
function prefixMatch<A>(input: Input, map: ReadonlyMap<string, Match<A>>): Match<A> {
  const lengths = [...new Set([...map.keys()].map((key) => key.length))].sort((a, b) => b - a)
  return (facts) => {
    const value = input(facts)
    if (value === null) return null
    for (let i = 0; i < lengths.length; i++) {
      const length = lengths[i]!
      if (length > value.length) continue
      const action = map.get(value.slice(0, length))?.(facts) ?? null
      if (action !== null) return action
    }
    return null
  }
}

/** The name itself, `*.suffix` from the longest, `*`. */
function domainMatch<A>(input: Input, map: ReadonlyMap<string, Match<A>>): Match<A> {
  return (facts) => {
    const value = input(facts)
    if (value === null || value === '') return null
    let action = map.get(value)?.(facts) ?? null
    for (let dot = value.indexOf('.'); dot >= 0 && action === null; dot = value.indexOf('.', dot + 1)) {
      if (dot > 0) action = map.get(`*${value.slice(dot)}`)?.(facts) ?? null
    }
    return action ?? map.get('*')?.(facts) ?? null
  }
}

function ipMatch<A>(
  input: Input,
  entries: readonly { readonly range: Cidr; readonly exclusive: boolean; readonly match: Match<A> }[],
): Match<A> {
  return (facts) => {
    const value = input(facts)
    const ip = value === null ? null : parseIp(value)
    if (ip === null) return null
    let narrowest = true
    for (let i = 0; i < entries.length; i++) {
      const { range, exclusive, match } = entries[i]!
      if (!cidrContains(range, ip)) continue
      // An exclusive range does not stand in for a narrower one whose matcher found nothing.
      const action = narrowest || !exclusive ? match(facts) : null
      if (action !== null) return action
      narrowest = false
    }
    return null
  }
}

function compilePredicate(data: PredicateData, environment: MatchEnvironment): Test {
  switch (data.kind) {
    case 'value':
    case 'extension': {
      const input = compileInput(data.input)
      const matches =
        data.kind === 'extension'
          ? compileInputMatcher(data.matcher, environment)
          : data.input.kind === 'request_header'
            ? compileByteMatcher(data.matcher)
            : compileStringMatcher(data.matcher)
      return (facts) => {
        const value = input(facts)
        return value !== null && matches(value)
      }
    }
    case 'cel':
      return compileCelTest(data.tree)
    case 'and': {
      const tests = data.of.map((one) => compilePredicate(one, environment))
      return (facts) => {
        for (let i = 0; i < tests.length; i++) if (!tests[i]!(facts)) return false
        return true
      }
    }
    case 'or': {
      const tests = data.of.map((one) => compilePredicate(one, environment))
      return (facts) => {
        for (let i = 0; i < tests.length; i++) if (tests[i]!(facts)) return true
        return false
      }
    }
    case 'not': {
      const test = compilePredicate(data.of, environment)
      return (facts) => !test(facts)
    }
  }
}
