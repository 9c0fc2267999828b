// Route tables and requests with Envoy's recorded answers, decided in process: the route table is a pure function.
// What the connection manager does to a request before routing (internal or not, forwarded protocol, scheme) is repeated
// here in its smallest form; header rewriting by the router itself (timeouts) is left out of the comparison.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { RouteConfigurationSchema } from '../../../src/api/gen/envoy/config/route/v3/route_pb.js'
import { createParseContext, ExtensionRegistry } from '../../../src/proxy/config/extension-registry.ts'
import { parseJson } from '../../../src/proxy/config/json.ts'
import { checkRules } from '../../../src/proxy/config/validate-rules.ts'
import { HeaderMap } from '../../../src/proxy/http/header-map.ts'
import { ipAddress } from '../../../src/proxy/network/address.ts'
import { SocketConnectionInfo } from '../../../src/proxy/network/connection-info.ts'
import { parseRouteConfiguration } from '../../../src/proxy/route/parse.ts'
import type { Route, RouteTable } from '../../../src/proxy/route/route.ts'
import { compileRouteTable } from '../../../src/proxy/route/route-table.ts'
import { StreamInfo } from '../../../src/proxy/stream-info.ts'
import type { Difference, Suite } from '../suite.ts'

type HeaderList = readonly (readonly [string, string])[]

interface Case {
  readonly id: string
  readonly kind: 'request' | 'config-reject' | 'config-accept'
  readonly config: string
  readonly request: { method: string; path: string; authority: string; headers: HeaderList }
  readonly expect: {
    readonly status: number
    readonly cluster: string | null
    readonly routeName: string | null
    readonly virtualHost: string | null
    readonly virtualCluster: string | null
    readonly responseHeaders: HeaderList
    readonly location?: string
    readonly body?: string
    readonly upstream?: { method: string; path: string; headers: HeaderList }
    readonly message?: string
  }
}

interface File {
  readonly configs: Record<string, { routeConfig: unknown; clusters: readonly string[] }>
  readonly cases: readonly Case[]
}

const NO_RUNTIME = {
  number: (_: string, fallback: number) => fallback,
  bool: (_: string, fallback: boolean) => fallback,
  fraction: (_: string, fallback: number) => fallback,
}

/** Throws what makes Envoy refuse the configuration. */
function load(config: File['configs'][string]): RouteTable {
  const message = parseJson(RouteConfigurationSchema, config.routeConfig, { path: 'route_config' })
  checkRules(RouteConfigurationSchema, message, 'route_config')
  const context = createParseContext(new ExtensionRegistry(), undefined, 'route_config')
  return compileRouteTable(parseRouteConfiguration(message, context), NO_RUNTIME)
}

/** Removed from requests of clients that are not internal. */
const INTERNAL_HEADERS = ['x-envoy-retry-on', 'x-envoy-upstream-rq-timeout-ms', 'x-envoy-expected-rq-timeout-ms']

function requestHeaders(request: Case['request'], table: RouteTable): HeaderMap {
  const headers = new HeaderMap()
  headers.method = request.method
  headers.path = request.path
  headers.authority = request.authority
  for (const [name, value] of request.headers) headers.add(name.toLowerCase(), value)
  headers.remove('x-envoy-internal')
  if (!headers.has('x-forwarded-proto')) headers.add('x-forwarded-proto', 'http')
  headers.scheme = headers.get('x-forwarded-proto')!
  if (headers.get('x-forwarded-for')?.startsWith('10.')) headers.add('x-envoy-internal', 'true')
  else for (const name of [...INTERNAL_HEADERS, ...table.internalOnlyHeaders]) headers.remove(name)
  return headers
}

/** Not the route's doing: the router's and the codec's. */
const NOT_COMPARED = new Set(['host', 'x-envoy-expected-rq-timeout-ms', 'content-length', 'x-envoy-internal'])

function comparable(list: HeaderList): string {
  return JSON.stringify(list.filter(([name]) => !NOT_COMPARED.has(name)))
}

function pairs(headers: HeaderMap): HeaderList {
  return Array.from({ length: headers.size }, (_, i) => [headers.list[2 * i]!, headers.list[2 * i + 1]!] as const)
}

function decide(table: RouteTable, test: Case): string | null {
  const headers = requestHeaders(test.request, table)
  const info = new StreamInfo(new SocketConnectionInfo(ipAddress('127.0.0.1', 80), ipAddress('127.0.0.1', 5000)), null)
  const route = table.route(headers, info, 0)
  const { expect } = test
  if (route === null) return expect.status === 404 ? null : `no route, Envoy answered ${expect.status}`
  info.route = route
  if (route.virtualHostName !== expect.virtualHost)
    return `virtual host ${route.virtualHostName}, not ${expect.virtualHost}`
  if ((route.name || null) !== expect.routeName) return `route ${route.name}, not ${expect.routeName}`
  const virtualCluster = route.virtualClusterName(headers) || null
  if (virtualCluster !== expect.virtualCluster) return `virtual cluster ${virtualCluster}, not ${expect.virtualCluster}`
  return route.direct ? compareDirect(route, headers, info, expect) : compareForward(route, headers, info, expect)
}

function compareDirect(route: Route, headers: HeaderMap, info: StreamInfo, expect: Case['expect']): string | null {
  const direct = route.direct!
  if (direct.status !== expect.status) return `status ${direct.status}, not ${expect.status}`
  const location = direct.location(headers, info, true)
  if (location !== (expect.location ?? '')) return `location ${location}, not ${expect.location}`
  const body = direct.text(headers, info)
  if (body !== (expect.body ?? '')) return `body ${JSON.stringify(body)}, not ${JSON.stringify(expect.body)}`
  const response = new HeaderMap()
  if (location) response.add('location', location)
  if (body) response.add('content-type', 'text/plain')
  route.finalizeResponseHeaders(response, info, headers)
  const sorted = (list: HeaderList) => comparable([...list].sort(([a], [b]) => (a < b ? -1 : 1)))
  const got = sorted(pairs(response))
  const want = sorted(expect.responseHeaders)
  return got === want ? null : `response headers ${got}, not ${want}`
}

function compareForward(route: Route, headers: HeaderMap, info: StreamInfo, expect: Case['expect']): string | null {
  const cluster = route.clusterName(headers)
  if (expect.upstream === undefined) {
    const status = route.forward?.clusterNotFoundStatus
    return status === expect.status ? null : `cluster ${cluster}, Envoy answered ${expect.status}`
  }
  if (cluster !== expect.cluster) return `cluster ${cluster}, not ${expect.cluster}`
  route.finalizeRequestHeaders(headers, info, true)
  if (headers.path !== expect.upstream.path) return `path ${headers.path}, not ${expect.upstream.path}`
  const host = expect.upstream.headers.find(([name]) => name === 'host')?.[1]
  if (headers.authority !== host) return `host ${headers.authority}, not ${host}`
  const got = comparable(pairs(headers))
  const want = comparable(expect.upstream.headers)
  if (got !== want) return `upstream headers ${got}, not ${want}`
  const response = new HeaderMap()
  route.finalizeResponseHeaders(response, info, headers)
  const gotResponse = comparable(pairs(response))
  const wantResponse = comparable(expect.responseHeaders)
  return gotResponse === wantResponse ? null : `response headers ${gotResponse}, not ${wantResponse}`
}

function check(test: Case, config: File['configs'][string]): string | null {
  let table: RouteTable
  try {
    table = load(config)
  } catch (error) {
    return test.kind === 'config-reject' ? null : `refused: ${(error as Error).message}`
  }
  if (test.kind === 'config-reject') return `accepted, Envoy says: ${test.expect.message}`
  return test.kind === 'request' ? decide(table, test) : null
}

export const suite: Suite = {
  name: 'envoy-routes',
  async run(dataDirectory) {
    const file = JSON.parse(await readFile(join(dataDirectory, 'conformance/envoy-routes.json'), 'utf8')) as File
    const differences: Difference[] = []
    for (const test of file.cases) {
      const message = check(test, file.configs[test.config]!)
      if (message !== null) differences.push({ id: test.id, message })
    }
    return { total: file.cases.length, differences }
  },
}
