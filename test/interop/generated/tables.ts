// Random route tables and connection manager settings, valid for Envoy, over one small vocabulary that the random
// requests draw from too, so that most of what is configured is also met.

import fc from 'fast-check'
import { httpFilters, perFilterConfig } from './filters.ts'
import { HEADER_NAMES, HEADER_VALUES, type Json, json, merged, PATHS, QUERY_NAMES, some } from './vocabulary.ts'

const T = 'type.googleapis.com/envoy.'

const stringMatch = merged(
  fc.oneof(
    fc.constantFrom(...HEADER_VALUES).map((exact) => ({ exact })),
    fc.constantFrom('o', 'On', 'two').map((prefix) => ({ prefix })),
    fc.constantFrom('e', 'THREE').map((suffix) => ({ suffix })),
    fc.constantFrom('n', 'O T').map((contains) => ({ contains })),
  ),
  fc.constantFrom({}, {}, { ignore_case: true }),
)
const stringMatcher = fc.oneof(
  { weight: 4, arbitrary: stringMatch },
  {
    weight: 1,
    arbitrary: fc.constantFrom('one|two', '[a-z]+', '-?[0-9]+').map((regex) => ({ safe_regex: { regex } })),
  },
)

const headerMatcher = merged(
  fc.oneof(
    fc.constantFrom(...HEADER_NAMES).map((name) => ({ name })),
    fc.constantFrom(':method', ':authority', ':path', 'cookie').map((name) => ({ name })),
  ),
  fc.oneof(
    stringMatcher.map((string_match) => ({ string_match })),
    fc.boolean().map((present_match) => ({ present_match })),
    fc.constantFrom([0, 6], [-5, 0], [12, 13]).map(([start, end]) => ({ range_match: { start, end } })),
  ),
  some({ invert_match: fc.boolean(), treat_missing_header_as_empty: fc.boolean() }),
)

const queryMatcher = merged(
  fc.constantFrom(...QUERY_NAMES).map((name) => ({ name })),
  fc.oneof(
    stringMatcher.map((string_match) => ({ string_match })),
    fc.boolean().map((present_match) => ({ present_match })),
  ),
)

const pathMatch = fc.oneof(
  fc.constantFrom('/a', '/b/', '/', '/t', '/A').map((prefix) => ({ prefix })),
  fc.constantFrom(...PATHS).map((path) => ({ path })),
  fc.constantFrom('/a', '/b/c', '/x.y').map((path_separated_prefix) => ({ path_separated_prefix })),
  fc.constantFrom('/re/[0-9]+', '/.*/b', '/[a-c](/.*)?').map((regex) => ({ safe_regex: { regex } })),
)
const match = merged(
  pathMatch,
  fc.constantFrom({}, {}, { case_sensitive: false }),
  fc.oneof(
    { weight: 3, arbitrary: fc.constant({}) },
    { weight: 2, arbitrary: fc.array(headerMatcher, { minLength: 1, maxLength: 2 }).map((headers) => ({ headers })) },
    {
      weight: 1,
      arbitrary: fc
        .array(queryMatcher, { minLength: 1, maxLength: 2 })
        .map((query_parameters) => ({ query_parameters })),
    },
    { weight: 1, arbitrary: fc.constant({ grpc: {} }) },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom(0, 100)
        .map((numerator) => ({ runtime_fraction: { default_value: { numerator, denominator: 'HUNDRED' } } })),
    },
  ),
)

const format = fc.constantFrom(
  'plain',
  '',
  '%REQ(:METHOD)%-%REQ(X-A?X-B)%',
  '%PROTOCOL%',
  '100%%',
  '%REQ(:PATH):3%',
  '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%',
  '%ROUTE_NAME%',
  '%REQ(X-MISSING)%',
  '%VIRTUAL_CLUSTER_NAME%',
  '%REQ(:AUTHORITY)%|%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
)
const responseFormat = fc.oneof(
  format,
  fc.constantFrom(
    '%RESPONSE_CODE%',
    '%RESPONSE_FLAGS%',
    '%RESP(X-UP)%',
    '%RESPONSE_CODE_DETAILS%',
    '%UPSTREAM_CLUSTER%',
  ),
)
const headerOption = (value: fc.Arbitrary<string>): fc.Arbitrary<Json> =>
  merged(
    fc
      .tuple(fc.constantFrom('x-new', 'x-a', 'X-Mixed-New', 'x-b', 'user-agent', 'x-up'), value)
      .map(([key, v]) => ({ header: { key, value: v } })),
    some({
      append_action: fc.constantFrom(
        'APPEND_IF_EXISTS_OR_ADD',
        'ADD_IF_ABSENT',
        'OVERWRITE_IF_EXISTS_OR_ADD',
        'OVERWRITE_IF_EXISTS',
      ),
      keep_empty_value: fc.boolean(),
    }),
  )
const mutations = fc
  .tuple(
    fc.array(headerOption(format), { maxLength: 3 }),
    fc.array(headerOption(responseFormat), { maxLength: 2 }),
    fc.subarray(['x-b', 'user-agent', 'x-n'], { maxLength: 1 }),
    fc.subarray(['x-up', 'server'], { maxLength: 1 }),
  )
  .map(([toAdd, responseToAdd, remove, responseRemove]) => ({
    request_headers_to_add: toAdd,
    response_headers_to_add: responseToAdd,
    request_headers_to_remove: remove,
    response_headers_to_remove: responseRemove,
  }))
const sometimesMutations = fc.oneof(
  { weight: 2, arbitrary: json(fc.constant({})) },
  { weight: 1, arbitrary: json(mutations) },
)

const retryPolicy = merged(
  fc
    .constantFrom(
      '5xx',
      'gateway-error',
      'retriable-4xx',
      'reset',
      'connect-failure',
      'retriable-status-codes,reset',
      'retriable-headers',
      'unavailable,cancelled',
      '',
    )
    .map((retry_on) => ({
      retry_on,
      retriable_status_codes: [418],
      retry_back_off: { base_interval: '0.001s', max_interval: '0.002s' },
    })),
  some({
    num_retries: fc.constantFrom(0, 1, 3),
    // No two timeouts of a request are alike: which of them comes first would be chance.
    per_try_timeout: fc.constantFrom('0.5s', '4s'),
    per_try_idle_timeout: fc.constantFrom('0.3s', '3s'),
    retriable_headers: fc.constant([{ name: 'x-up', present_match: true }]),
    retriable_request_headers: fc.constant([{ name: 'x-a', present_match: true }]),
  }),
)

const cluster = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom({ cluster: 'up' }, { cluster: 'up2' }, { cluster: 'proper' }, { cluster: 'once2' }),
  },
  { weight: 1, arbitrary: fc.constantFrom({ cluster: 'missing' }, { cluster: 'empty' }, { cluster: 'refused' }) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('once', 'no-requests', 'no-pending', 'no-connections', 'no-retries')
      .map((name) => ({ cluster: name })),
  },
  { weight: 1, arbitrary: fc.constantFrom({ cluster: 'missing', cluster_not_found_response_code: 'NOT_FOUND' }) },
  { weight: 1, arbitrary: fc.constant({ cluster_header: 'x-cluster' }) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(sometimesMutations, perFilterConfig, fc.constantFrom(0, 100))
      .map(([headers, filters, weight]) => ({
        weighted_clusters: {
          clusters: [
            { name: 'up', weight, ...headers, ...filters },
            { name: 'up2', weight: 100 - weight },
            { name: 'missing', weight: 0 },
          ],
        },
      })),
  },
)
/** Chosen by a header, which `RANDOM_HEADER` asks for: without it the choice would be random. */
const weightedByHeader = fc.tuple(sometimesMutations, fc.constantFrom(1, 30, 70)).map(([headers, weight]) => ({
  weighted_clusters: {
    header_name: 'x-random',
    clusters: [
      { name: 'up', weight, ...headers },
      { name: 'up2', weight: 10 },
      { name: 'missing', weight: 5 },
    ],
  },
}))
const RANDOM_HEADER = { name: 'x-random', range_match: { start: 0, end: 1000 } }

const rewrite = fc.oneof(
  { weight: 3, arbitrary: json(fc.constant({})) },
  {
    weight: 1,
    arbitrary: json(fc.constantFrom({ prefix_rewrite: '/' }, { prefix_rewrite: '/new' }, { prefix_rewrite: '/new/' })),
  },
  {
    weight: 1,
    arbitrary: json(
      fc.constantFrom(
        { regex_rewrite: { pattern: { regex: '^/([a-z]+)/' }, substitution: '/\\1-\\0' } },
        { regex_rewrite: { pattern: { regex: 'b' }, substitution: '' } },
      ),
    ),
  },
)
const hostRewrite = fc.constantFrom<object>(
  {},
  {},
  { host_rewrite_literal: 'literal.example', append_x_forwarded_host: true },
  { host_rewrite_header: 'x-a' },
  { host_rewrite_path_regex: { pattern: { regex: '^/(.+)/.+$' }, substitution: '\\1' }, append_x_forwarded_host: true },
)

/** To the ring of two hosts. The last policy always has a hash: without one the host would be random. */
const hashed = fc
  .constantFrom<object[]>(
    [],
    [{ header: { header_name: 'x-a' } }],
    [{ query_parameter: { name: 'q' } }],
    [{ cookie: { name: 'a' } }],
    [{ connection_properties: {} }, { header: { header_name: 'x-n' }, terminal: true }],
    [
      {
        header: { header_name: 'x-b', regex_rewrite: { pattern: { regex: 'o' }, substitution: 'u' } },
        terminal: true,
      },
      { header: { header_name: 'x-n' } },
    ],
  )
  .map((policies) => ({ cluster: 'ring', hash_policy: [...policies, { header: { header_name: ':path' } }] }))

const routeAction = merged(
  fc.oneof({ weight: 7, arbitrary: cluster }, { weight: 1, arbitrary: hashed }),
  rewrite,
  hostRewrite,
  some({
    timeout: fc.constantFrom('0s', '6s', '0.7s'),
    retry_policy: retryPolicy,
    request_mirror_policies: fc.constant([{ cluster: 'mirror' }]),
    internal_redirect_policy: fc.constantFrom(
      {},
      { max_internal_redirects: 2, redirect_response_codes: [302, 307] },
      { response_headers_to_copy: ['x-up'] },
    ),
    upgrade_configs: fc.constant([{ upgrade_type: 'websocket', enabled: false }]),
    max_stream_duration: fc.constant({ max_stream_duration: '7s' }),
    idle_timeout: fc.constantFrom('0s', '8s'),
    priority: fc.constantFrom('DEFAULT', 'HIGH'),
  }),
).map((route) => ({ route }))

const redirect = merged(
  fc.constantFrom<object>(
    {},
    { path_redirect: '/there' },
    { path_redirect: '/there?z=1' },
    { prefix_rewrite: '/moved' },
    { regex_rewrite: { pattern: { regex: '/([a-z])' }, substitution: '/\\1\\1' } },
  ),
  fc.constantFrom<object>({}, { https_redirect: true }, { scheme_redirect: 'ftp' }, { scheme_redirect: 'HTTPS' }),
  some({
    host_redirect: fc.constantFrom('to.example', 'to.example:99'),
    port_redirect: fc.constantFrom(8443, 443, 80),
    strip_query: fc.boolean(),
    response_code: fc.constantFrom('FOUND', 'SEE_OTHER', 'TEMPORARY_REDIRECT', 'PERMANENT_REDIRECT'),
  }),
).map((r) => ({ redirect: r }))

const directResponse = merged(
  // Neither 204 nor 304: a local reply of Envoy's would have a body (docs/differences.md).
  fc.constantFrom(200, 203, 302, 404, 503).map((status) => ({ status })),
  some({ body: fc.constantFrom({ inline_string: 'direct' }, { inline_string: '' }) }),
).map((direct_response) => ({ direct_response }))

const route = merged(
  match.map((m) => ({ match: m })),
  fc.oneof(
    { weight: 8, arbitrary: routeAction },
    {
      weight: 1,
      arbitrary: fc.tuple(pathMatch, weightedByHeader).map(([path, action]) => ({
        match: { ...path, headers: [RANDOM_HEADER] },
        route: action,
      })),
    },
    { weight: 1, arbitrary: redirect },
    { weight: 1, arbitrary: directResponse },
  ),
  sometimesMutations,
  perFilterConfig,
)

const virtualHost = fc
  .tuple(
    fc.array(route, { minLength: 1, maxLength: 5 }),
    merged(sometimesMutations, perFilterConfig),
    some({
      include_request_attempt_count: fc.boolean(),
      include_attempt_count_in_response: fc.boolean(),
      require_tls: fc.constantFrom('NONE', 'NONE', 'NONE', 'NONE', 'EXTERNAL_ONLY', 'ALL'),
      retry_policy: retryPolicy,
      include_is_timeout_retry_header: fc.boolean(),
      virtual_clusters: fc.constant([
        { name: 'posts', headers: [{ name: ':method', string_match: { exact: 'POST' } }] },
        { name: 'a', headers: [{ name: ':path', string_match: { prefix: '/a' } }] },
      ]),
    }),
  )
  .map(([routes, headers, rest]) => ({ routes, ...headers, ...rest }))

const localReplyFilter = fc.oneof(
  fc.constantFrom(404, 503, 504).map((status) => ({
    status_code_filter: { comparison: { op: 'EQ', value: { default_value: status, runtime_key: 'k' } } },
  })),
  fc.constant({ status_code_filter: { comparison: { op: 'GE', value: { default_value: 500, runtime_key: 'k' } } } }),
  fc.constantFrom(['NR'], ['UH', 'UF'], ['DPE'], []).map((flags) => ({ response_flag_filter: { flags } })),
  fc.constantFrom('one', '5').map((exact) => ({
    header_filter: { header: { name: 'x-a', string_match: { exact } } },
  })),
)
const bodyFormat = fc.constantFrom<object>(
  { json_format: { code: '%RESPONSE_CODE%', body: '%LOCAL_REPLY_BODY%', path: '%REQ(:PATH)%' } },
  { text_format_source: { inline_string: '%LOCAL_REPLY_BODY% %RESPONSE_CODE%\n' }, content_type: 'text/x' },
  { text_format_source: { inline_string: '%RESPONSE_CODE_DETAILS%|%RESPONSE_FLAGS%|%ROUTE_NAME%' } },
)
const localReplyConfig = some({
  mappers: fc.array(
    merged(
      localReplyFilter.map((filter) => ({ filter })),
      some({
        status_code: fc.constantFrom(499, 403, 503),
        headers_to_add: fc.constant([{ header: { key: 'x-mapped', value: '%RESPONSE_CODE%' } }]),
        body: fc.constant({ inline_string: 'mapped' }),
        body_format_override: bodyFormat,
      }),
    ),
    { minLength: 1, maxLength: 2 },
  ),
  body_format: bodyFormat,
})

/** A RouteConfiguration. */
const routeTable = fc
  .tuple(
    fc.array(virtualHost, { minLength: 4, maxLength: 4 }),
    sometimesMutations,
    some({
      most_specific_header_mutations_wins: fc.boolean(),
      ignore_port_in_host_matching: fc.boolean(),
      ignore_path_parameters_in_path_matching: fc.boolean(),
      internal_only_headers: fc.constant(['x-n']),
    }),
  )
  .map(([hosts, headers, rest]) => {
    const domains = [['one.example'], ['*.two.example'], ['three.*', 'three.example:81'], ['*']]
    return {
      name: 'table',
      validate_clusters: false,
      virtual_hosts: hosts.map((host, i) => ({
        ...host,
        name: `v${i}`,
        domains: domains[i],
        // The last one takes what no random match does.
        routes: [...host.routes, { match: { prefix: '/' }, route: { cluster: i % 2 ? 'up2' : 'up' } }].map((r, j) => ({
          ...r,
          name: `v${i}-r${j}`,
        })),
      })),
      ...headers,
      ...rest,
    }
  })

/** Fields of the HttpConnectionManager. */
const settings = merged(
  some({
    normalize_path: fc.boolean(),
    merge_slashes: fc.boolean(),
    path_with_escaped_slashes_action: fc.constantFrom(
      'KEEP_UNCHANGED',
      'REJECT_REQUEST',
      'UNESCAPE_AND_REDIRECT',
      'UNESCAPE_AND_FORWARD',
    ),
    use_remote_address: fc.boolean(),
    xff_num_trusted_hops: fc.constantFrom(0, 1, 2),
    skip_xff_append: fc.boolean(),
    via: fc.constant('hop'),
    server_name: fc.constant('named'),
    server_header_transformation: fc.constantFrom('OVERWRITE', 'APPEND_IF_ABSENT', 'PASS_THROUGH'),
    strip_trailing_host_dot: fc.boolean(),
    preserve_external_request_id: fc.boolean(),
    always_set_request_id_in_response: fc.boolean(),
    generate_request_id: fc.boolean(),
    proxy_100_continue: fc.boolean(),
    upgrade_configs: fc.constant([{ upgrade_type: 'websocket' }]),
    append_x_forwarded_port: fc.boolean(),
    represent_ipv4_remote_address_as_ipv4_mapped_ipv6: fc.boolean(),
    stream_error_on_invalid_http_message: fc.boolean(),
    scheme_header_transformation: fc.constantFrom({ scheme_to_overwrite: 'https' }, { scheme_to_overwrite: 'http' }),
    internal_address_config: fc.constant({ cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] }),
    max_request_headers_kb: fc.constantFrom(8, 60),
    local_reply_config: localReplyConfig,
    forward_client_cert_details: fc.constantFrom(
      'SANITIZE',
      'FORWARD_ONLY',
      'APPEND_FORWARD',
      'SANITIZE_SET',
      'ALWAYS_FORWARD_ONLY',
    ),
    set_current_client_cert_details: some({
      subject: fc.boolean(),
      cert: fc.boolean(),
      chain: fc.boolean(),
      dns: fc.boolean(),
      uri: fc.boolean(),
    }),
  }),
  fc.constantFrom<object>({}, {}, { strip_any_host_port: true }, { strip_matching_host_port: true }),
  some({
    accept_http_10: fc.constantFrom(true, true, false),
    default_host_for_http_10: fc.constant('one.example'),
    enable_trailers: fc.boolean(),
    allow_absolute_url: fc.boolean(),
    allow_chunked_length: fc.boolean(),
    header_key_format: fc.constantFrom(
      { proper_case_words: {} },
      {
        stateful_formatter: {
          name: 'preserve_case',
          typed_config: {
            '@type': `${T}extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig`,
          },
        },
      },
    ),
    override_stream_error_on_invalid_http_message: fc.boolean(),
  }).map((http_protocol_options) => ({ http_protocol_options })),
  some({
    headers_with_underscores_action: fc.constantFrom('ALLOW', 'REJECT_REQUEST', 'DROP_HEADER'),
    max_headers_count: fc.constantFrom(9, 100, 100),
    max_requests_per_connection: fc.constantFrom(1, 2),
  }).map((options) => ({ common_http_protocol_options: { idle_timeout: '0.8s', ...options } })),
  fc
    .tuple(
      routeTable,
      httpFilters,
      some({
        suppress_envoy_headers: fc.boolean(),
        respect_expected_rq_timeout: fc.boolean(),
        start_child_span: fc.boolean(),
      }),
    )
    .map(([route_config, filters, router]) => ({
      route_config,
      http_filters: [
        ...filters,
        {
          name: 'envoy.filters.http.router',
          typed_config: { '@type': `${T}extensions.filters.http.router.v3.Router`, ...router },
        },
      ],
    })),
)

/** `count` connection managers, the same for the same seed. */
export function generateManagers(seed: number, count: number): Json[] {
  return fc.sample(settings, { seed, numRuns: count })
}
