// The configurations that the data-plane measurements run, as Envoy bootstraps: our proxy and Envoy read the same file.

/** `full` is what an Istio sidecar does to a request: filters, retries, request id, JSON access log, a thousand routes. */
export const SHAPES = [
  'plain',
  'full',
  'tls',
  'h2',
  'tcp',
  'mtls',
  'upstream-mtls',
  'upstream-h2',
  'grpc-unary',
  'grpc-stream',
] as const
export type Shape = (typeof SHAPES)[number]

/** HTTP/2 on both sides, with what Istio's sidecars count of gRPC. */
export function isGrpc(shape: Shape): boolean {
  return shape === 'grpc-unary' || shape === 'grpc-stream'
}

export interface Ports {
  readonly listener: number
  readonly admin: number
  /** HTTP/1 and HTTP/2 with prior knowledge; `mtls` asks for a client certificate. */
  readonly upstream: number
  readonly upstreamH2: number
  readonly upstreamMtls: number
  /** Of bench/grpc-upstream.ts; only for the gRPC shapes. */
  readonly upstreamGrpc?: Readonly<Record<'unary' | 'stream', number>>
}

const typed = (name: string, type: string, fields: object = {}) => ({
  name,
  typed_config: { '@type': `type.googleapis.com/${type}`, ...fields },
})
const httpFilter = (name: string, message: string, fields: object = {}) =>
  typed(`envoy.filters.http.${name}`, `envoy.extensions.filters.http.${name}.v3.${message}`, fields)

const LOGGED = {
  start_time: '%START_TIME%',
  method: '%REQ(:METHOD)%',
  path: '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
  protocol: '%PROTOCOL%',
  response_code: '%RESPONSE_CODE%',
  response_flags: '%RESPONSE_FLAGS%',
  response_code_details: '%RESPONSE_CODE_DETAILS%',
  bytes_received: '%BYTES_RECEIVED%',
  bytes_sent: '%BYTES_SENT%',
  duration: '%DURATION%',
  upstream_service_time: '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%',
  x_forwarded_for: '%REQ(X-FORWARDED-FOR)%',
  user_agent: '%REQ(USER-AGENT)%',
  request_id: '%REQ(X-REQUEST-ID)%',
  authority: '%REQ(:AUTHORITY)%',
  upstream_host: '%UPSTREAM_HOST%',
  upstream_cluster: '%UPSTREAM_CLUSTER%',
  upstream_local_address: '%UPSTREAM_LOCAL_ADDRESS%',
  downstream_local_address: '%DOWNSTREAM_LOCAL_ADDRESS%',
  downstream_remote_address: '%DOWNSTREAM_REMOTE_ADDRESS%',
  requested_server_name: '%REQUESTED_SERVER_NAME%',
  route_name: '%ROUTE_NAME%',
}
const RETRIES = {
  retry_on: 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes',
  num_retries: 2,
  retry_host_predicate: [
    typed(
      'envoy.retry_host_predicates.previous_hosts',
      'envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate',
    ),
  ],
  host_selection_retry_max_attempts: 5,
  retriable_status_codes: [503],
}

function connectionManager(full: boolean, grpc: boolean): object {
  const last = {
    match: { prefix: '/' },
    route: { cluster: 'up', timeout: '0s', ...(full ? { retry_policy: RETRIES } : {}) },
  }
  const others = Array.from({ length: full ? 1000 : 0 }, (_, i) => ({
    match: { prefix: `/route-${i}/` },
    route: { cluster: 'up', timeout: '0s' },
  }))
  const log = typed('envoy.access_loggers.file', 'envoy.extensions.access_loggers.file.v3.FileAccessLog', {
    path: '/dev/null',
    log_format: { json_format: LOGGED },
  })
  return typed(
    'envoy.filters.network.http_connection_manager',
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    {
      stat_prefix: 'in',
      codec_type: 'AUTO',
      generate_request_id: full,
      ...(full ? { access_log: [log] } : {}),
      http_filters: [
        ...(full || grpc
          ? [httpFilter('grpc_stats', 'FilterConfig', { emit_filter_state: true, stats_for_all_methods: false })]
          : []),
        ...(full ? [httpFilter('fault', 'HTTPFault'), httpFilter('cors', 'Cors')] : []),
        httpFilter('router', 'Router'),
      ],
      route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [...others, last] }] },
    },
  )
}

/** One key pair is everybody's: server, client and certificate authority in one. */
function tls(side: 'Downstream' | 'Upstream', dir: string, mutual: boolean): object {
  const files = { certificate_chain: { filename: `${dir}/cert.pem` }, private_key: { filename: `${dir}/key.pem` } }
  return typed('envoy.transport_sockets.tls', `envoy.extensions.transport_sockets.tls.v3.${side}TlsContext`, {
    common_tls_context: {
      tls_certificates: [files],
      ...(mutual ? { validation_context: { trusted_ca: { filename: `${dir}/cert.pem` } } } : {}),
    },
    ...(mutual && side === 'Downstream' ? { require_client_certificate: true } : {}),
  })
}

/** `dir` holds cert.pem and key.pem. */
export function bootstrap(shape: Shape, ports: Ports, dir: string): object {
  const filter =
    shape === 'tcp'
      ? typed('envoy.filters.network.tcp_proxy', 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', {
          stat_prefix: 'tcp',
          cluster: 'up',
        })
      : connectionManager(shape === 'full' || shape === 'mtls', isGrpc(shape))
  const upstreamPort =
    shape === 'upstream-mtls'
      ? ports.upstreamMtls
      : shape === 'upstream-h2'
        ? ports.upstreamH2
        : isGrpc(shape)
          ? (ports.upstreamGrpc?.[shape === 'grpc-unary' ? 'unary' : 'stream'] ?? 0)
          : ports.upstream
  const address = (port: number) => ({ socket_address: { address: '127.0.0.1', port_value: port } })
  const many = 100_000
  return {
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: address(ports.listener),
          filter_chains: [
            {
              filters: [filter],
              ...(shape === 'tls' || shape === 'mtls'
                ? { transport_socket: tls('Downstream', dir, shape === 'mtls') }
                : {}),
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'up',
          type: 'STATIC',
          connect_timeout: '5s',
          circuit_breakers: {
            thresholds: [{ max_connections: many, max_pending_requests: many, max_requests: many, max_retries: many }],
          },
          load_assignment: {
            cluster_name: 'up',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstreamPort) } }] }],
          },
          ...(shape === 'upstream-mtls' ? { transport_socket: tls('Upstream', dir, true) } : {}),
          ...(shape === 'upstream-h2' || isGrpc(shape)
            ? {
                typed_extension_protocol_options: {
                  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
                    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
                    explicit_http_config: { http2_protocol_options: {} },
                  },
                },
              }
            : {}),
        },
      ],
    },
  }
}
