// Virtual host and route choice: pure functions of the request and the compiled configuration.

import { unsigned64 } from '../../base/decimal.ts'
import type { RuntimeSnapshot } from '../config/extension.ts'
import type { HeaderMap } from '../http/header-map.ts'
import { mapActions } from '../matching/actions.ts'
import { ConnectionFacts } from '../matching/connection-facts.ts'
import type { MatchEnvironment } from '../matching/input-matchers.ts'
import type { MatchFacts } from '../matching/inputs.ts'
import { compileMatcher, type Match } from '../matching/matcher.ts'
import type { Scope } from '../observe/stats.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { ClusterSpecifierData, RouteConfigChange, RouteConfigData, RouteData, VirtualHostData } from './config.ts'
import type { CookieSink } from './hash-policy.ts'
import { type PathCandidates, PathIndex } from './path-index.ts'
import { tlsRedirectLocation } from './redirect.ts'
import { pathWithoutQuery, withoutPathParameters } from './request-path.ts'
import type { DirectAction, Route, RouteTable } from './route.ts'
import { mergeHosts } from './route-change.ts'
import { RouteEntry, VirtualHostEntry } from './route-entry.ts'
import { RouteMatcher } from './route-match.ts'
import { DomainIndex } from './virtual-host-match.ts'

/** Compiles what parseRouteConfiguration returned; never fails for that. */
/** `stats`: where matchers count; null = nowhere. */
export function compileRouteTable(
  data: RouteConfigData,
  runtime: RuntimeSnapshot,
  stats: Scope | null = null,
): RouteTable {
  // Routes keep what they need of the configuration; the virtual hosts beside them must not stay for that.
  const level = { ...data, virtualHosts: [] }
  const environment = { runtime, stats }
  return new CompiledRouteTable(level, environment, compileHosts(data.virtualHosts, level, environment), null)
}

/** The table after a change; virtual hosts that stay are not compiled again. `table` stays as it is. */
export function changeRouteTable(table: RouteTable, { config, from, sameDomains }: RouteConfigChange): RouteTable {
  if (!(table instanceof CompiledRouteTable)) throw new Error(`route table ${table.name} was not compiled here`)
  const { level, environment, routes, domains } = table
  const fresh = compileHosts(config.virtualHosts, level, environment)
  return new CompiledRouteTable(level, environment, mergeHosts(routes, fresh, from), sameDomains ? domains : null)
}

function compileHosts(
  hosts: readonly VirtualHostData[],
  level: RouteConfigData,
  environment: MatchEnvironment,
): VirtualHostRoutes[] {
  return hosts.map((host) => new VirtualHostRoutes(host, level, environment))
}

function indexDomains(hosts: readonly VirtualHostRoutes[]): DomainIndex<number> {
  const index = new DomainIndex<number>()
  for (const [position, host] of hosts.entries()) for (const domain of host.domains) index.add(domain, position)
  return index
}

class CompiledRouteTable implements RouteTable {
  readonly name: string
  readonly internalOnlyHeaders: readonly string[]
  /** The configuration without its virtual hosts. */
  readonly level: RouteConfigData
  readonly environment: MatchEnvironment
  readonly routes: readonly VirtualHostRoutes[]
  /** Domain to position in `routes`; tables that differ in other things share it. */
  readonly domains: DomainIndex<number>
  private readonly ignorePort: boolean
  private readonly vhostHeader: string

  constructor(
    level: RouteConfigData,
    environment: MatchEnvironment,
    routes: readonly VirtualHostRoutes[],
    domains: DomainIndex<number> | null,
  ) {
    this.name = level.name
    this.internalOnlyHeaders = level.internalOnlyHeaders
    this.ignorePort = level.ignorePortInHostMatching
    this.vhostHeader = level.vhostHeader
    this.level = level
    this.environment = environment
    this.routes = routes
    this.domains = domains ?? indexDomains(routes)
  }

  route(headers: HeaderMap, info: StreamInfo, random: number): Route | null {
    const host = this.vhostHeader === '' ? headers.authority : headers.get(this.vhostHeader)
    const position = this.domains.find(host, this.ignorePort)
    return position === null ? null : this.routes[position]!.route(headers, info, random)
  }
}

/** One virtual host: its routes, or the matcher that chooses between lists of them. */
class VirtualHostRoutes {
  readonly domains: readonly string[]
  private readonly requireTls: VirtualHostData['requireTls']
  private readonly tlsRedirect: Route
  private readonly routes: RouteList
  private readonly matcher: Match<RouteList> | null

  constructor(data: VirtualHostData, config: RouteConfigData, environment: MatchEnvironment) {
    const { runtime } = environment
    const host = new VirtualHostEntry(data, config, runtime)
    this.domains = data.domains
    this.requireTls = data.requireTls
    this.tlsRedirect = new TlsRedirectRoute(host)
    this.routes = new RouteList(data.routes, host, config, runtime)
    this.matcher =
      data.matcher &&
      compileMatcher(
        mapActions(data.matcher, (routes) => new RouteList(routes, host, config, runtime)),
        environment,
      )
  }

  route(headers: HeaderMap, info: StreamInfo, random: number): Route | null {
    if (this.requireTls !== 'NONE' && this.needsTls(headers)) return this.tlsRedirect
    const routes = this.matcher === null ? this.routes : this.matcher(requestFacts(headers, info))
    return routes === null ? null : routes.route(headers, info, random)
  }

  private needsTls(headers: HeaderMap): boolean {
    const forwarded = headers.get('x-forwarded-proto')
    if (forwarded === undefined || forwarded === 'https') return false
    return this.requireTls === 'ALL' || headers.get('x-envoy-internal') !== 'true'
  }
}

function requestFacts(headers: HeaderMap, info: StreamInfo): MatchFacts {
  const facts = new ConnectionFacts(info.downstream, info.filterState, null)
  facts.headers = headers
  return facts
}

/** Routes in order. The fields below `path` hold one request's data during route(), which never re-enters. */
class RouteList implements PathCandidates {
  private readonly ignorePathParameters: boolean
  private readonly matchers: RouteMatcher[] = []
  private readonly choices: RouteChoice[] = []
  private readonly index = new PathIndex()
  /** Positions that the index cannot hold, ascending. */
  private readonly others: number[] = []
  private path = ''
  private headers: HeaderMap | null = null
  private info: StreamInfo | null = null
  private random = 0

  constructor(routes: readonly RouteData[], host: VirtualHostEntry, config: RouteConfigData, runtime: RuntimeSnapshot) {
    this.ignorePathParameters = config.ignorePathParametersInPathMatching
    for (const [position, route] of routes.entries()) {
      const matcher = new RouteMatcher(route.match, runtime)
      this.matchers.push(matcher)
      this.choices.push(compileChoice(route, host, runtime))
      const path = route.match.path
      if (matcher.literal && path.kind !== 'regex' && path.kind !== 'connect')
        this.index.add(path.value, path.kind, position)
      else this.others.push(position)
    }
  }

  route(headers: HeaderMap, info: StreamInfo, random: number): Route | null {
    // CONNECT without a path is matched by connect_matcher alone.
    this.path = this.ignorePathParameters
      ? withoutPathParameters(pathWithoutQuery(headers.path))
      : pathWithoutQuery(headers.path)
    this.headers = headers
    this.info = info
    this.random = random
    const none = this.matchers.length
    let best = headers.path === '' ? none : this.index.find(this.path, none, this)
    for (let i = 0; i < this.others.length; i++) {
      const position = this.others[i]!
      if (position >= best) break
      if (this.accepts(position)) best = position
    }
    this.headers = null
    this.info = null
    return best === none ? null : this.choices[best]!.choose(headers, info, random)
  }

  accepts(position: number): boolean {
    return this.matchers[position]!.matches(this.headers!, this.path, this.info!, this.random)
  }
}

/** Draws the weighted cluster, where there is one to draw. */
interface RouteChoice {
  choose(headers: HeaderMap, info: StreamInfo, random: number): Route
}

function compileChoice(data: RouteData, host: VirtualHostEntry, runtime: RuntimeSnapshot): RouteChoice {
  if (data.action.kind === 'route' && data.action.cluster.kind === 'weighted') {
    return new WeightedChoice(data, data.action.cluster, host, runtime)
  }
  const route = new RouteEntry(data, host, null)
  return { choose: () => route }
}

/** The balancer asks the policy again, and sets the cookie then. */
const NO_COOKIES: CookieSink = { addSetCookie() {} }

type Weighted = Extract<ClusterSpecifierData, { kind: 'weighted' }>

class WeightedChoice implements RouteChoice {
  private readonly routes: RouteEntry[]
  private readonly data: Weighted
  private readonly runtime: RuntimeSnapshot

  constructor(route: RouteData, data: Weighted, host: VirtualHostEntry, runtime: RuntimeSnapshot) {
    this.data = data
    this.runtime = runtime
    this.routes = data.clusters.map((cluster) => new RouteEntry(route, host, cluster))
  }

  choose(headers: HeaderMap, info: StreamInfo, random: number): Route {
    const { clusters } = this.data
    let total = 0
    for (let i = 0; i < clusters.length; i++) total += this.weight(i)
    if (total === 0) return this.routes[0]! // every weight was overridden to nothing at runtime
    const selected = this.drawn(headers, info, random, total)
    let end = 0
    for (let i = 0; i < clusters.length; i++) {
      end += this.weight(i)
      if (selected < end) return this.routes[i]!
    }
    return this.routes[this.routes.length - 1]!
  }

  /** Below `total`. */
  private drawn(headers: HeaderMap, info: StreamInfo, random: number, total: number): number {
    const { randomValueHeader, useHashPolicy } = this.data
    if (useHashPolicy) {
      const hash = this.routes[0]!.forward!.hashPolicy?.hash(headers, info, NO_COOKIES) ?? null
      if (hash !== null) return Number(hash % BigInt(total))
    }
    if (randomValueHeader !== '') {
      const given = headers.get(randomValueHeader)
      const value = given === undefined ? null : unsigned64(given)
      if (value !== null) return Number(value % BigInt(total))
    }
    return random % total
  }

  private weight(i: number): number {
    const cluster = this.data.clusters[i]!
    const prefix = this.data.runtimeKeyPrefix
    return prefix === '' ? cluster.weight : this.runtime.number(`${prefix}.${cluster.name}`, cluster.weight)
  }
}

/** What require_tls answers plain-text requests with: 301 to the same URL over https. */
class TlsRedirectRoute extends RouteEntry {
  override readonly direct: DirectAction = {
    status: 301,
    contentType: '',
    text: () => '',
    location: tlsRedirectLocation,
  }

  constructor(host: VirtualHostEntry) {
    super(TLS_REDIRECT, host, null)
  }

  /** Nothing that the virtual host adds (Envoy). */
  override finalizeResponseHeaders(): void {}
  override perFilterConfig(): unknown {
    return undefined
  }
  override perFilterConfigs(): readonly unknown[] {
    return []
  }
  override filterDisabled(): undefined {
    return undefined
  }
}

const TLS_REDIRECT: RouteData = {
  name: '',
  match: {
    path: { kind: 'prefix', value: '/' },
    caseSensitive: true,
    fraction: null,
    headers: [],
    queryParameters: [],
    cookies: [],
    grpc: false,
    tls: null,
    dynamicMetadata: [],
    filterState: [],
  },
  action: { kind: 'direct_response', status: 301, body: '', bodyFormat: null },
  metadata: null,
  decorator: null,
  requestHeaders: null,
  responseHeaders: null,
  perFilter: {},
  tracing: null,
  maxRequestBufferBytes: null,
  statPrefix: '',
}
