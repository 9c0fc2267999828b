// VirtualServices: HTTP with every match and action, TLS, TCP, delegates.
import { hostMatches } from '../../../../src/pilot/model/host.ts'
import type { Draw } from './draw.ts'
import { anyHost, concreteHost, exportTo, headerName, labels, NAMESPACES, PORTS, path, SUBSETS } from './vocabulary.ts'

function destination(draw: Draw): object {
  return {
    host: concreteHost(draw),
    subset: draw.maybe(0.3, () => draw.pick(SUBSETS)),
    port: draw.maybe(0.35, () => ({ number: draw.pick(PORTS) })),
  }
}

export function stringMatch(draw: Draw, values: readonly string[]): object {
  const value = draw.pick(values)
  return draw.either<object>(
    () => ({ exact: value }),
    () => ({ prefix: value }),
    () => ({ regex: draw.pick([`${value}.*`, '.*', '[a-z]+', `${value}|x`]) }),
  )
}

function headers(draw: Draw): object {
  const operations = () => ({
    set: draw.maybe(0.5, () => ({ [draw.pick(['x-set', 'X-Case'])]: draw.pick(['a', '%REQ(x-user)%', '100%%']) })),
    add: draw.maybe(0.5, () => ({ 'x-add': 'b', ...(draw.chance(0.3) && { 'a-first': 'c' }) })),
    remove: draw.maybe(0.4, () => draw.some(['x-gone', 'X-Also', 'server'], 1, 2)),
  })
  return { request: draw.maybe(0.7, operations), response: draw.maybe(0.5, operations) }
}

function httpMatch(draw: Draw): object {
  const paths = ['/', '/a', '/a/b', '/b/', '/A']
  return {
    name: draw.maybe(0.15, () => 'm1'),
    uri: draw.maybe(0.55, () => stringMatch(draw, paths)),
    scheme: draw.maybe(0.08, () => stringMatch(draw, ['http', 'https'])),
    method: draw.maybe(0.15, () => stringMatch(draw, ['GET', 'POST'])),
    authority: draw.maybe(0.1, () => stringMatch(draw, ['web', 'ext.example.com', 'a.b:80'])),
    headers: draw.maybe(0.3, () => ({
      [headerName(draw)]: draw.chance(0.15) ? {} : stringMatch(draw, ['a', 'jason']),
    })),
    withoutHeaders: draw.maybe(0.12, () => ({
      [headerName(draw)]: draw.chance(0.25) ? {} : stringMatch(draw, ['a', 'jason']),
    })),
    port: draw.maybe(0.12, () => draw.pick(PORTS)),
    sourceLabels: draw.maybe(0.12, () => labels(draw)),
    sourceNamespace: draw.maybe(0.06, () => draw.pick(NAMESPACES)),
    gateways: draw.maybe(0.1, () => draw.pick([['mesh'], ['gw0'], ['mesh', 'gw0'], ['istio-system/gw1']])),
    queryParams: draw.maybe(0.12, () => ({
      [draw.pick(['q', 'page'])]: draw.chance(0.15) ? {} : stringMatch(draw, ['1', 'x']),
    })),
    ignoreUriCase: draw.maybe(0.12, () => draw.chance(0.8)),
    statPrefix: draw.maybe(0.05, () => 'stat'),
  }
}

const percentage = (draw: Draw) => ({ value: draw.pick([0, 0.5, 10, 33.3, 100, 0.0001]) })

function fault(draw: Draw): object {
  return {
    delay: draw.maybe(0.6, () => ({
      fixedDelay: draw.duration(9),
      percentage: draw.maybe(0.7, () => percentage(draw)),
      percent: draw.maybe(0.1, () => 20),
    })),
    abort: draw.maybe(0.6, () => ({
      ...draw.either<object>(
        () => ({ httpStatus: draw.pick([200, 500, 503, 404]) }),
        () => ({ grpcStatus: draw.pick(['UNAVAILABLE', 'NOT_FOUND']) }),
      ),
      percentage: draw.maybe(0.7, () => percentage(draw)),
    })),
  }
}

export function retries(draw: Draw): object {
  if (draw.chance(0.15)) return { attempts: 0 }
  return {
    attempts: draw.between(1, 5),
    perTryTimeout: draw.maybe(0.4, () => draw.duration(9)),
    retryOn: draw.maybe(0.4, () =>
      draw.pick([
        '5xx',
        'gateway-error,connect-failure',
        '503,5xx',
        '404',
        'retriable-status-codes,503',
        'reset,connect-failure',
        'unavailable,cancelled',
      ]),
    ),
    retryRemoteLocalities: draw.maybe(0.25, () => draw.chance(0.7)),
    retryIgnorePreviousHosts: draw.maybe(0.2, () => draw.chance(0.5)),
    backoff: draw.maybe(0.2, () => draw.duration(5)),
  }
}

function cors(draw: Draw): object {
  return {
    allowOrigins: draw.maybe(0.8, () => draw.many(1, 2, () => stringMatch(draw, ['http://a.com', 'http://b']))),
    allowOrigin: draw.maybe(0.1, () => ['http://old.com', '*']),
    allowMethods: draw.maybe(0.5, () => ['GET', 'POST']),
    allowHeaders: draw.maybe(0.5, () => ['x-a', 'x-b']),
    exposeHeaders: draw.maybe(0.4, () => ['x-c']),
    maxAge: draw.maybe(0.4, () => draw.duration()),
    allowCredentials: draw.maybe(0.4, () => draw.chance(0.5)),
    unmatchedPreflights: draw.maybe(0.3, () => draw.pick(['FORWARD', 'IGNORE', 'UNSPECIFIED'])),
  }
}

function redirect(draw: Draw): object {
  return {
    ...draw.either<object>(
      () => ({ uri: draw.pick(['/new', '%PREFIX()%/x']) }),
      () => ({ authority: 'new.com' }),
      () => ({ uri: '/new', authority: 'new.com' }),
      () => ({ scheme: 'https' }),
      () => ({ prefixRewrite: '/other' }),
    ),
    redirectCode: draw.maybe(0.5, () => draw.pick([301, 302, 303, 307, 308])),
    scheme: draw.maybe(0.3, () => draw.pick(['https', 'http'])),
    ...draw.either<object>(
      () => ({}),
      () => ({ port: 8443 }),
      () => ({ derivePort: draw.pick(['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT']) }),
    ),
  }
}

function rewrite(draw: Draw): object {
  return draw.either<object>(
    () => ({ uri: path(draw) }),
    () => ({ authority: 'rewritten.com' }),
    () => ({ uri: path(draw), authority: 'rewritten.com' }),
    () => ({ uri: path(draw), uriRegexRewrite: { match: '^/b', rewrite: '/c' } }),
    () => ({ uriRegexRewrite: { match: '/a/(.*)', rewrite: '/z/\\1' } }),
  )
}

function weighted(draw: Draw): object[] {
  const count = draw.pick([1, 1, 1, 2, 2, 3])
  return Array.from({ length: count }, () => ({
    destination: destination(draw),
    weight: count > 1 ? draw.pick([0, 10, 50, 90, 1]) : draw.maybe(0.2, () => draw.pick([100, 0, 5])),
    headers: draw.maybe(0.15, () => headers(draw)),
  }))
}

/** The parts a route has whatever it does. */
function routeOptions(draw: Draw): object {
  return {
    timeout: draw.maybe(0.2, () => draw.pick(['1s', '15s', '0.5s'])),
    retries: draw.maybe(0.25, () => retries(draw)),
    fault: draw.maybe(0.15, () => fault(draw)),
    corsPolicy: draw.maybe(0.12, () => cors(draw)),
    headers: draw.maybe(0.2, () => headers(draw)),
    mirror: draw.maybe(0.08, () => destination(draw)),
    mirrorPercentage: draw.maybe(0.06, () => percentage(draw)),
    mirrorPercent: draw.maybe(0.03, () => draw.between(0, 100)),
    rewrite: draw.maybe(0.2, () => rewrite(draw)),
  }
}

function httpRoute(draw: Draw): object {
  const base = {
    name: draw.maybe(0.3, () => draw.pick(['one', 'two'])),
    match: draw.maybe(0.75, () => draw.many(1, 2, () => httpMatch(draw))),
  }
  const roll = draw.next()
  if (roll < 0.1)
    return {
      ...base,
      redirect: redirect(draw),
      headers: draw.maybe(0.2, () => headers(draw)),
      corsPolicy: draw.maybe(0.1, () => cors(draw)),
    }
  if (roll < 0.17)
    return {
      ...base,
      directResponse: {
        status: draw.pick([200, 404, 503]),
        body: draw.maybe(0.6, () => draw.pick([{ string: 'hello' }, { bytes: 'aGVsbG8=' }])),
      },
      headers: draw.maybe(0.3, () => headers(draw)),
    }
  const options = routeOptions(draw) as { mirror?: unknown }
  const mirrors = draw.maybe(0.06, () =>
    draw.many(1, 2, () => ({ destination: destination(draw), percentage: draw.maybe(0.5, () => percentage(draw)) })),
  )
  if (mirrors) options.mirror = undefined
  return { ...base, route: weighted(draw), ...options, mirrors }
}

const l4Match = (draw: Draw): object => ({
  port: draw.maybe(0.5, () => draw.pick(PORTS)),
  destinationSubnets: draw.maybe(0.15, () =>
    draw.pick([['10.96.0.0/16'], ['240.0.0.1'], ['10.1.0.0/24', '10.2.0.1/32']]),
  ),
  sourceLabels: draw.maybe(0.12, () => labels(draw)),
  sourceNamespace: draw.maybe(0.05, () => draw.pick(NAMESPACES)),
  gateways: draw.maybe(0.12, () => draw.pick([['mesh'], ['gw0'], ['mesh', 'gw1']])),
})

function l4Routes(draw: Draw): object[] {
  const count = draw.pick([1, 1, 2])
  return Array.from({ length: count }, () => ({
    destination: destination(draw),
    weight: count > 1 ? draw.pick([0, 20, 80]) : undefined,
  }))
}

const tlsRoute = (draw: Draw, hosts: readonly string[]): object => ({
  match: draw.many(1, 2, () => ({
    sniHosts: [draw.pick(hosts)],
    ...l4Match(draw),
  })),
  route: l4Routes(draw),
})

const tcpRoute = (draw: Draw): object => ({
  match: draw.maybe(0.7, () =>
    draw.many(1, 2, () => ({ ...l4Match(draw), sourceSubnet: draw.maybe(0.05, () => '10.1.0.0/16') })),
  ),
  route: l4Routes(draw),
})

/** Hosts of which none stands for another; the mesh has no `*`. */
function apart(hosts: readonly string[], mesh: boolean): string[] {
  const out: string[] = []
  for (const host of hosts) {
    if (mesh && host === '*') continue
    if (!out.some((other) => hostMatches(other, host))) out.push(host)
  }
  return out.length > 0 ? out : ['web.default.svc.cluster.local']
}

/** The spec of a VirtualService. */
export function virtualService(draw: Draw): object {
  const gateways = draw.maybe(0.45, () =>
    draw.pick([
      ['mesh'],
      ['gw0'],
      ['mesh', 'gw0'],
      ['gw1', 'gw2'],
      ['istio-system/gw0', 'mesh'],
      ['istio-system/gw1'],
      ['istio-system/gw0'],
    ]),
  )
  const hosts = apart(
    draw.many(1, 3, () => anyHost(draw)),
    gateways === undefined || gateways.includes('mesh'),
  )
  const l4 = draw.chance(0.15)
  const http = draw.maybe(l4 ? 0 : 0.95, () => draw.many(1, 4, () => httpRoute(draw)))
  if (http && draw.chance(0.12)) {
    http.push({
      name: 'delegating',
      match: draw.maybe(0.6, () => [httpMatch(draw)]),
      delegate: { name: draw.pick(['d0', 'd1']), namespace: draw.maybe(0.5, () => draw.pick(['default', 'other'])) },
    })
  }
  return {
    hosts,
    gateways,
    http,
    tls: draw.maybe(http ? 0.15 : 0.5, () => draw.many(1, 2, () => tlsRoute(draw, hosts))),
    tcp: draw.maybe(http ? 0.12 : 1, () => draw.many(1, 2, () => tcpRoute(draw))),
    exportTo: exportTo(draw),
  }
}

/** A delegate: routes without hosts. */
export function delegate(draw: Draw): object {
  return { http: draw.many(1, 2, () => httpRoute(draw)), exportTo: exportTo(draw) }
}
