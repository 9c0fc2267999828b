// HTTP filters beside real Envoy: the same bytes to client and upstream, the same log line, the same counters.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { Http2Server } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { isIdle } from './harness/idle.ts'
import { play, type Scenario } from './harness/play.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { startRateLimitService } from './harness/rate-limit-service.ts'
import { address, linesOf, situationBootstrap, startUpstream, statsOf } from './harness/situations.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const get = (headers = '', path = '/'): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const echo = (head: string): string => {
  const body = head.replace(/x-request-id: .*\r\n/, '')
  return `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

const ratelimit = (more: object = {}): object => ({
  filters: [
    {
      name: 'envoy.filters.http.ratelimit',
      typed_config: {
        '@type': type('extensions.filters.http.ratelimit.v3.RateLimit'),
        domain: 'shop',
        timeout: '2s',
        rate_limit_service: {
          transport_api_version: 'V3',
          grpc_service: { envoy_grpc: { cluster_name: 'ratelimit', authority: 'limits.example' } },
        },
        ...more,
      },
    },
  ],
})
const limit = (value: string): object => ({ actions: [{ generic_key: { descriptor_value: value } }] })
const limited = (value: string): object => ({ route: { rate_limits: [limit(value)] } })
const perRoute = (more: object): object => ({
  typed_per_filter_config: {
    'envoy.filters.http.ratelimit': {
      '@type': type('extensions.filters.http.ratelimit.v3.RateLimitPerRoute'),
      ...more,
    },
  },
})

/** A filter by its folder's name and its message. */
const filter = (name: string, message: string, config: object = {}): object => ({
  filters: [
    {
      name: `envoy.filters.http.${name}`,
      typed_config: { '@type': type(`extensions.filters.http.${message}`), ...config },
    },
  ],
})
const fault = (config: object): object => filter('fault', 'fault.v3.HTTPFault', config)
const ALWAYS = { percentage: { numerator: 100 } }

const bucket = (max_tokens: number): object => ({ max_tokens, tokens_per_fill: 1, fill_interval: '3600s' })
const ON = { default_value: { numerator: 100 } }
const byHeader = (name: string): object => ({
  actions: [{ request_headers: { header_name: `x-${name}`, descriptor_key: name } }],
})
let limits = 0
const localRateLimit = (tokens: number, more: object): object =>
  filter('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', {
    stat_prefix: `limits${limits++}`,
    token_bucket: bucket(tokens),
    filter_enabled: ON,
    filter_enforced: ON,
    enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
    ...more,
  })
const user = (value: string, tokens: number): object => ({
  entries: [{ key: 'user', value }],
  token_bucket: bucket(tokens),
})
const again = (count: number, headers: string): string[] => Array<string>(count).fill(get(headers))

const FAULT = type('extensions.filters.http.fault.v3.HTTPFault')
const abort = (http_status: number): object => ({ '@type': FAULT, abort: { http_status, ...ALWAYS } })
const folder = mkdtempSync(join(tmpdir(), 'outrigger-ecds-'))
/** A filter by discovery from a file that holds `resource`. */
const discovered = (name: string, resource: object, more: object = {}): object => {
  const path = join(folder, `${name}.json`)
  const url = type('config.core.v3.TypedExtensionConfig')
  writeFileSync(path, JSON.stringify({ version_info: '1', resources: [{ '@type': url, ...resource }] }))
  const config_source = { path_config_source: { path }, initial_fetch_timeout: '1s' }
  return { filters: [{ name, config_discovery: { config_source, type_urls: [FAULT], ...more } }] }
}
const BUFFER = { '@type': type('extensions.filters.http.buffer.v3.Buffer'), max_request_bytes: 5 }

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'config_discovery',
    ...discovered('good', { name: 'good', typed_config: abort(418) }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'config_discovery: another type than was asked for',
    ...discovered('other-type', { name: 'other-type', typed_config: BUFFER }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'config_discovery: another name',
    ...discovered('other-name', { name: 'x', typed_config: abort(418) }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'config_discovery: a configuration that is refused',
    ...discovered('bad', { name: 'bad', typed_config: abort(9) }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'config_discovery: refused, with a default',
    ...discovered('default', { name: 'default', typed_config: BUFFER }, { default_config: abort(419) }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'config_discovery: a default that does not wait',
    ...discovered(
      'at-once',
      { name: 'x', typed_config: BUFFER },
      { default_config: abort(420), apply_default_config_without_warming: true },
    ),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'local_ratelimit: told in headers, with headers of its own',
    ...localRateLimit(2, {
      status: { code: 'ServiceUnavailable' },
      response_headers_to_add: [{ header: { key: 'x-limited', value: '%RESPONSE_CODE%' } }],
      rate_limited_as_resource_exhausted: true,
    }),
    client: [...again(3, ''), get('content-type: application/grpc\r\n')],
    upstream: echo,
  },
  {
    name: 'local_ratelimit: not enforced',
    ...localRateLimit(1, {
      filter_enforced: { default_value: { numerator: 0 } },
      request_headers_to_add_when_not_enforced: [{ header: { key: 'x-over', value: '1' } }],
    }),
    client: again(2, ''),
    upstream: echo,
  },
  {
    name: 'local_ratelimit: descriptors, with and without value',
    ...localRateLimit(100, {
      max_dynamic_descriptors: 2,
      rate_limits: [byHeader('user')],
      descriptors: [user('', 1), user('z', 2)],
    }),
    client: ['a', 'a', 'b', 'c', 'c', 'a', 'z', 'z', 'z'].map((name) => get(`x-user: ${name}\r\n`)).concat(get()),
    upstream: echo,
  },
  {
    name: 'local_ratelimit: two descriptors and the default bucket',
    ...localRateLimit(3, {
      rate_limits: [byHeader('user'), byHeader('kind')],
      descriptors: [
        user('a', 2),
        { entries: [{ key: 'kind', value: 'a' }], token_bucket: { max_tokens: 9, fill_interval: '600s' } },
      ],
    }),
    client: ['x-user: a\r\nx-kind: a\r\n', 'x-kind: a\r\n', 'x-user: a\r\n', 'x-kind: a\r\n', 'x-user: a\r\n'].map(
      (h) => get(h),
    ),
    upstream: echo,
  },
  {
    name: 'local_ratelimit: descriptors leave the default bucket alone',
    ...localRateLimit(1, {
      always_consume_default_token_bucket: false,
      rate_limits: [byHeader('user')],
      descriptors: [user('a', 2)],
    }),
    client: [...again(3, 'x-user: a\r\n'), ...again(2, '')],
    upstream: echo,
  },
  {
    name: 'local_ratelimit: limits of the route by stage',
    ...localRateLimit(9, { stage: 1, descriptors: [user('a', 1), user('b', 1)] }),
    route: {
      rate_limits: [
        { stage: 0, actions: [{ generic_key: { descriptor_key: 'user', descriptor_value: 'a' } }] },
        { stage: 1, actions: [{ generic_key: { descriptor_key: 'user', descriptor_value: 'b' } }] },
      ],
    },
    virtualHost: { rate_limits: [{ stage: 1, ...byHeader('user') }] },
    client: again(2, 'x-user: a\r\n'),
    upstream: echo,
  },
  {
    name: 'local_ratelimit: a limit of the route that can be switched off',
    ...localRateLimit(9, { descriptors: [user('a', 1)] }),
    route: { rate_limits: [{ disable_key: 'k', ...byHeader('user') }] },
    client: again(2, 'x-user: a\r\n'),
    upstream: echo,
  },
  ...(['INCLUDE', 'IGNORE', 'OVERRIDE'] as const).map(
    (vh_rate_limits): Scenario => ({
      name: `local_ratelimit: limits of the virtual host, ${vh_rate_limits}`,
      ...localRateLimit(9, { vh_rate_limits, descriptors: [user('a', 1), user('b', 2)] }),
      route: { rate_limits: [{ actions: [{ generic_key: { descriptor_key: 'user', descriptor_value: 'b' } }] }] },
      virtualHost: { rate_limits: [byHeader('user')] },
      client: again(2, 'x-user: a\r\n'),
      upstream: echo,
    }),
  ),
  {
    name: 'local_ratelimit: for each connection',
    ...localRateLimit(1, { local_rate_limit_per_downstream_connection: true }),
    client: again(2, ''),
    upstream: echo,
  },
  {
    name: 'fault: a response at a fixed rate',
    ...fault({ response_rate_limit: { fixed_limit: { limit_kbps: 100 }, ...ALWAYS } }),
    client: [get()],
    upstream: () => `HTTP/1.1 200 OK\r\ncontent-length: 12000\r\n\r\n${'x'.repeat(12_000)}`,
  },
  {
    name: 'fault: a response with trailers at the rate of a header',
    ...fault({ response_rate_limit: { header_limit: {}, ...ALWAYS } }),
    hcm: { http_protocol_options: { enable_trailers: true } },
    upstreamHttp1: { enable_trailers: true },
    client: [get('te: trailers\r\nx-envoy-fault-throughput-response: 100\r\n'), get()],
    upstream: () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n',
  },
  {
    name: 'fault: an aborted request answered at a fixed rate',
    ...fault({
      abort: { http_status: 503, ...ALWAYS },
      response_rate_limit: { fixed_limit: { limit_kbps: 1 }, ...ALWAYS },
    }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'fault: more faults than allowed',
    ...fault({ max_active_faults: 0, response_rate_limit: { fixed_limit: { limit_kbps: 1 }, ...ALWAYS } }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'fault: a percentage header in units of the denominator',
    ...fault({
      response_rate_limit: { header_limit: {}, percentage: { numerator: 1_000_000, denominator: 'MILLION' } },
    }),
    client: [get('x-envoy-fault-throughput-response: 9\r\nx-envoy-fault-throughput-response-percentage: 0\r\n')],
    upstream: echo,
  },
  { name: 'ratelimit: nothing to ask about', ...ratelimit(), client: [get()], upstream: echo },
  { name: 'ratelimit: within', ...ratelimit(), ...limited('ok'), client: [get()], upstream: echo },
  { name: 'ratelimit: over', ...ratelimit(), ...limited('over'), client: [get()], upstream: echo },
  {
    name: 'ratelimit: over, with every option',
    ...ratelimit({
      enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
      disable_x_envoy_ratelimited_header: true,
      rate_limited_status: { code: 'ServiceUnavailable' },
      response_headers_to_add: [{ header: { key: 'x-limited', value: '%RESPONSE_CODE%' } }],
      stat_prefix: 'own',
    }),
    ...limited('over'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: within, limits told',
    ...ratelimit({ enable_x_ratelimit_headers: 'DRAFT_VERSION_03' }),
    ...limited('ok'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: over, gRPC',
    ...ratelimit({ rate_limited_as_resource_exhausted: true }),
    ...limited('over'),
    client: [get('content-type: application/grpc\r\n')],
    upstream: echo,
  },
  { name: 'ratelimit: the service fails', ...ratelimit(), ...limited('error'), client: [get()], upstream: echo },
  {
    name: 'ratelimit: the service fails, requests are denied',
    ...ratelimit({ failure_mode_deny: true }),
    ...limited('error'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: the service fails, a status of its own',
    ...ratelimit({ failure_mode_deny: true, status_on_error: { code: 'TooManyRequests' } }),
    ...limited('error'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: the service is silent',
    ...ratelimit({ failure_mode_deny: true, timeout: '0.2s' }),
    ...limited('silent'),
    client: [get()],
    upstream: echo,
    quietMs: 800,
  },
  {
    name: 'ratelimit: another stage',
    ...ratelimit({ stage: 3 }),
    ...limited('over'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: for internal requests only',
    ...ratelimit({ request_type: 'internal' }),
    ...limited('over'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: limits of the virtual host',
    ...ratelimit(),
    virtualHost: { rate_limits: [limit('over')] },
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: limits of the route before those of the virtual host',
    ...ratelimit(),
    ...limited('ok'),
    virtualHost: { rate_limits: [limit('over')] },
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: limits of the virtual host included by the route',
    ...ratelimit(),
    ...limited('ok'),
    routeEntry: perRoute({ vh_rate_limits: 'INCLUDE' }),
    virtualHost: { rate_limits: [limit('over')] },
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: limits of the virtual host ignored by the route',
    ...ratelimit(),
    routeEntry: perRoute({ vh_rate_limits: 'IGNORE' }),
    virtualHost: { rate_limits: [limit('over')] },
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: domain of the route',
    ...ratelimit(),
    ...limited('domain'),
    routeEntry: perRoute({ domain: 'other' }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: limits of the route’s configuration of the filter',
    ...ratelimit({ rate_limits: [limit('filter')] }),
    ...limited('route'),
    routeEntry: perRoute({ rate_limits: [limit('over')] }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: limits of the filter itself',
    ...ratelimit({ rate_limits: [limit('over')] }),
    ...limited('ok'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: not enforced',
    ...ratelimit({ filter_enforced: { default_value: { numerator: 0 } } }),
    ...limited('over'),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'ratelimit: switched off',
    ...ratelimit({ filter_enabled: { default_value: { numerator: 0 } } }),
    ...limited('over'),
    client: [get()],
    upstream: echo,
  },
]

/** No details are nothing for us and may be an empty text for Envoy. */
function withDetails(line: unknown): unknown {
  const fields = line as { readonly details: string | null }
  return { ...fields, details: fields.details || null }
}

/** Of the first filter, where its message has one. */
function statPrefix({ filters }: Scenario): string {
  return (filters?.[0]?.typed_config as { stat_prefix?: string } | undefined)?.stat_prefix ?? '-'
}

/** The seconds to the end of an hour depend on how fast the test is. */
function told(received: string): string {
  return received.replace(/x-ratelimit-reset: 3\d\d\d/g, 'x-ratelimit-reset: HOUR')
}

const SKIP = envoyBinary() ? false : 'real Envoy is not installed'

describe('HTTP filters', { skip: SKIP }, () => {
  const sides: { proxy: RunningProxy; listeners: number[] }[] = []
  let servers: (Server | Http2Server)[] = []
  before(async () => {
    const service = await startRateLimitService()
    const upstreamServers = await Promise.all(SCENARIOS.map(startUpstream))
    servers = [service, ...upstreamServers]
    const upstreams = upstreamServers.map((server) => (server.address() as AddressInfo).port)
    const cluster = {
      name: 'ratelimit',
      type: 'STATIC',
      connect_timeout: '1s',
      load_assignment: {
        cluster_name: 'ratelimit',
        endpoints: [{ lb_endpoints: [{ endpoint: { address: address((service.address() as AddressInfo).port) } }] }],
      },
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': type('extensions.upstreams.http.v3.HttpProtocolOptions'),
          explicit_http_config: { http2_protocol_options: {} },
        },
      },
    }
    for (const name of ['envoy', 'outrigger'] as const) {
      const listeners = await Promise.all(SCENARIOS.map(() => freePort()))
      const proxy = await startProxy(name, (ports) =>
        situationBootstrap(SCENARIOS, 'HTTP1', ports, listeners, upstreams, [cluster]),
      )
      sides.push({ proxy, listeners })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
    rmSync(folder, { recursive: true, force: true })
  })

  describe('in parallel', { concurrency: 16 }, () => {
    for (const [i, scenario] of SCENARIOS.entries()) {
      it(scenario.name, async () => {
        const [envoy, ours] = sides
        const theirs = await play(envoy!.listeners[i]!, scenario, null, (traffic) =>
          isIdle(envoy!.proxy, i, traffic, null),
        )
        const mine = await play(ours!.listeners[i]!, scenario, theirs)
        assert.deepEqual([told(mine.received), mine.closed], [told(theirs.received), theirs.closed])
        const envoyLog = await linesOf(envoy!.proxy, i, 1)
        const ourLog = await linesOf(ours!.proxy, i, envoyLog.length)
        assert.deepEqual(ourLog.map(withDetails), envoyLog.map(withDetails))
        const counted = new RegExp(
          `^(cluster\\.c${i}\\.(upstream_rq|.*ratelimit)|extension_config_discovery\\.http_filter\\.${scenario.filters?.[0]?.name}\\.(config|update_(success|rejected))|${statPrefix(scenario)}\\.http_local_rate_limit|http\\.s${i}\\.(fault|rq_))`,
        )
        assert.deepEqual(await statsOf(ours!.proxy, counted), await statsOf(envoy!.proxy, counted))
      })
    }
  })
})
