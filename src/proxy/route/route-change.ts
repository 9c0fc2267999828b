// What of a route configuration differs from the one before: virtual hosts whose bytes are the same are not read again,
// so that a change costs itself and not the whole table, which in a large mesh has a virtual host for every service.

import { fromBinary } from '@bufbuild/protobuf'
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import type { ParseContext } from '../config/extension.ts'
import { findUnknownField } from '../config/unknown-fields.ts'
import { checkRules } from '../config/validate-rules.ts'
import type { RouteConfigChange, RouteConfigData } from './config.ts'
import { parseRouteConfiguration } from './parse.ts'
import { DomainIndex } from './virtual-host-match.ts'

/** Field `virtual_hosts` of envoy.config.route.v3.RouteConfiguration. */
const VIRTUAL_HOSTS = 2

/** What is kept of an accepted route configuration, to tell the next one from it. */
export interface KnownRoutes {
  readonly body: Uint8Array
  /** Of each virtual host's field in `body`, tag included: start, end, start, end, … */
  readonly bounds: readonly number[]
  /** The bytes of every other field. */
  readonly rest: Uint8Array
  readonly hosts: readonly HostDomains[]
}

interface HostDomains {
  readonly name: string
  readonly domains: readonly string[]
}

/** For a configuration that was read whole and has no unknown field; `config` is what `body` parses to. */
export function knownRoutes(body: Uint8Array, config: RouteConfigData): KnownRoutes | null {
  const fields = splitFields(body)
  return fields && { body, ...fields, hosts: config.virtualHosts.map(domainsOf) }
}

/**
 * Reads the virtual hosts of `body` that `before` does not have. Null when that does not do and `body` must be read
 * whole: other fields differ, there is an unknown field, or something is wrong with it, which a full parse names best.
 */
export function readRouteChange(
  before: KnownRoutes,
  body: Uint8Array,
  context: ParseContext,
): { readonly known: KnownRoutes; readonly change: RouteConfigChange } | null {
  const fields = splitFields(body)
  if (fields === null || Buffer.compare(fields.rest, before.rest) !== 0) return null
  const { from, fresh } = matchHosts(before, body, fields.bounds)
  const config = parsePart(Buffer.concat([fields.rest, ...fresh]), context)
  if (config === null) return null
  const hosts = mergeHosts(before.hosts, config.virtualHosts.map(domainsOf), from)
  const sameDomains = hosts.length === before.hosts.length && hosts.every((host, i) => sameHost(host, before.hosts[i]!))
  if (!sameDomains && !areUnique(hosts)) return null
  return { known: { body, ...fields, hosts }, change: { config, from, sameDomains } }
}

/** The virtual hosts after a change: `from` of {@link RouteConfigChange}. */
export function mergeHosts<T>(before: readonly T[], fresh: readonly T[], from: readonly number[]): T[] {
  let next = 0
  return from.map((position) => (position < 0 ? fresh[next++]! : before[position]!))
}

/** Null for bytes that are no message. */
function splitFields(body: Uint8Array): { bounds: number[]; rest: Uint8Array } | null {
  const bounds: number[] = []
  const rest: Uint8Array[] = []
  try {
    const reader = new BinaryReader(body)
    while (reader.pos < reader.len) {
      const start = reader.pos
      const [field, wireType] = reader.tag()
      reader.skip(wireType, field)
      if (field === VIRTUAL_HOSTS && wireType === WireType.LengthDelimited) bounds.push(start, reader.pos)
      else rest.push(body.subarray(start, reader.pos))
    }
  } catch {
    // The full parse says what is wrong.
    return null
  }
  return { bounds, rest: Buffer.concat(rest) }
}

/** Finds each virtual host among those before: at its old place, else by its bytes. `fresh`: the fields of the others. */
function matchHosts(
  before: KnownRoutes,
  body: Uint8Array,
  bounds: readonly number[],
): { from: number[]; fresh: Uint8Array[] } {
  const from: number[] = []
  const fresh: Uint8Array[] = []
  let moved: ReadonlyMap<string, number> | null = null
  for (let i = 0; i < bounds.length; i += 2) {
    const bytes = body.subarray(bounds[i]!, bounds[i + 1]!)
    let position = i / 2
    if (!isAt(before, position, bytes)) {
      // The positions are worth their map only when hosts were added or are gone.
      const moves = bounds.length !== before.bounds.length
      position = moves ? ((moved ??= positionsByBytes(before)).get(keyOf(bytes)) ?? -1) : -1
    }
    from.push(position)
    if (position < 0) fresh.push(bytes)
  }
  return { from, fresh }
}

function isAt(before: KnownRoutes, position: number, bytes: Uint8Array): boolean {
  const start = before.bounds[2 * position]
  const end = before.bounds[2 * position + 1]
  if (start === undefined || end === undefined || end - start !== bytes.length) return false
  return Buffer.compare(before.body.subarray(start, end), bytes) === 0
}

function positionsByBytes({ body, bounds }: KnownRoutes): ReadonlyMap<string, number> {
  const positions = new Map<string, number>()
  for (let i = 0; i < bounds.length; i += 2) positions.set(keyOf(body.subarray(bounds[i]!, bounds[i + 1]!)), i / 2)
  return positions
}

function keyOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

/** Null when there is anything to say about it. */
function parsePart(bytes: Uint8Array, context: ParseContext): RouteConfigData | null {
  try {
    const message = fromBinary(RouteConfigurationSchema, bytes)
    checkRules(RouteConfigurationSchema, message, '')
    if (findUnknownField(RouteConfigurationSchema, message) !== null) return null
    return parseRouteConfiguration(message, context)
  } catch {
    // The full parse says what is wrong, with the path in the whole configuration.
    return null
  }
}

function domainsOf({ name, domains }: HostDomains): HostDomains {
  return { name, domains }
}

function sameHost(a: HostDomains, b: HostDomains): boolean {
  if (a === b) return true
  return a.name === b.name && a.domains.length === b.domains.length && a.domains.every((d, i) => d === b.domains[i])
}

function areUnique(hosts: readonly HostDomains[]): boolean {
  const names = new Set(hosts.map((host) => host.name))
  const index = new DomainIndex<true>()
  return names.size === hosts.length && hosts.every(({ domains }) => domains.every((domain) => index.add(domain, true)))
}
