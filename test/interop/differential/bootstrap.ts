// One configuration for both proxies: many kinds of virtual hosts, matches, actions, mutations and retries.

import type { Ports } from '../harness/proxies.ts'

const T = 'type.googleapis.com/'
const any = (type: string, fields: object = {}): object => ({ '@type': T + type, ...fields })

const ROUTES: readonly object[] = [
  { match: { path: '/exact' }, route: { cluster: 'up' }, name: 'exact' },
  { match: { path: '/Exact-Ci', case_sensitive: false }, route: { cluster: 'up' }, name: 'exact-ci' },
  { match: { path_separated_prefix: '/sep' }, route: { cluster: 'up', prefix_rewrite: '/new-sep' }, name: 'separated' },
  { match: { prefix: '/strip/' }, route: { cluster: 'up', prefix_rewrite: '/' }, name: 'strip' },
  {
    match: { safe_regex: { regex: '/re/[0-9]+(/.*)?' } },
    route: { cluster: 'up', regex_rewrite: { pattern: { regex: '^/re/([0-9]+)' }, substitution: '/\\1/re' } },
    name: 'regex',
  },
  {
    match: { prefix: '/method', headers: [{ name: ':method', string_match: { exact: 'POST' } }] },
    direct_response: { status: 201, body: { inline_string: 'posted' } },
    name: 'method-post',
  },
  { match: { prefix: '/method' }, direct_response: { status: 200 }, name: 'method-any' },
  {
    match: { prefix: '/h', headers: [{ name: 'x-a', string_match: { prefix: 'on' } }] },
    direct_response: { status: 210 },
    name: 'h-prefix',
  },
  {
    match: {
      prefix: '/h',
      headers: [
        { name: 'x-a', string_match: { contains: 'mid' }, invert_match: true },
        { name: 'x-b', present_match: true },
      ],
    },
    direct_response: { status: 211 },
    name: 'h-not-contains',
  },
  {
    match: { prefix: '/h', headers: [{ name: 'x-n', range_match: { start: 5, end: 10 } }] },
    direct_response: { status: 212 },
    name: 'h-range',
  },
  {
    match: {
      prefix: '/h',
      headers: [
        { name: 'x-c', string_match: { exact: '' }, treat_missing_header_as_empty: true },
        { name: 'x-b', string_match: { suffix: 'END', ignore_case: true } },
      ],
    },
    direct_response: { status: 213 },
    name: 'h-missing-empty',
  },
  { match: { prefix: '/h' }, direct_response: { status: 214 }, name: 'h-rest' },
  {
    match: { prefix: '/q', query_parameters: [{ name: 'a', string_match: { exact: '1' } }] },
    direct_response: { status: 220 },
    name: 'q-exact',
  },
  {
    match: { prefix: '/q', query_parameters: [{ name: 'b', present_match: true }] },
    direct_response: { status: 221 },
    name: 'q-present',
  },
  { match: { prefix: '/q' }, direct_response: { status: 222 }, name: 'q-rest' },
  { match: { prefix: '/redir/path' }, redirect: { path_redirect: '/there' }, name: 'r-path' },
  {
    match: { prefix: '/redir/query' },
    redirect: { path_redirect: '/there?fixed=1', response_code: 'FOUND' },
    name: 'r-query',
  },
  {
    match: { prefix: '/redir/host' },
    redirect: { host_redirect: 'other.example', strip_query: true, response_code: 'PERMANENT_REDIRECT' },
    name: 'r-host',
  },
  {
    match: { prefix: '/redir/https' },
    redirect: { https_redirect: true, port_redirect: 8443, response_code: 'SEE_OTHER' },
    name: 'r-https',
  },
  {
    match: { prefix: '/redir/prefix' },
    redirect: { prefix_rewrite: '/moved', response_code: 'TEMPORARY_REDIRECT' },
    name: 'r-prefix',
  },
  {
    match: { prefix: '/redir/regex' },
    redirect: { regex_rewrite: { pattern: { regex: '/redir/(regex)/(.*)' }, substitution: '/\\2/\\1' } },
    name: 'r-regex',
  },
  {
    match: { prefix: '/mutate' },
    route: { cluster: 'up', host_rewrite_literal: 'rewritten.example', append_x_forwarded_host: true },
    request_headers_to_add: [
      { header: { key: 'x-added', value: 'plain' } },
      { header: { key: 'x-b', value: 'over' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
      { header: { key: 'x-a', value: 'if-absent' }, append_action: 'ADD_IF_ABSENT' },
      { header: { key: 'x-c', value: 'if-there' }, append_action: 'OVERWRITE_IF_EXISTS' },
      { header: { key: 'x-fmt', value: '%REQ(:METHOD)% %REQ(X-A?X-B)% %PROTOCOL% %%' } },
    ],
    request_headers_to_remove: ['x-n'],
    response_headers_to_add: [{ header: { key: 'x-resp', value: '%RESPONSE_CODE% %REQ(x-case)%' } }],
    response_headers_to_remove: ['x-up'],
    name: 'mutate',
  },
  {
    match: { prefix: '/retry' },
    route: {
      cluster: 'up',
      timeout: '15s',
      retry_policy: {
        retry_on: '5xx,connect-failure,reset',
        num_retries: 2,
        retry_back_off: { base_interval: '0.001s', max_interval: '0.002s' },
      },
    },
    name: 'retry',
  },
  {
    match: { prefix: '/retry4' },
    route: {
      cluster: 'up',
      retry_policy: {
        retry_on: 'retriable-4xx,retriable-status-codes',
        retriable_status_codes: [418],
        num_retries: 1,
        retry_back_off: { base_interval: '0.001s' },
      },
    },
    name: 'retry4',
  },
  { match: { prefix: '/nocluster' }, route: { cluster: 'missing' }, name: 'nocluster' },
  {
    match: { prefix: '/notfound-cluster' },
    route: { cluster: 'missing', cluster_not_found_response_code: 'NOT_FOUND' },
    name: 'nocluster404',
  },
  { match: { prefix: '/by-header' }, route: { cluster_header: 'x-cluster' }, name: 'by-header' },
  { match: { prefix: '/empty' }, route: { cluster: 'empty' }, name: 'empty' },
  { match: { prefix: '/refused' }, route: { cluster: 'refused' }, name: 'refused' },
  { match: { prefix: '/' }, route: { cluster: 'up' }, name: 'rest' },
]

const FIELDS = {
  flags: '%RESPONSE_FLAGS%',
  code: '%RESPONSE_CODE%',
  details: '%RESPONSE_CODE_DETAILS%',
  route: '%ROUTE_NAME%',
  cluster: '%UPSTREAM_CLUSTER%',
  rx: '%BYTES_RECEIVED%',
  tx: '%BYTES_SENT%',
  attempts: '%UPSTREAM_REQUEST_ATTEMPT_COUNT%',
  protocol: '%PROTOCOL%',
  vc: '%VIRTUAL_CLUSTER_NAME%',
  case: '%REQ(X-CASE)%',
}

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

const endpoint = (name: string, port: number | null, http2: boolean): object => ({
  name,
  ...(http2
    ? {
        typed_extension_protocol_options: {
          [HTTP_OPTIONS]: any(HTTP_OPTIONS, { explicit_http_config: { http2_protocol_options: {} } }),
        },
      }
    : {}),
  type: 'STATIC',
  connect_timeout: '2s',
  load_assignment: {
    cluster_name: name,
    endpoints:
      port === null
        ? []
        : [
            {
              lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }],
            },
          ],
  },
})

/** `hcm` is laid over the connection manager's fields. Port 1 refuses connections. `http2`: what upstreams speak. */
export function differentialBootstrap(upstreamPort: number, hcm: object, http2: boolean): (ports: Ports) => object {
  return (ports) => ({
    node: { id: 'interop', cluster: 'interop' },
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: ports.admin } } },
    static_resources: {
      listeners: [
        {
          name: 'main',
          address: { socket_address: { address: '127.0.0.1', port_value: ports.listener } },
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: any(
                    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                    {
                      stat_prefix: 'main',
                      access_log: [
                        {
                          name: 'envoy.access_loggers.file',
                          typed_config: any('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
                            path: ports.accessLog,
                            log_format: { json_format: FIELDS },
                          }),
                        },
                      ],
                      route_config: {
                        name: 'local',
                        validate_clusters: false,
                        virtual_hosts: [
                          {
                            name: 'exact',
                            domains: ['exact.example', 'exact.example:8080'],
                            routes: ROUTES,
                            include_request_attempt_count: true,
                          },
                          {
                            name: 'suffix',
                            domains: ['*.suffix.example'],
                            routes: [{ match: { prefix: '/' }, direct_response: { status: 231 } }],
                          },
                          {
                            name: 'longer',
                            domains: ['*.a.suffix.example'],
                            routes: [{ match: { prefix: '/' }, direct_response: { status: 232 } }],
                          },
                          {
                            name: 'prefix',
                            domains: ['prefix.*'],
                            routes: [{ match: { prefix: '/only' }, direct_response: { status: 233 } }],
                          },
                          { name: 'tls', domains: ['tls.example'], require_tls: 'ALL', routes: ROUTES },
                          { name: 'rest', domains: ['*'], routes: ROUTES },
                        ],
                      },
                      http_filters: [
                        {
                          name: 'envoy.filters.http.router',
                          typed_config: any('envoy.extensions.filters.http.router.v3.Router'),
                        },
                      ],
                      ...hcm,
                    },
                  ),
                },
              ],
            },
          ],
        },
      ],
      clusters: [endpoint('up', upstreamPort, http2), endpoint('empty', null, http2), endpoint('refused', 1, http2)],
    },
  })
}
