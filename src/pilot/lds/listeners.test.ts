import assert from 'node:assert/strict'
import { test } from 'node:test'
import { anyUnpack } from '@bufbuild/protobuf/wkt'
import type { FilterChain } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { FileAccessLogSchema } from '../../api/gen/envoy/extensions/access_loggers/file/v3/file_pb.js'
import {
  HttpConnectionManager_ForwardClientCertDetails as Details,
  HttpConnectionManagerSchema,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { TcpProxySchema } from '../../api/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import { type MeshConfig, parseMeshConfig } from '../../config/index.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { generateListeners } from './index.ts'

function meshOf(config: object): MeshConfig {
  const parsed = parseMeshConfig(config)
  assert.ok(parsed.ok)
  return parsed.value
}

/** What a chain does, in a word: `http:ROUTES`, `tcp:CLUSTER` or `tcp:A=WEIGHT,B=WEIGHT`. */
function action(chain: FilterChain): string {
  for (const filter of chain.filters) {
    if (filter.configType.case !== 'typedConfig') continue
    const hcm = anyUnpack(filter.configType.value, HttpConnectionManagerSchema)
    if (hcm) return `http:${hcm.routeSpecifier.case === 'rds' ? hcm.routeSpecifier.value.routeConfigName : 'inline'}`
    const tcp = anyUnpack(filter.configType.value, TcpProxySchema)
    if (tcp?.clusterSpecifier.case === 'cluster') return `tcp:${tcp.clusterSpecifier.value}`
    if (tcp?.clusterSpecifier.case === 'weightedClusters') {
      return `tcp:${tcp.clusterSpecifier.value.clusters.map((c) => `${c.name}=${c.weight}`).join()}`
    }
  }
  return 'nothing'
}

function describe(listener: Listener): string[] {
  const chains = listener.filterChains.map((chain) => {
    const names = chain.filterChainMatch?.serverNames.join() ?? ''
    const ranges = chain.filterChainMatch?.prefixRanges.map((r) => `${r.addressPrefix}/${r.prefixLen}`).join() ?? ''
    return [names, ranges, action(chain)].filter(Boolean).join(' ')
  })
  return listener.defaultFilterChain ? [...chains, `default ${action(listener.defaultFilterChain)}`] : chains
}

function listenersOf(yaml: string, mesh?: MeshConfig, proxy = testProxy()): Map<string, Listener> {
  return new Map(generateListeners(proxy, new TestMesh(yaml, mesh).push()).map((l) => [l.name, l]))
}

const tcpEntry = (name: string, host: string, extra = ''): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}}
spec:
  hosts: [${host}]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: DNS
  ${extra}
---`

test('one listener for all HTTP services of a port; what is not HTTP passes through', () => {
  const listeners = listenersOf(`${serviceYaml('a')}---${serviceYaml('b', { ip: '10.1.0.2', vip: '10.96.0.2' })}`)
  assert.deepEqual([...listeners.keys()].sort(), ['0.0.0.0_80', 'virtualInbound', 'virtualOutbound'])
  const http = listeners.get('0.0.0.0_80')!
  assert.deepEqual(describe(http), ['http:80', 'default tcp:PassthroughCluster'])
  assert.equal(http.bindToPort, false)
  assert.deepEqual(
    http.listenerFilters.map((f) => f.name),
    ['envoy.filters.listener.http_inspector'],
  )
})

test('REGISTRY_ONLY sends what is not known nowhere', () => {
  const mesh = meshOf({ outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } })
  const listeners = listenersOf(serviceYaml('a'), mesh)
  assert.deepEqual(describe(listeners.get('0.0.0.0_80')!), ['http:80', 'default tcp:BlackHoleCluster'])
  assert.deepEqual(describe(listeners.get('virtualOutbound')!), ['tcp:BlackHoleCluster', 'tcp:BlackHoleCluster'])
})

test('a TCP service with an address has a listener there; without one the first keeps the port', () => {
  const withAddress = listenersOf(tcpEntry('a', 'a.com', 'addresses: [192.0.2.1]'))
  assert.deepEqual(describe(withAddress.get('192.0.2.1_9000')!), ['tcp:outbound|9000||a.com'])
  const shared = listenersOf(tcpEntry('a', 'a.com') + tcpEntry('b', 'b.com'))
  assert.deepEqual(describe(shared.get('0.0.0.0_9000')!), ['tcp:outbound|9000||a.com'])
})

test('a CIDR range is a chain of its own behind the wildcard address', () => {
  const yaml = tcpEntry('a', 'a.com', 'addresses: [192.0.2.0/24]').replace('resolution: DNS', 'resolution: NONE')
  const listeners = listenersOf(yaml)
  assert.deepEqual(describe(listeners.get('0.0.0.0_9000')!), [
    '192.0.2.0/24 tcp:outbound|9000||a.com',
    'default tcp:PassthroughCluster',
  ])
})

test('HTTP and TCP on one wildcard port share it: sniffed, TCP as the default', () => {
  const http = tcpEntry('a', 'a.com').replace('name: tcp, protocol: TCP', 'name: http, protocol: HTTP')
  for (const yaml of [http + tcpEntry('b', 'b.com'), tcpEntry('b', 'b.com') + http]) {
    const listener = listenersOf(yaml).get('0.0.0.0_9000')!
    assert.deepEqual(describe(listener), ['http:9000', 'default tcp:outbound|9000||b.com'])
  }
})

test('a server-first protocol never shares a port with one that must be sniffed', () => {
  const mysql = tcpEntry('a', 'a.com').replace('name: tcp, protocol: TCP', 'name: mysql, protocol: MySQL')
  const http = tcpEntry('b', 'b.com').replace('name: tcp, protocol: TCP', 'name: http, protocol: HTTP')
  const listener = listenersOf(mysql + http).get('0.0.0.0_9000')!
  assert.deepEqual(describe(listener), ['tcp:outbound|9000||a.com'])
  assert.equal(listener.listenerFilters.length, 0)
})

test('TLS services without address are told apart by server name', () => {
  const tls = (name: string, host: string): string =>
    tcpEntry(name, host).replace('name: tcp, protocol: TCP', 'name: tls, protocol: TLS')
  const listener = listenersOf(tls('a', 'a.com') + tls('b', 'b.com')).get('0.0.0.0_9000')!
  assert.deepEqual(describe(listener), [
    'a.com tcp:outbound|9000||a.com',
    'b.com tcp:outbound|9000||b.com',
    'default tcp:PassthroughCluster',
  ])
})

test('tcp routes of a VirtualService split by weight, entries of weight 0 left out', () => {
  const listeners = listenersOf(`${tcpEntry('a', 'a.com', 'addresses: [192.0.2.1]')}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.com]
  tcp:
  - match: [{port: 9000}]
    route:
    - {destination: {host: a.com, subset: v1}, weight: 80}
    - {destination: {host: a.com, subset: v2}, weight: 20}
    - {destination: {host: a.com, subset: v3}, weight: 0}
`)
  assert.deepEqual(describe(listeners.get('192.0.2.1_9000')!), [
    'tcp:outbound|9000|v1|a.com=80,outbound|9000|v2|a.com=20',
  ])
})

test('a headless TCP service has a listener for each endpoint but the proxy itself', () => {
  const yaml = serviceYaml('db', { vip: 'None', port: '{port: 5432, name: tcp, targetPort: 5432}' }).replace(
    'ports: [{name: http, port: 8080}]\nendpoints: [',
    'ports: [{name: tcp, port: 5432}]\nendpoints: [{addresses: [10.1.0.9], conditions: {ready: true}}, ',
  )
  const fromOutside = listenersOf(yaml)
  assert.ok(fromOutside.has('10.1.0.1_5432') && fromOutside.has('10.1.0.9_5432'))
  const fromInside = listenersOf(yaml, undefined, testProxy({ ip: '10.1.0.1', labels: { app: 'db' } }))
  assert.ok(!fromInside.has('10.1.0.1_5432') && fromInside.has('10.1.0.9_5432'))
})

test('inbound chains follow the effective mutual TLS mode of the port', () => {
  const proxy = testProxy({ ip: '10.1.0.1', labels: { app: 'a' } })
  const chainsOn8080 = (mode: string): string[] => {
    const listener = listenersOf(
      `${serviceYaml('a')}---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: ${mode}}}
`,
      undefined,
      proxy,
    ).get('virtualInbound')!
    return listener.filterChains
      .filter((chain) => chain.filterChainMatch?.destinationPort === 8080)
      .map((chain) => `${chain.filterChainMatch?.transportProtocol}${chain.transportSocket ? ' mTLS' : ''}`)
  }
  assert.deepEqual(chainsOn8080('PERMISSIVE'), ['tls mTLS', 'raw_buffer'])
  assert.deepEqual(chainsOn8080('STRICT'), ['tls mTLS'])
  assert.deepEqual(chainsOn8080('DISABLE'), ['raw_buffer'])
})

test("filters of Istio's own Envoy build go only to a proxy that lists them", () => {
  const filtersFor = (extensions: string[]): string[] => {
    const mesh = meshOf({ defaultProviders: { metrics: ['prometheus'] } })
    const proxy = testProxy({ ip: '10.1.0.1', labels: { app: 'a' }, extensions })
    const chains = [...listenersOf(serviceYaml('a'), mesh, proxy).values()].flatMap((l) => l.filterChains)
    return chains.flatMap((chain) =>
      chain.filters.flatMap((filter) => {
        const hcm =
          filter.configType.case === 'typedConfig' && anyUnpack(filter.configType.value, HttpConnectionManagerSchema)
        return [filter.name, ...(hcm ? hcm.httpFilters.map((f) => f.name) : [])]
      }),
    )
  }
  assert.deepEqual(
    filtersFor(['envoy.filters.http.router']).filter((name) => name.startsWith('istio.')),
    [],
  )
  const ours = new Set(filtersFor(['istio.metadata_exchange', 'istio.alpn', 'istio.stats']))
  for (const name of ['istio.metadata_exchange', 'istio.alpn', 'istio.stats']) assert.ok(ours.has(name), name)
})

test('access logs: requests where they are served, and connections that nothing took', () => {
  const mesh = meshOf({ accessLogFile: '/dev/stdout' })
  const listeners = listenersOf(serviceYaml('a'), mesh)
  const outbound = listeners.get('virtualOutbound')!
  const [log] = outbound.accessLog
  assert.equal(log?.filter?.filterSpecifier.case, 'responseFlagFilter')
  const file = log?.configType.case === 'typedConfig' && anyUnpack(log.configType.value, FileAccessLogSchema)
  assert.ok(file && file.path === '/dev/stdout')
  const [blackHole, catchAll] = outbound.filterChains.map((chain) => {
    const config = chain.filters.at(-1)!.configType
    return config.case === 'typedConfig' ? anyUnpack(config.value, TcpProxySchema)!.accessLog.length : -1
  })
  assert.deepEqual([blackHole, catchAll], [0, 1])
  assert.equal(listeners.get('0.0.0.0_80')!.accessLog.length, 0)
})

test('ProxyConfig.proxyHeaders of the mesh, and of one proxy over it, decide what a proxy tells about itself', () => {
  const mesh = meshOf({
    defaultConfig: { proxyHeaders: { server: { disabled: true }, envoyDebugHeaders: { disabled: true } } },
  })
  const hcmFor = (metadata: Record<string, string>) => {
    const node = testProxy({ ip: '10.1.0.1', labels: { app: 'a' } })
    const proxy = {
      ...node,
      metadata: { ...node.metadata, ...(metadata.own ? { PROXY_CONFIG: JSON.parse(metadata.own) } : {}) },
    }
    const chain = listenersOf(serviceYaml('a'), mesh, proxy)
      .get('virtualInbound')!
      .filterChains.find((one) => one.filterChainMatch?.destinationPort === 8080)!
    const config = chain.filters.at(-1)!.configType
    assert.ok(config.case === 'typedConfig')
    return anyUnpack(config.value, HttpConnectionManagerSchema)!
  }
  assert.equal(hcmFor({}).serverName, '')
  assert.equal(hcmFor({}).forwardClientCertDetails, 2)
  const own = hcmFor({
    own: '{"proxyHeaders": {"server": {"disabled": false, "value": "mine"}, "forwardedClientCert": "SANITIZE"}}',
  })
  assert.equal(own.serverName, 'mine')
  assert.equal(own.forwardClientCertDetails, 0)
})

test('a target port by name stands for nothing while neither the pod nor its proxy tells of its ports', () => {
  const yaml = `
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  clusterIP: 10.96.0.1
  selector: {app: a}
  ports: [{port: 80, name: http, targetPort: main}, {port: 81, name: http-2, targetPort: 8081}]`
  const chains = (metadata: Record<string, string>): string[] => {
    const proxy = testProxy({ labels: { app: 'a' }, metadata })
    const { filterChains } = listenersOf(yaml, undefined, proxy).get('virtualInbound')!
    return [...new Set(filterChains.map(({ name }) => name).filter((name) => name.startsWith('0.0.0.0_')))]
  }
  assert.deepEqual(chains({}), ['0.0.0.0_8081'])
  const ports = JSON.stringify([{ name: 'main', containerPort: 7777, protocol: 'TCP' }])
  assert.deepEqual(chains({ POD_PORTS: ports }), ['0.0.0.0_7777', '0.0.0.0_8081'])
})

test('listeners of a proxy with both families have a second address, except where one is named', () => {
  const proxy = testProxy({ metadata: { INSTANCE_IPS: '10.1.0.9,2001:db8::9' } })
  const second = (listener?: Listener) =>
    listener?.additionalAddresses.map(({ address }) =>
      address?.address.case === 'socketAddress' ? address.address.value.address : null,
    )
  const own = listenersOf(serviceYaml('web'), undefined, proxy)
  for (const name of ['virtualInbound', 'virtualOutbound', '0.0.0.0_80'])
    assert.deepEqual(second(own.get(name)), ['::'])
  assert.deepEqual(second(listenersOf(serviceYaml('web')).get('virtualInbound')), [])
  const sidecar = `
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: ['./*'], bind: 0.0.0.0, port: {number: 80, protocol: HTTP, name: http}}]}`
  assert.deepEqual(second(listenersOf(serviceYaml('web') + sidecar, undefined, proxy).get('0.0.0.0_80')), [])
})

test('proxyHeaders.forwardedClientCert is for sidecars; gateways have their topology', () => {
  const mesh = meshOf({ defaultConfig: { proxyHeaders: { forwardedClientCert: 'FORWARD_ONLY' } } })
  const managers = (listener?: Listener) =>
    (listener?.filterChains ?? []).flatMap(({ filters }) =>
      filters.flatMap(({ configType }) =>
        configType.case === 'typedConfig' ? (anyUnpack(configType.value, HttpConnectionManagerSchema) ?? []) : [],
      ),
    )
  const gateway = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec: {selector: {istio: in}, servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]}`
  const router = testProxy({ type: 'router', labels: { istio: 'in' } })
  const [own] = managers(listenersOf(gateway, mesh, router).get('0.0.0.0_8080'))
  assert.equal(own?.forwardClientCertDetails, Details.SANITIZE_SET)
  const [inbound] = managers(listenersOf(serviceYaml('web'), mesh).get('virtualInbound'))
  assert.equal(inbound?.forwardClientCertDetails, Details.FORWARD_ONLY)
})

test('TLS for a name that stands for a service is known by its short names, too', () => {
  const alias = `
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: third}
spec: {type: ExternalName, externalName: ext.example.com, ports: [{name: https, port: 443}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec: {hosts: [ext.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}`
  const full = 'alias.third.svc.cluster.local'
  assert.deepEqual(listenersOf(alias).get('0.0.0.0_443')?.filterChains[0]?.filterChainMatch?.serverNames, [
    'alias.third',
    'alias.third.svc',
    full,
    `${full}.`,
    'ext.example.com',
  ])
})

test('a port that an unprivileged proxy cannot bind is left out of a Sidecar ingress', () => {
  const yaml = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: all}
spec:
  ingress:
    - {port: {number: 80, protocol: TCP, name: low}, captureMode: NONE}
    - {port: {number: 8080, protocol: TCP, name: high}, captureMode: NONE}`
  const names = (metadata: Record<string, string>) => {
    const proxy = testProxy({ metadata })
    return [...listenersOf(yaml, undefined, proxy).keys()].filter((name) => name.startsWith(proxy.ip))
  }
  const { ip } = testProxy()
  assert.deepEqual(names({}), [`${ip}_80`, `${ip}_8080`])
  assert.deepEqual(names({ UNPRIVILEGED_POD: 'true' }), [`${ip}_8080`])
})

test('TCP is hashed as the rule and its subset say, whatever the settings of a port', () => {
  const yaml = (extra: string) => `${tcpEntry('e', 'e.example', '')}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: e}
spec:
  host: e.example
  trafficPolicy:
    loadBalancer: {consistentHash: {useSourceIp: true}}
    ${extra}`
  const hashes = (text: string): number => {
    const [listener] = [...listenersOf(text).values()].filter(({ name }) => name.endsWith('_9000'))
    const chain = listener!.filterChains[0] ?? listener!.defaultFilterChain!
    const config = chain.filters.at(-1)!.configType
    assert.ok(config.case === 'typedConfig')
    return anyUnpack(config.value, TcpProxySchema)!.hashPolicy.length
  }
  assert.equal(hashes(yaml('')), 1)
  assert.equal(hashes(yaml('portLevelSettings: [{port: {number: 9000}, loadBalancer: {simple: RANDOM}}]')), 1)
})
