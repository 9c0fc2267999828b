import type { JsonValue } from '@bufbuild/protobuf'
import type { Answered, Answers } from '../ads.ts'
import { compareJson } from '../compare.ts'
import { nameOf, normalize } from '../normalize.ts'
import type { ProxyDescription } from '../pilot.ts'
import type { HalfPatched } from './istiod.ts'

/** Where our answer to a proxy is not istiod's. */
export interface Difference {
  /** The first places, as `path: got …, want …`. */
  readonly lines: readonly string[]
  /** The kind of place, without names and numbers: equal for differences of one cause, as far as can be seen. */
  readonly signature: string
}

/** A difference and who was told otherwise. */
export interface Found {
  readonly proxy: ProxyDescription
  readonly difference: Difference
}

function ordered(list: readonly JsonValue[]): JsonValue[] {
  const keyed = list.map(normalize).map((value) => [nameOf(value), JSON.stringify(value), value] as const)
  return keyed.sort((a, b) => (a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]) ? -1 : 1)).map(([, , value]) => value)
}

/**
 * Differences of ours from what istiod answered, at most one a type. Istiod goes through Go maps, so that one input may have
 * several outcomes: of several answers of istiods started anew, ours must be one, resource by resource.
 */
export function differences(
  ours: Partial<Answers>,
  theirs: readonly Answers[],
  proxyType: string,
  halfPatched: ReadonlySet<HalfPatched>,
): Difference[] {
  const out: Difference[] = []
  for (const type of Object.keys(ours) as Answered[]) {
    if (DEPENDS_ON[type].some((one) => halfPatched.has(one))) continue
    const alike = type === 'listeners' && proxyType === 'router' ? listenerOfGateway : (COMPARABLE[type] ?? asItIs)
    const read = ({ [type]: list = [] }: Partial<Answers>) =>
      ordered(list.filter((value) => !isAuthorityOfGateway(value)).map(alike))
    const own = read(ours)
    const [first = [], ...others] = theirs.map(read)
    const wanted = others.reduce((chosen, other) => withOurs(own, chosen, other), first)
    // Routes and endpoints are asked for by names that listeners and clusters gave.
    const lines = compareJson(own, wanted, 12)
    if (lines.length === 0) continue
    out.push({ lines, signature: signatureOf(type, lines[0]!, proxyType) })
  }
  return out
}

/**
 * A table that many ports share without the names that have no port: they mean port 80 of their service to us, and nothing
 * to istiod when another of its HTTP ports comes first (docs/differences.md).
 */
function withPortsOnly(table: JsonValue): JsonValue {
  const { virtualHosts = [], ...rest } = table as { [key: string]: JsonValue }
  const hosts = virtualHosts as { domains: string[] }[]
  const isShared = hosts.some(({ domains }) => domains.some((domain) => HAS_PORT.test(domain)))
  if (!isShared) return table
  const kept = hosts.map((host) => ({ ...host, domains: host.domains.filter((d) => d === '*' || HAS_PORT.test(d)) }))
  return { ...rest, virtualHosts: kept.filter(({ domains }) => domains.length > 0) }
}

/** An assignment whose places are one group each: istiod has one for each spelling of a place (docs/differences.md). */
function withPlacesOnce(assignment: JsonValue): JsonValue {
  const { endpoints = [], ...rest } = assignment as { [key: string]: JsonValue }
  const places = new Map<string, { [key: string]: JsonValue; lbEndpoints: JsonValue[] }>()
  for (const group of endpoints as { [key: string]: JsonValue }[]) {
    const { lbEndpoints = [], loadBalancingWeight = 0, ...place } = group
    const key = JSON.stringify(normalize(place))
    const known = places.get(key)
    const all = [...(known?.lbEndpoints ?? []), ...(lbEndpoints as JsonValue[])]
    const weight = Number(known?.loadBalancingWeight ?? 0) + Number(loadBalancingWeight)
    const order = new Map(all.map((endpoint) => [endpoint, JSON.stringify(normalize(endpoint))]))
    all.sort((a, b) => (order.get(a)! < order.get(b)! ? -1 : 1))
    places.set(key, { ...place, ...(weight > 0 && { loadBalancingWeight: weight }), lbEndpoints: all })
  }
  return { ...rest, endpoints: [...places.values()] }
}

function withPlacesOnceInside(cluster: JsonValue): JsonValue {
  const { loadAssignment, ...rest } = cluster as { [key: string]: JsonValue }
  return loadAssignment ? { ...rest, loadAssignment: withPlacesOnce(loadAssignment) } : cluster
}

/** Alternatives are told once: istiod repeats those of a rule's `when` for each of its sources. */
function withoutRepeats(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(withoutRepeats)
  if (typeof value !== 'object' || value === null) return value
  const out: { [key: string]: JsonValue } = {}
  for (const [key, inner] of Object.entries(value)) out[key] = withoutRepeats(inner)
  const { orIds, orRules } = out as { orIds?: { ids?: JsonValue[] }; orRules?: { rules?: JsonValue[] } }
  if (orIds?.ids) orIds.ids = distinct(orIds.ids)
  if (orRules?.rules) orRules.rules = distinct(orRules.rules)
  return out
}

/**
 * A gateway's listener without the network filters of extensions where it has several chains: istiod gives them to the
 * first of a port's HTTPS servers only (docs/differences.md).
 */
function withoutExtensions(listener: JsonValue): JsonValue {
  const { filterChains, ...rest } = listener as { filterChains?: { filters?: JsonValue[] }[] }
  if (!filterChains || filterChains.length < 2) return listener
  const kept = (filters: readonly JsonValue[] = []) =>
    filters.filter((filter) => !nameOf(filter).startsWith('extensions.istio.io/'))
  return {
    ...rest,
    filterChains: filterChains.map((chain) => ({ ...chain, filters: kept(chain.filters) })),
  } as JsonValue
}

/**
 * Without what makes HTTP/2 of a DYNAMIC_DNS cluster acceptable to Envoy (D10), and without the filters that resolve names
 * for a port's wildcards, of which istiod adds one at most (docs/differences.md).
 */
function withoutDynamicNames(value: JsonValue): JsonValue {
  if (Array.isArray(value)) {
    return value.filter((one) => nameOf(one) !== 'envoy.filters.http.dynamic_forward_proxy').map(withoutDynamicNames)
  }
  if (typeof value !== 'object' || value === null) return value
  const out: { [key: string]: JsonValue } = {}
  for (const [key, inner] of Object.entries(value)) {
    if (key === 'upstreamHttpProtocolOptions' && Object.keys(inner as object).every((k) => /^auto/.test(k))) continue
    out[key] = withoutDynamicNames(inner)
  }
  return out
}

const isDynamic = (cluster: JsonValue): boolean => JSON.stringify(cluster).includes('dynamic_forward_proxy')

const distinct = (list: readonly JsonValue[]): JsonValue[] => [
  ...new Map(list.map((one) => [JSON.stringify(normalize(one)), one])).values(),
]

/** Whose authority istiod refuses to gateways, so that their listeners wait for good (docs/differences.md). */
const isAuthorityOfGateway = (value: JsonValue): boolean => /^kubernetes-gateway:.*-cacert$/.test(nameOf(value))

const asItIs = (value: JsonValue): JsonValue => value

const listenerOfGateway = (value: JsonValue): JsonValue => withoutExtensions(withoutRepeats(withoutDynamicNames(value)))

/** What of a type is made alike before it is compared. */
const COMPARABLE: Partial<Readonly<Record<Answered, (value: JsonValue) => JsonValue>>> = {
  clusters: (value) => withPlacesOnceInside(isDynamic(value) ? withoutDynamicNames(value) : value),
  listeners: (value) => withoutRepeats(withoutDynamicNames(value)),
  endpoints: withPlacesOnce,
  routes: withPortsOnly,
}

const HAS_PORT = /^(\[.*\]|[^:]*):\d+$/

/** The chosen resources, but those of another answer that are just what we say. */
function withOurs(own: readonly JsonValue[], chosen: readonly JsonValue[], other: readonly JsonValue[]): JsonValue[] {
  const said = new Map(own.map((value) => [nameOf(value), JSON.stringify(value)]))
  const agreed = new Map(
    other.filter((value) => said.get(nameOf(value)) === JSON.stringify(value)).map((value) => [nameOf(value), value]),
  )
  return chosen.map((value) => agreed.get(nameOf(value)) ?? value)
}

/** Whose half patched state makes answers of a type incomparable: they are, or are named by, what was patched. */
const DEPENDS_ON: Readonly<Record<Answered, readonly HalfPatched[]>> = {
  clusters: ['clusters'],
  endpoints: ['clusters'],
  listeners: ['listeners'],
  routes: ['listeners', 'route'],
  extensions: ['listeners'],
  secrets: ['listeners', 'clusters'],
  names: [],
}

function signatureOf(type: string, line: string, proxyType: string): string {
  const path = /^(.*?): got /.exec(line)?.[1] ?? line
  const what =
    /: got (\d+ entries|nothing)/.exec(line)?.[1] === 'nothing'
      ? 'missing'
      : /want nothing/.test(line)
        ? 'extra'
        : /entries/.test(line)
          ? 'count'
          : 'value'
  return `${proxyType} ${type} ${path.replace(/\[[^\]]*\]/g, '[]')} ${what}`
}
