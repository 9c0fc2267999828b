// What a rate limit service is asked, beside real Envoy: hits, limits of the request's own, questions at the end.

import assert from 'node:assert/strict'
import type { Http2Server } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { fromJson, type JsonValue, toBinary, toJson } from '@bufbuild/protobuf'
import { ValueSchema } from '@bufbuild/protobuf/wkt'
import { RateLimitRequestSchema } from '../../src/api/gen/envoy/service/ratelimit/v3/rls_pb.js'
import { isIdle } from './harness/idle.ts'
import { play, type Scenario } from './harness/play.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { startRateLimitService } from './harness/rate-limit-service.ts'
import { address, situationBootstrap, startUpstream, statsOf } from './harness/situations.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const get = (headers = ''): string => `GET / HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const upstream = (): string => 'HTTP/1.1 200 OK\r\nx-cost: 7\r\ncontent-length: 3\r\n\r\nabc'

interface Case extends Scenario {
  /** Added to the filter. */
  readonly filter?: object
}

/** A limit of the route that the service lets pass, or refuses (`over`). */
const limit = (more: object, descriptor_value = 'ok'): object => ({
  actions: [{ generic_key: { descriptor_value } }],
  ...more,
})
const limits = (...rate_limits: object[]): object => ({ route: { rate_limits } })
/** Limits of the filter itself: those of routes have no hits of their own. */
const own = (...rate_limits: object[]): object => ({ filter: { rate_limits } })
const hits = (hits_addend: object): object => own(limit({ hits_addend }))

/** Metadata `limit` from the header x-limit, which holds a message of google.protobuf.Value. */
const FROM_HEADER = {
  name: 'envoy.filters.http.header_to_metadata',
  typed_config: {
    '@type': type('extensions.filters.http.header_to_metadata.v3.Config'),
    request_rules: [
      {
        header: 'x-limit',
        on_header_present: { metadata_namespace: 'own', key: 'limit', type: 'PROTOBUF_VALUE', encode: 'BASE64' },
      },
    ],
  },
}
const OVERRIDE = { limit: { dynamic_metadata: { metadata_key: { key: 'own', path: [{ key: 'limit' }] } } } }
const withLimit = (value: JsonValue): string =>
  get(`x-limit: ${Buffer.from(toBinary(ValueSchema, fromJson(ValueSchema, value))).toString('base64')}\r\n`)
const perRoute = (more: object): object => ({
  typed_per_filter_config: {
    'envoy.filters.http.ratelimit': {
      '@type': type('extensions.filters.http.ratelimit.v3.RateLimitPerRoute'),
      ...more,
    },
  },
})

/** A local rate limit of ten for the descriptor of `limit`, told in headers. */
const local = (more: object): { name: string; typed_config: object } => ({
  name: 'envoy.filters.http.local_ratelimit',
  typed_config: {
    '@type': type('extensions.filters.http.local_ratelimit.v3.LocalRateLimit'),
    stat_prefix: 'local',
    token_bucket: { max_tokens: 1000, fill_interval: '3600s' },
    filter_enabled: { default_value: { numerator: 100 } },
    filter_enforced: { default_value: { numerator: 100 } },
    enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
    descriptors: [
      {
        entries: [{ key: 'generic_key', value: 'ok' }],
        token_bucket: { max_tokens: 10, fill_interval: '3600s' },
      },
    ],
    ...more,
  },
})

const HITS = [
  '3',
  '2.9',
  '0',
  '1e2',
  '1.',
  '-1',
  '+1',
  'x',
  '1000000000',
  '1000000001',
  '',
  '0x10',
  'inf',
  '1 2',
  '.5',
  '+0x1F',
  '1e',
  '0x',
]

/** One action for each limit, asked with headers that its formats read and without. */
const actions = (name: string, ...list: object[]): Case => ({
  name: `action: ${name}`,
  ...limits(...list.map((action) => ({ actions: [action] }))),
  client: [
    get(),
    get('x-a: 1\r\nx-b: 2\r\n'),
    'GET /p?q=1&q=2&e=&enc=a%20b HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n',
    'GET /p?%71=%7z&e&enc=a+b%2 HTTP/1.1\r\nhost: a\r\n\r\n',
  ],
  quietMs: 100,
})
const FORMATS = ['plain', '%REQ(x-a)%', '<%REQ(x-a)%>', '%REQ(x-a)%%REQ(x-b)%', '%%', '%PROTOCOL%']
/** Each of the formats, with a value in its place and without. */
const formatted = (name: string, make: (more: object) => object): Case =>
  actions(
    name,
    ...FORMATS.flatMap((descriptor_value) =>
      [{}, { default_value: 'none' }, { default_value: '%REQ(x-b)%' }].map((more) =>
        make({ descriptor_value, ...more }),
      ),
    ),
  )
const matched = (address_matcher: object, more: object = {}): object => ({
  remote_address_match: { descriptor_value: 'v', address_matcher, ...more },
})
const range = (address_prefix: string, prefix_len: number): object => ({ address_prefix, prefix_len })

const OPTIONS = ['UNSPECIFIED', 'OFF', 'DRAFT_VERSION_03']
const bucketOf = (value: string, max_tokens: number): object => ({
  entries: [{ key: 'generic_key', value }],
  token_bucket: { max_tokens, fill_interval: '3600s' },
})

const CASES: readonly Case[] = [
  formatted('generic_key', (generic_key) => ({ generic_key })),
  formatted('header_value_match', (more) => ({
    header_value_match: { headers: [{ name: 'x-b', present_match: true }], expect_match: false, ...more },
  })),
  formatted('query_parameter_value_match', (more) => ({
    query_parameter_value_match: {
      query_parameters: [{ name: 'e', present_match: true }],
      expect_match: false,
      ...more,
    },
  })),
  formatted('remote_address_match', (more) => matched({ ranges: [range('127.0.0.0', 8)] }, more)),
  actions(
    'query_parameters',
    ...['q', 'e', 'enc', 'none'].flatMap((query_parameter_name) =>
      [false, true].map((skip_if_absent) => ({
        query_parameters: { query_parameter_name, descriptor_key: 'k', skip_if_absent },
      })),
    ),
  ),
  actions(
    'remote_address_match',
    matched({ ranges: [range('10.0.0.0', 8)] }),
    matched({ ranges: [range('10.0.0.0', 8), range('127.0.0.1', 32)] }),
    matched({ ranges: [range('10.0.0.0', 8)], invert_match: true }),
    matched({ ranges: [range('127.0.0.0', 8)], invert_match: true }),
    matched({ ranges: [range('::', 0)] }),
    matched({ ranges: [] }),
    matched({ ranges: [], invert_match: true }),
    matched({ ranges: [range('0.0.0.0', 0)] }, { descriptor_key: 'own' }),
  ),
  {
    name: 'action: query_parameters skipped among others',
    ...limits({
      actions: [
        { query_parameters: { query_parameter_name: 'q', descriptor_key: 'k', skip_if_absent: true } },
        { generic_key: { descriptor_value: 'g' } },
      ],
    }),
    client: [get()],
  },
  ...[false, true].map(
    (apply_on_stream_done): Case => ({
      name: `action: metadata of the cluster, ${apply_on_stream_done ? 'at the end' : 'before'}`,
      cluster: { metadata: { filter_metadata: { m: { p: 'of the cluster' } } } },
      ...limits({
        apply_on_stream_done,
        actions: [
          {
            metadata: {
              source: 'CLUSTER_ENTRY',
              descriptor_key: 'k',
              default_value: 'd',
              metadata_key: { key: 'm', path: [{ key: 'p' }] },
            },
          },
        ],
      }),
      client: [get()],
    }),
  ),
  {
    name: 'limit: a fixed one',
    ...limits(
      limit({ limit: { rate_limit: { requests_per_unit: 5, unit: 'HOUR' } } }),
      limit({ limit: { rate_limit: {} } }),
    ),
    client: [get()],
  },
  ...OPTIONS.flatMap((first) =>
    [undefined, ...OPTIONS].flatMap((second) =>
      ['OFF', 'DRAFT_VERSION_03'].map(
        (enable_x_ratelimit_headers): Case => ({
          name: `x_ratelimit_option ${first} and ${second}, headers ${enable_x_ratelimit_headers}`,
          ...limits(
            limit({ x_ratelimit_option: first }),
            ...(second ? [limit({ x_ratelimit_option: second }, 'b')] : []),
          ),
          filter: { enable_x_ratelimit_headers },
          client: [get()],
        }),
      ),
    ),
  ),
  ...OPTIONS.flatMap((first) =>
    OPTIONS.flatMap((second) =>
      ['OFF', 'DRAFT_VERSION_03'].map(
        (enable_x_ratelimit_headers): Case => ({
          name: `local_ratelimit, x_ratelimit_option ${first} and ${second}, headers ${enable_x_ratelimit_headers}`,
          filters: [
            local({
              descriptors: [bucketOf('ok', 10), bucketOf('b', 5)],
              rate_limits: [limit({ x_ratelimit_option: first }), limit({ x_ratelimit_option: second }, 'b')],
              enable_x_ratelimit_headers,
            }),
          ],
          client: [get(), get()],
          quietMs: 100,
        }),
      ),
    ),
  ),
  ...['request_headers', 'metadata'].map(
    (kind): Case => ({
      name: `action: nothing but a skipped ${kind}`,
      ...limits({
        actions: [
          kind === 'metadata'
            ? {
                metadata: {
                  descriptor_key: 'k',
                  skip_if_absent: true,
                  metadata_key: { key: 'm', path: [{ key: 'p' }] },
                },
              }
            : { request_headers: { header_name: 'x-none', descriptor_key: 'k', skip_if_absent: true } },
        ],
      }),
      client: [get()],
    }),
  ),
  { name: 'hits: a number', ...hits({ number: 5 }), client: [get()] },
  { name: 'hits: given back', ...hits({ number: 5, is_negative_hits: true }), client: [get()] },
  { name: 'hits: zero', ...hits({ number: 0 }), client: [get()] },
  {
    name: 'hits: of a header',
    ...hits({ format: '%REQ(x-hits)%' }),
    client: [...HITS.map((value) => get(`x-hits: ${value}\r\n`)), get()],
    quietMs: 100,
  },
  { name: 'hits: of a typed value', ...hits({ format: '%BYTES_RECEIVED%' }), client: [get()] },
  { name: 'hits: each descriptor its own', ...own(limit({}), limit({ hits_addend: { number: 2 } })), client: [get()] },
  {
    name: 'hits: of a route',
    ...limits(limit({ hits_addend: { number: 2 } }), limit({ hits_addend: { format: '%NOPE%' } })),
    client: [get()],
  },
  {
    name: 'hits: per route',
    routeEntry: perRoute({ rate_limits: [limit({ hits_addend: { number: 2 } })] }),
    client: [get()],
  },
  {
    name: 'hits: local_ratelimit',
    filters: [local({ rate_limits: [limit({ hits_addend: { format: '%REQ(x-hits)%' } })] })],
    client: ['3', '8', '0', '5', '2', 'x', '100', '2', '1'].map((value) => get(`x-hits: ${value}\r\n`)),
    quietMs: 100,
  },
  {
    name: 'hits: local_ratelimit, given back',
    filters: [
      local({
        rate_limits: [
          limit({ hits_addend: { format: '%REQ(x-take)%' } }),
          limit({ hits_addend: { format: '%REQ(x-give)%', is_negative_hits: true } }),
        ],
      }),
    ],
    client: ['take: 7', 'give: 4', 'take: 8', 'take: 7', 'give: 0', 'give: 2', 'give: 30', 'take: 10', 'give: 1'].map(
      (value) => get(`x-${value}\r\n`),
    ),
    quietMs: 100,
  },
  {
    name: 'done: local_ratelimit',
    filters: [local({ rate_limits: [limit({ apply_on_stream_done: true, hits_addend: { number: 4 } })] })],
    client: Array<string>(5).fill(get()),
    quietMs: 100,
  },
  {
    name: 'done: local_ratelimit, of the route',
    filters: [local({})],
    ...limits(limit({ apply_on_stream_done: true })),
    client: Array<string>(5).fill(get()),
    quietMs: 100,
  },
  {
    name: 'limit and hits: local_ratelimit, of the route',
    filters: [local({})],
    ...limits(limit({ ...OVERRIDE, hits_addend: { number: 4 } })),
    client: [get(), get(), get()],
    quietMs: 100,
  },
  {
    name: 'limit',
    filters: [FROM_HEADER],
    ...limits(limit(OVERRIDE), limit({})),
    client: [
      get(),
      withLimit({ requests_per_unit: 9, unit: 'HOUR' }),
      withLimit({ requests_per_unit: 9.7, unit: 'MONTH' }),
      withLimit({ requests_per_unit: 0, unit: 'UNKNOWN' }),
      withLimit({ requests_per_unit: 9, unit: 'hour' }),
      withLimit({ requests_per_unit: 9, unit: 'WEEK' }),
      withLimit({ requests_per_unit: '9', unit: 'HOUR' }),
      withLimit({ requests_per_unit: 9, unit: 3 }),
      withLimit({ requests_per_unit: 9 }),
      withLimit('HOUR'),
    ],
    quietMs: 100,
  },
  {
    name: 'limit: of a limit per route',
    filters: [FROM_HEADER],
    routeEntry: perRoute({ rate_limits: [limit(OVERRIDE)] }),
    client: [withLimit({ requests_per_unit: 9, unit: 'HOUR' })],
  },
  ...['DEFAULT', 'OVERRIDE_POLICY', 'INCLUDE_POLICY', 'IGNORE_POLICY'].flatMap((override_option) =>
    ['OVERRIDE', 'INCLUDE'].flatMap((vh_rate_limits) =>
      [limits(limit({})), {}].map(
        (route, i): Case => ({
          name: `override_option ${override_option}, vh_rate_limits ${vh_rate_limits}, ${i === 0 ? 'with' : 'without'} limits of the route`,
          ...route,
          routeEntry: perRoute({ override_option, vh_rate_limits }),
          virtualHost: { rate_limits: [limit({}, 'of the host')] },
          client: [get()],
        }),
      ),
    ),
  ),
  {
    name: 'done: beside another',
    ...limits(limit({}), limit({ apply_on_stream_done: true }, 'over')),
    client: [get()],
  },
  {
    name: 'done: hits of the response',
    ...own(
      ...['RESP(x-cost)', 'BYTES_SENT', 'RESPONSE_CODE', 'REQ(x)'].map((command) =>
        limit({ apply_on_stream_done: true, hits_addend: { format: `%${command}%` } }, command),
      ),
    ),
    client: [get()],
  },
  {
    name: 'done: of a request that was refused',
    ...limits(limit({}, 'over'), limit({ apply_on_stream_done: true })),
    client: [get()],
  },
  {
    name: 'done: the service fails',
    ...limits(limit({ apply_on_stream_done: true }, 'error')),
    filter: { failure_mode_deny: true },
    client: [get()],
  },
  {
    name: 'done: of the filter itself',
    filter: { rate_limits: [limit({ apply_on_stream_done: true })] },
    client: [get()],
  },
  {
    name: 'done: of another kind of request',
    filter: { request_type: 'internal' },
    ...limits(limit({ apply_on_stream_done: true })),
    client: [get()],
  },
  {
    name: 'done: after an answer of the route',
    routeEntry: { redirect: { path_redirect: '/x' } },
    filter: { rate_limits: [limit({ apply_on_stream_done: true })] },
    client: [get()],
  },
]

const SKIP = envoyBinary() ? false : 'real Envoy is not installed'

describe('questions to a rate limit service', { skip: SKIP }, () => {
  const sides: { proxy: RunningProxy; listeners: number[]; questions: Map<string, JsonValue[]> }[] = []
  const servers: (Server | Http2Server)[] = []
  before(async () => {
    const cases = CASES.map((each, i) => ({ upstream, ...each, filters: [...(each.filters ?? []), filterOf(each, i)] }))
    const upstreams = await Promise.all(cases.map(startUpstream))
    servers.push(...upstreams)
    for (const name of ['envoy', 'outrigger'] as const) {
      const questions = new Map<string, JsonValue[]>()
      const service = await startRateLimitService((request) => {
        const seen = questions.get(request.domain)
        const question = toJson(RateLimitRequestSchema, request)
        if (seen) seen.push(question)
        else questions.set(request.domain, [question])
      })
      servers.push(service)
      const listeners = await Promise.all(cases.map(() => freePort()))
      const proxy = await startProxy(name, (ports) =>
        situationBootstrap(cases, 'HTTP1', ports, listeners, upstreams.map(portOf), [clusterOf(portOf(service))]),
      )
      sides.push({ proxy, listeners, questions })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
  })

  describe('in parallel', { concurrency: 8 }, () => {
    for (const [i, each] of CASES.entries()) {
      it(each.name, async () => {
        const [envoy, ours] = sides
        const theirs = await play(envoy!.listeners[i]!, each, null, (traffic) => isIdle(envoy!.proxy, i, traffic, null))
        const mine = await play(ours!.listeners[i]!, each, theirs)
        assert.deepEqual(told(mine.received), told(theirs.received))
        const theirQuestions = await asked(envoy!.questions, i, 1)
        assert.deepEqual(await asked(ours!.questions, i, theirQuestions.length), theirQuestions)
        const counted = new RegExp(`^cluster\\.c${i}\\..*ratelimit`)
        assert.deepEqual(await statsOf(ours!.proxy, counted), await statsOf(envoy!.proxy, counted))
      })
    }
  })
})

const portOf = (server: Server | Http2Server): number => (server.address() as AddressInfo).port
const domainOf = (i: number): string => `d${i}`

/** An hour to wait is one second less when the client before was slow. */
function told(received: string): string {
  return received
    .replace(/x-envoy-upstream-service-time: \d+|date: .*/g, '')
    .replace(/x-ratelimit-reset: (?:3600|35\d\d)\r/g, 'x-ratelimit-reset: an hour\r')
}

/** Questions of case `i`, once there are `count` or no more come. */
async function asked(questions: Map<string, JsonValue[]>, i: number, count: number): Promise<readonly JsonValue[]> {
  const seen = (): readonly JsonValue[] => questions.get(domainOf(i)) ?? []
  for (let tries = 0; tries < 40 && seen().length < count; tries++)
    await new Promise((resolve) => setTimeout(resolve, 25))
  return seen()
}

function filterOf({ filter }: Case, i: number): { name: string; typed_config: object } {
  return {
    name: 'envoy.filters.http.ratelimit',
    typed_config: {
      '@type': type('extensions.filters.http.ratelimit.v3.RateLimit'),
      domain: domainOf(i),
      timeout: '2s',
      rate_limit_service: {
        transport_api_version: 'V3',
        grpc_service: { envoy_grpc: { cluster_name: 'ratelimit' } },
      },
      ...filter,
    },
  }
}

function clusterOf(port: number): object {
  return {
    name: 'ratelimit',
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: {
      cluster_name: 'ratelimit',
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }],
    },
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': type('extensions.upstreams.http.v3.HttpProtocolOptions'),
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
  }
}
