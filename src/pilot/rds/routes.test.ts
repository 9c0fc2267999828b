import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VirtualHost } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type MeshConfig, parseMeshConfig } from '../../config/index.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { generateRoutes } from './index.ts'

const vs = (name: string, spec: string, namespace = 'default', age = ''): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: ${namespace}${age ? `, creationTimestamp: "${age}"` : ''}}
spec: ${spec}
---`

function hostsOf(yaml: string, route: string, proxy = testProxy(), mesh?: MeshConfig): Map<string, VirtualHost> {
  const [config] = generateRoutes(proxy, new TestMesh(yaml, mesh).push(), [route])
  return new Map(config!.virtualHosts.map((host) => [host.name, host]))
}

/** Where each route of a virtual host goes. */
function targets(host: VirtualHost | undefined): string[] {
  return (host?.routes ?? []).map(({ action }) => {
    if (action.case !== 'route') return action.case ?? 'none'
    const specifier = action.value.clusterSpecifier
    if (specifier.case === 'cluster') return specifier.value
    if (specifier.case === 'weightedClusters') {
      return specifier.value.clusters.map((c) => `${c.name}=${c.weight}`).join()
    }
    return 'nothing'
  })
}

const A = 'a.default.svc.cluster.local'

test('a service is known by every name that resolves for the client', () => {
  const near = hostsOf(serviceYaml('a'), '80').get(`${A}:80`)
  assert.deepEqual(near?.domains, [A, `${A}.`, 'a', 'a.default.svc', 'a.default', '10.96.0.1'])
  const far = hostsOf(serviceYaml('a'), '80', testProxy({ namespace: 'other' })).get(`${A}:80`)
  assert.deepEqual(far?.domains, [A, `${A}.`, 'a.default', 'a.default.svc', '10.96.0.1'])
})

test('unknown hosts pass through, or are refused with REGISTRY_ONLY', () => {
  const open = hostsOf(serviceYaml('a'), '80')
  assert.deepEqual(targets(open.get('allow_any')), ['PassthroughCluster'])
  assert.equal([...open.keys()].at(-1), 'allow_any')
  const parsed = parseMeshConfig({ outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } })
  assert.ok(parsed.ok)
  const closed = hostsOf(serviceYaml('a'), '80', testProxy(), parsed.value)
  assert.deepEqual(targets(closed.get('block_all')), ['directResponse'])
})

test('a VirtualService takes the place of the default route', () => {
  const yaml = `${serviceYaml('a')}---${vs(
    'a',
    `{hosts: [a], http: [
      {match: [{headers: {end-user: {exact: jason}}}], route: [{destination: {host: a, subset: v2}}]},
      {route: [{destination: {host: a, subset: v1}, weight: 90}, {destination: {host: a, subset: v3}, weight: 10}]}]}`,
  )}`
  assert.deepEqual(targets(hostsOf(yaml, '80').get(`${A}:80`)), [
    `outbound|80|v2|${A}`,
    `outbound|80|v1|${A}=90,outbound|80|v3|${A}=10`,
  ])
})

test('routes stop at the first that matches everything', () => {
  const yaml = `${serviceYaml('a')}---${vs(
    'a',
    '{hosts: [a], http: [{match: [{uri: {prefix: /}}], route: [{destination: {host: a}}]}, {match: [{uri: {prefix: /x}}], route: [{destination: {host: b}}]}]}',
  )}`
  assert.equal(hostsOf(yaml, '80').get(`${A}:80`)?.routes.length, 1)
})

test('a match for another source, port or gateway adds no route', () => {
  const yaml = `${serviceYaml('a')}---${vs(
    'a',
    `{hosts: [a], http: [
      {match: [{sourceLabels: {app: x}}], route: [{destination: {host: one}}]},
      {match: [{sourceNamespace: elsewhere}], route: [{destination: {host: two}}]},
      {match: [{port: 81}], route: [{destination: {host: three}}]},
      {match: [{gateways: [other]}], route: [{destination: {host: four}}]},
      {match: [{sourceLabels: {app: y}, sourceNamespace: default, port: 80}], route: [{destination: {host: five}}]}]}`,
  )}`
  const proxy = testProxy({ labels: { app: 'y' } })
  assert.deepEqual(targets(hostsOf(yaml, '80', proxy).get(`${A}:80`)), ['outbound|80||five.default.svc.cluster.local'])
})

test('of two VirtualServices for one host the older wins; the most specific wildcard speaks for a service', () => {
  const route = (host: string): string => `http: [{route: [{destination: {host: ${host}}}]}]`
  const yaml = `${serviceYaml('a')}---${vs('young', `{hosts: [a], ${route('young')}}`, 'default', '2026-02-01T00:00:00Z')}${vs(
    'old',
    `{hosts: [a], ${route('old')}}`,
    'default',
    '2025-02-01T00:00:00Z',
  )}`
  assert.deepEqual(targets(hostsOf(yaml, '80').get(`${A}:80`)), ['outbound|80||old.default.svc.cluster.local'])
  const wild = `${serviceYaml('a')}---${vs('w', `{hosts: ["*.cluster.local"], ${route('wide')}}`)}${vs(
    'n',
    `{hosts: ["*.default.svc.cluster.local"], ${route('narrow')}}`,
  )}`
  assert.deepEqual(targets(hostsOf(wild, '80').get(`${A}:80`)), ['outbound|80||narrow.default.svc.cluster.local'])
})

test('a host that no service has is served on port 80 only', () => {
  const yaml = `${serviceYaml('a', { port: '{port: 80, name: http}, {port: 81, name: http-b}' })}---${vs(
    'v',
    '{hosts: [virtual.example], http: [{route: [{destination: {host: a}}]}]}',
  )}`
  assert.deepEqual(hostsOf(yaml, '80').get('virtual.example:80')?.domains, ['virtual.example'])
  assert.equal(hostsOf(yaml, '81').get('virtual.example:81'), undefined)
  const withService = yaml.replace('virtual.example]', `${A}, virtual.example]`)
  assert.ok(hostsOf(withService, '81').get('virtual.example:81'))
  // The HTTP proxy's table has all ports, where a name without a port means 80.
  assert.equal(hostsOf(withService, 'http_proxy').get('virtual.example:81'), undefined)
  assert.deepEqual(hostsOf(withService, 'http_proxy').get('virtual.example:80')?.domains, ['virtual.example'])
})

test('a domain stands once in a table, whatever its case', () => {
  const yaml = `${serviceYaml('a')}---${vs(
    'v',
    `{hosts: [Virtual.example, virtual.example, ${A}], http: [{route: [{destination: {host: a}}]}]}`,
  )}`
  const domains = [...hostsOf(yaml, '80').values()].flatMap((host) => host.domains.map((d) => d.toLowerCase()))
  assert.equal(new Set(domains).size, domains.length)
})

test('a hash policy comes with the DestinationRule, and keeps retries on the hashed host', () => {
  const yaml = `${serviceYaml('a')}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
---${vs('a', '{hosts: [a], http: [{route: [{destination: {host: a}}]}]}')}`
  const action = hostsOf(yaml, '80').get(`${A}:80`)?.routes[0]?.action
  assert.ok(action?.case === 'route')
  assert.equal(action.value.hashPolicy[0]?.policySpecifier.case, 'header')
  assert.deepEqual(action.value.retryPolicy?.retryHostPredicate, [])
})

test('a name that nothing asks for gets an empty table, so that the proxy does not wait', () => {
  const push = new TestMesh(serviceYaml('a')).push()
  const names = generateRoutes(testProxy({ type: 'router' }), push, ['http.8080', 'nonsense']).map((c) => c.name)
  assert.deepEqual(names, ['http.8080', 'nonsense'])
})
