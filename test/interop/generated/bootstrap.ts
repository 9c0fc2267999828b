// One bootstrap with a listener for each generated connection manager, and the clusters their routes name.

import type { Ports } from '../harness/proxies.ts'

const T = 'type.googleapis.com/envoy.'
const HCM = `${T}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

/** Of an access log line. */
export const FIELDS = {
  connection: '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%',
  flags: '%RESPONSE_FLAGS%',
  code: '%RESPONSE_CODE%',
  details: '%RESPONSE_CODE_DETAILS%',
  route: '%ROUTE_NAME%',
  cluster: '%UPSTREAM_CLUSTER%',
  vc: '%VIRTUAL_CLUSTER_NAME%',
  rx: '%BYTES_RECEIVED%',
  tx: '%BYTES_SENT%',
  attempts: '%UPSTREAM_REQUEST_ATTEMPT_COUNT%',
  protocol: '%PROTOCOL%',
  method: '%REQ(:METHOD)%',
  path: '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
  scheme: '%REQ(:SCHEME)%',
  authority: '%REQ(:AUTHORITY)%',
  remote: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%',
  xff: '%REQ(X-FORWARDED-FOR)%',
  failure: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
  termination: '%CONNECTION_TERMINATION_DETAILS%',
  original: '%REQ(X-ENVOY-ORIGINAL-HOST)%',
  grpc: '%GRPC_STATUS%',
  peer: '%DOWNSTREAM_PEER_URI_SAN%|%DOWNSTREAM_PEER_SUBJECT%',
  metadata: '%DYNAMIC_METADATA(ns)%',
  claims: '%DYNAMIC_METADATA(jwt)%',
  state: '%FILTER_STATE(k:PLAIN)%',
}

export interface Upstreams {
  readonly http1: number
  readonly http2: number
  readonly mirror: number
  readonly other: number
  /** A service that filters ask. */
  readonly authz: number
  /** HTTP/2 whose connections may break: each serves one request. */
  readonly http2Once: number
}

const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } })

const limited = (thresholds: object): object => ({
  circuit_breakers: { thresholds: [thresholds, { priority: 'HIGH', ...thresholds }] },
})

function cluster(
  name: string,
  ports: readonly number[],
  { common_http_protocol_options, ...config }: { readonly [field: string]: object },
  fields: object = {},
): object {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '2s',
    load_assignment: {
      cluster_name: name,
      endpoints:
        ports.length === 0 ? [] : [{ lb_endpoints: ports.map((port) => ({ endpoint: { address: address(port) } })) }],
    },
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: {
        '@type': T.slice(0, -6) + HTTP_OPTIONS,
        explicit_http_config: config,
        ...(common_http_protocol_options ? { common_http_protocol_options } : {}),
      },
    },
    ...fields,
  }
}

/** `listeners[i]` is the port of `managers[i]`, whose field `listener` is the listener's. */
export function generatedBootstrap(
  managers: readonly { readonly listener?: object }[],
  upstreams: Upstreams,
  listeners: readonly number[],
  ports: Ports,
  transportSocket?: object,
): object {
  const plain = { http_protocol_options: {} }
  return {
    node: { id: 'generated', cluster: 'generated' },
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: managers.map(({ listener, ...manager }, i) => ({
        ...listener,
        name: `l${i}`,
        stat_prefix: `l${i}`,
        address: address(listeners[i]!),
        filter_chains: [
          {
            ...(transportSocket ? { transport_socket: transportSocket } : {}),
            filters: [
              {
                name: 'envoy.filters.network.http_connection_manager',
                typed_config: {
                  '@type': HCM,
                  stat_prefix: `m${i}`,
                  // Whatever a broken request leaves open, the proxy ends itself.
                  request_timeout: '1.5s',
                  request_headers_timeout: '0.8s',
                  stream_idle_timeout: '0.9s',
                  delayed_close_timeout: '0.1s',
                  drain_timeout: '0.5s',
                  access_log: [
                    {
                      name: 'envoy.access_loggers.file',
                      typed_config: {
                        '@type': `${T}extensions.access_loggers.file.v3.FileAccessLog`,
                        path: ports.accessLog,
                        log_format: { json_format: { ...FIELDS, listener: `l${i}` } },
                      },
                    },
                  ],
                  ...manager,
                },
              },
            ],
          },
        ],
      })),
      clusters: [
        cluster('up', [upstreams.http1], plain),
        cluster('up2', [upstreams.http2], { http2_protocol_options: {} }),
        cluster('once2', [upstreams.http2Once], {
          http2_protocol_options: { max_concurrent_streams: 1 },
          common_http_protocol_options: { max_requests_per_connection: 1 },
        }),
        cluster('proper', [upstreams.http1], {
          http_protocol_options: { header_key_format: { proper_case_words: {} }, enable_trailers: true },
        }),
        cluster('ring', [upstreams.http1, upstreams.other], plain, { lb_policy: 'RING_HASH' }),
        cluster('mirror', [upstreams.mirror], plain),
        cluster('authz', [upstreams.authz], plain),
        cluster('empty', [], plain),
        cluster('once', [upstreams.http1], {
          http_protocol_options: {},
          common_http_protocol_options: { max_requests_per_connection: 1 },
        }),
        cluster('no-requests', [upstreams.http1], plain, limited({ max_requests: 0 })),
        cluster('no-pending', [upstreams.http1], plain, limited({ max_pending_requests: 0 })),
        cluster('no-connections', [upstreams.http1], plain, limited({ max_connections: 0 })),
        cluster('no-retries', [upstreams.http1], plain, limited({ max_retries: 0 })),
        cluster('refused', [1], plain),
      ],
    },
  }
}
