// Settings and bootstrap: what comes from where, and that stock Envoy takes the result.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fromJson, type JsonObject } from '@bufbuild/protobuf'
import { BootstrapSchema } from '../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { typeRegistry } from '../api/registry.ts'
import { validateProxy } from '../proxy/index.ts'
import { CertificateAuthority } from '../security/ca.ts'
import { buildBootstrap, leftOutOfBootstrap } from './bootstrap.ts'
import { parseProxyConfig } from './proxy-config.ts'
import { type AgentFlags, type AgentSettings, readSettings } from './settings.ts'

const dir = mkdtempSync(join(tmpdir(), 'outrigger-bootstrap-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const CA = join(dir, 'ca.pem')
writeFileSync(CA, (await CertificateAuthority.createSelfSigned({ trustDomain: 'test', keyType: 'ECDSA' })).rootPem)
const FLAGS: AgentFlags = { role: 'sidecar', proxy: 'envoy', proxyLogLevel: 'warning', workdir: dir, podInfo: dir }
const ENV = { POD_NAME: 'web-1', POD_NAMESPACE: 'shop', INSTANCE_IP: '10.244.0.9', SERVICE_ACCOUNT: 'web' }

function settings(env: NodeJS.ProcessEnv = {}, flags: Partial<AgentFlags> = {}): AgentSettings {
  return readSettings({ ...FLAGS, ...flags }, { ...ENV, ...env })
}

function envoyMissing(): string | false {
  try {
    execFileSync('envoy', ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'envoy is not on PATH'
  }
}

test('stock Envoy takes the bootstrap, with every knob turned', { skip: envoyMissing() }, () => {
  const turned = settings({
    EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'true',
    PROXY_CONFIG:
      'proxyStatsMatcher: {inclusionPrefixes: [cluster.outbound], inclusionRegexps: ["a.*b"]}\nextraStatTags: [request_host]\nruntimeValues: {a.b: "1"}',
  })
  for (const [name, value] of [
    ['plain', settings()],
    ['turned', turned],
  ] as const) {
    const path = join(dir, `${name}.json`)
    writeFileSync(path, JSON.stringify(buildBootstrap(value)))
    const printed = execFileSync('envoy', ['--mode', 'validate', '-l', 'error', '-c', path], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    assert.match(printed, /OK/)
  }
})

const TURNED: readonly (readonly [name: string, config: string, clusters: readonly string[]])[] = [
  ['zipkin', 'tracing: {zipkin: {address: "zipkin.istio-system:9411"}}', ['zipkin']],
  [
    'zipkin over TLS',
    `tracing: {zipkin: {address: "z:1"}, tlsSettings: {mode: SIMPLE, caCertificates: ${CA}}}`,
    ['zipkin'],
  ],
  ['the old name of zipkin', 'zipkinAddress: "[::1]:9411"', ['zipkin']],
  ['the host of a collector', 'tracing: {zipkin: {address: "$(HOST_IP):9411"}}', ['zipkin']],
  [
    'access logs',
    'envoyAccessLogService: {address: "als:15000", tcpKeepalive: {probes: 3, time: 10s, interval: 10s}}',
    ['envoy_accesslog_service'],
  ],
  [
    'mutual TLS of the mesh',
    'envoyAccessLogService: {address: "als:1", tlsSettings: {mode: ISTIO_MUTUAL}}',
    ['envoy_accesslog_service'],
  ],
  ['statsd', 'statsdUdpAddress: "10.1.1.1:9125"', []],
  ['stats as they are', 'statsCompression: false', []],
  ['runtime values', 'runtimeValues: {a.b: "1", c: "true", re2.max_program_size.error_level: ""}', []],
]
const OF_ENVOY: typeof TURNED = [
  ['datadog', 'tracing: {datadog: {address: "$(HOST_IP):8126"}}', ['datadog_agent']],
  ['metrics service', 'envoyMetricsService: {address: "metrics:15000"}', ['envoy_metrics_service']],
  ['the old name of the metrics service', 'envoyMetricsServiceAddress: "metrics:15000"', ['envoy_metrics_service']],
]

/** Names of the clusters that a ProxyConfig adds. */
function added(bootstrap: JsonObject): string[] {
  const { clusters } = bootstrap.static_resources as { clusters: { name: string }[] }
  return clusters.map(({ name }) => name).filter((name) => !OWN_CLUSTERS.includes(name))
}
const OWN_CLUSTERS = ['prometheus_stats', 'agent', 'sds-grpc', 'xds-grpc']

for (const [proxy, cases] of [
  ['envoy', [...TURNED, ...OF_ENVOY]],
  ['outrigger', TURNED],
] as const) {
  const skip = proxy === 'envoy' && envoyMissing()
  test(`what ProxyConfig adds to the bootstrap is taken by ${proxy}`, { skip }, () => {
    for (const [name, config, clusters] of cases) {
      const bootstrap = buildBootstrap(settings({ PROXY_CONFIG: config }, { proxy }))
      assert.deepEqual(added(bootstrap), clusters, name)
      if (proxy === 'outrigger') {
        validateProxy(fromJson(BootstrapSchema, bootstrap, { registry: typeRegistry }))
        continue
      }
      const path = join(dir, 'added.json')
      writeFileSync(path, JSON.stringify(bootstrap))
      const printed = execFileSync('envoy', ['--mode', 'validate', '-l', 'error', '-c', path], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      assert.match(printed, /OK/, name)
    }
  })
}

test('what our proxy cannot do is left out and said', () => {
  for (const [name, config] of OF_ENVOY) {
    const ours = settings({ PROXY_CONFIG: config }, { proxy: 'outrigger' })
    assert.deepEqual(added(buildBootstrap(ours)), [], name)
    assert.equal(leftOutOfBootstrap(ours).length, 1, name)
    assert.deepEqual(leftOutOfBootstrap(settings({ PROXY_CONFIG: config })), [])
  }
  assert.throws(
    () => settings({ PROXY_CONFIG: 'tracing: {lightstep: {address: "a:1"}}' }),
    /tracing\.lightstep: .*extensionProviders/,
  )
  assert.throws(
    () => settings({ PROXY_CONFIG: 'tracing: {zipkin: {address: "a:1"}, tlsSettings: {mode: MUTUAL}}' }),
    /clientCertificate: is required/,
  )
})

test('annotations of stats stand before ProxyConfig, addresses of the pod are put in', () => {
  writeFileSync(
    join(dir, 'annotations'),
    [
      'sidecar.istio.io/statsInclusionPrefixes="http.{pod_ip}_,listener"',
      'sidecar.istio.io/extraStatTags="a,b"',
      'sidecar.istio.io/statsFlushInterval="10s"',
      'sidecar.istio.io/statsHistogramBuckets="{\\"istio\\": [1, 5, 10]}"',
    ].join('\n'),
  )
  const bootstrap = buildBootstrap(
    settings({ PROXY_CONFIG: 'proxyStatsMatcher: {inclusionPrefixes: [gone]}\nextraStatTags: [b, c]' }),
  )
  rmSync(join(dir, 'annotations'))
  const { stats_config, stats_flush_interval } = bootstrap as {
    stats_flush_interval: string
    stats_config: {
      stats_tags: { tag_name: string }[]
      histogram_bucket_settings: unknown
      stats_matcher: { inclusion_list: { patterns: { prefix?: string }[] } }
    }
  }
  const prefixes = stats_config.stats_matcher.inclusion_list.patterns.flatMap(({ prefix }) => prefix ?? [])
  assert.deepEqual(prefixes.slice(0, 4), ['reporter=', 'http.10.244.0.9_', 'listener', 'cluster_manager'])
  assert.ok(!prefixes.includes('gone'))
  assert.deepEqual(
    stats_config.stats_tags.slice(-3).map(({ tag_name }) => tag_name),
    ['b', 'c', 'a'],
  )
  assert.deepEqual(stats_config.histogram_bucket_settings, [{ match: { prefix: 'istio' }, buckets: [1, 5, 10] }])
  assert.equal(stats_flush_interval, '10s')
})

test('the bootstrap is complete in our own types too', () => {
  const message = fromJson(BootstrapSchema, buildBootstrap(settings()), { registry: typeRegistry })
  assert.deepEqual(
    message.staticResources?.clusters.map((c) => c.name),
    ['prometheus_stats', 'agent', 'sds-grpc', 'xds-grpc'],
  )
  assert.equal(message.node?.id, 'sidecar~10.244.0.9~web-1.shop~shop.svc.cluster.local')
})

test('node metadata: environment, JSON environment, labels of the pod', () => {
  writeFileSync(join(dir, 'labels'), 'app="shop web"\nistio-locality="eu.eu-1.a"\nquoted="a\\"b"\n')
  const { node } = buildBootstrap(
    settings({
      ISTIO_META_MESH_ID: 'm',
      ISTIO_META_POD_PORTS: '[{"containerPort":80}]',
      ISTIO_METAJSON_PLATFORM: '{"k":[1]}',
      ISTIO_META_CLUSTER_ID: 'c1',
    }),
  ) as { node: JsonObject & { metadata: JsonObject } }
  rmSync(join(dir, 'labels'))
  assert.equal(node.cluster, 'shop web.shop')
  assert.deepEqual(node.locality, { region: 'eu', zone: 'eu-1', sub_zone: 'a' })
  const { MESH_ID, POD_PORTS, PLATFORM, CLUSTER_ID, LABELS, NAMESPACE, INSTANCE_IPS, SERVICE_ACCOUNT } = node.metadata
  assert.deepEqual(
    { MESH_ID, POD_PORTS, PLATFORM, CLUSTER_ID, NAMESPACE, INSTANCE_IPS, SERVICE_ACCOUNT },
    {
      MESH_ID: 'm',
      POD_PORTS: '[{"containerPort":80}]',
      PLATFORM: { k: [1] },
      CLUSTER_ID: 'c1',
      NAMESPACE: 'shop',
      INSTANCE_IPS: '10.244.0.9',
      SERVICE_ACCOUNT: 'web',
    },
  )
  assert.equal((LABELS as JsonObject).quoted, 'a"b')
})

test('the stat tags name clusters and listeners as the control plane writes them', () => {
  const { stats_config } = buildBootstrap(settings()) as {
    stats_config: { stats_tags: { tag_name: string; regex: string }[] }
  }
  const tag = (name: string, stat: string) => {
    const match = new RegExp(stats_config.stats_tags.find((t) => t.tag_name === name)!.regex).exec(stat)
    return match === null ? null : [match[2], stat.replace(match[1]!, '')]
  }
  assert.deepEqual(tag('cluster_name', 'cluster.outbound|9080||reviews.default.svc.cluster.local;.upstream_rq'), [
    'outbound|9080||reviews.default.svc.cluster.local',
    'cluster.upstream_rq',
  ])
  assert.deepEqual(tag('cluster_name', 'cluster.outbound|443||api.example.com;.ssl.handshake'), [
    'outbound|443||api.example.com',
    'cluster.ssl.handshake',
  ])
  assert.deepEqual(tag('cluster_name', 'cluster.xds-grpc.upstream_cx_total'), ['xds-grpc', 'cluster.upstream_cx_total'])
  assert.deepEqual(tag('http_conn_manager_prefix', 'http.outbound_0.0.0.0_9080;.downstream_rq_2xx'), [
    'outbound_0.0.0.0_9080',
    'http.downstream_rq_2xx',
  ])
  assert.deepEqual(tag('listener_address', 'listener.0.0.0.0_15006.downstream_cx_active'), [
    '0.0.0.0_15006',
    'listener.downstream_cx_active',
  ])
  assert.deepEqual(tag('response_code', 'cluster.a.upstream_rq_503'), ['503', 'cluster.a.upstream_rq'])
})

test('ProxyConfig: defaults, YAML and JSON, later sources over earlier ones, workers', () => {
  const config = parseProxyConfig([
    { from: 'PROXY_CONFIG', text: '{"drainDuration":"1m30s","proxyMetadata":{"A":"1","B":"2"}}' },
    { from: 'annotation', text: 'terminationDrainDuration: 0.5s\nproxyMetadata: {B: "3"}' },
  ])
  assert.equal(config.drainDurationMs, 90_000)
  assert.equal(config.terminationDrainDurationMs, 500)
  assert.deepEqual(config.proxyMetadata, { A: '1', B: '3' })
  assert.equal(config.discoveryAddress, 'istiod.istio-system.svc:15012')
  assert.equal(settings().concurrency, 2)
  assert.equal(settings({ ISTIO_CPU_LIMIT: '1' }).concurrency, 1)
  assert.equal(settings({ PROXY_CONFIG: 'concurrency: 3' }).concurrency, 3)
  assert.equal(settings({ PROXY_CONFIG: 'concurrency: 3' }, { concurrency: 1 }).concurrency, 1)
})

test('what cannot be used is refused by its name', () => {
  const refused: [NodeJS.ProcessEnv, RegExp][] = [
    [{ PROXY_CONFIG: 'drainDuratoin: 5s' }, /PROXY_CONFIG: drainDuratoin: is not a supported ProxyConfig field/],
    [{ PROXY_CONFIG: '[' }, /PROXY_CONFIG: is neither YAML nor JSON/],
    [{ PROXY_CONFIG: 'drainDuration: 5' }, /drainDuration: must be a duration such as "5s", is 5/],
    [{ PROXY_CONFIG: 'statusPort: 70000' }, /statusPort: must be a port/],
    [{ PROXY_CONFIG: 'controlPlaneAuthPolicy: TLS' }, /controlPlaneAuthPolicy: must be NONE or MUTUAL_TLS/],
    [{ ISTIO_METAJSON_X: '{' }, /ISTIO_METAJSON_X: is not JSON/],
    [{ SECRET_TTL: 'soon' }, /SECRET_TTL: must be a duration/],
    [{ ECC_SIGNATURE_ALGORITHM: 'ED25519' }, /ECC_SIGNATURE_ALGORITHM: must be ECDSA or empty/],
    [{ ISTIO_PROMETHEUS_ANNOTATIONS: '{"port":"x"}' }, /port "x" is not a port/],
  ]
  for (const [env, message] of refused) assert.throws(() => settings(env), message)
  // Its own ports are never scraped as the application's.
  assert.equal(settings({ ISTIO_PROMETHEUS_ANNOTATIONS: '{"port":"15020"}' }).appScrape, null)
  assert.deepEqual(settings({ ISTIO_PROMETHEUS_ANNOTATIONS: '{"port":"9080","path":"m"}' }).appScrape, {
    port: 9080,
    path: '/m',
  })
})

test('spans name the service as tracingServiceName wants it', () => {
  writeFileSync(join(dir, 'labels'), 'app="web"\nservice.istio.io/canonical-name="shop-web"\n')
  const named = (tracingServiceName: string) =>
    settings({ PROXY_CONFIG: JSON.stringify({ tracingServiceName }) }).serviceCluster
  try {
    assert.equal(named('APP_LABEL_AND_NAMESPACE'), 'web.shop')
    assert.equal(named('CANONICAL_NAME_ONLY'), 'shop-web')
    assert.equal(named('CANONICAL_NAME_AND_NAMESPACE'), 'shop-web.shop')
    assert.throws(() => named('NONE'), /tracingServiceName: must be one of/)
  } finally {
    rmSync(join(dir, 'labels'))
  }
})
