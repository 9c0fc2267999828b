// One bootstrap for all lanes: each has a listener, a connection manager, a cluster and statistics of its own.

import { FIELDS } from '../generated/bootstrap.ts'
import type { Ports } from '../harness/proxies.ts'
import { address } from '../harness/situations.ts'

const T = 'type.googleapis.com/envoy.'
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

/** What is configured of one lane, besides what all have. */
export interface LaneConfig {
  /** Http2ProtocolOptions of the listener and of the cluster. */
  readonly downstream: object
  readonly upstream: object
  /** Common HttpProtocolOptions of both. */
  readonly downstreamCommon: object
  readonly upstreamCommon: object
  /** Fields of the connection manager, the route action, the cluster. */
  readonly manager: object
  readonly route: object
  readonly cluster: object
  /** Silence to be expected before something comes of itself, in milliseconds. */
  readonly quietMs: number
}

/** `listeners[i]` and `upstreams[i]` are the ports of `lanes[i]`. */
export function lanesBootstrap(
  lanes: readonly LaneConfig[],
  listeners: readonly number[],
  upstreams: readonly number[],
  ports: Ports,
): object {
  return {
    node: { id: 'lanes', cluster: 'lanes' },
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: lanes.map((lane, i) => listener(lane, i, listeners[i]!, ports.accessLog)),
      clusters: lanes.map((lane, i) => cluster(lane, i, upstreams[i]!)),
    },
  }
}

function listener(lane: LaneConfig, i: number, port: number, accessLog: string): object {
  const manager = {
    '@type': `${T}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: `m${i}`,
    codec_type: 'HTTP2',
    generate_request_id: false,
    delayed_close_timeout: '0.1s',
    drain_timeout: '60s',
    http2_protocol_options: lane.downstream,
    common_http_protocol_options: lane.downstreamCommon,
    access_log: [
      {
        name: 'envoy.access_loggers.file',
        typed_config: {
          '@type': `${T}extensions.access_loggers.file.v3.FileAccessLog`,
          path: accessLog,
          log_format: { json_format: { ...FIELDS, listener: `l${i}` } },
        },
      },
    ],
    route_config: {
      name: 'r',
      virtual_hosts: [
        {
          name: 'a',
          domains: ['*'],
          routes: [
            { match: { path: '/direct' }, direct_response: { status: 200, body: { inline_string: 'direct' } } },
            { match: { connect_matcher: {} }, route: { cluster: `u${i}`, ...lane.route } },
            { match: { prefix: '/' }, route: { cluster: `u${i}`, ...lane.route } },
          ],
        },
      ],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': `${T}extensions.filters.http.router.v3.Router` },
      },
    ],
    ...lane.manager,
  }
  return {
    name: `l${i}`,
    stat_prefix: `l${i}`,
    address: address(port),
    filter_chains: [{ filters: [{ name: 'hcm', typed_config: manager }] }],
  }
}

function cluster(lane: LaneConfig, i: number, port: number): object {
  return {
    name: `u${i}`,
    type: 'STATIC',
    connect_timeout: '2s',
    load_assignment: {
      cluster_name: `u${i}`,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }],
    },
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: {
        '@type': T.slice(0, -6) + HTTP_OPTIONS,
        common_http_protocol_options: lane.upstreamCommon,
        explicit_http_config: { http2_protocol_options: lane.upstream },
      },
    },
    ...lane.cluster,
  }
}
