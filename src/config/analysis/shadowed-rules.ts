// Rules of a VirtualService that earlier rules shadow, as istiod's webhook and istioctl's analysis find them.

import { type Fields, list, record, text } from './fields.ts'

/** A rule that is never used, or one match of it. Names are `"name"` or `#number`. */
export type ShadowedRule =
  | { readonly path: string; readonly rule: string; readonly reason: string }
  | { readonly path: string; readonly rule: string; readonly match: string; readonly by: string }

const RULE = 'virtualService rule '

/** As istiod's webhook says it. */
export function shadowText(found: ShadowedRule): string {
  if ('reason' in found) return `${RULE}${found.rule} not used (${found.reason})`
  const { rule, match, by } = found
  return `${RULE}${rule} match ${match} is not used (duplicate/overlapping match in rule ${by})`
}

/** Whether a warning of validation is one of these, for which the analysis has messages of their own. */
export function isShadowText(message: string): boolean {
  return message.startsWith(RULE)
}

/** What is shadowed in the http, tcp and tls routes of a spec, in their order. */
export function shadowedRules(spec: Fields): ShadowedRule[] {
  return [
    ...shadowed('http', list(spec.http)),
    ...overlapping(list(spec.http)),
    ...shadowed('tcp', list(spec.tcp)),
    ...shadowed('tls', list(spec.tls)),
  ]
}

/** `"name"`, or `#number`. */
function label(value: Fields | undefined, number: number): string {
  const name = text(value?.name)
  return name ? JSON.stringify(name) : `#${number}`
}

/** A match without its name, as a comparable text; any order of fields. */
function matchKey(match: Fields): string {
  const { name: _name, ...rest } = match
  return JSON.stringify(sorted(Object.fromEntries(Object.entries(rest).filter(([key, value]) => says(key, value)))))
}

const MAPS: ReadonlySet<string> = new Set(['headers', 'withoutHeaders', 'queryParams', 'sourceLabels'])

/** What protobuf does not tell from a field that is left out says nothing. */
function says(key: string, value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0
  if (MAPS.has(key)) return Object.keys(record(value)).length > 0
  return value !== '' && value !== 0 && value !== false
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]))
}

function shadowed(protocol: string, routes: readonly Fields[]): ShadowedRule[] {
  const found: ShadowedRule[] = []
  const seen = new Map<string, number>()
  let takesAll = false
  for (const [number, route] of routes.entries()) {
    const path = `spec.${protocol}[${number}]`
    const rule = label(route, number)
    const matches = list(route.match)
    if (matches.length === 0) {
      if (takesAll) found.push({ path, rule, reason: 'only the last rule can have no matches' })
      takesAll = true
      continue
    }
    if (takesAll) {
      found.push({ path, rule, reason: 'route without matches defined before' })
      continue
    }
    let duplicates = 0
    for (const [i, match] of matches.entries()) {
      const key = matchKey(match)
      const earlier = seen.get(key)
      if (earlier === undefined) seen.set(key, number)
      else {
        duplicates++
        const by = label(routes[earlier], earlier)
        found.push({ path: `${path}.match[${i}]`, rule, match: label(match, i), by })
      }
    }
    if (duplicates === matches.length) found.push({ path, rule, reason: 'all matches used by prior rules' })
  }
  return found
}

/** A match by a prefix of the path, and what else it asks for: `=text`, `^prefix`, '' for anything. */
interface PrefixMatch {
  readonly path: string
  readonly rule: string
  readonly match: string
  readonly prefix: string
  readonly port: unknown
  readonly method: string
  readonly authority: string
  readonly maps: readonly ReadonlyMap<string, string>[]
}

/** A prefix after a shorter one that asks for nothing more never matches. */
function overlapping(routes: readonly Fields[]): ShadowedRule[] {
  const prefixes: PrefixMatch[] = []
  const seen = new Set<string>()
  for (const [number, route] of routes.entries()) {
    if (list(route.match).length === 0) break
    for (const [i, match] of list(route.match).entries()) {
      const key = matchKey(match)
      const prefix = text(record(match.uri).prefix)
      if (prefix === '' || seen.has(key)) continue
      seen.add(key)
      prefixes.push({
        path: `spec.http[${number}].match[${i}]`,
        rule: label(route, number),
        match: label(match, i),
        prefix,
        port: match.port || 0,
        // istiod takes a match of any method for one of GET.
        method: textOf(match.method) || '=GET',
        authority: textOf(match.authority),
        maps: [match.headers, match.queryParams, match.withoutHeaders].map(textsOf),
      })
    }
  }
  const found: ShadowedRule[] = []
  for (const [i, first] of prefixes.entries()) {
    for (const second of prefixes.slice(i + 1)) {
      if (first.prefix === second.prefix || !covers(first, second)) continue
      found.push({
        path: second.path,
        rule: second.rule,
        match: `${second.match} of prefix ${second.prefix}`,
        by: `${first.match} of prefix ${first.prefix} on ${first.rule}`,
      })
    }
  }
  return found
}

function textOf(match: unknown): string {
  const { exact, prefix } = record(match)
  return text(exact) ? `=${text(exact)}` : text(prefix) ? `^${text(prefix)}` : ''
}

function textsOf(matches: unknown): ReadonlyMap<string, string> {
  return new Map(Object.entries(record(matches)).map(([name, match]) => [name, textOf(match)]))
}

function covers(first: PrefixMatch, second: PrefixMatch): boolean {
  return (
    second.prefix.startsWith(first.prefix) &&
    first.port === second.port &&
    first.method.startsWith(second.method) &&
    first.authority.startsWith(second.authority) &&
    first.maps.every((map, i) => mapCovers(map, second.maps[i]!))
  )
}

function mapCovers(first: ReadonlyMap<string, string>, second: ReadonlyMap<string, string>): boolean {
  if (first.size !== second.size) return false
  for (const [name, value] of first) {
    const other = second.get(name)
    if (other === undefined || !value.startsWith(other)) return false
  }
  return true
}
