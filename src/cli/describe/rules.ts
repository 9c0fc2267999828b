// DestinationRules and VirtualServices in a description.

import type { MeshObject } from '../access.ts'
import { items, type Labels, matches, namespaceOf, type Spec, spec } from './objects.ts'
import type { NameOf } from './pod.ts'
import { protoText } from './proto-text.ts'

/** Names of a DestinationRule's subsets: those that one of the pods belongs to, and the others. */
export interface Subsets {
  readonly matching: readonly string[]
  readonly others: readonly string[]
}

export const NO_SUBSETS: Subsets = { matching: [], others: [] }

export function subsetsOf(rule: MeshObject, pods: readonly Labels[]): Subsets {
  const all = items<{ readonly name: string; readonly labels?: Labels }>(spec(rule).subsets)
  const fits = ({ labels }: { readonly labels?: Labels }) => pods.some((pod) => matches(labels, pod))
  return {
    matching: all.filter(fits).map(({ name }) => name),
    others: all.filter((subset) => !fits(subset)).map(({ name }) => name),
  }
}

export function destinationRuleText(rule: MeshObject, subsets: Subsets, nameOf: NameOf, indent: string): string {
  const { host, trafficPolicy } = spec(rule)
  const { matching, others } = subsets
  let out = `${indent}DestinationRule: ${nameOf(rule)} for ${JSON.stringify(host ?? '')}\n`
  const at = `${indent}   `
  if (matching.length + others.length > 0) {
    if (matching.length === 0) {
      out += `${at}WARNING POD DOES NOT MATCH ANY SUBSETS.  (Non matching subsets ${others.join(',')})\n`
    }
    out += `${at}Matching subsets: ${matching.join(',')}\n`
    if (others.length > 0) out += `${at}   (Non-matching subsets ${others.join(',')})\n`
  }
  if (!trafficPolicy) return `${out}${at}No Traffic Policy\n`
  const policy = trafficPolicy as Spec
  if (policy.tls) out += `${at}Traffic Policy TLS Mode: ${tlsMode(policy)}\n`
  out += policiesText(policy, at)
  if (!policy.portLevelSettings) return out
  out += `${at}Port Level Settings:\n`
  for (const settings of items(policy.portLevelSettings)) {
    out += `    ${(settings.port as { readonly number?: number } | undefined)?.number ?? 0}:\n`
    if (settings.tls) out += `${at}   TLS Mode: ${tlsMode(settings)}\n`
    out += policiesText(settings, `${at}   `)
  }
  return out
}

function tlsMode({ tls }: Spec): string {
  return (tls as { readonly mode?: string }).mode ?? 'DISABLE'
}

const POLICIES = [
  ['loadBalancer', 'load balancer'],
  ['connectionPool', 'connection pool'],
  ['outlierDetection', 'outlier detection'],
] as const

function policiesText(policy: Spec, indent: string): string {
  const words = POLICIES.filter(([key]) => policy[key]).map(([, word]) => word)
  return words.length > 0 ? `${indent}Policies: ${words.join('/')}\n` : ''
}

interface StringMatch {
  readonly exact?: string
  readonly prefix?: string
  readonly regex?: string
}

interface HttpMatch {
  readonly uri?: StringMatch
  readonly ignoreUriCase?: boolean
  readonly headers?: Readonly<Record<string, StringMatch | null>>
}

interface Destination {
  readonly destination?: { readonly host?: string; readonly subset?: string }
  readonly weight?: number
}

interface Route {
  readonly match?: readonly HttpMatch[]
  readonly route?: readonly Destination[]
  readonly fault?: unknown
}

/** The service that a description is about, and what is known of it. */
export interface RouteTarget {
  readonly service: MeshObject
  readonly subsets: Subsets
  readonly rule: MeshObject | undefined
}

interface Verdict {
  readonly match: boolean
  readonly facts: readonly string[]
}

export function virtualServiceText(vs: MeshObject, target: RouteTarget, nameOf: NameOf, indent: string): string {
  const http = items<Route>(spec(vs).http)
  const tcp = items<Route>(spec(vs).tcp)
  const tls = items(spec(vs).tls)
  const at = `${indent}   `
  const verdicts = [
    ...http.map((route) => httpVerdict(vs, route, target, nameOf)),
    ...tcp.map((route) => tcpVerdict(vs, route, target)),
  ]
  const reaching = verdicts.filter(({ match }) => match)
  const facts = reaching.flatMap((verdict) => verdict.facts).map((fact) => `${at}${fact}\n`)
  const mismatches = verdicts
    .filter(({ match }) => !match)
    .flatMap((verdict) => verdict.facts)
    .map((note) => `${at}   ${note}\n`)
  let out = `${indent}VirtualService: ${nameOf(vs)}\n${facts.join('')}`
  if (reaching.length === 0) {
    const warning = (count: number, protocol: string) =>
      count > 0 ? `${at}WARNING: No destinations match pod subsets (checked ${count} ${protocol} routes)\n` : ''
    return `${out}${warning(http.length, 'HTTP')}${warning(tcp.length, 'TCP')}${mismatches.join('')}`
  }
  const possible = http.length + tls.length + tcp.length
  if (reaching.length < possible) {
    out += `${at}${possible - reaching.length} additional destination(s) that will not reach this pod\n`
    return facts.length === 0 ? out + mismatches.join('') : out
  }
  if (facts.length > 0) return out
  if (http.length > 0) out += `${at}${http.length} HTTP route(s)\n`
  if (tcp.length > 0) out += `${at}${tcp.length} TCP route(s)\n`
  return out
}

function httpVerdict(vs: MeshObject, route: Route, target: RouteTarget, nameOf: NameOf): Verdict {
  const facts: string[] = []
  const notes: string[] = []
  let match = false
  for (const { destination, weight = 0 } of items<Destination>(route.route)) {
    const { host = '', subset = '' } = destination ?? {}
    if (!namesService(host, vs, target.service)) {
      facts.push(
        subset === '' ? `Route to host "${host}" with weight ${weight}%` : `Route to ${host} with invalid config`,
      )
      continue
    }
    const unreached = subset === '' ? null : subsetNote(subset, route, target, nameOf)
    if (unreached !== null) {
      notes.push(unreached)
      continue
    }
    match = true
    if (weight > 0)
      facts.push(`Route to host "${host}"${subset === '' ? '' : ` subset "${subset}"`} with weight ${weight}%`)
  }
  if (!match) return { match, facts: [...facts, ...notes] }
  const conditions = [
    ...(route.fault ? [`Fault injection ${protoText(route.fault)}`] : []),
    ...items<HttpMatch>(route.match).map(matchText),
  ]
  return { match, facts: conditions.length > 0 ? [...facts, conditions.join(', ')] : facts }
}

/** Why traffic for a subset does not reach the pod; null when it does. */
function subsetNote(subset: string, route: Route, { subsets, rule }: RouteTarget, nameOf: NameOf): string | null {
  if (subsets.others.includes(subset)) {
    const matched = items<HttpMatch>(route.match).map(matchText)
    return `Route to non-matching subset ${subset} for (${matched.length > 0 ? matched.join(', ') : 'everything'})`
  }
  if (subsets.matching.includes(subset)) return null
  return rule
    ? `Warning: Route to UNKNOWN subset ${subset}; check DestinationRule ${nameOf(rule)}`
    : `Warning: Route to subset ${subset} but NO DESTINATION RULE defining subsets!`
}

function tcpVerdict(vs: MeshObject, route: Route, { service }: RouteTarget): Verdict {
  const match = items<Destination>(route.route).some(({ destination }) =>
    namesService(destination?.host ?? '', vs, service),
  )
  return { match, facts: match ? items(route.match).map(protoText) : [] }
}

function matchText({ uri, ignoreUriCase, headers }: HttpMatch): string {
  let out = 'Match: '
  if (uri) out += `${stringMatchText(uri)}${ignoreUriCase ? ' uncased' : ''}`
  const conditions = Object.entries(headers ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, match]) => `${name}=${match ? stringMatchText(match) : ''}`)
  if (conditions.length > 0) out += ` when headers are ${conditions.join('; ')}`
  return out.trim()
}

function stringMatchText({ exact, prefix, regex }: StringMatch): string {
  if (exact !== undefined) return exact
  if (prefix !== undefined) return `${prefix}*`
  return regex === undefined ? '' : `regex:${JSON.stringify(regex)}`
}

/** Whether the host of a rule, in its namespace, is this service. */
function namesService(host: string, rule: MeshObject, service: MeshObject): boolean {
  const suffix = '.svc.cluster.local'
  const full = host.includes('.') || host === '*' ? host : `${host}.${namespaceOf(rule)}${suffix}`
  const own = `${service.metadata.name}.${namespaceOf(service)}${suffix}`
  return full === own || `${full}${suffix}` === own
}
