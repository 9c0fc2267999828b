import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type DescMessage, fromBinary, type JsonObject, type MessageShape, toJson } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Filter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { HttpConnectionManagerSchema } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import { generateClusters } from '../cds/generate.ts'
import { generateListeners } from '../lds/index.ts'
import { generateRoutes } from '../rds/index.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { untranslated } from '../untranslated.ts'
import { generateExtensionConfigs } from './extensions.ts'

const PROXY = testProxy({ ip: '10.1.0.1', labels: { app: 'web' }, metadata: { ISTIO_VERSION: '1.32.1', TEAM: 'a' } })

function meshWith(patches: string, extra = '', namespace = 'default', name = 'f') {
  const mesh = new TestMesh(`${serviceYaml('web')}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  ${extra}
  configPatches:
${patches}`)
  return { push: mesh.push(), mesh }
}

function json<D extends DescMessage>(schema: D, message: MessageShape<D>): JsonObject {
  return toJson(schema, message, { registry: typeRegistry }) as JsonObject
}

function anyOf(filter: Filter): Any {
  assert.equal(filter.configType.case, 'typedConfig')
  return filter.configType.value as Any
}

/** HTTP filter names of the first HTTP chain of a listener. */
function httpFilters(listener: Listener | undefined): string[] {
  for (const chain of listener?.filterChains ?? []) {
    for (const filter of chain.filters) {
      if (filter.name !== 'envoy.filters.network.http_connection_manager') continue
      return fromBinary(HttpConnectionManagerSchema, anyOf(filter).value).httpFilters.map((f) => f.name)
    }
  }
  return []
}

const LUA = `{name: envoy.filters.http.lua, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, default_source_code: {inline_string: "x = 1"}}}`
const routerMatch = (context: string) =>
  `{context: ${context}, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}}`

test('an HTTP filter goes in before the router, only where the context says', () => {
  const { push } = meshWith(
    `  - {applyTo: HTTP_FILTER, match: ${routerMatch('SIDECAR_INBOUND')}, patch: {operation: INSERT_BEFORE, value: ${LUA}}}`,
  )
  const listeners = generateListeners(PROXY, push)
  const inbound = httpFilters(listeners.find((l) => l.name === 'virtualInbound'))
  assert.deepEqual(inbound.slice(-2), ['envoy.filters.http.lua', 'envoy.filters.http.router'])
  assert.ok(!httpFilters(listeners.find((l) => l.name === '0.0.0.0_80')).includes('envoy.filters.http.lua'))
})

test('on virtualInbound a port names its filter chains', () => {
  const match = `{context: SIDECAR_INBOUND, listener: {portNumber: 8080, filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.fault}}}}}`
  const { push } = meshWith(`  - {applyTo: HTTP_FILTER, match: ${match}, patch: {operation: REMOVE}}`)
  const inbound = generateListeners(PROXY, push).find((l) => l.name === 'virtualInbound')!
  for (const chain of inbound.filterChains) {
    const filters = httpFilters({ ...inbound, filterChains: [chain] })
    if (filters.length === 0) continue
    assert.equal(
      filters.includes('envoy.filters.http.fault'),
      chain.filterChainMatch?.destinationPort !== 8080,
      chain.name,
    )
  }
})

test('a connection manager merges: messages join, lists append', () => {
  const value = `{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, server_name: mine, common_http_protocol_options: {idle_timeout: 7s}, upgrade_configs: [{upgrade_type: CONNECT}]}}`
  const { push } = meshWith(
    `  - {applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}, patch: {operation: MERGE, value: ${value.replace('name: x, ', '')}}}`,
  )
  const listener = generateListeners(PROXY, push).find((l) => l.name === '0.0.0.0_80')!
  const filter = listener.filterChains[0]!.filters.find((f) => f.name.endsWith('http_connection_manager'))!
  const manager = fromBinary(HttpConnectionManagerSchema, anyOf(filter).value)
  assert.equal(manager.serverName, 'mine')
  assert.equal(manager.commonHttpProtocolOptions?.idleTimeout?.seconds, 7n)
  assert.deepEqual(
    manager.upgradeConfigs.map((u) => u.upgradeType),
    ['websocket', 'CONNECT'],
  )
  assert.equal(manager.normalizePath, true)
})

test('clusters: merge by service and port, remove by name, add once', () => {
  const { push } = meshWith(`
  - {applyTo: CLUSTER, match: {cluster: {service: web.default.svc.cluster.local, portNumber: 80}}, patch: {operation: MERGE, value: {connect_timeout: 3s, dns_lookup_family: V6_ONLY}}}
  - {applyTo: CLUSTER, match: {cluster: {name: PassthroughCluster}}, patch: {operation: REMOVE}}
  - {applyTo: CLUSTER, match: {context: ANY}, patch: {operation: ADD, value: {name: extra, type: STATIC}}}
  - {applyTo: CLUSTER, match: {context: SIDECAR_INBOUND, cluster: {service: web.default.svc.cluster.local}}, patch: {operation: MERGE, value: {connect_timeout: 4s}}}`)
  const clusters = generateClusters(PROXY, push).map((c) => json(ClusterSchema, c))
  const byName = (name: string) => clusters.filter((c) => c.name === name)
  assert.equal(byName('outbound|80||web.default.svc.cluster.local')[0]?.connectTimeout, '3s')
  assert.equal(byName('inbound|8080||')[0]?.connectTimeout, '4s')
  assert.deepEqual(byName('PassthroughCluster'), [])
  assert.equal(byName('extra').length, 1)
})

test('a transport socket merges into every socket of its name', () => {
  const value = `{transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, max_session_keys: 9}}}`
  const { push } = meshWith(
    `  - {applyTo: CLUSTER, match: {cluster: {service: web.default.svc.cluster.local}}, patch: {operation: MERGE, value: ${value}}}`,
  )
  const [cluster] = generateClusters(PROXY, push)
  const [istio, plain] = json(ClusterSchema, cluster!).transportSocketMatches as JsonObject[]
  const config = (istio!.transportSocket as JsonObject).typedConfig as JsonObject
  assert.equal(config.maxSessionKeys, 9)
  assert.equal(config.sni, 'outbound_.80_._.web.default.svc.cluster.local')
  assert.equal((plain!.transportSocket as JsonObject).name, 'envoy.transport_sockets.raw_buffer')
  assert.equal(cluster!.transportSocket, undefined)
})

test('routes: merge into one host and route, insert first, remove', () => {
  const host = 'vhost: {name: "web.default.svc.cluster.local:80"'
  const { push } = meshWith(`
  - {applyTo: ROUTE_CONFIGURATION, match: {routeConfiguration: {portNumber: 80}}, patch: {operation: MERGE, value: {request_headers_to_remove: [x-a]}}}
  - {applyTo: VIRTUAL_HOST, match: {routeConfiguration: {${host}}}}, patch: {operation: MERGE, value: {request_headers_to_remove: [x-b]}}}
  - {applyTo: HTTP_ROUTE, match: {routeConfiguration: {${host}, route: {action: ROUTE}}}}, patch: {operation: MERGE, value: {route: {timeout: 9s}}}}
  - {applyTo: HTTP_ROUTE, match: {routeConfiguration: {${host}}}}, patch: {operation: INSERT_FIRST, value: {name: first, match: {path: /x}, direct_response: {status: 204}}}}
  - {applyTo: VIRTUAL_HOST, match: {routeConfiguration: {vhost: {name: allow_any}}}, patch: {operation: REMOVE}}`)
  const [config] = generateRoutes(PROXY, push, ['80'])
  assert.deepEqual(config!.requestHeadersToRemove, ['x-a'])
  assert.deepEqual(
    config!.virtualHosts.map((h) => h.name),
    ['web.default.svc.cluster.local:80'],
  )
  const [web] = config!.virtualHosts
  assert.deepEqual(web!.requestHeadersToRemove, ['x-b'])
  assert.deepEqual(
    web!.routes.map((r) => r.name),
    ['first', 'default'],
  )
  const action = web!.routes[1]!.action
  assert.equal(action.case === 'route' && action.value.timeout?.seconds, 9n)
  // What generators keep from push to push must not carry the patch.
  const [unpatched] = generateRoutes(testProxy({ namespace: 'other' }), push, ['80'])
  assert.equal(unpatched!.virtualHosts.length, 2)
})

test('selection: labels, proxy version, metadata and namespace', () => {
  const remove = (match: string) =>
    `  - {applyTo: LISTENER, match: {context: SIDECAR_OUTBOUND${match}}, patch: {operation: REMOVE}}`
  const count = (patches: string, extra?: string, namespace?: string) =>
    generateListeners(PROXY, meshWith(patches, extra, namespace).push).length
  const all = count(remove(', listener: {name: none}'))
  const without = count(remove(''))
  assert.ok(without < all)
  assert.equal(count(remove(', proxy: {proxyVersion: "^1\\\\.3[0-9].*"}')), without)
  assert.equal(count(remove(', proxy: {proxyVersion: "^1\\\\.2"}')), all)
  assert.equal(count(remove(', proxy: {metadata: {TEAM: a}}')), without)
  assert.equal(count(remove(', proxy: {metadata: {TEAM: b}}')), all)
  assert.equal(count(remove(''), 'workloadSelector: {labels: {app: other}}'), all)
  assert.equal(count(remove(''), '', 'istio-system'), without)
  assert.equal(count(remove(''), '', 'elsewhere'), all)
})

test('an extension we have no type for travels as TypedStruct', () => {
  const value = `{name: my.filter, typed_config: {"@type": type.googleapis.com/acme.Filter, level: 3}}`
  const { push } = meshWith(
    `  - {applyTo: HTTP_FILTER, match: ${routerMatch('SIDECAR_OUTBOUND')}, patch: {operation: INSERT_BEFORE, value: ${value}}}`,
  )
  const listener = generateListeners(PROXY, push).find((l) => l.name === '0.0.0.0_80')!
  const filter = listener.filterChains[0]!.filters.find((f) => f.name.endsWith('http_connection_manager'))!
  const manager = json(HttpConnectionManagerSchema, fromBinary(HttpConnectionManagerSchema, anyOf(filter).value))
  const added = (manager.httpFilters as JsonObject[]).find((f) => f.name === 'my.filter')
  assert.deepEqual(added?.typedConfig, {
    '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
    typeUrl: 'type.googleapis.com/acme.Filter',
    value: { level: 3 },
  })
})

test('extension configs are served by name', () => {
  const { push } = meshWith(
    `  - {applyTo: EXTENSION_CONFIG, match: {context: ANY}, patch: {operation: ADD, value: {name: lua, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}}}`,
  )
  assert.deepEqual(
    generateExtensionConfigs(PROXY, push, ['lua', 'none']).map((c) => c.name),
    ['lua'],
  )
})

test('a value that is not what it patches is refused with its path', () => {
  const { mesh } = meshWith(
    '  - {applyTo: CLUSTER, match: {}, patch: {operation: MERGE, value: {connect_timeout: [3s]}}}',
  )
  assert.deepEqual([...mesh.state.accepted()], [], 'not served')
  const { mesh: unknown } = meshWith(
    '  - {applyTo: CLUSTER, match: {}, patch: {operation: MERGE, value: {connect_timeoutt: 3s, connect_timeout: 1m}}}',
  )
  const [taken] = unknown.state.accepted()
  assert.deepEqual(
    untranslated(taken!).map(({ level, path, message }) => `${level} ${path}: ${message}`),
    ['warning spec.configPatches[0].patch.value.connect_timeoutt: unknown field, it is left out'],
    'as in istiod; a duration may be written as in Go',
  )
  const { mesh: fine } = meshWith('  - {applyTo: BOOTSTRAP, match: {}, patch: {operation: MERGE, value: {}}}')
  const [resource] = fine.state.accepted()
  assert.match(untranslated(resource!)[0]!.message, /agent writes the bootstrap/)
})
