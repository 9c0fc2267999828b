// Which filter chain serves a connection: Envoy's precedence (envoy-contract §4.3), a pure function of plain data.
//
// Criteria are tried in a fixed order. At every step the most specific value that some chain lists wins, and there is no
// way back: when a later step fails inside that branch, nothing matches. So the chains form a tree of maps, built once.

import { type Cidr, cidrContains, type IpBits, isLoopback, parseCidr, parseIp, sameIp } from '../../base/cidr.ts'
import { ConfigError } from '../../base/errors.ts'

export interface CidrRange {
  readonly addressPrefix: string
  readonly prefixLen: number
}

/** filter_chain_match; empty lists and '' match anything. */
export interface FilterChainMatch {
  /** 0 = any. */
  readonly destinationPort: number
  readonly prefixRanges: readonly CidrRange[]
  readonly serverNames: readonly string[]
  readonly transportProtocol: string
  readonly applicationProtocols: readonly string[]
  readonly directSourcePrefixRanges: readonly CidrRange[]
  readonly sourceType: 'ANY' | 'SAME_IP_OR_LOOPBACK' | 'EXTERNAL'
  readonly sourcePrefixRanges: readonly CidrRange[]
  readonly sourcePorts: readonly number[]
}

/** What is known of a connection once its listener filters have run. Addresses of Unix sockets are ''. */
export interface FilterChainInput {
  readonly destinationIp: string
  readonly destinationPort: number
  readonly serverName: string
  readonly transportProtocol: string
  readonly applicationProtocols: readonly string[]
  readonly directSourceIp: string
  readonly sourceIp: string
  readonly sourcePort: number
}

const NO_RANGE: CidrRange[] = [
  { addressPrefix: '0.0.0.0', prefixLen: 0 },
  { addressPrefix: '::', prefixLen: 0 },
]
const NO_NAME = ['']
const NO_PORT = [0]

/** Longest first; at equal length the families differ, so order does not matter. */
type RangeMap<T> = { readonly cidr: Cidr; readonly value: T }[]
type Ports = Map<number, number>
type SourceTypes = { ANY: RangeMap<Ports>; SAME_IP_OR_LOOPBACK: RangeMap<Ports>; EXTERNAL: RangeMap<Ports> }
type DirectSources = RangeMap<SourceTypes>
type Protocols = Map<string, DirectSources>
type Transports = Map<string, Protocols>
type ServerNames = Map<string, Transports>
type Destinations = RangeMap<ServerNames>

/** Opaque; made by indexFilterChains. */
export interface FilterChainIndex {
  readonly ports: Map<number, Destinations>
}

/**
 * Builds the tree. Throws ConfigError when two chains claim the same criteria or a value is malformed.
 * `names` serve error texts and have the same length as `matches`.
 */
export function indexFilterChains(matches: readonly FilterChainMatch[], names: readonly string[]): FilterChainIndex {
  const ports = new Map<number, Destinations>()
  matches.forEach((match, chain) => {
    const path = `filter_chains[${chain}].filter_chain_match`
    const destinations = child(ports, match.destinationPort, newRanges<ServerNames>)
    for (const range of orAny(match.prefixRanges, NO_RANGE)) {
      const serverNames = rangeChild(destinations, range, `${path}.prefix_ranges`, newMap<string, Transports>)
      for (const name of orAny(match.serverNames, NO_NAME)) {
        const transports = child(serverNames, serverNameKey(name, path), newMap<string, Protocols>)
        const protocols = child(transports, match.transportProtocol, newMap<string, DirectSources>)
        for (const protocol of orAny(match.applicationProtocols, NO_NAME)) {
          addSources(child(protocols, protocol, newRanges<SourceTypes>), match, chain, names, path)
        }
      }
    }
  })
  return { ports }
}

function addSources(
  directSources: DirectSources,
  match: FilterChainMatch,
  chain: number,
  names: readonly string[],
  path: string,
): void {
  for (const direct of orAny(match.directSourcePrefixRanges, NO_RANGE)) {
    const types = rangeChild(directSources, direct, `${path}.direct_source_prefix_ranges`, newSourceTypes)
    for (const range of orAny(match.sourcePrefixRanges, NO_RANGE)) {
      const sourcePorts = rangeChild(
        types[match.sourceType],
        range,
        `${path}.source_prefix_ranges`,
        newMap<number, number>,
      )
      for (const port of orAny(match.sourcePorts, NO_PORT)) {
        const other = sourcePorts.get(port)
        if (other !== undefined) {
          throw new ConfigError(
            path,
            `filter chain '${names[chain]}' has the same matching rules defined as '${names[other]}'; every chain needs rules of its own`,
          )
        }
        sourcePorts.set(port, chain)
      }
    }
  }
}

function orAny<T>(list: readonly T[], any: readonly T[]): readonly T[] {
  return list.length > 0 ? list : any
}

function newMap<K, V>(): Map<K, V> {
  return new Map()
}

function newRanges<T>(): RangeMap<T> {
  return []
}

function newSourceTypes(): SourceTypes {
  return { ANY: [], SAME_IP_OR_LOOPBACK: [], EXTERNAL: [] }
}

function child<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}

function rangeChild<T>(map: RangeMap<T>, range: CidrRange, path: string, make: () => T): T {
  const cidr = parseCidr(range.addressPrefix, range.prefixLen)
  if (cidr === null) throw new ConfigError(path, `malformed IP range ${range.addressPrefix}/${range.prefixLen}`)
  const there = map.find((entry) => entry.cidr.length === cidr.length && sameIp(entry.cidr, cidr))
  if (there !== undefined) return there.value
  const value = make()
  const at = map.findIndex((entry) => entry.cidr.length < cidr.length)
  map.splice(at < 0 ? map.length : at, 0, { cidr, value })
  return value
}

/** `*.example.com` is kept as `.example.com`, so that a suffix of a name finds it. */
function serverNameKey(name: string, path: string): string {
  if (!name.includes('*')) return name.toLowerCase()
  if (name.startsWith('*.') && name.length > 2 && !name.includes('*', 1)) return name.slice(1).toLowerCase()
  throw new ConfigError(
    `${path}.server_names`,
    `"${name}": partial wildcards are not supported; use a full name or the form *.example.com`,
  )
}

/** Index of the chain that serves the connection, or -1 (then the default chain, if any). */
export function matchFilterChain(index: FilterChainIndex, input: FilterChainInput): number {
  const destination = parseIp(input.destinationIp)
  const destinations = (destination && index.ports.get(input.destinationPort)) ?? index.ports.get(0)
  if (destinations === undefined) return -1
  const serverNames = longest(destinations, destination ?? UNIX)
  const transports = serverNames && byServerName(serverNames, input.serverName)
  const protocols = transports && (transports.get(input.transportProtocol) ?? transports.get(''))
  const directSources = protocols && byApplicationProtocol(protocols, input.applicationProtocols)
  const types = directSources && longest(directSources, parseIp(input.directSourceIp) ?? UNIX)
  if (!types) return -1
  const source = parseIp(input.sourceIp)
  const ranges = bySourceType(types, source, destination)
  const ports = ranges && longest(ranges, source ?? UNIX)
  if (!ports) return -1
  return ports.get(input.sourcePort) ?? ports.get(0) ?? -1
}

/** What Unix sockets count as where an address is asked for. */
const UNIX: IpBits = { v6: false, words: [0] }

function longest<T>(map: RangeMap<T>, ip: IpBits): T | undefined {
  for (let i = 0; i < map.length; i++) if (cidrContains(map[i]!.cidr, ip)) return map[i]!.value
  return undefined
}

function byServerName(map: ServerNames, name: string): Transports | undefined {
  if (name !== '') {
    const exact = map.get(name)
    if (exact !== undefined) return exact
    for (let dot = name.indexOf('.', 1); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const wildcard = map.get(name.slice(dot))
      if (wildcard !== undefined) return wildcard
    }
  }
  return map.get('')
}

function byApplicationProtocol(map: Protocols, offered: readonly string[]): DirectSources | undefined {
  for (let i = 0; i < offered.length; i++) {
    const found = map.get(offered[i]!)
    if (found !== undefined) return found
  }
  return map.get('')
}

function bySourceType(
  types: SourceTypes,
  source: IpBits | null,
  destination: IpBits | null,
): RangeMap<Ports> | undefined {
  const specific = isLocal(source, destination) ? types.SAME_IP_OR_LOOPBACK : types.EXTERNAL
  return specific.length > 0 ? specific : types.ANY
}

function isLocal(source: IpBits | null, destination: IpBits | null): boolean {
  return source === null || isLoopback(source) || (destination !== null && sameIp(source, destination))
}

/** True when a connection comes from its own destination's address, a loopback address or a Unix socket (''). */
export function isLocalSource(sourceIp: string, destinationIp: string): boolean {
  return isLocal(parseIp(sourceIp), parseIp(destinationIp))
}
