// Routes of the Gateway API, with what the API server fills in.
import type { Draw } from './draw.ts'
import { EXTERNAL_HOSTS, namespace, PORTS, path, serviceName } from './vocabulary.ts'

const GROUP = 'gateway.networking.k8s.io'
const SECTIONS = ['http', 'https', 'tcp', 'tls', 'set-http', 'missing'] as const

/**
 * Where a backend leads: mostly a Service of the route's namespace. For a reference that can never be meant (no port, a
 * host name as a Service's) istiod gives up all rules of the route; see docs/differences.md.
 */
function target(draw: Draw): Record<string, unknown> {
  const port = draw.pick(PORTS)
  const roll = draw.next()
  if (roll < 0.06) return { group: 'networking.istio.io', kind: 'Hostname', name: draw.pick(EXTERNAL_HOSTS), port }
  if (roll < 0.09) return { group: 'multicluster.x-k8s.io', kind: 'ServiceImport', name: serviceName(draw), port }
  if (roll < 0.11) return { group: 'example.com', kind: 'Bucket', name: 'b' }
  return {
    group: '',
    kind: 'Service',
    name: serviceName(draw),
    port,
    namespace: draw.maybe(0.15, () => namespace(draw)),
  }
}

const backend = (draw: Draw): Record<string, unknown> => ({
  ...target(draw),
  weight: draw.chance(0.4) ? draw.pick([0, 1, 5, 50]) : 1,
})

function parent(draw: Draw): object {
  const gateway = (kind: string, name: string, place: string) => ({
    group: GROUP,
    kind,
    name,
    namespace: place,
    sectionName: draw.maybe(0.25, () => draw.pick(SECTIONS)),
    port: draw.maybe(0.1, () => draw.pick([80, 443, 9000, 8080])),
  })
  return draw.either<object>(
    () => gateway('Gateway', 'kgw', 'istio-system'),
    () => gateway('Gateway', 'kgw', 'istio-system'),
    () =>
      draw.chance(0.6)
        ? gateway('Gateway', 'kgw2', 'istio-system')
        : gateway('ListenerSet', 'set', draw.pick(['default', 'istio-system'])),
    () => ({
      group: '',
      kind: 'Service',
      name: serviceName(draw),
      namespace: draw.maybe(0.15, () => namespace(draw)),
      port: draw.maybe(0.4, () => draw.pick(PORTS)),
    }),
    () =>
      draw.pick<object>([
        { group: 'networking.istio.io', kind: 'ServiceEntry', name: 'entry' },
        { group: GROUP, kind: 'Gateway', name: 'missing' },
        { group: '', kind: 'Service', name: serviceName(draw) },
        { group: '', kind: 'Service', name: serviceName(draw) },
      ]),
  )
}

/** No two of the same name: the API server refuses them. */
function parents(draw: Draw): object[] {
  const list = draw.many(1, 3, () => parent(draw))
  const named = list.map((one) => JSON.stringify({ ...one, sectionName: 0, port: 0 }))
  return list.filter((_, i) => named.indexOf(named[i]!) === i)
}
const hostnames = (draw: Draw) => draw.maybe(0.5, () => draw.some([...EXTERNAL_HOSTS, '*.example.com', '*.com'], 1, 2))

const headerModifier = (draw: Draw): object => ({
  set: draw.maybe(0.5, () => [
    { name: draw.pick(['x-set', 'X-Set']), value: draw.pick(['a', '50%%', '%REQ(x)%']) },
    ...draw.many(0, 1, () => ({ name: 'x-set', value: 'second' })),
  ]),
  add: draw.maybe(0.5, () => [{ name: 'x-add', value: 'b' }]),
  remove: draw.maybe(0.4, () => ['x-gone']),
})

const pathModifier = (draw: Draw) =>
  draw.pick<object>([
    { type: 'ReplaceFullPath', replaceFullPath: '/full' },
    { type: 'ReplacePrefixMatch', replacePrefixMatch: '/p' },
    { type: 'ReplacePrefixMatch', replacePrefixMatch: '/p/' },
    { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' },
    { type: 'ReplacePrefixMatch', replacePrefixMatch: '' },
  ])

type Filter = { type: string; [field: string]: unknown }

const mirror = (draw: Draw): Filter => ({
  type: 'RequestMirror',
  requestMirror: {
    backendRef: target(draw),
    ...draw.pick<object>([{}, {}, { percent: 30 }, { percent: 0 }, { fraction: { numerator: 1, denominator: 3 } }]),
    ...(draw.chance(0.1) && { fraction: { numerator: 5, denominator: 100 } }),
  },
})

const modifiers = (draw: Draw): Filter =>
  draw.chance(0.5)
    ? { type: 'RequestHeaderModifier', requestHeaderModifier: headerModifier(draw) }
    : { type: 'ResponseHeaderModifier', responseHeaderModifier: headerModifier(draw) }

function filter(draw: Draw): Filter {
  return draw.either<Filter>(
    () => modifiers(draw),
    () => modifiers(draw),
    () => ({
      type: 'URLRewrite',
      urlRewrite: {
        hostname: draw.maybe(0.5, () => 'rewritten.com'),
        path: draw.maybe(0.6, () => pathModifier(draw)),
      },
    }),
    () => mirror(draw),
    () => ({
      type: 'RequestRedirect',
      requestRedirect: {
        scheme: draw.maybe(0.5, () => draw.pick(['http', 'https'])),
        hostname: draw.maybe(0.4, () => 'new.com'),
        port: draw.maybe(0.3, () => 8443),
        statusCode: draw.pick([301, 302, 302, 303, 307, 308]),
        path: draw.maybe(0.4, () => pathModifier(draw)),
      },
    }),
    () => ({
      type: 'CORS',
      cors: {
        allowOrigins: draw.maybe(0.8, () =>
          draw.some(['https://a.com', 'https://*.b.com', '*', 'https://c.com:*', 'http://x*y.com'], 1, 3),
        ),
        allowCredentials: draw.maybe(0.4, () => draw.chance(0.6)),
        allowMethods: draw.maybe(0.5, () => draw.some(['GET', 'POST', '*', 'HEAD', 'PUT', 'OPTIONS'], 1, 2)),
        allowHeaders: draw.maybe(0.4, () => ['x-user', 'x-b']),
        exposeHeaders: draw.maybe(0.3, () => ['x-out']),
        maxAge: draw.pick([5, 5, 100]),
      },
    }),
  )
}

// Other filters on a backend and ExtensionRef make istiod drop all rules of the route, as does a mirror of a GRPCRoute
// that leads nowhere; see docs/differences.md.

/** At most one of each type but mirrors, and no rewrite beside a redirect: the API server refuses others. */
function filters(draw: Draw, make: (draw: Draw) => Filter): Filter[] {
  const list = draw.many(1, 3, () => make(draw))
  const redirects = list.some(({ type }) => type === 'RequestRedirect')
  return list.filter(
    ({ type }, i) =>
      (type === 'RequestMirror' || list.findIndex((other) => other.type === type) === i) &&
      !(redirects && type === 'URLRewrite'),
  )
}

function httpMatch(draw: Draw, prefixOnly: boolean): object {
  const type = prefixOnly ? 'PathPrefix' : draw.pick(['PathPrefix', 'PathPrefix', 'Exact', 'RegularExpression'])
  return {
    path: draw.chance(0.7)
      ? { type, value: type === 'RegularExpression' ? draw.pick(['/a.*', '/[a-z]+']) : path(draw) }
      : { type: 'PathPrefix', value: '/' },
    method: draw.maybe(0.2, () => draw.pick(['GET', 'POST', 'DELETE', 'PATCH'])),
    headers: draw.maybe(0.3, () =>
      draw.many(1, 2, (i) => ({
        name: ['x-user', 'X-Upper'][i],
        value: 'a',
        type: draw.pick(['Exact', 'Exact', 'RegularExpression']),
      })),
    ),
    queryParams: draw.maybe(0.2, () => [{ name: 'q', value: '1', type: draw.pick(['Exact', 'RegularExpression']) }]),
  }
}

export const sessionPersistence = (draw: Draw): object => ({
  sessionName: 's',
  absoluteTimeout: draw.maybe(0.3, () => '1h'),
  ...draw.pick<object>([
    { type: 'Cookie' },
    { type: 'Cookie', cookieConfig: { lifetimeType: 'Session' } },
    { type: 'Header' },
  ]),
})

function retry(draw: Draw): object {
  return {
    attempts: draw.maybe(0.6, () => draw.pick([0, 1, 5])),
    codes: draw.maybe(0.6, () => draw.some([500, 503, 504], 1, 2)),
    backoff: draw.maybe(0.4, () => '100ms'),
  }
}

function timeouts(draw: Draw): object {
  return draw.pick<object>([
    { request: '5s' },
    { request: '0s' },
    { request: '5s', backendRequest: '2s' },
    { backendRequest: '3s' },
    { request: '5s', backendRequest: '0s' },
  ])
}

export function httpRoute(draw: Draw): object {
  return {
    parentRefs: parents(draw),
    hostnames: hostnames(draw),
    rules: draw.many(1, 3, (i) => {
      const own = draw.maybe(0.45, () => filters(draw, filter))
      const prefix = JSON.stringify(own ?? []).includes('replacePrefixMatch')
      const redirects = own?.some(({ type }) => type === 'RequestRedirect')
      return {
        name: draw.maybe(0.1, () => `rule-${i}`),
        matches: draw.chance(0.7)
          ? draw.many(1, prefix ? 1 : 2, () => httpMatch(draw, prefix))
          : [{ path: { type: 'PathPrefix', value: '/' } }],
        filters: own,
        backendRefs:
          redirects || draw.chance(0.04)
            ? undefined
            : draw.many(1, 2, () => ({
                ...backend(draw),
                filters: draw.maybe(0.15, () => filters(draw, modifiers)),
              })),
        timeouts: draw.maybe(0.25, () => timeouts(draw)),
        retry: draw.maybe(0.2, () => retry(draw)),
        sessionPersistence: draw.maybe(0.05, () => sessionPersistence(draw)),
      }
    }),
  }
}

export const grpcRoute = (draw: Draw): object => ({
  parentRefs: parents(draw),
  hostnames: hostnames(draw),
  rules: draw.many(1, 2, (i) => ({
    name: draw.maybe(0.1, () => `rule-${i}`),
    matches: draw.maybe(0.6, () =>
      draw.many(1, 2, () => ({
        method: draw.maybe(0.8, () => ({
          type: draw.pick(['Exact', 'Exact', 'RegularExpression']),
          ...draw.pick<object>([
            { service: 'pkg.Service' },
            { service: 'pkg.Service', method: 'Call' },
            { method: 'Call' },
          ]),
        })),
        headers: draw.maybe(0.3, () => [
          { name: 'x-user', value: 'a', type: draw.pick(['Exact', 'RegularExpression']) },
        ]),
      })),
    ),
    filters: draw.maybe(0.3, () => filters(draw, modifiers)),
    backendRefs: draw.chance(0.05)
      ? undefined
      : draw.many(1, 2, () => ({
          ...backend(draw),
          filters: draw.maybe(0.1, () => filters(draw, modifiers)),
        })),
  })),
})

/** A route of TCP or TLS for a Service of another namespace leads everybody elsewhere under istiod (docs/differences.md). */
const ownParents = (draw: Draw): object[] => {
  const list = parents(draw).filter((parent) => {
    const { kind, namespace } = parent as { kind: string; namespace?: string }
    return kind !== 'Service' || namespace === undefined
  })
  return list.length > 0 ? list : [{ group: GROUP, kind: 'Gateway', name: 'kgw', namespace: 'istio-system' }]
}

export const tcpRoute = (draw: Draw): object => ({
  parentRefs: ownParents(draw),
  rules: [{ name: draw.maybe(0.1, () => 'rule'), backendRefs: draw.many(1, 2, () => backend(draw)) }],
})

export const tlsRoute = (draw: Draw): object => ({
  parentRefs: ownParents(draw),
  hostnames: draw.some([...EXTERNAL_HOSTS, '*.example.com', '*.com'], 1, 2),
  rules: [{ name: draw.maybe(0.1, () => 'rule'), backendRefs: draw.many(1, 2, () => backend(draw)) }],
})
