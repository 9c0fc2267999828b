// Tracing: real Envoy and ours get the same request. The same trace headers go upstream, the same spans to the collector:
// names, kinds, parents, tags, events. Ids are random and compared by which are equal to which.

import assert from 'node:assert/strict'
import type { AddressInfo, Server, Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { Collectors, spansOf } from './harness/collectors.ts'
import { play, type Scenario } from './harness/play.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { linesOf, situationBootstrap, startUpstream, statsOf } from './harness/situations.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const zipkin = (more: object = {}): object => ({
  name: 'envoy.tracers.zipkin',
  typed_config: {
    '@type': type('config.trace.v3.ZipkinConfig'),
    collector_cluster: 'http-collector',
    collector_endpoint: '/api/v2/spans',
    collector_endpoint_version: 'HTTP_JSON',
    ...more,
  },
})
const otlpHttp = (more: object = {}): object => ({
  name: 'envoy.tracers.opentelemetry',
  typed_config: {
    '@type': type('config.trace.v3.OpenTelemetryConfig'),
    http_service: {
      http_uri: { uri: 'http://collector.example:4318/v1/traces', cluster: 'http-collector', timeout: '1s' },
      request_headers_to_add: [{ header: { key: 'x-token', value: 'secret' } }],
    },
    ...more,
  },
})
const otlpGrpc = (more: object = {}): object => ({
  name: 'envoy.tracers.opentelemetry',
  typed_config: {
    '@type': type('config.trace.v3.OpenTelemetryConfig'),
    grpc_service: {
      envoy_grpc: { cluster_name: 'grpc-collector', authority: 'collector.example' },
      timeout: '1s',
      initial_metadata: [{ key: 'x-token', value: 'secret' }],
    },
    service_name: 'front.shop',
    ...more,
  },
})
const detector = (name: string, more: object = {}): object => ({
  name: `envoy.tracers.opentelemetry.resource_detectors.${name.toLowerCase()}`,
  typed_config: {
    '@type': type(`extensions.tracers.opentelemetry.resource_detectors.v3.${name}ResourceDetectorConfig`),
    ...more,
  },
})

const ALWAYS_ON = {
  name: 'envoy.tracers.opentelemetry.samplers.always_on',
  typed_config: { '@type': type('extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig') },
}

const OUTBOUND = { traffic_direction: 'OUTBOUND' }
const echo = (head: string): string => `HTTP/1.1 200 OK\r\ncontent-length: ${head.length}\r\n\r\n${head}`
const status = (code: number, headers = ''): string => `HTTP/1.1 ${code} X\r\n${headers}content-length: 0\r\n\r\n`
const get = (headers = '', path = '/shop/cart?id=1'): string =>
  `GET ${path} HTTP/1.1\r\nhost: a\r\nuser-agent: test\r\nconnection: close\r\n${headers}\r\n`
const close = (_head: string, socket: Socket): null => {
  socket.destroy()
  return null
}
const traced = (tracing: object): object => ({ hcm: { tracing } })
const B3 =
  'x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124\r\nx-b3-spanid: a2fb4a1d1a96d312\r\nx-b3-parentspanid: 0020000000000001\r\n'
const W3C = 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n'
const operation = (name: string, more: object = {}): object => ({ decorator: { operation: name, ...more } })
const CUSTOM_TAGS = [
  { tag: 'literal', literal: { value: 'v' } },
  { tag: 'environment', environment: { name: 'PATH' } },
  { tag: 'no-environment', environment: { name: 'NO_SUCH_VARIABLE' } },
  { tag: 'environment-default', environment: { name: 'NO_SUCH_VARIABLE', default_value: 'd' } },
  { tag: 'header', request_header: { name: 'User-Agent' } },
  { tag: 'no-header', request_header: { name: 'none' } },
  { tag: 'header-default', request_header: { name: 'none', default_value: 'd' } },
  { tag: 'route', metadata: { kind: { route: {} }, metadata_key: { key: 'shop', path: [{ key: 'owner' }] } } },
  { tag: 'route-object', metadata: { kind: { route: {} }, metadata_key: { key: 'shop', path: [{ key: 'team' }] } } },
  { tag: 'route-number', metadata: { kind: { route: {} }, metadata_key: { key: 'shop', path: [{ key: 'number' }] } } },
  {
    tag: 'host-default',
    metadata: { kind: { host: {} }, metadata_key: { key: 'none', path: [{ key: 'x' }] }, default_value: 'd' },
  },
  { tag: 'format', value: '%REQ(:method)%-%RESPONSE_CODE%-%REQ(none)%' },
]
/** UTF-8, one character for each byte. */
const BEYOND_ASCII = Buffer.from('x-client-trace-id: grün €\r\nx-envoy-decorator-operation: größe\r\n').toString(
  'latin1',
)
const METADATA = { metadata: { filter_metadata: { shop: { owner: 'ann', team: { a: 1 }, number: 2.5 } } } }

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'zipkin: inbound, custom tags',
    ...traced({ provider: zipkin(), custom_tags: CUSTOM_TAGS }),
    routeEntry: METADATA,
    client: [get()],
    upstream: echo,
  },
  {
    name: 'zipkin: outbound, context of the caller, 128 bits, W3C beside, verbose',
    listener: OUTBOUND,
    ...traced({
      provider: zipkin({
        trace_id_128bit: true,
        shared_span_context: false,
        trace_context_option: 'USE_B3_WITH_W3C_PROPAGATION',
      }),
      max_path_tag_length: 3,
      verbose: true,
    }),
    routeEntry: operation('cart'),
    client: [get(`${B3}x-b3-sampled: 1\r\n`)],
    upstream: echo,
  },
  {
    name: 'zipkin: outbound root, 128 bits',
    listener: OUTBOUND,
    ...traced({ provider: zipkin({ trace_id_128bit: true, collector_hostname: 'zipkin.example' }) }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'zipkin: collector by collector_service',
    ...traced({
      provider: zipkin({
        collector_cluster: '',
        collector_endpoint: '',
        collector_service: {
          http_uri: { uri: 'http://zipkin.example/spans?v=2', cluster: 'http-collector', timeout: '1s' },
          request_headers_to_add: [{ header: { key: 'x-token', value: 'zipkin' } }],
        },
      }),
    }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'zipkin: characters beyond ASCII',
    ...traced({ provider: zipkin(), custom_tags: CUSTOM_TAGS }),
    client: [get(BEYOND_ASCII)],
    upstream: echo,
  },
  {
    name: 'OTLP: characters beyond ASCII',
    ...traced({ provider: otlpHttp() }),
    client: [get(BEYOND_ASCII)],
    upstream: echo,
  },
  {
    name: 'zipkin: inbound, not shared',
    ...traced({ provider: zipkin({ shared_span_context: false }) }),
    client: [get(`${B3}x-b3-sampled: true\r\n`)],
    upstream: echo,
  },
  {
    name: 'zipkin: b3 header, shared, a span for the attempt, name from the caller',
    ...traced({ provider: zipkin(), spawn_upstream_span: true }),
    routeEntry: operation('cart'),
    client: [get('b3: 463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1\r\nx-envoy-decorator-operation: over\r\n')],
    upstream: echo,
  },
  {
    name: 'zipkin: outbound, a span for the attempt',
    listener: OUTBOUND,
    ...traced({ provider: zipkin(), spawn_upstream_span: true, custom_tags: CUSTOM_TAGS.slice(0, 1) }),
    client: [get(`${B3}x-b3-sampled: 1\r\n`)],
    upstream: echo,
  },
  {
    name: 'zipkin: the caller does not sample',
    ...traced({ provider: zipkin() }),
    client: [get(`${B3}x-b3-sampled: 0\r\n`)],
    upstream: echo,
  },
  {
    name: 'zipkin: the caller says only whether to sample',
    ...traced({ provider: zipkin() }),
    client: [get('b3: 0\r\n')],
    upstream: echo,
  },
  {
    name: 'zipkin: broken context',
    ...traced({ provider: zipkin() }),
    client: [get('x-b3-traceid: xyz\r\nx-b3-spanid: a2fb4a1d1a96d312\r\n')],
    upstream: echo,
  },
  {
    name: 'zipkin: W3C where there is no B3',
    ...traced({ provider: zipkin({ trace_context_option: 'USE_B3_WITH_W3C_PROPAGATION' }) }),
    client: [get(W3C)],
    upstream: echo,
  },
  {
    name: 'OTLP over HTTP: context of the caller, verbose',
    ...traced({ provider: otlpHttp(), verbose: true }),
    client: [get(`${W3C}tracestate: a=b\r\ntracestate: c=d\r\n`)],
    upstream: echo,
  },
  {
    name: 'OTLP over gRPC: outbound, a span for the attempt, resource',
    listener: OUTBOUND,
    ...traced({
      provider: otlpGrpc({
        resource_detectors: [detector('Environment'), detector('StaticConfig', { attributes: { a: 'b' } })],
      }),
      spawn_upstream_span: true,
    }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'OTLP: outbound client span',
    listener: OUTBOUND,
    ...traced({ provider: otlpGrpc() }),
    routeEntry: operation('cart', { propagate: false }),
    client: [get()],
    upstream: () => status(404),
  },
  {
    name: 'OTLP: failing gRPC attempts, client trace id',
    ...traced({ provider: otlpGrpc(), spawn_upstream_span: true }),
    route: { retry_policy: { retry_on: '5xx' } },
    client: [get('content-type: application/grpc\r\nx-client-trace-id: abc\r\ngrpc-timeout: 1S\r\n')],
    upstream: () => status(503, 'grpc-status: 14\r\ngrpc-message: nono\r\n'),
  },
  {
    name: 'OTLP: the upstream hangs up',
    ...traced({ provider: otlpGrpc(), spawn_upstream_span: true }),
    client: [get()],
    upstream: close,
  },
  {
    name: 'OTLP: timeout',
    ...traced({ provider: otlpGrpc(), spawn_upstream_span: true }),
    route: { timeout: '0.3s' },
    client: [get()],
    upstream: () => null,
    quietMs: 900,
  },
  {
    name: 'OTLP: no route',
    ...traced({ provider: otlpGrpc() }),
    client: ['GET / HTTP/1.1\r\nhost: nobody\r\n\r\n'],
  },
  {
    name: 'OTLP: start_child_span of the router, tags of the route',
    ...traced({ provider: otlpGrpc(), custom_tags: CUSTOM_TAGS.slice(0, 1) }),
    router: { start_child_span: true },
    routeEntry: { tracing: { custom_tags: [{ tag: 'literal', literal: { value: 'route' } }] } },
    client: [get()],
    upstream: echo,
  },
  {
    name: 'OTLP: span names by format',
    ...traced({
      provider: otlpGrpc(),
      spawn_upstream_span: true,
      operation: '%REQ(:method)% by %REQ(user-agent)%',
      upstream_operation: 'up %REQ(:path)%',
    }),
    routeEntry: operation('cart'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'OTLP: not sampled here',
    ...traced({ provider: otlpGrpc(), random_sampling: { value: 0 } }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'OTLP: not sampled here, but by the caller',
    ...traced({ provider: otlpGrpc(), random_sampling: { value: 0 } }),
    client: [get(W3C)],
    upstream: echo,
  },
  {
    name: 'OTLP: sampled here, but not by the caller',
    ...traced({ provider: otlpGrpc() }),
    client: [get('traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n')],
    upstream: echo,
  },
  {
    name: 'zipkin: sampled by the caller only',
    ...traced({ provider: zipkin(), random_sampling: { value: 0 } }),
    client: [get(`${B3}x-b3-sampled: 1\r\n`)],
    upstream: echo,
  },
  {
    name: 'OTLP: always_on, the caller does not sample',
    ...traced({ provider: otlpGrpc({ sampler: ALWAYS_ON }) }),
    client: [get('traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n')],
    upstream: echo,
  },
  {
    name: 'OTLP: a copy of the request',
    ...traced({ provider: otlpGrpc() }),
    route: { request_mirror_policies: [{ cluster: 'http-collector' }] },
    client: [get()],
    upstream: echo,
  },
  {
    name: 'OTLP: a copy of the request that is not sampled',
    ...traced({ provider: otlpGrpc() }),
    route: { request_mirror_policies: [{ cluster: 'http-collector', trace_sampled: false }] },
    client: [get()],
    upstream: echo,
  },
  {
    name: 'OTLP: sampling switched off by the route',
    ...traced({ provider: otlpGrpc() }),
    routeEntry: { tracing: { overall_sampling: { numerator: 0 } } },
    client: [get()],
    upstream: echo,
  },
  {
    name: 'OTLP: always_on',
    ...traced({
      provider: otlpGrpc({ sampler: ALWAYS_ON }),
      random_sampling: { value: 0 },
    }),
    client: [get('traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\ntracestate: a=b\r\n')],
    upstream: echo,
  },
  {
    name: 'OTLP: broken context',
    ...traced({ provider: otlpGrpc() }),
    client: [get('traceparent: 00-nonsense\r\n')],
    upstream: echo,
  },
  {
    name: 'OTLP: nothing is told upstream',
    ...traced({ provider: otlpGrpc(), no_context_propagation: true }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'no provider: the decorator of an inbound route is told to the client',
    ...traced({}),
    routeEntry: operation('cart'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'no provider: the decorator of an outbound route is told upstream, and what comes back is kept',
    listener: OUTBOUND,
    ...traced({}),
    routeEntry: operation('cart'),
    client: [get()],
    upstream: (head) =>
      `HTTP/1.1 200 OK\r\nx-envoy-decorator-operation: x\r\ncontent-length: ${head.length}\r\n\r\n${head}`,
  },
]

const OF_BOOTSTRAP: readonly Scenario[] = [
  { name: 'the provider of the bootstrap', listener: OUTBOUND, ...traced({}), client: [get()], upstream: echo },
  {
    name: 'an own provider beside that of the bootstrap',
    ...traced({ provider: otlpGrpc() }),
    client: [get()],
    upstream: echo,
  },
  { name: 'not traced in spite of the bootstrap', client: [get()], upstream: echo },
]

const SKIP = envoyBinary() ? false : 'real Envoy is not installed'
/** How much later than Envoy's our spans may come. */
const LATE_MS = 5000
/** Each request is reported at once. */
const RUNTIME = {
  layered_runtime: {
    layers: [
      {
        name: 'test',
        static_layer: { tracing: { zipkin: { min_flush_spans: 1 }, opentelemetry: { min_flush_spans: 1 } } },
      },
    ],
  },
}

function inOrder(span: Record<string, unknown>): [string, unknown][] {
  return Object.entries(span).sort(([a], [b]) => (a < b ? -1 : 1))
}

/** Random ids become `id1`, `id2`, … in the order in which they appear; whole numbers of ports become `PORT`. */
function withoutRandom(text: string): string {
  const names = new Map<string, string>()
  const name = (id: string): string => {
    if (!names.has(id)) names.set(id, `id${names.size + 1}`)
    return names.get(id)!
  }
  return text
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'uuid-$1')
    .replace(/\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b/g, name)
    .replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:PORT')
}

function compare(title: string, scenarios: readonly Scenario[], more: object): void {
  describe(title, { skip: SKIP }, () => {
    const sides: { proxy: RunningProxy; listeners: number[]; collectors: Collectors }[] = []
    let servers: Server[] = []
    before(async () => {
      process.env.OTEL_RESOURCE_ATTRIBUTES = 'k1=v1,k2=v2'
      servers = await Promise.all(scenarios.map(startUpstream))
      const upstreams = servers.map((server) => (server.address() as AddressInfo).port)
      for (const name of ['envoy', 'outrigger'] as const) {
        const listeners = await Promise.all(scenarios.map(() => freePort()))
        const collectors = new Collectors()
        await collectors.listen()
        const proxy = await startProxy(name, (ports) => ({
          ...situationBootstrap(scenarios, 'HTTP1', ports, listeners, upstreams, collectors.clusters()),
          ...RUNTIME,
          ...more,
        }))
        sides.push({ proxy, listeners, collectors })
      }
    })
    after(async () => {
      await Promise.all(sides.map(({ proxy }) => proxy.stop()))
      for (const server of servers) server.close()
      for (const { collectors } of sides) collectors.close()
    })

    /** One request, and the spans that follow it until no more come, at least `wanted`. */
    async function run(side: (typeof sides)[number], i: number, wanted: Promise<number> | null) {
      const { reports } = side.collectors
      const from = reports.length
      const outcome = await play(side.listeners[i]!, { quietMs: 200, ...scenarios[i]! }, null)
      await linesOf(side.proxy, i, 1)
      const spans = () => spansOf(reports.slice(from))
      for (let quiet = 0, count = -1; quiet < 6; quiet++) {
        if (spans().length !== count) quiet = 0
        count = spans().length
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      if (wanted !== null) {
        const deadline = Date.now() + LATE_MS
        for (const least = await wanted; spans().length < least && Date.now() < deadline; )
          await new Promise((resolve) => setTimeout(resolve, 50))
      }
      // An attempt's span may be reported before its request's or after it.
      const kindOf = (span: Record<string, unknown>): string =>
        `${span.kind} ${span.name} ${JSON.stringify(span.attributes)}`
      const list = spans().sort((a, b) => (kindOf(a) < kindOf(b) ? 1 : -1))
      const text = JSON.stringify([list.map(inOrder), outcome.received])
      return { count: list.length, result: JSON.parse(withoutRandom(text)) as unknown }
    }

    for (const [i, scenario] of scenarios.entries()) {
      it(scenario.name, async () => {
        const other = run(sides[0]!, i, null)
        const [theirs, mine] = await Promise.all([
          other,
          run(
            sides[1]!,
            i,
            other.then(({ count }) => count),
          ),
        ])
        assert.deepEqual(mine.result, theirs.result)
        const counted = new RegExp(`^http\\.s${i}\\.tracing\\.`)
        assert.deepEqual(await statsOf(sides[1]!.proxy, counted), await statsOf(sides[0]!.proxy, counted))
      })
    }

    it('collectors are asked in the same way', () => {
      const asked = ({ collectors }: (typeof sides)[number]): string[] =>
        [
          ...new Set(
            collectors.reports.map(({ protocol, path, headers }) => {
              const authority = headers[':authority'] ?? headers.host
              return `${protocol} ${path} ${authority} ${headers['content-type']} ${headers['x-token']} ${headers.te}`
            }),
          ),
        ].sort()
      assert.deepEqual(asked(sides[1]!), asked(sides[0]!))
    })
  })
}

compare('tracing', SCENARIOS, {})
// A connection manager that traces and names no provider has the bootstrap's.
compare('tracing by the bootstrap', OF_BOOTSTRAP, { tracing: { http: zipkin() } })
