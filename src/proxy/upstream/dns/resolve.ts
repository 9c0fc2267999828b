// Names → addresses, as a cluster's or cache's resolver and dns_lookup_family say.

import { promises as dns, getServers, Resolver } from 'node:dns'
import { isIP } from 'node:net'
import { promisify } from 'node:util'
import type { DnsLookupFamily, DnsResolverData } from './config.ts'
import type { DnsStats } from './stats.ts'

/** Addresses of a name and how long they hold. */
export interface Resolution {
  readonly addresses: readonly string[]
  /** Milliseconds; null when the source does not say. */
  readonly ttlMs: number | null
}

/** Why there are no addresses. */
export class ResolveError extends Error {
  override readonly name = 'ResolveError'
  /** The name servers answered: there is no such name, or it has no address. */
  readonly noRecords: boolean
  /** Envoy's words for response code details, e.g. `cares_norecords:Domain_name_not_found`. */
  readonly details: string

  constructor(cause: unknown) {
    const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? ''
    const reason = CARES_TEXTS[code] ?? (cause instanceof Error ? cause.message : String(cause))
    super(reason, { cause })
    this.noRecords = code === 'ENOTFOUND' || code === 'ENODATA'
    // White space would break log formats.
    this.details = `${this.noRecords ? 'cares_norecords' : 'cares_failure'}:${reason}`.replace(/\s/g, '_')
  }
}

/** c-ares' own texts, which Node replaces by codes. */
const CARES_TEXTS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'Domain name not found',
  ENODATA: 'DNS server returned answer with no data',
  EFORMERR: 'DNS server claims query was misformatted',
  ESERVFAIL: 'DNS server returned general failure',
  ENOTIMP: 'DNS server does not implement requested operation',
  EREFUSED: 'DNS server refused query',
  ETIMEOUT: 'Timeout while contacting DNS servers',
  ECONNREFUSED: 'Could not contact DNS servers',
}

const ORDER: Readonly<Record<DnsLookupFamily, readonly (4 | 6)[]>> = {
  AUTO: [6, 4],
  V4_ONLY: [4],
  V6_ONLY: [6],
  V4_PREFERRED: [4, 6],
  ALL: [6, 4],
}

/** `ttl`: DNS itself is asked where the system's way would not tell how long an answer holds. Rejects with ResolveError. */
export async function resolveName(
  name: string,
  family: DnsLookupFamily,
  resolver: DnsResolverData,
  ttl: boolean,
  stats: DnsStats,
): Promise<Resolution> {
  if (isIP(name) !== 0) return { addresses: [name], ttlMs: null }
  const found: string[] = []
  let ttlMs: number | null = null
  let failure: unknown
  for (const version of ORDER[family]) {
    try {
      const answer = await stats.count(resolveFamily(name, version, resolver, ttl))
      found.push(...answer.addresses)
      if (answer.ttlMs !== null) ttlMs = ttlMs === null ? answer.ttlMs : Math.min(ttlMs, answer.ttlMs)
    } catch (error) {
      failure = error
    }
    if (found.length > 0 && family !== 'ALL') break
  }
  if (found.length === 0) throw new ResolveError(failure)
  return { addresses: found, ttlMs }
}

async function resolveFamily(
  name: string,
  family: 4 | 6,
  resolver: DnsResolverData,
  ttl: boolean,
): Promise<Resolution> {
  const servers = resolver.serversAsFallback && getServers().length > 0 ? [] : resolver.servers
  // The system's way knows /etc/hosts and search domains but no TTL; DNS itself is asked where the TTL counts.
  if (ttl || servers.length > 0) {
    try {
      const records = await queryDns(name, family, servers, resolver)
      if (records.length > 0) {
        return {
          addresses: records.map((record) => record.address),
          ttlMs: Math.min(...records.map((record) => record.ttl)) * 1000,
        }
      }
    } catch (error) {
      if (servers.length > 0) throw error
    }
  }
  const answers = await dns.lookup(name, { all: true, family })
  return { addresses: answers.map((answer) => answer.address), ttlMs: null }
}

function queryDns(
  name: string,
  family: 4 | 6,
  servers: readonly string[],
  options: DnsResolverData,
): Promise<{ address: string; ttl: number }[]> {
  const resolver = new Resolver({
    ...(options.timeoutMs > 0 ? { timeout: options.timeoutMs } : {}),
    ...(options.tries > 0 ? { tries: options.tries } : {}),
  })
  if (servers.length > 0) resolver.setServers(servers)
  return family === 4
    ? promisify(resolver.resolve4.bind(resolver) as ResolveWithTtl)(name, { ttl: true })
    : promisify(resolver.resolve6.bind(resolver) as ResolveWithTtl)(name, { ttl: true })
}

type ResolveWithTtl = (
  name: string,
  options: { ttl: true },
  callback: (error: Error | null, records: { address: string; ttl: number }[]) => void,
) => void
