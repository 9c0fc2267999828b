// What Envoy's documentation shows by example, in configurations of our own, beside real Envoy.

import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'
import { address } from './harness/situations.ts'

const T = 'type.googleapis.com/envoy.'
const HTTP = `${T}extensions.filters.http.`
const get = (path = '/', ...headers: string[]): string =>
  `GET ${path} HTTP/1.1\r\nhost: a\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`
const answer = (body = '', ...headers: string[]): string =>
  `HTTP/1.1 200 OK\r\n${headers.map((line) => `${line}\r\n`).join('')}content-length: ${body.length}\r\n\r\n${body}`
const filter = (name: string, type: string, fields: object = {}): { name: string; typed_config: object } => ({
  name: `envoy.filters.http.${name}`,
  typed_config: { '@type': HTTP + type, ...fields },
})
const always = (runtime_key: string): object => ({
  runtime_key,
  default_value: { numerator: 100, denominator: 'HUNDRED' },
})
const bucket = (tokens: number): object => ({ max_tokens: tokens, tokens_per_fill: tokens, fill_interval: '600s' })
const skip = {
  action: { name: 'skip', typed_config: { '@type': `${T}extensions.filters.common.matcher.action.v3.SkipFilter` } },
}
const header = (header_name: string): object => ({
  name: 'request-headers',
  typed_config: { '@type': `${T}type.matcher.v3.HttpRequestHeaderMatchInput`, header_name },
})
const second = (exact: string): object => ({
  single_predicate: { input: header('second-header'), value_match: { exact } },
})
const gzip = (name: string, fields: object): object => ({
  compressor_library: {
    name,
    typed_config: { '@type': `${T}extensions.compression.gzip.compressor.v3.Gzip`, ...fields },
  },
})
const enabled = (value: boolean, runtime_key: string): object => ({
  common_config: { enabled: { default_value: value, runtime_key } },
})
const labelled = (port: number, labels: Record<string, string>): object => ({
  endpoint: { address: address(port) },
  metadata: { filter_metadata: { 'envoy.lb': labels } },
})

const SCENARIOS: Scenario[] = [
  {
    name: 'local rate limits of a route, by descriptor',
    filters: [filter('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', { stat_prefix: 'listener' })],
    routeEntry: {
      match: { prefix: '/foo' },
      typed_per_filter_config: {
        'envoy.filters.http.local_ratelimit': {
          '@type': `${HTTP}local_ratelimit.v3.LocalRateLimit`,
          stat_prefix: 'route',
          token_bucket: bucket(100),
          filter_enabled: always('enabled'),
          filter_enforced: always('enforced'),
          response_headers_to_add: [
            { header: { key: 'x-limited', value: 'yes' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
          ],
          descriptors: [
            {
              entries: [
                { key: 'who', value: 'one' },
                { key: 'path', value: '/foo/a' },
              ],
              token_bucket: bucket(1),
            },
            {
              entries: [
                { key: 'who', value: 'two' },
                { key: 'path', value: '/foo/a' },
              ],
              token_bucket: bucket(2),
            },
          ],
        },
      },
    },
    route: {
      rate_limits: [
        {
          actions: [
            { request_headers: { header_name: 'x-who', descriptor_key: 'who' } },
            { request_headers: { header_name: ':path', descriptor_key: 'path' } },
          ],
        },
      ],
    },
    client: [
      get('/foo/a', 'x-who: one'),
      get('/foo/a', 'x-who: one'),
      get('/foo/a', 'x-who: two'),
      get('/foo/b', 'x-who: one'),
      get('/foo/a', 'x-who: two'),
      get('/foo/a', 'x-who: two'),
      get('/other', 'x-who: one'),
    ],
    upstream: () => answer(),
  },
  {
    name: 'answers of our own changed by their status',
    hcm: {
      local_reply_config: {
        mappers: [
          {
            filter: {
              status_code_filter: { comparison: { op: 'EQ', value: { default_value: 404, runtime_key: 'mapped' } } },
            },
            headers_to_add: [{ header: { key: 'foo', value: 'bar' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }],
            status_code: 401,
            body: { inline_string: 'not allowed' },
          },
        ],
        body_format: {
          json_format: { status: '%RESPONSE_CODE%', path: '%REQ(:path)%', message: '%LOCAL_REPLY_BODY%' },
        },
      },
    },
    routeEntry: { match: { prefix: '/something' } },
    client: [get('/something'), get('/else'), get('/else', 'x-long: y')],
    upstream: () => answer('there'),
  },
  {
    name: 'a request header made of what is not known yet',
    routeConfig: { request_headers_to_add: [{ header: { key: 'response-code', value: '%RESPONSE_CODE%' } }] },
    client: [get()],
    upstream: (head) => answer('', `x-seen: ${/response-code: .*/i.exec(head)?.[0].trim() ?? 'nothing'}`),
  },
  {
    name: 'a matcher within a matcher',
    filters: [
      {
        name: 'with-matcher',
        typed_config: {
          '@type': `${T}extensions.common.matching.v3.ExtensionWithMatcher`,
          extension_config: filter('fault', 'fault.v3.HTTPFault', {
            abort: { http_status: 503, percentage: { numerator: 100, denominator: 'HUNDRED' } },
          }),
          xds_matcher: {
            matcher_tree: {
              input: header('some-header'),
              exact_match_map: {
                map: {
                  wanted: {
                    matcher: {
                      matcher_list: {
                        matchers: [
                          { predicate: { or_matcher: { predicate: [second('foo'), second('bar')] } }, on_match: skip },
                        ],
                      },
                    },
                  },
                },
              },
            },
          },
        },
      },
    ],
    client: [
      get(),
      get('/', 'some-header: wanted'),
      get('/', 'some-header: wanted', 'second-header: foo'),
      get('/', 'some-header: wanted', 'second-header: bar'),
      get('/', 'second-header: foo'),
    ],
    upstream: () => answer(),
  },
  {
    name: 'RBAC by a condition and by identities that nobody has over plain text',
    filters: [
      filter('rbac', 'rbac.v3.RBAC', {
        rules: {
          action: 'ALLOW',
          policies: {
            admins: {
              condition: {
                call_expr: {
                  function: 'startsWith',
                  args: [
                    { select_expr: { operand: { ident_expr: { name: 'request' } }, field: 'path' } },
                    { const_expr: { string_value: '/admin/' } },
                  ],
                },
              },
              permissions: [{ any: true }],
              principals: [{ authenticated: { principal_name: { exact: 'cluster.local/ns/default/sa/admin' } } }],
            },
            open: {
              condition: {
                call_expr: {
                  function: '_==_',
                  args: [
                    { select_expr: { operand: { ident_expr: { name: 'request' } }, field: 'method' } },
                    { const_expr: { string_value: 'HEAD' } },
                  ],
                },
              },
              permissions: [{ url_path: { path: { prefix: '/open' } } }],
              principals: [{ any: true }],
            },
          },
        },
      }),
    ],
    client: [get('/admin/x'), get('/open/x'), 'HEAD /open/x HTTP/1.1\r\nhost: a\r\n\r\n'],
    upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n',
  },
  {
    name: 'one compressor for answers, another for requests',
    filters: [
      filter('compressor', 'compressor.v3.Compressor', {
        request_direction_config: enabled(false, 'requests'),
        ...gzip('for_response', { memory_level: 3, window_bits: 10, compression_level: 'BEST_COMPRESSION' }),
      }),
      filter('compressor', 'compressor.v3.Compressor', {
        response_direction_config: enabled(false, 'responses'),
        request_direction_config: enabled(true, 'requests'),
        ...gzip('for_request', { memory_level: 9, window_bits: 15, compression_level: 'BEST_SPEED' }),
      }),
    ],
    client: [
      get(),
      get('/', 'accept-encoding: gzip'),
      `POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\n${'b'.repeat(100)}`,
    ],
    // When all of the request is here.
    upstream: (head, socket) => {
      const seen = /content-encoding: .*/i.exec(head)?.[0].trim() ?? 'plain'
      setTimeout(() => socket.write(answer('c'.repeat(100), 'content-type: text/plain', `x-seen: ${seen}`)), 100)
      return null
    },
    slackBytes: 40,
  },
  {
    name: 'subsets by a version that a header names',
    filters: [
      filter('header_to_metadata', 'header_to_metadata.v3.Config', {
        request_rules: [
          {
            header: 'x-version',
            on_header_present: { metadata_namespace: 'envoy.lb', key: 'version', type: 'STRING' },
            on_header_missing: { metadata_namespace: 'envoy.lb', key: 'default', value: 'true', type: 'STRING' },
            remove: false,
          },
        ],
      }),
    ],
    cluster: {
      lb_subset_config: {
        fallback_policy: 'NO_FALLBACK',
        subset_selectors: [{ keys: ['default'] }, { keys: ['version'] }],
      },
      load_assignment: {
        cluster_name: 'c',
        endpoints: [{ lb_endpoints: [labelled(1, { default: 'true' }), labelled(2, { version: '1.0' })] }],
      },
    },
    log: { host: '%UPSTREAM_HOST%' },
    client: [get(), get('/', 'x-version: 1.0'), get('/', 'x-version: 2.0')],
    upstream: () => answer(),
  },
  {
    name: 'an edge: windows, timeouts, underscores, nobody else allowed in',
    hcm: {
      use_remote_address: true,
      common_http_protocol_options: { idle_timeout: '3600s', headers_with_underscores_action: 'REJECT_REQUEST' },
      http2_protocol_options: {
        max_concurrent_streams: 100,
        initial_stream_window_size: 65_536,
        initial_connection_window_size: 1_048_576,
      },
      stream_idle_timeout: '300s',
      request_timeout: '300s',
    },
    listener: { per_connection_buffer_limit_bytes: 32_768 },
    cluster: { per_connection_buffer_limit_bytes: 32_768 },
    routeEntry: { match: { prefix: '/content' } },
    route: { idle_timeout: '15s' },
    client: [get('/content'), get('/other'), get('/content', 'x_under: y')],
    upstream: () => answer('content'),
  },
  {
    name: 'a random balancer by its policy',
    cluster: {
      load_balancing_policy: {
        policies: [
          {
            typed_extension_config: {
              name: 'envoy.load_balancing_policies.random',
              typed_config: { '@type': `${T}extensions.load_balancing_policies.random.v3.Random` },
            },
          },
        ],
      },
    },
    client: [get(), get()],
    upstream: () => answer('random'),
  },
  {
    name: 'a chain of clusters of which the first has no host',
    cluster: {},
    routeEntry: { route: { cluster: 'chain' } },
    client: [get()],
    upstream: () => answer('second'),
  },
]
const CHAIN = SCENARIOS.length - 1

describeBeside('documented examples', SCENARIOS, {
  // Compressed by another library: bytes differ.
  told: (received) => received.replace(/(content-encoding: gzip\r\n[\s\S]*?\r\n\r\n)[\s\S]*?(?=HTTP\/1\.1|$)/gi, '$1…'),
  logged: (line) => ({ ...(line as object), sent: 0 }),
  bootstrap: (made) => {
    const { static_resources, ...rest } = made as { static_resources: { listeners: object[]; clusters: object[] } }
    const chain = {
      name: 'chain',
      connect_timeout: '1s',
      lb_policy: 'CLUSTER_PROVIDED',
      cluster_type: {
        name: 'envoy.clusters.aggregate',
        typed_config: {
          '@type': `${T}extensions.clusters.aggregate.v3.ClusterConfig`,
          clusters: ['primary', `c${CHAIN}`],
        },
      },
    }
    const primary = { name: 'primary', type: 'STATIC', load_assignment: { cluster_name: 'primary' } }
    const { listeners, clusters } = static_resources
    return { ...rest, static_resources: { listeners, clusters: [...clusters, primary, chain] } }
  },
})
