// One call through generated configuration, without a proxy: which listener, filter chain, route and cluster it meets.
import type { JsonValue } from '@bufbuild/protobuf'
import {
  type FilterChainMatch,
  indexFilterChains,
  matchFilterChain,
} from '../../src/proxy/network/filter-chain-match.ts'

type Json = { readonly [key: string]: JsonValue }

/** One recorded call; absent fields have the defaults that the recording used. */
export interface Call {
  readonly address?: string
  readonly port?: number
  readonly path?: string
  readonly hostHeader?: string
  readonly protocol?: 'http' | 'http2' | 'tcp'
  readonly tls?: 'plaintext' | 'tls' | 'mtls'
  readonly alpn?: string
  readonly sni?: string
  readonly mode?: 'inbound' | 'outbound' | 'gateway'
  readonly mtlsSecretConfigName?: string
}

export interface CallResult {
  error?: string
  listenerMatched?: string
  filterChainMatched?: string
  routeConfigMatched?: string
  virtualHostMatched?: string
  routeMatched?: string
  clusterMatched?: string
}

const json = (value: JsonValue | undefined): Json => (value ?? {}) as Json
const list = (value: JsonValue | undefined): readonly Json[] => (value ?? []) as unknown as readonly Json[]
const texts = (value: JsonValue | undefined): readonly string[] => (value ?? []) as unknown as readonly string[]
const text = (value: JsonValue | undefined): string => (value === undefined ? '' : String(value))

/** Sends `call` through `listeners`; `routes` resolves RDS names. */
export function simulate(
  call: Call,
  listeners: readonly JsonValue[],
  routes: (name: string) => JsonValue | undefined,
): CallResult {
  const result: CallResult = {}
  const listener = findListener(call, listeners.map(json))
  if (!listener) return { error: 'no listener matched' }
  result.listenerMatched = text(listener.name)
  const chain = findChain(call, listener)
  if (typeof chain === 'string') return { ...result, error: chain }
  if (chain.name !== undefined) result.filterChainMatched = text(chain.name)
  const tlsError = checkTls(call, chain)
  if (tlsError) return { ...result, error: tlsError }
  const filters = list(chain.filters)
  const hcm = filters.find((filter) => filter.name === 'envoy.filters.network.http_connection_manager')
  if (!hcm) {
    const proxy = filters.find((filter) => filter.name === 'envoy.filters.network.tcp_proxy')
    result.clusterMatched = text(json(proxy?.typedConfig).cluster)
    return result
  }
  const encrypted = (call.tls ?? 'plaintext') !== 'plaintext'
  if (call.protocol === 'tcp' || (encrypted && !chain.transportSocket)) return { ...result, error: 'protocol error' }
  return routeCall(call, json(hcm.typedConfig), result, routes)
}

function findListener(call: Call, listeners: readonly Json[]): Json | undefined {
  if (call.mode === 'inbound') return listeners.find((listener) => listener.name === 'virtualInbound')
  const address = call.address ?? '1.3.3.7'
  const at = (wanted: string): Json | undefined =>
    listeners.find((listener) => {
      const socket = json(json(listener.address).socketAddress)
      return socket.address === wanted && socket.portValue === call.port
    })
  return at(address) ?? at('0.0.0.0') ?? at('::') ?? listeners.find((listener) => listener.name === 'virtualOutbound')
}

function findChain(call: Call, listener: Json): Json | string {
  const tls = call.tls ?? 'plaintext'
  let applicationProtocols = alpnOf(call)
  const sees = (name: string): boolean => inspects(listener, name, call.port ?? 0)
  const seesTls = sees('envoy.filters.listener.tls_inspector')
  if (!seesTls) applicationProtocols = []
  if (sees('envoy.filters.listener.http_inspector') && tls === 'plaintext') {
    if (call.protocol === 'http' || call.protocol === undefined) applicationProtocols = ['http/1.1']
    if (call.protocol === 'http2') applicationProtocols = ['h2c']
  }
  const chains = list(listener.filterChains)
  const index = indexFilterChains(
    chains.map((chain) => matchOf(json(chain.filterChainMatch))),
    chains.map((chain) => text(chain.name)),
  )
  const found = matchFilterChain(index, {
    destinationIp: call.address ?? '1.3.3.7',
    destinationPort: call.port ?? 0,
    serverName: seesTls ? (call.sni ?? (tls === 'plaintext' ? '' : (call.hostHeader ?? ''))) : '',
    transportProtocol: tls !== 'plaintext' && seesTls ? 'tls' : 'raw_buffer',
    applicationProtocols,
    directSourceIp: '10.1.2.3',
    sourceIp: '10.1.2.3',
    sourcePort: 40000,
  })
  if (found >= 0) return chains[found]!
  return listener.defaultFilterChain ? json(listener.defaultFilterChain) : 'no filter chains matched'
}

function alpnOf({ alpn, tls = 'plaintext', protocol = 'http' }: Call): string[] {
  if (alpn !== undefined && alpn !== '') return [alpn]
  if (tls === 'tls') return protocol === 'http' ? ['http/1.1'] : protocol === 'http2' ? ['h2'] : []
  if (tls === 'mtls') return [protocol === 'http' ? 'istio-http/1.1' : protocol === 'http2' ? 'istio-h2' : 'istio']
  return []
}

function inspects(listener: Json, name: string, port: number): boolean {
  const filter = list(listener.listenerFilters).find((one) => one.name === name)
  return filter !== undefined && !disabled(json(filter.filterDisabled), port)
}

function disabled(predicate: Json, port: number): boolean {
  if (predicate.notMatch) return !disabled(json(predicate.notMatch), port)
  if (predicate.orMatch) return list(json(predicate.orMatch).rules).some((rule) => disabled(rule, port))
  if (!predicate.destinationPortRange) return false
  const { start = 0, end = 0 } = json(predicate.destinationPortRange)
  return port >= Number(start) && port < Number(end)
}

function matchOf(match: Json): FilterChainMatch {
  return {
    destinationPort: Number(match.destinationPort ?? 0),
    prefixRanges: list(match.prefixRanges).map((range) => ({
      addressPrefix: text(range.addressPrefix),
      prefixLen: Number(range.prefixLen ?? 0),
    })),
    serverNames: texts(match.serverNames),
    transportProtocol: text(match.transportProtocol),
    applicationProtocols: texts(match.applicationProtocols),
    directSourcePrefixRanges: [],
    sourceType: 'ANY',
    sourcePrefixRanges: [],
    sourcePorts: [],
  }
}

/** The chain ends the TLS that the caller speaks: the mesh's own, or any other. */
function checkTls(call: Call, chain: Json): string | null {
  const tls = call.tls ?? 'plaintext'
  const socket = json(json(chain.transportSocket).typedConfig)
  const context = json(socket.commonTlsContext)
  const secrets = list(context.tlsCertificateSdsSecretConfigs).map((secret) => text(secret.name))
  if (secrets.length === 0) return tls === 'mtls' && chain.transportSocket ? 'invalid mTLS' : null
  const wanted = call.mtlsSecretConfigName ?? 'default'
  const isMesh = secrets.includes(wanted) && socket.requireClientCertificate === true
  if (isMesh && tls !== 'mtls') return 'invalid mTLS'
  if (!isMesh && tls === 'mtls') return 'invalid mTLS'
  return tls === 'plaintext' ? 'invalid TLS' : null
}

function routeCall(
  call: Call,
  hcm: Json,
  result: CallResult,
  routes: (name: string) => JsonValue | undefined,
): CallResult {
  const rds = hcm.rds ? text(json(hcm.rds).routeConfigName) : null
  const table = json(rds === null ? hcm.routeConfig : routes(rds))
  // The recording names only route tables that are fetched.
  if (rds !== null) result.routeConfigMatched = rds
  const host = findVirtualHost(call.hostHeader ?? '', list(table.virtualHosts))
  if (!host) return { ...result, error: 'no virtual host matched' }
  result.virtualHostMatched = text(host.name)
  if (host.requireTls === 'ALL' && (call.tls ?? 'plaintext') === 'plaintext') {
    return { ...result, error: 'tls required, sending 301' }
  }
  const route = list(host.routes).find((one) => pathMatches(json(one.match), call.path ?? '/'))
  if (!route) return { ...result, error: 'no route matched' }
  if (route.name !== undefined) result.routeMatched = text(route.name)
  const cluster = json(route.route).cluster
  if (cluster !== undefined) result.clusterMatched = text(cluster)
  return result
}

/** Exact domains, then suffix wildcards, then prefix wildcards, longest first, then `*`. */
function findVirtualHost(authority: string, hosts: readonly Json[]): Json | undefined {
  const host = authority.replace(/:\d+$/, '').toLowerCase()
  let best: { rank: number; host: Json } | undefined
  for (const one of hosts) {
    for (const domain of texts(one.domains)) {
      const rank = domainRank(domain.toLowerCase(), host)
      if (rank > 0 && (!best || rank > best.rank)) best = { rank, host: one }
    }
  }
  return best?.host
}

function domainRank(domain: string, host: string): number {
  if (domain === host) return 3_000
  if (domain === '*') return 1
  if (domain.startsWith('*') && host.endsWith(domain.slice(1)) && host.length >= domain.length)
    return 2_000 + domain.length
  if (domain.endsWith('*') && host.startsWith(domain.slice(0, -1))) return 1_000 + domain.length
  return 0
}

function pathMatches(match: Json, path: string): boolean {
  if (match.path !== undefined) return match.path === path
  if (match.pathSeparatedPrefix !== undefined) {
    const prefix = text(match.pathSeparatedPrefix)
    return path === prefix || path.startsWith(`${prefix}/`)
  }
  if (match.safeRegex !== undefined) return new RegExp(`^(?:${text(json(match.safeRegex).regex)})$`).test(path)
  return path.startsWith(text(match.prefix))
}
