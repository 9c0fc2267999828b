// Rules of a VirtualService that earlier rules shadow.

import type { AnalysisContext, Analyzer, Entry } from '../context.ts'
import { type Fields, list, record, text } from '../fields.ts'
import { VirtualServiceIneffectiveMatch, VirtualServiceUnreachableRule } from '../messages.ts'

export const matchesAnalyzer: Analyzer = {
  name: 'schemaValidation.CollectionValidationAnalyzer',
  description: 'Finds virtual services with routing rules that can never be reached',
  run(context) {
    for (const vs of context.istio('VirtualService', 'networking')) {
      for (const protocol of ['http', 'tcp', 'tls'] as const) {
        duplicates(context, vs, protocol, list(vs.spec[protocol]))
        if (protocol === 'http') overlaps(context, vs, list(vs.spec.http))
      }
    }
  },
}

/** `"name"`, or `#number`. */
function label(value: Fields | undefined, number: number): string {
  const name = text(value?.name)
  return name ? JSON.stringify(name) : `#${number}`
}

/** A match without its name, as a comparable text; any order of fields. */
function matchKey(match: Fields): string {
  const sorted = (value: unknown): unknown =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(
          Object.entries(value)
            .filter(([key]) => key !== 'name')
            .sort()
            .map(([key, inner]) => [key, sorted(inner)]),
        )
      : value
  return JSON.stringify(sorted(match))
}

function duplicates(context: AnalysisContext, vs: Entry, protocol: string, routes: readonly Fields[]): void {
  const seen = new Map<string, number>()
  let emptyReported = false
  for (const [number, route] of routes.entries()) {
    const matches = list(route.match)
    if (matches.length === 0) {
      // Everything after a rule that takes all is out of reach.
      if (number < routes.length - 1 && !emptyReported) {
        const reason = 'only the last rule can have no matches'
        context.report(
          VirtualServiceUnreachableRule,
          vs,
          `spec.${protocol}[${number + 1}]`,
          label(routes[number + 1], number + 1),
          reason,
        )
        emptyReported = true
      }
      continue
    }
    let duplicated = 0
    for (const [i, match] of matches.entries()) {
      const key = matchKey(match)
      const earlier = seen.get(key)
      if (earlier === undefined) {
        seen.set(key, number)
        continue
      }
      duplicated++
      context.report(
        VirtualServiceIneffectiveMatch,
        vs,
        `spec.${protocol}[${number}].match[${i}]`,
        label(route, number),
        label(match, i),
        label(routes[earlier], earlier),
      )
    }
    if (duplicated === matches.length) {
      context.report(
        VirtualServiceUnreachableRule,
        vs,
        `spec.${protocol}[${number}]`,
        label(route, number),
        'all matches used by prior rules',
      )
    }
  }
}

interface Prefix {
  readonly rule: string
  readonly match: string
  readonly prefix: string
  /** What else the match asks for; '' for nothing. */
  readonly rest: string
}

/** A prefix match after a shorter prefix that asks for nothing more never matches. */
function overlaps(context: AnalysisContext, vs: Entry, routes: readonly Fields[]): void {
  const earlier: Prefix[] = []
  for (const [number, route] of routes.entries()) {
    for (const [i, match] of list(route.match).entries()) {
      const prefix = text(record(match.uri).prefix)
      if (!prefix) continue
      const rest = matchKey({ ...match, uri: undefined })
      const mine = { rule: label(route, number), match: label(match, i), prefix, rest }
      const shadow = earlier.find(
        (other) =>
          other.prefix !== prefix && prefix.startsWith(other.prefix) && (other.rest === '{}' || other.rest === rest),
      )
      if (shadow) {
        context.report(
          VirtualServiceIneffectiveMatch,
          vs,
          `spec.http[${number}].match[${i}]`,
          mine.rule,
          `${mine.match} of prefix ${prefix}`,
          `${shadow.match} of prefix ${shadow.prefix} on ${shadow.rule}`,
        )
      }
      earlier.push(mine)
    }
  }
}
