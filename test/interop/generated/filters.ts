// Random HTTP filters, and their configurations on routes, virtual hosts and weighted clusters.

import fc from 'fast-check'
import {
  extAuthz,
  extAuthzRoute,
  headerToMetadata,
  jwtAuthn,
  jwtAuthnRoute,
  setFilterState,
  statefulSession,
  statefulSessionRoute,
} from './more-filters.ts'
import { HEADER_NAMES, HEADER_VALUES, type Json, json, merged, some } from './vocabulary.ts'

const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http.'

const percent = fc.constantFrom(0, 100, 100).map((numerator) => ({ numerator, denominator: 'HUNDRED' }))
const runtimePercent = percent.map((default_value) => ({ default_value, runtime_key: 'k' }))
const exact = fc.constantFrom<string>(...HEADER_VALUES).map((value) => ({ exact: value }))
const headerMatcher = merged(
  fc.constantFrom<object>(...HEADER_NAMES.map((name) => ({ name })), { name: ':path' }, { name: ':method' }),
  fc.oneof(
    exact.map((string_match) => ({ string_match })),
    fc.boolean().map((present_match) => ({ present_match })),
  ),
  some({ invert_match: fc.boolean() }),
)

const corsPolicy = some({
  allow_origin_string_match: fc.constantFrom<object[]>(
    [{ exact: 'http://one.example' }],
    [{ suffix: '.example' }],
    [{ exact: '*' }],
  ),
  allow_methods: fc.constantFrom('GET,POST', ''),
  allow_headers: fc.constantFrom('x-a', ''),
  expose_headers: fc.constant('x-up'),
  max_age: fc.constantFrom('10', ''),
  allow_credentials: fc.boolean(),
  filter_enabled: runtimePercent,
  shadow_enabled: runtimePercent,
  allow_private_network_access: fc.boolean(),
  forward_not_matching_preflights: fc.boolean(),
})

const csrfPolicy = merged(
  runtimePercent.map((filter_enabled) => ({ filter_enabled })),
  some({
    shadow_enabled: runtimePercent,
    additional_origins: fc.constant([{ suffix: 'example' }]),
  }),
)

const fault = merged(
  some({
    headers: fc.array(headerMatcher, { minLength: 1, maxLength: 1 }),
    upstream_cluster: fc.constantFrom('up', 'up2'),
    delay: fc.oneof(
      percent.map((percentage) => ({ fixed_delay: '0.001s', percentage })),
      percent.map((percentage) => ({ header_delay: {}, percentage })),
    ),
    disable_downstream_cluster_stats: fc.boolean(),
  }),
  fc.oneof(
    fc.constant({}),
    fc
      .tuple(fc.constantFrom(400, 404, 503), percent)
      .map(([http_status, percentage]) => ({ abort: { http_status, percentage } })),
    percent.map((percentage) => ({ abort: { grpc_status: 14, percentage } })),
    percent.map((percentage) => ({ abort: { header_abort: {}, percentage } })),
  ),
)

const buffer = fc.constantFrom(3, 5, 10_000, 100_000).map((max_request_bytes) => ({ max_request_bytes }))

const permission = fc.oneof(
  fc.constant({ any: true }),
  headerMatcher.map((header) => ({ header })),
  headerMatcher.map((header) => ({ not_rule: { header } })),
  fc.constantFrom('/a', '/b').map((prefix) => ({ url_path: { path: { prefix } } })),
  fc.tuple(headerMatcher, headerMatcher).map(([a, b]) => ({ and_rules: { rules: [{ header: a }, { header: b }] } })),
)
const principal = fc.oneof(
  fc.constant({ any: true }),
  headerMatcher.map((header) => ({ header })),
  fc.constantFrom('10.0.0.0', '127.0.0.0').map((address_prefix) => ({
    remote_ip: { address_prefix, prefix_len: 8 },
  })),
)
const rbacRules = fc
  .tuple(
    fc.constantFrom('ALLOW', 'DENY', 'LOG'),
    fc.array(permission, { minLength: 1, maxLength: 2 }),
    fc.array(principal, { minLength: 1, maxLength: 2 }),
  )
  .map(([action, permissions, principals]) => ({ action, policies: { p: { permissions, principals } } }))
const rbac = some({ rules: rbacRules, shadow_rules: rbacRules, shadow_rules_stat_prefix: fc.constant('shadow_') })

const localRateLimit = merged(
  // Never empty: what is left of it depends on the order of things.
  fc.constant({ stat_prefix: 'limit', token_bucket: { max_tokens: 1_000_000, fill_interval: '1s' } }),
  some({ filter_enabled: runtimePercent, filter_enforced: runtimePercent }),
)

const option = merged(
  fc
    .tuple(
      fc.constantFrom('x-a', 'x-b', 'x-new', 'x-up', 'user-agent'),
      fc.constantFrom('plain', '', '%REQ(x-a)%', '%PROTOCOL%', '%REQ(:path)%'),
    )
    .map(([key, value]) => ({ header: { key, value } })),
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
const mutation = fc.oneof(
  { weight: 3, arbitrary: option.map((append) => ({ append })) },
  { weight: 1, arbitrary: fc.constantFrom('x-a', 'x-b', 'x-up').map((remove) => ({ remove })) },
)
const mutations = some({
  request_mutations: fc.array(mutation, { minLength: 1, maxLength: 3 }),
  response_mutations: fc.array(mutation, { minLength: 1, maxLength: 3 }),
}).map((found) => ({ mutations: found }))

const GZIP = {
  compressor_library: {
    name: 'gzip',
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip' },
  },
}
/** Nothing is long enough: compressed bodies are a matter of the library's version. */
const compressor = some({
  choose_first: fc.boolean(),
  response_direction_config: some({
    common_config: fc.constant({ min_content_length: 1_000_000 }),
    disable_on_etag_header: fc.boolean(),
    remove_accept_encoding_header: fc.boolean(),
  }).map((config) => ({ common_config: { min_content_length: 1_000_000 }, ...config })),
}).map((config) => ({
  ...GZIP,
  response_direction_config: { common_config: { min_content_length: 1_000_000 } },
  ...config,
}))

interface Kind {
  readonly name: string
  readonly message: string
  readonly config: fc.Arbitrary<object>
  readonly route?: { readonly message: string; readonly config: fc.Arbitrary<object> }
}

const KINDS: readonly Kind[] = [
  { name: 'cors', message: 'Cors', config: fc.constant({}), route: { message: 'CorsPolicy', config: corsPolicy } },
  { name: 'csrf', message: 'CsrfPolicy', config: csrfPolicy, route: { message: 'CsrfPolicy', config: csrfPolicy } },
  { name: 'fault', message: 'HTTPFault', config: fault, route: { message: 'HTTPFault', config: fault } },
  {
    name: 'buffer',
    message: 'Buffer',
    config: buffer,
    route: {
      message: 'BufferPerRoute',
      config: fc.oneof(
        fc.constant({ disabled: true }),
        buffer.map((own) => ({ buffer: own })),
      ),
    },
  },
  {
    name: 'rbac',
    message: 'RBAC',
    config: rbac,
    route: {
      message: 'RBACPerRoute',
      config: fc.oneof(
        fc.constant({}),
        rbac.map((own) => ({ rbac: own })),
      ),
    },
  },
  {
    name: 'local_ratelimit',
    message: 'LocalRateLimit',
    config: localRateLimit,
    route: { message: 'LocalRateLimit', config: localRateLimit },
  },
  {
    name: 'header_mutation',
    message: 'HeaderMutation',
    config: merged(mutations, some({ most_specific_header_mutations_wins: fc.boolean() })),
    route: { message: 'HeaderMutationPerRoute', config: mutations },
  },
  {
    name: 'compressor',
    message: 'Compressor',
    config: compressor,
    route: {
      message: 'CompressorPerRoute',
      config: fc.constantFrom<object>(
        { disabled: true },
        { overrides: { response_direction_config: { remove_accept_encoding_header: true } } },
        { overrides: { response_direction_config: {} } },
      ),
    },
  },
  { name: 'grpc_web', message: 'GrpcWeb', config: fc.constant({}) },
  {
    name: 'grpc_stats',
    message: 'FilterConfig',
    config: some({ stats_for_all_methods: fc.boolean(), enable_upstream_stats: fc.constant(false) }),
  },
  {
    name: 'grpc_http1_bridge',
    message: 'Config',
    config: some({ upgrade_protobuf_to_grpc: fc.boolean(), ignore_query_parameters: fc.boolean() }),
  },
  {
    name: 'ext_authz',
    message: 'ExtAuthz',
    config: extAuthz,
    route: { message: 'ExtAuthzPerRoute', config: extAuthzRoute },
  },
  {
    name: 'header_to_metadata',
    message: 'Config',
    config: headerToMetadata,
    route: { message: 'Config', config: headerToMetadata },
  },
  { name: 'set_filter_state', message: 'Config', config: setFilterState },
  {
    name: 'stateful_session',
    message: 'StatefulSession',
    config: statefulSession,
    route: { message: 'StatefulSessionPerRoute', config: statefulSessionRoute },
  },
  {
    name: 'jwt_authn',
    message: 'JwtAuthentication',
    config: jwtAuthn,
    route: { message: 'PerRouteConfig', config: jwtAuthnRoute },
  },
  {
    name: 'health_check',
    message: 'HealthCheck',
    config: headerMatcher.map((matcher) => ({ pass_through_mode: false, headers: [matcher] })),
  },
]

const full = (name: string): string => `envoy.filters.http.${name}`
const any = (kind: string, message: string, config: object): Json => ({
  '@type': `${FILTERS}${kind}.v3.${message}`,
  ...config,
})

const PER_ROUTE = KINDS.filter((kind) => kind.route !== undefined)

/** Fields of a route, a virtual host or a weighted cluster. */
export const perFilterConfig: fc.Arbitrary<Json> = fc.oneof(
  { weight: 3, arbitrary: json(fc.constant({})) },
  {
    weight: 1,
    arbitrary: fc
      .subarray([...PER_ROUTE], { minLength: 1, maxLength: 3 })
      .chain((kinds) =>
        fc.tuple(
          ...kinds.map(({ name, route }) =>
            fc
              .tuple(route!.config, fc.constantFrom('plain', 'plain', 'plain', 'wrapped', 'disabled'))
              .map(([config, form]): [string, Json] => {
                const own = any(name, route!.message, config)
                if (form === 'plain') return [full(name), own]
                const wrapper = { '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig' }
                return [full(name), form === 'wrapped' ? { ...wrapper, config: own } : { ...wrapper, disabled: true }]
              }),
          ),
        ),
      )
      .map((entries) => ({ typed_per_filter_config: Object.fromEntries(entries) })),
  },
)

/** HTTP filters in front of the router. */
export const httpFilters: fc.Arbitrary<readonly Json[]> = fc.oneof(
  { weight: 1, arbitrary: fc.constant([]) },
  {
    weight: 2,
    arbitrary: fc.shuffledSubarray([...KINDS], { minLength: 1, maxLength: 4 }).chain((kinds) =>
      fc.tuple(
        ...kinds.map(({ name, message, config }) =>
          fc.tuple(config, fc.constantFrom(false, false, false, true)).map(
            ([own, disabled]): Json => ({
              name: full(name),
              typed_config: any(name, message, own),
              ...(disabled ? { disabled } : {}),
            }),
          ),
        ),
      ),
    ),
  },
)
