// A bootstrap that uses every part of the data plane once: for statistics' names and for mutation.

import { generateKeyPairSync } from 'node:crypto'
import type { Ports } from './proxies.ts'

const T = 'type.googleapis.com/envoy.'
const any = (type: string, fields: object = {}): object => ({ '@type': T + type, ...fields })
const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } })
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
const httpOptions = (config: object): object => ({
  typed_extension_protocol_options: {
    [HTTP_OPTIONS]: { '@type': `type.googleapis.com/${HTTP_OPTIONS}`, explicit_http_config: config },
  },
})

/** What the bootstrap refers to outside itself. */
export interface Surroundings {
  /** An HTTP/1 upstream, and one that speaks HTTP/2. */
  readonly upstream: number
  readonly upstreamHttp2: number
  /** PEM texts of one certificate that is its own authority, or of a chain. */
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** Files of resources: `rds`, `eds` and `sds` (see {@link resourceFiles}). */
  readonly files: { readonly rds: string; readonly eds: string; readonly sds: string }
  /** More listeners: TLS, TCP, and the one with its routes and certificate from files. */
  readonly listeners: readonly [tls: number, tcp: number, files: number]
}

const file = (path: string): object => ({ path_config_source: { path }, resource_api_version: 'V3' })

/** The text of the files, by key of Surroundings.files. */
export function resourceFiles(upstream: number, cert: string, key: string): Record<'rds' | 'eds' | 'sds', string> {
  const response = (resource: object): string => JSON.stringify({ version_info: '1', resources: [resource] })
  return {
    rds: response(
      any('config.route.v3.RouteConfiguration', {
        name: 'from-file',
        virtual_hosts: [{ name: 'f', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'eds' } }] }],
      }),
    ),
    eds: response(any('config.endpoint.v3.ClusterLoadAssignment', assignment('eds', upstream))),
    sds: response(
      any('extensions.transport_sockets.tls.v3.Secret', {
        name: 'server',
        tls_certificate: { certificate_chain: { inline_string: cert }, private_key: { inline_string: key } },
      }),
    ),
  }
}

function assignment(name: string, port: number): object {
  const endpoint = (version: string): object => ({
    endpoint: { address: address(port) },
    metadata: { filter_metadata: { 'envoy.lb': { version } } },
  })
  return {
    cluster_name: name,
    endpoints: [{ locality: { region: 'r', zone: 'z' }, lb_endpoints: [endpoint('v1')] }],
  }
}

function jwks(): string {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), alg: 'ES256', kid: 'k' }] })
}

function httpFilters(): object[] {
  const filter = (name: string, type: string, fields: object = {}): object => ({
    name: `envoy.filters.http.${name}`,
    typed_config: any(`extensions.filters.http.${type}`, fields),
  })
  return [
    filter('cors', 'cors.v3.Cors'),
    filter('rbac', 'rbac.v3.RBAC', {
      rules: { action: 'ALLOW', policies: { all: { permissions: [{ any: true }], principals: [{ any: true }] } } },
      shadow_rules: {
        action: 'DENY',
        policies: {
          none: { permissions: [{ header: { name: 'x-none', present_match: true } }], principals: [{ any: true }] },
        },
      },
    }),
    filter('jwt_authn', 'jwt_authn.v3.JwtAuthentication', {
      providers: { p: { issuer: 'i', local_jwks: { inline_string: jwks() } } },
      rules: [{ match: { prefix: '/jwt' }, requires: { provider_name: 'p' } }],
    }),
    filter('fault', 'fault.v3.HTTPFault', { abort: { http_status: 418, percentage: { numerator: 0 } } }),
    filter('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', {
      stat_prefix: 'limit',
      token_bucket: { max_tokens: 1000, tokens_per_fill: 1000, fill_interval: '1s' },
      filter_enabled: { default_value: { numerator: 100 } },
      filter_enforced: { default_value: { numerator: 100 } },
    }),
    filter('ext_authz', 'ext_authz.v3.ExtAuthz', {
      http_service: { server_uri: { uri: 'http://authz', cluster: 'static', timeout: '1s' } },
      failure_mode_allow: true,
      transport_api_version: 'V3',
    }),
    filter('grpc_stats', 'grpc_stats.v3.FilterConfig', { stats_for_all_methods: false, emit_filter_state: true }),
    filter('buffer', 'buffer.v3.Buffer', { max_request_bytes: 100_000 }),
    filter('header_mutation', 'header_mutation.v3.HeaderMutation', {
      mutations: { request_mutations: [{ append: { header: { key: 'x-mutated', value: 'yes' } } }] },
    }),
    filter('router', 'router.v3.Router'),
  ]
}

function manager(prefix: string, accessLog: string, fields: object): object {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: any('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
      stat_prefix: prefix,
      access_log: [
        {
          name: 'envoy.access_loggers.file',
          filter: { status_code_filter: { comparison: { op: 'GE', value: { default_value: 200, runtime_key: 'k' } } } },
          typed_config: any('extensions.access_loggers.file.v3.FileAccessLog', {
            path: accessLog,
            log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %REQ(:PATH)%\n' } },
          }),
        },
      ],
      http_filters: httpFilters(),
      upgrade_configs: [{ upgrade_type: 'websocket' }],
      normalize_path: true,
      use_remote_address: true,
      request_timeout: '30s',
      common_http_protocol_options: { idle_timeout: '60s', max_headers_count: 100 },
      http2_protocol_options: { max_concurrent_streams: 50 },
      ...fields,
    }),
  }
}

const RETRY = {
  retry_on: '5xx,connect-failure',
  num_retries: 2,
  retry_host_predicate: [
    {
      name: 'envoy.retry_host_predicates.previous_hosts',
      typed_config: any('extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate'),
    },
  ],
  host_selection_retry_max_attempts: 3,
}

function inlineRoutes(): object {
  return {
    name: 'inline',
    virtual_hosts: [
      {
        name: 'vh',
        domains: ['*'],
        virtual_clusters: [{ name: 'posts', headers: [{ name: ':method', string_match: { exact: 'POST' } }] }],
        routes: [
          { match: { prefix: '/direct' }, direct_response: { status: 200, body: { inline_string: 'd' } } },
          { match: { prefix: '/redirect' }, redirect: { path_redirect: '/there' } },
          {
            match: { prefix: '/weighted' },
            route: {
              weighted_clusters: {
                clusters: [
                  { name: 'static', weight: 3 },
                  { name: 'http2', weight: 1 },
                ],
              },
            },
          },
          { match: { prefix: '/h2' }, route: { cluster: 'http2', timeout: '5s' } },
          { match: { prefix: '/tls' }, route: { cluster: 'tls' } },
          { match: { prefix: '/ring' }, route: { cluster: 'ring', hash_policy: [{ header: { header_name: 'x-h' } }] } },
          {
            match: { prefix: '/maglev' },
            route: { cluster: 'maglev', hash_policy: [{ cookie: { name: 'c', ttl: '5s' } }] },
          },
          {
            match: { prefix: '/subset' },
            route: { cluster: 'subset', metadata_match: { filter_metadata: { 'envoy.lb': { version: 'v1' } } } },
          },
          { match: { prefix: '/dns' }, route: { cluster: 'dns' } },
          {
            match: { prefix: '/', headers: [{ name: 'x-a', string_match: { safe_regex: { regex: 'a+' } } }] },
            route: { cluster: 'static', prefix_rewrite: '/b', retry_policy: RETRY },
            request_headers_to_add: [{ header: { key: 'x-b', value: '%REQ(x-a)%' } }],
          },
          {
            match: { prefix: '/' },
            route: { cluster: 'static', retry_policy: RETRY, request_mirror_policies: [{ cluster: 'http2' }] },
            typed_per_filter_config: {
              'envoy.filters.http.cors': any('extensions.filters.http.cors.v3.CorsPolicy', {
                allow_origin_string_match: [{ exact: 'http://o' }],
              }),
            },
          },
        ],
      },
    ],
  }
}

function clusters({ upstream, upstreamHttp2, ca, files }: Surroundings): object[] {
  const cluster = (name: string, fields: object): object => ({
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: assignment(name, upstream),
    ...fields,
  })
  return [
    cluster('static', {
      circuit_breakers: {
        thresholds: [
          { max_connections: 100, max_pending_requests: 100, max_requests: 100, max_retries: 3, track_remaining: true },
          {
            priority: 'HIGH',
            max_connections: 10,
            retry_budget: { budget_percent: { value: 20 }, min_retry_concurrency: 3 },
          },
        ],
      },
      outlier_detection: { consecutive_5xx: 5, interval: '10s', success_rate_minimum_hosts: 5 },
      health_checks: [
        {
          timeout: '1s',
          interval: '10s',
          unhealthy_threshold: 3,
          healthy_threshold: 1,
          http_health_check: { path: '/health', host: 'h', expected_statuses: [{ start: 200, end: 300 }] },
        },
      ],
      common_lb_config: { healthy_panic_threshold: { value: 50 }, zone_aware_lb_config: { min_cluster_size: 6 } },
      ...httpOptions({ http_protocol_options: { enable_trailers: true } }),
    }),
    cluster('http2', {
      load_assignment: assignment('http2', upstreamHttp2),
      ...httpOptions({
        http2_protocol_options: {
          max_concurrent_streams: 10,
          connection_keepalive: { interval: '30s', timeout: '5s' },
        },
      }),
      lb_policy: 'LEAST_REQUEST',
      least_request_lb_config: { choice_count: 3, slow_start_config: { slow_start_window: '10s' } },
    }),
    cluster('tls', {
      transport_socket: {
        name: 'envoy.transport_sockets.tls',
        typed_config: any('extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
          sni: 'a.example',
          common_tls_context: {
            alpn_protocols: ['http/1.1'],
            validation_context: {
              trusted_ca: { inline_string: ca },
              match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'a.example' } }],
            },
          },
        }),
      },
    }),
    cluster('ring', { lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: 64 } }),
    cluster('maglev', { lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 101 } }),
    cluster('random', { lb_policy: 'RANDOM' }),
    cluster('subset', {
      lb_subset_config: { fallback_policy: 'ANY_ENDPOINT', subset_selectors: [{ keys: ['version'] }] },
    }),
    cluster('dns', {
      type: 'STRICT_DNS',
      dns_lookup_family: 'V4_ONLY',
      load_assignment: {
        cluster_name: 'dns',
        endpoints: [
          {
            lb_endpoints: [
              { endpoint: { address: { socket_address: { address: 'localhost', port_value: upstream } } } },
            ],
          },
        ],
      },
    }),
    { name: 'eds', type: 'EDS', connect_timeout: '1s', eds_cluster_config: { eds_config: file(files.eds) } },
    {
      name: 'original',
      type: 'ORIGINAL_DST',
      connect_timeout: '1s',
      lb_policy: 'CLUSTER_PROVIDED',
      original_dst_lb_config: { use_http_header: true },
    },
    {
      name: 'aggregate',
      connect_timeout: '1s',
      lb_policy: 'CLUSTER_PROVIDED',
      cluster_type: {
        name: 'envoy.clusters.aggregate',
        typed_config: any('extensions.clusters.aggregate.v3.ClusterConfig', { clusters: ['static', 'http2'] }),
      },
    },
  ]
}

const router = { name: 'envoy.filters.http.router', typed_config: any('extensions.filters.http.router.v3.Router') }

export function richBootstrap(around: Surroundings): (ports: Ports) => object {
  const { cert, key, ca, files } = around
  const [tlsPort, tcpPort, filesPort] = around.listeners
  const tls = (fields: object): object => ({
    name: 'envoy.transport_sockets.tls',
    typed_config: any('extensions.transport_sockets.tls.v3.DownstreamTlsContext', fields),
  })
  return (ports) => ({
    node: { id: 'rich', cluster: 'rich', locality: { region: 'r', zone: 'z' }, metadata: { a: 'b' } },
    admin: { address: address(ports.admin) },
    layered_runtime: {
      layers: [
        { name: 'static', static_layer: { some: { key: 1 } } },
        { name: 'admin', admin_layer: {} },
      ],
    },
    static_resources: {
      listeners: [
        {
          name: 'main',
          address: address(ports.listener),
          filter_chains: [{ filters: [manager('main', ports.accessLog, { route_config: inlineRoutes() })] }],
          per_connection_buffer_limit_bytes: 65536,
        },
        {
          name: 'tls',
          address: address(tlsPort),
          listener_filters: [
            {
              name: 'envoy.filters.listener.tls_inspector',
              typed_config: any('extensions.filters.listener.tls_inspector.v3.TlsInspector'),
            },
            {
              name: 'envoy.filters.listener.http_inspector',
              typed_config: any('extensions.filters.listener.http_inspector.v3.HttpInspector'),
            },
          ],
          filter_chains: [
            {
              name: 'a',
              filter_chain_match: { server_names: ['a.example'], transport_protocol: 'tls' },
              transport_socket: tls({
                require_client_certificate: false,
                common_tls_context: {
                  alpn_protocols: ['h2', 'http/1.1'],
                  tls_certificates: [
                    { certificate_chain: { inline_string: cert }, private_key: { inline_string: key } },
                  ],
                  tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
                  validation_context: { trusted_ca: { inline_string: ca } },
                },
              }),
              filters: [manager('tls', ports.accessLog, { route_config: inlineRoutes(), http_filters: [router] })],
            },
          ],
        },
        {
          name: 'tcp',
          address: address(tcpPort),
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.rbac',
                  typed_config: any('extensions.filters.network.rbac.v3.RBAC', {
                    stat_prefix: 'tcp.',
                    rules: {
                      policies: {
                        all: {
                          permissions: [{ any: true }],
                          principals: [{ direct_remote_ip: { address_prefix: '127.0.0.0', prefix_len: 8 } }],
                        },
                      },
                    },
                  }),
                },
                {
                  name: 'envoy.filters.network.tcp_proxy',
                  typed_config: any('extensions.filters.network.tcp_proxy.v3.TcpProxy', {
                    stat_prefix: 'tcp',
                    cluster: 'static',
                    idle_timeout: '60s',
                    max_connect_attempts: 2,
                  }),
                },
              ],
            },
          ],
        },
        {
          name: 'files',
          address: address(filesPort),
          filter_chains: [
            {
              transport_socket: tls({
                common_tls_context: {
                  tls_certificate_sds_secret_configs: [{ name: 'server', sds_config: file(files.sds) }],
                },
              }),
              filters: [
                manager('files', ports.accessLog, {
                  rds: { route_config_name: 'from-file', config_source: file(files.rds) },
                  http_filters: [router],
                }),
              ],
            },
          ],
        },
      ],
      clusters: clusters(around),
    },
  })
}
