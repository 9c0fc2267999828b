import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { test } from 'node:test'
import { create, type DescMessage, fromJson, type JsonObject, type JsonValue } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { CertificatesSchema } from '../../api/gen/envoy/admin/v3/certs_pb.js'
import { CommandLineOptionsSchema } from '../../api/gen/envoy/admin/v3/server_info_pb.js'
import { BootstrapSchema } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { NodeSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import { createLogger } from '../../base/logger.ts'
import { ipAddress } from '../network/address.ts'
import { MergedStats } from '../observe/merged-stats.ts'
import { DEFAULT_BUCKETS } from '../observe/stats-settings.ts'
import { StatsStore } from '../observe/stats-store.ts'
import { TagExtractor } from '../observe/tag-extraction.ts'
import { handleAdmin } from './router.ts'
import { startAdmin } from './server.ts'
import type { AdminSource, ClusterStatusData, DumpedResource, ServerState } from './source.ts'

function golden(name: string): string {
  return readFileSync(new URL(`testdata/${name}`, import.meta.url), 'utf8')
}

function dumped(desc: DescMessage, name: string, json: JsonValue, versionInfo = ''): DumpedResource {
  const resource = anyPack(desc, fromJson(desc, json, { registry: typeRegistry }))
  return { name, resource, versionInfo, lastUpdated: new Date('2026-11-23T13:30:07.229Z') }
}

/** A server with the two clusters and the listener of the recorded Envoy. */
function fakeServer() {
  const done: string[] = []
  const levels = new Map([
    ['http', 'info'],
    ['main', 'info'],
  ])
  let state: ServerState = 'LIVE'
  const store = new StatsStore()
  const merged = new MergedStats()
  const recorded = JSON.parse(golden('envoy-static-clusters.json.golden')) as { configs: { cluster: JsonObject }[] }
  const statics = recorded.configs.map(({ cluster }) => {
    const { '@type': _, ...json } = cluster
    return dumped(ClusterSchema, String(json.name), json)
  })
  const secret = {
    name: 'default',
    tlsCertificate: { certificateChain: { inlineString: 'C' }, privateKey: { inlineBytes: 'c2VjcmV0' } },
  }
  const limits = { maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024, maxRetries: 3 }
  const zero = {
    cx_active: 0,
    cx_connect_fail: 0,
    cx_total: 0,
    rq_active: 0,
    rq_error: 0,
    rq_pending_active: 0,
    rq_success: 0,
    rq_timeout: 0,
    rq_total: 0,
  }
  const cluster = (name: string, host: ClusterStatusData['hosts'][number]): ClusterStatusData => ({
    name,
    observabilityName: name,
    endpointStats: false,
    addedViaApi: false,
    edsServiceName: '',
    thresholds: { default: limits, high: limits },
    outlier: null,
    overprovisioningFactor: 140,
    resolved: false,
    hosts: [host],
  })
  const host = {
    observabilityName: '',
    healthy: true,
    counts: zero,
    healthFlags: [],
    weight: 1,
    canary: false,
    priority: 0,
    metadata: {},
    healthCheckPort: 0,
    healthCheckHostname: '',
    localityWeight: 0,
    successRate: -1,
    localOriginSuccessRate: -1,
  }
  const source: AdminSource = {
    version: 'sha/1.40.0/Clean/RELEASE/BoringSSL',
    state: () => state,
    startTime: new Date(),
    node: create(NodeSchema, { id: 'n1' }),
    commandLineOptions: create(CommandLineOptionsSchema, { concurrency: 2 }),
    config: {
      bootstrap: () => ({ bootstrap: create(BootstrapSchema, { node: { id: 'n1' } }), lastUpdated: new Date(0) }),
      clusters: () => ({ versionInfo: '', static: statics, active: [], warming: [] }),
      endpoints: async () => ({ static: [], dynamic: [] }),
      listeners: () => ({ versionInfo: '', static: [], dynamic: [] }),
      routes: () => ({ static: [], dynamic: [] }),
      secrets: () => ({ static: [dumped(SecretSchema, 'default', secret)], active: [], warming: [] }),
      ecds: () => null,
    },
    clusters: async () => [
      cluster('up:1', {
        ...host,
        address: ipAddress('127.0.0.1', 19903),
        hostname: 'h',
        counts: { ...zero, cx_total: 2, rq_success: 2, rq_total: 2 },
        locality: { region: 'r', zone: 'z', subZone: 's' },
      }),
      cluster('dns', {
        ...host,
        address: ipAddress('::1', 19903),
        hostname: 'localhost',
        locality: { region: '', zone: '', subZone: '' },
      }),
    ],
    listeners: () => [{ name: 'l1', address: ipAddress('127.0.0.1', 19902), additionalAddresses: [] }],
    stats: async () => {
      merged.apply('main', store.takeDelta())
      return merged
    },
    endpointCounts: async () => [],
    statsTags: new TagExtractor([]),
    histogramBuckets: () => DEFAULT_BUCKETS,
    certificates: () => create(CertificatesSchema),
    runtime: () => ({ layers: [], entries: {} }),
    modifyRuntime: () => false,
    unreadyTargets: () => [{ name: 'init manager Server', targets: ['target LDS'] }],
    logLevels: () => levels,
    setLogLevel: (name, level) => {
      for (const key of name === null ? levels.keys() : [name]) levels.set(key, level)
      return true
    },
    drainListeners: (options) => done.push(`drain ${JSON.stringify(options)}`),
    setHealthCheckFailing: (failing) => {
      state = failing ? 'DRAINING' : 'LIVE'
    },
    reopenLogs: () => done.push('reopen'),
    quit: () => done.push('quit'),
  }
  return { source, done, store }
}

test('/clusters and /listeners equal those of Envoy', async () => {
  const { source } = fakeServer()
  assert.equal((await handleAdmin('GET', '/clusters', source)).body, golden('envoy-clusters.txt'))
  const json = (await handleAdmin('GET', '/clusters?format=json', source)).body
  assert.deepEqual(JSON.parse(json), JSON.parse(golden('envoy-clusters.json.golden')))
  assert.equal((await handleAdmin('GET', '/listeners', source)).body, 'l1::127.0.0.1:19902\n')
  assert.deepEqual(
    JSON.parse((await handleAdmin('GET', '/listeners?format=json', source)).body),
    JSON.parse(golden('envoy-listeners.json.golden')),
  )
  assert.match((await handleAdmin('GET', '/clusters?filter=^dns', source)).body, /^dns::observability_name/)
})

test('/config_dump picks, masks and filters resources as Envoy does', async () => {
  const { source } = fakeServer()
  const get = async (query: string) => (await handleAdmin('GET', `/config_dump${query}`, source)).body
  assert.equal(
    await get('?resource=static_clusters&mask=cluster.name'),
    golden('envoy-static-clusters-masked.json.golden'),
  )
  assert.equal(await get('?resource=static_clusters'), golden('envoy-static-clusters.json.golden'))
  const named = JSON.parse(await get('?name_regex=up.*')) as { configs: { static_clusters?: unknown[] }[] }
  assert.equal(named.configs.flatMap((c) => c.static_clusters ?? []).length, 1)
  const types = (JSON.parse(await get('?include_eds')) as { configs: { '@type': string }[] }).configs.map((c) =>
    c['@type'].split('.').at(-1),
  )
  assert.deepEqual(types, [
    'BootstrapConfigDump',
    'ClustersConfigDump',
    'EndpointsConfigDump',
    'ListenersConfigDump',
    'ScopedRoutesConfigDump',
    'RoutesConfigDump',
    'SecretsConfigDump',
  ])
  const missing = await handleAdmin('GET', '/config_dump?resource=nope', source)
  assert.deepEqual([missing.status, missing.body], [404, 'nope not found in config dump'])
  assert.equal((await handleAdmin('GET', '/config_dump?name_regex=(', source)).status, 400)
})

test('private keys are redacted, certificates are not', async () => {
  const { source } = fakeServer()
  const body = (await handleAdmin('GET', '/config_dump?resource=static_secrets', source)).body
  assert.doesNotMatch(body, /c2VjcmV0/)
  const secret = (JSON.parse(body) as { configs: { secret: { tls_certificate: unknown } }[] }).configs[0]!.secret
    .tls_certificate
  assert.deepEqual(secret, {
    certificate_chain: { inline_string: 'C' },
    private_key: { inline_bytes: 'W3JlZGFjdGVkXQ==' },
  })
})

test('pages that change something need POST; unknown paths list the pages', async () => {
  const { source, done } = fakeServer()
  const get = await handleAdmin('GET', '/drain_listeners', source)
  assert.deepEqual([get.status, get.body], [405, 'Method GET not allowed, POST required.'])
  assert.equal((await handleAdmin('POST', '/drain_listeners?graceful&inboundonly', source)).body, 'OK\n')
  await handleAdmin('POST', '/reopen_logs', source)
  await handleAdmin('POST', '/quitquitquit', source)
  assert.deepEqual(done, ['drain {"graceful":true,"inboundOnly":true,"skipExit":false}', 'reopen', 'quit'])
  const unknown = await handleAdmin('GET', '/nope', source)
  assert.equal(unknown.status, 404)
  assert.match(unknown.body, /^invalid path. admin commands are:\n {2}\/: Admin home page\n/)
  assert.equal((await handleAdmin('GET', '/stats', source, (path) => path === '/ready')).status, 403)
})

test('/ready follows the health check switch', async () => {
  const { source } = fakeServer()
  assert.deepEqual(await handleAdmin('GET', '/ready', source), {
    status: 200,
    contentType: 'text/plain; charset=UTF-8',
    body: 'LIVE\n',
  })
  await handleAdmin('POST', '/healthcheck/fail', source)
  const failing = await handleAdmin('GET', '/ready', source)
  assert.deepEqual([failing.status, failing.body], [503, 'DRAINING\n'])
  await handleAdmin('POST', '/healthcheck/ok', source)
  assert.equal((await handleAdmin('GET', '/ready', source)).status, 200)
})

test('/logging lists, sets and refuses in whole', async () => {
  const { source } = fakeServer()
  const post = (query: string) => handleAdmin('POST', `/logging${query}`, source)
  assert.equal((await post('')).body, 'active loggers:\n  http: info\n  main: info\n\n')
  assert.match((await post('?level=debug')).body, /http: debug\n {2}main: debug/)
  const bad = await post('?paths=http:info,nope:info')
  assert.equal(bad.status, 400)
  assert.match(bad.body, /^error: unknown logger name\n\nusage: \/logging/)
  assert.match(bad.body, /http: debug/)
  assert.match((await post('?http=foo')).body, /^error: unknown logger level/)
})

test('/server_info, /memory, /runtime, /certs and /init_dump are JSON with every field', async () => {
  const { source } = fakeServer()
  const get = async (path: string) => JSON.parse((await handleAdmin('GET', path, source)).body)
  const info = await get('/server_info')
  assert.equal(info.state, 'LIVE')
  assert.equal(info.command_line_options.concurrency, 2)
  assert.equal(info.command_line_options.drain_strategy, 'Gradual')
  assert.equal(info.node.id, 'n1')
  assert.match((await get('/memory')).allocated, /^\d+$/)
  assert.deepEqual(await get('/runtime'), { layers: [], entries: {} })
  assert.deepEqual(await get('/certs'), { certificates: [] })
  assert.deepEqual(await get('/init_dump'), {
    unready_targets_dumps: [{ name: 'init manager Server', target_names: ['target LDS'] }],
  })
  assert.equal((await handleAdmin('POST', '/runtime_modify?a=b', source)).status, 503)
})

test('counters are reset on the listener, over HTTP with Envoy headers', async (t) => {
  const { source, store } = fakeServer()
  const counter = store.counter('a')
  const admin = await startAdmin({ host: '127.0.0.1', port: 0 }, source, createLogger('test', 'off'), null)
  t.after(() => admin.close())
  const fetchText = (method: string, path: string) =>
    new Promise<{ headers: Record<string, unknown>; body: string }>((resolve, reject) => {
      const [host, port] = admin.address.split(':')
      httpRequest({ host, port, method, path, agent: false }, (response) => {
        let body = ''
        response.on('data', (chunk) => (body += chunk))
        response.on('end', () => resolve({ headers: response.headers, body }))
      })
        .on('error', reject)
        .end()
    })
  counter.add(3)
  const stats = await fetchText('GET', '/stats')
  assert.equal(stats.body, 'a: 3\n')
  assert.equal(stats.headers.server, 'envoy')
  assert.equal(stats.headers['cache-control'], 'no-cache, max-age=0')
  await fetchText('POST', '/reset_counters')
  counter.inc()
  assert.equal((await fetchText('GET', '/stats?usedonly')).body, 'a: 1\n')
  assert.equal((await fetchText('GET', '/stats/prometheus')).body, '# TYPE envoy_a counter\nenvoy_a{} 1\n')
})

test('a client that has connected and asks nothing does not hold up the end', async (t) => {
  const admin = await startAdmin({ host: '127.0.0.1', port: 0 }, fakeServer().source, createLogger('test', 'off'), null)
  const sockets = ['', 'GET /rea'].map((request) => {
    const socket = connect(Number(admin.address.split(':')[1]), '127.0.0.1')
    t.after(() => socket.destroy())
    socket.write(request)
    return socket.resume().on('error', () => {})
  })
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  const ends = sockets.map((socket) => new Promise((resolve) => socket.on('close', resolve)))
  await admin.close()
  await Promise.all(ends)
})
