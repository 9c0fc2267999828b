// The configuration of a soak run: where each kind of traffic goes, and what changes of it every second.

import type { TestCertificate } from '../../src/proxy/network/testing.ts'
import { ADS, cluster, endpoints, listener, routes } from '../../src/proxy/server/testing.ts'

export interface Ports {
  readonly http: number
  readonly tls: number
  readonly tcp: number
  readonly admin: number
  readonly xds: number
}

const address = (port_value: number) => ({ socket_address: { address: '127.0.0.1', port_value } })
const type = (name: string) => `type.googleapis.com/envoy.${name}`
const sds = (name: string) => ({ name, sds_config: ADS })

export const bootstrap = (ports: Ports): object => ({
  node: { id: 'soak', cluster: 'soak' },
  admin: { address: address(ports.admin) },
  dynamic_resources: {
    ads_config: {
      api_type: 'DELTA_GRPC',
      transport_api_version: 'V3',
      grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }],
    },
    cds_config: ADS,
    lds_config: ADS,
  },
  static_resources: {
    clusters: [
      {
        name: 'xds',
        type: 'STATIC',
        connect_timeout: '1s',
        load_assignment: endpoints('xds', ports.xds),
        typed_extension_protocol_options: http2(),
      },
    ],
  },
})

const http2 = () => ({
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': type('extensions.upstreams.http.v3.HttpProtocolOptions'),
    explicit_http_config: { http2_protocol_options: {} },
  },
})

/** Clusters `a`, `secure` and `grpc` lead to upstreams that die; `steady` to one that does not. `round` changes them. */
export function clusters(round: number): ReadonlyMap<string, object> {
  const connect_timeout = `${1 + (round % 3)}s`
  const secure = {
    '@type': type('extensions.transport_sockets.tls.v3.UpstreamTlsContext'),
    sni: 'upstream.example',
    common_tls_context: {
      tls_certificate_sds_secret_configs: [sds('client')],
      combined_validation_context: {
        default_validation_context: {
          match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'upstream.example' } }],
        },
        validation_context_sds_secret_config: sds('roots'),
      },
    },
  }
  return new Map<string, object>([
    ['a', { ...cluster('a'), connect_timeout }],
    ['secure', { ...cluster('secure'), connect_timeout, transport_socket: { name: 'tls', typed_config: secure } }],
    ['grpc', { ...cluster('grpc'), connect_timeout, typed_extension_protocol_options: http2() }],
    ['steady', { ...cluster('steady'), connect_timeout }],
  ])
}

/** Retries as Istio configures them: an upstream that dies is met by a second try. */
const retry_policy = { retry_on: 'connect-failure,refused-stream,reset-before-request,unavailable', num_retries: 3 }

export function table(round: number): object {
  const to = (prefix: string, target: string, more: object = {}) => ({
    match: { prefix },
    route: { cluster: target, timeout: '0s', retry_policy, ...more },
  })
  const config = routes('r', 'a')
  const { name, domains } = config.virtual_hosts[0]!
  const entries = [
    to('/secure/', 'secure', { prefix_rewrite: '/' }),
    to('/soak.Echo/', 'grpc'),
    to('/websocket', 'steady', { upgrade_configs: [{ upgrade_type: 'websocket' }] }),
    to('/', 'a'),
  ]
  return {
    ...config,
    virtual_hosts: [{ name, domains, routes: entries }],
    response_headers_to_add: [{ header: { key: 'x-round', value: String(round) } }],
  }
}

export function listeners(ports: Ports, round: number): ReadonlyMap<string, object> {
  const per_connection_buffer_limit_bytes = 32768 + (round % 64) * 1024
  const { filter_chains } = listener('tls', ports.tls)
  return new Map<string, object>([
    ['http', { ...listener('http', ports.http), per_connection_buffer_limit_bytes }],
    [
      'tls',
      {
        name: 'tls',
        address: address(ports.tls),
        per_connection_buffer_limit_bytes,
        listener_filters: [
          { name: 'tls', typed_config: { '@type': type('extensions.filters.listener.tls_inspector.v3.TlsInspector') } },
        ],
        filter_chains: filter_chains.map((chain) => ({
          ...chain,
          transport_socket: {
            name: 'tls',
            typed_config: {
              '@type': type('extensions.transport_sockets.tls.v3.DownstreamTlsContext'),
              common_tls_context: {
                alpn_protocols: ['h2', 'http/1.1'],
                tls_certificate_sds_secret_configs: [sds('server')],
              },
            },
          },
        })),
      },
    ],
    [
      'tcp',
      {
        name: 'tcp',
        address: address(ports.tcp),
        filter_chains: [
          {
            filters: [
              {
                name: 'tcp',
                typed_config: {
                  '@type': type('extensions.filters.network.tcp_proxy.v3.TcpProxy'),
                  stat_prefix: 'tcp',
                  cluster: 'steady',
                },
              },
            ],
          },
        ],
      },
    ],
  ])
}

export const certificateSecret = (name: string, { cert, key }: TestCertificate): object => ({
  name,
  tls_certificate: { certificate_chain: { inline_string: cert }, private_key: { inline_string: key } },
})

export const rootsSecret = (ca: string): object => ({
  name: 'roots',
  validation_context: { trusted_ca: { inline_string: ca } },
})
