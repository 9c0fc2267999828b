import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VirtualHost } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { generateListeners } from '../lds/index.ts'
import { generateRoutes } from '../rds/index.ts'
import { TestMesh, testProxy } from '../testing.ts'
import { commonHosts, mergedGateways } from './merge.ts'

const router = testProxy({ type: 'router', labels: { istio: 'ingressgateway' } })

const gateway = (name: string, ...servers: string[]): string => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ${name}}
spec:
  selector: {istio: ingressgateway}
  servers: [${servers.join(', ')}]
---`

const http = (port: number, hosts: string, name = 'http', extra = ''): string =>
  `{port: {number: ${port}, name: ${name}, protocol: HTTP}, hosts: [${hosts}]${extra}}`
const https = (port: number, hosts: string, name: string): string =>
  `{port: {number: ${port}, name: ${name}, protocol: HTTPS}, hosts: [${hosts}], tls: {mode: SIMPLE, credentialName: c}}`

const vs = (name: string, hosts: string, gateways: string, to: string, namespace = 'default'): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  hosts: [${hosts}]
  gateways: [${gateways}]
  http: [${to}]
---`
const to = (host: string, prefix?: string): string =>
  `{${prefix ? `match: [{uri: {prefix: ${prefix}}}], ` : ''}route: [{destination: {host: ${host}.default.svc.cluster.local, port: {number: 80}}}]}`

function hosts(yaml: string, route: string): VirtualHost[] {
  return generateRoutes(router, new TestMesh(yaml).push(), [route])[0]!.virtualHosts
}

test('HTTP servers of one port share a listener and its routes, across Gateways', () => {
  const push = new TestMesh(gateway('a', http(8080, 'a.com')) + gateway('b', http(8080, 'b.com'))).push()
  const { ports, byRouteName } = mergedGateways(router, push)
  assert.equal(ports.length, 1)
  assert.deepEqual(
    byRouteName.get('http.8080')?.map((s) => s.gateway),
    ['default/a', 'default/b'],
  )
})

test('plain HTTP and TLS cannot share a port: the first Gateway keeps it', () => {
  const push = new TestMesh(gateway('a', http(8443, 'a.com')) + gateway('b', https(8443, 'b.com', 'https'))).push()
  const { ports } = mergedGateways(router, push)
  assert.deepEqual(
    ports.map((port) => port.servers.map((s) => s.gateway)),
    [['default/a']],
  )
})

test('each HTTPS server has its own chain by server name and its own routes; a name is served once', () => {
  const yaml =
    gateway('a', https(8443, 'a.com', 'one'), https(8443, 'b.com', 'two')) + gateway('b', https(8443, 'a.com', 'one'))
  const [listener, ...others] = generateListeners(router, new TestMesh(yaml).push())
  assert.deepEqual(others, [])
  assert.deepEqual(
    listener?.filterChains.map((chain) => chain.filterChainMatch?.serverNames),
    [['a.com'], ['b.com']],
  )
})

test('VirtualServices of one host are merged, a catch-all of one behind the routes of the next', () => {
  const yaml =
    gateway('g', http(8080, '"*"')) + vs('one', 'a.com', 'g', to('one')) + vs('two', 'a.com', 'g', to('two', '/two'))
  const [host] = hosts(yaml, 'http.8080')
  assert.deepEqual(
    host?.routes.map((route) => route.decorator?.operation),
    ['two.default.svc.cluster.local:80/two*', 'one.default.svc.cluster.local:80/*'],
  )
})

test('a port without VirtualService answers nothing; a redirecting server redirects all the same', () => {
  assert.deepEqual(
    hosts(gateway('g', http(8080, 'a.com')), 'http.8080').map((host) => host.name),
    ['blackhole:8080'],
  )
  const [host] = hosts(gateway('g', http(8080, 'a.com', 'http', ', tls: {httpsRedirect: true}')), 'http.8080')
  assert.equal(host?.requireTls, 2)
})

test('a server admits VirtualServices of the namespaces its hosts name', () => {
  const from = (namespace: string, host: string) => [{ namespace, host }]
  assert.deepEqual(commonHosts(from('*', '*.com'), ['a.com', 'b.org'], 'x'), ['a.com'])
  assert.deepEqual(commonHosts(from('x', 'a.com'), ['*.com'], 'x'), ['a.com'])
  assert.deepEqual(commonHosts(from('y', 'a.com'), ['a.com'], 'x'), [])
})
