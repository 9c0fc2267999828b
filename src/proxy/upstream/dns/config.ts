// How names are resolved, as plain data.

export type DnsLookupFamily = 'AUTO' | 'V4_ONLY' | 'V6_ONLY' | 'V4_PREFERRED' | 'ALL'

/** A DNS resolver of the configuration. */
export interface DnsResolverData {
  /** `system`: as other programs of the machine do (hosts file, search domains). `cares`: DNS itself, with TTLs. */
  readonly kind: 'system' | 'cares'
  /** `ip:port` of servers to ask instead of the system's; empty = the system's. */
  readonly servers: readonly string[]
  /** The servers are asked only where the system has none (use_resolvers_as_fallback). */
  readonly serversAsFallback: boolean
  /** For one try; 0 = the library's default. */
  readonly timeoutMs: number
  /** 0 = the library's default. */
  readonly tries: number
}

export const SYSTEM_RESOLVER: DnsResolverData = {
  kind: 'system',
  servers: [],
  serversAsFallback: false,
  timeoutMs: 0,
  tries: 0,
}
