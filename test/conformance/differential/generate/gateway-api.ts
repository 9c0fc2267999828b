// Gateway API objects and Ingresses.
import type { KubeObject } from '../../../../src/cluster/index.ts'
import type { Draw } from './draw.ts'
import { EXTERNAL_HOSTS, PORTS, path, serviceName } from './vocabulary.ts'

const backend = (draw: Draw): object => ({
  name: serviceName(draw),
  port: draw.pick(PORTS),
  namespace: draw.maybe(0.1, () => 'other'),
  weight: draw.maybe(0.4, () => draw.pick([0, 1, 5, 50])),
})

const parent = (draw: Draw): object =>
  draw.either<object>(
    () => ({
      name: 'kgw',
      namespace: 'istio-system',
      sectionName: draw.maybe(0.3, () => draw.pick(['http', 'https', 'tcp', 'tls'])),
    }),
    () => ({ name: 'kgw', namespace: 'istio-system' }),
    () => ({ group: '', kind: 'Service', name: serviceName(draw), port: draw.maybe(0.4, () => draw.pick(PORTS)) }),
  )

const hostnames = (draw: Draw) => draw.maybe(0.5, () => draw.some([...EXTERNAL_HOSTS, '*.example.com'], 1, 2))

const headerModifier = (draw: Draw): object => ({
  set: draw.maybe(0.5, () => [{ name: 'x-set', value: 'a' }]),
  add: draw.maybe(0.5, () => [{ name: 'x-add', value: 'b' }]),
  remove: draw.maybe(0.4, () => ['x-gone']),
})

function filter(draw: Draw): object {
  return draw.either<object>(
    () => ({ type: 'RequestHeaderModifier', requestHeaderModifier: headerModifier(draw) }),
    () => ({ type: 'ResponseHeaderModifier', responseHeaderModifier: headerModifier(draw) }),
    () => ({
      type: 'URLRewrite',
      urlRewrite: {
        hostname: draw.maybe(0.5, () => 'rewritten.com'),
        path: draw.maybe(0.6, () =>
          draw.pick<object>([
            { type: 'ReplaceFullPath', replaceFullPath: '/full' },
            { type: 'ReplacePrefixMatch', replacePrefixMatch: '/p' },
            { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' },
          ]),
        ),
      },
    }),
    () => ({
      type: 'RequestMirror',
      requestMirror: {
        backendRef: { name: serviceName(draw), port: draw.pick(PORTS) },
        percent: draw.maybe(0.4, () => 30),
      },
    }),
    () => ({
      type: 'RequestRedirect',
      requestRedirect: {
        scheme: draw.maybe(0.5, () => 'https'),
        hostname: draw.maybe(0.4, () => 'new.com'),
        port: draw.maybe(0.3, () => 8443),
        statusCode: draw.maybe(0.5, () => draw.pick([301, 302])),
        path: draw.maybe(0.4, () =>
          draw.pick<object>([
            { type: 'ReplaceFullPath', replaceFullPath: '/full' },
            { type: 'ReplacePrefixMatch', replacePrefixMatch: '/p' },
          ]),
        ),
      },
    }),
  )
}

function httpRoute(draw: Draw): object {
  return {
    parentRefs: draw.many(1, 2, () => parent(draw)),
    hostnames: hostnames(draw),
    rules: draw.many(1, 2, () => {
      const filters = draw.maybe(0.4, () => {
        const list = draw.many(1, 2, () => filter(draw)) as { type: string }[]
        return list.filter((one, i) => list.findIndex((other) => other.type === one.type) === i)
      })
      const redirects = filters?.some(({ type }) => type === 'RequestRedirect')
      return {
        matches: draw.maybe(0.7, () =>
          draw.many(1, 2, () => ({
            path: draw.maybe(0.7, () => ({ type: draw.pick(['PathPrefix', 'Exact']), value: path(draw) })),
            method: draw.maybe(0.2, () => 'GET'),
            headers: draw.maybe(0.3, () => [{ name: 'x-user', value: 'a', type: draw.maybe(0.3, () => 'Exact') }]),
            queryParams: draw.maybe(0.2, () => [{ name: 'q', value: '1' }]),
          })),
        ),
        filters: redirects ? filters?.filter(({ type }) => type !== 'URLRewrite') : filters,
        backendRefs: redirects ? undefined : draw.many(1, 2, () => backend(draw)),
        timeouts: draw.maybe(0.2, () => ({ request: '5s', backendRequest: draw.maybe(0.4, () => '2s') })),
      }
    }),
  }
}

const grpcRoute = (draw: Draw): object => ({
  parentRefs: [parent(draw)],
  hostnames: hostnames(draw),
  rules: draw.many(1, 2, () => ({
    matches: draw.maybe(0.6, () => [
      {
        method: draw.maybe(0.8, () => ({ service: 'pkg.Service', method: draw.maybe(0.5, () => 'Call') })),
        headers: draw.maybe(0.3, () => [{ name: 'x-user', value: 'a' }]),
      },
    ]),
    backendRefs: draw.many(1, 2, () => backend(draw)),
  })),
})

const l4Route = (draw: Draw): object => ({
  parentRefs: [parent(draw)],
  rules: [{ backendRefs: draw.many(1, 2, () => backend(draw)) }],
})
const tlsRoute = (draw: Draw): object => ({
  parentRefs: [parent(draw)],
  hostnames: draw.some([...EXTERNAL_HOSTS, '*.example.com'], 1, 2),
  rules: [{ backendRefs: draw.many(1, 2, () => backend(draw)) }],
})

function kubernetesGateway(draw: Draw): object {
  const listeners = [
    {
      name: 'http',
      port: draw.pick([80, 8080]),
      protocol: 'HTTP',
      hostname: draw.maybe(0.4, () => draw.pick(['*.example.com', 'ext.example.com'])),
      allowedRoutes: { namespaces: { from: draw.pick(['All', 'Same', 'All']) } },
    },
    {
      name: 'https',
      port: 443,
      protocol: 'HTTPS',
      hostname: draw.maybe(0.6, () => '*.example.com'),
      tls: { mode: 'Terminate', certificateRefs: [{ name: 'cred' }] },
      allowedRoutes: { namespaces: { from: 'All' } },
    },
    { name: 'tcp', port: 9000, protocol: 'TCP', allowedRoutes: { namespaces: { from: 'All' } } },
    {
      name: 'tls',
      port: 15443,
      protocol: 'TLS',
      tls: { mode: 'Passthrough' },
      hostname: draw.maybe(0.5, () => '*.example.com'),
      allowedRoutes: { namespaces: { from: 'All' } },
    },
  ]
  return {
    gatewayClassName: 'istio',
    addresses: [{ type: 'Hostname', value: 'ingress.istio-system.svc.cluster.local' }],
    listeners: draw.some(listeners, 1, 4),
  }
}

function ingress(draw: Draw): object {
  return {
    ingressClassName: draw.maybe(0.3, () => 'istio'),
    tls: draw.maybe(0.3, () => [{ hosts: ['ext.example.com'], secretName: 'cred' }]),
    rules: draw.many(1, 2, () => ({
      host: draw.maybe(0.8, () => draw.pick([...EXTERNAL_HOSTS, '*.example.com'])),
      http: {
        paths: draw.many(1, 2, () => ({
          path: draw.pick(['/', '/a', '/b/', '/a/*']),
          pathType: draw.pick(['Prefix', 'Exact', 'ImplementationSpecific']),
          backend: {
            service: {
              name: serviceName(draw),
              port: draw.pick<object>([{ number: 80 }, { name: 'http' }, { number: 8080 }]),
            },
          },
        })),
      },
    })),
    defaultBackend: draw.maybe(0.2, () => ({ service: { name: serviceName(draw), port: { number: 80 } } })),
  }
}

const MAKERS: readonly [kind: string, apiVersion: string, make: (draw: Draw) => object][] = [
  ['HTTPRoute', 'gateway.networking.k8s.io/v1', httpRoute],
  ['HTTPRoute', 'gateway.networking.k8s.io/v1', httpRoute],
  ['GRPCRoute', 'gateway.networking.k8s.io/v1', grpcRoute],
  ['TCPRoute', 'gateway.networking.k8s.io/v1alpha2', l4Route],
  ['TLSRoute', 'gateway.networking.k8s.io/v1', tlsRoute],
  ['Ingress', 'networking.k8s.io/v1', ingress],
]

/** A Gateway with its class, and routes and Ingresses for it or the mesh. */
export function gatewayApi(draw: Draw): KubeObject[] {
  const metadata = (name: string, namespace?: string) => ({
    name,
    namespace,
    creationTimestamp: `2026-01-0${draw.between(1, 3)}T00:00:00Z`,
  })
  const routes = draw.many(1, 4, (index) => {
    const [kind, apiVersion, make] = draw.pick(MAKERS)
    return {
      apiVersion,
      kind,
      metadata: metadata(`k${index}`, draw.pick(['default', 'default', 'istio-system'])),
      spec: make(draw),
    }
  })
  return [
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'GatewayClass',
      metadata: metadata('istio'),
      spec: { controllerName: 'istio.io/gateway-controller' },
    },
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: metadata('kgw', 'istio-system'),
      spec: kubernetesGateway(draw),
    },
    ...routes,
  ] as unknown as KubeObject[]
}
