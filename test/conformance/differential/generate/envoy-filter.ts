// EnvoyFilters.
import type { Draw } from './draw.ts'
import { labels, PORTS, SUBSETS } from './vocabulary.ts'

const CONTEXTS = ['ANY', 'SIDECAR_INBOUND', 'SIDECAR_OUTBOUND', 'GATEWAY'] as const
const FAULT = { '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault' }
const ECHO = {
  name: 'envoy.filters.network.echo',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo' },
}

function clusterPatch(draw: Draw): object {
  const service = draw.pick(['web.default.svc.cluster.local', 'ext.example.com', undefined])
  const cluster = draw.maybe(0.5, () => ({
    service,
    portNumber: draw.maybe(0.3, () => draw.pick(PORTS)),
    subset: draw.maybe(0.2, () => draw.pick(SUBSETS)),
    name: draw.maybe(0.1, () => 'outbound|80||web.default.svc.cluster.local'),
  }))
  return {
    applyTo: 'CLUSTER',
    match: { context: draw.pick(CONTEXTS), cluster },
    patch: draw.either<object>(
      () => ({ operation: 'MERGE', value: { connect_timeout: '2s', alt_stat_name: draw.maybe(0.2, () => 'alt') } }),
      () => ({ operation: 'MERGE', value: { circuit_breakers: { thresholds: [{ max_connections: 7 }] } } }),
      () => ({ operation: 'REMOVE' }),
      () => ({ operation: 'ADD', value: { name: 'added', type: 'STATIC', connect_timeout: '1s' } }),
      () => ({ operation: 'MERGE', value: { lb_policy: 'RING_HASH', dns_lookup_family: 'V4_ONLY' } }),
      () => ({
        operation: 'MERGE',
        value: {
          transport_socket: {
            name: 'envoy.transport_sockets.tls',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
              common_tls_context: { tls_params: { tls_minimum_protocol_version: 'TLSv1_3' } },
            },
          },
        },
      }),
    ),
  }
}

const listenerMatch = (draw: Draw): Record<string, unknown> => ({
  portNumber: draw.maybe(0.35, () => draw.pick([...PORTS, 15006])),
  name: draw.maybe(0.15, () => draw.pick(['virtualInbound', 'virtualOutbound', '0.0.0.0_80'])),
  portName: draw.maybe(0.06, () => draw.pick(['http', 'http-0', 'tcp'])),
})

function filterChainMatch(draw: Draw): object | undefined {
  return draw.maybe(0.3, () => ({
    sni: draw.maybe(0.3, () => 'ext.example.com'),
    transportProtocol: draw.maybe(0.3, () => draw.pick(['tls', 'raw_buffer'])),
    applicationProtocols: draw.maybe(0.2, () => 'h2'),
    name: draw.maybe(0.2, () =>
      draw.pick(['virtualInbound', 'default', 'PassthroughFilterChain', 'virtualInbound-catchall-http']),
    ),
    destinationPort: draw.maybe(0.2, () => 8080),
  }))
}

function listenerPatch(draw: Draw): object {
  const listener = draw.maybe(0.6, () => listenerMatch(draw))
  return {
    applyTo: 'LISTENER',
    match: { context: draw.pick(CONTEXTS), listener },
    patch: draw.either<object>(
      () => ({ operation: 'MERGE', value: { per_connection_buffer_limit_bytes: 4096 } }),
      () => ({ operation: 'MERGE', value: { stat_prefix: 'patched' } }),
      () => ({ operation: 'REMOVE' }),
      () => ({
        operation: 'ADD',
        value: {
          name: 'added-listener',
          address: { socket_address: { address: '0.0.0.0', port_value: 4321 } },
          filter_chains: [{ filters: [ECHO] }],
        },
      }),
    ),
  }
}

function filterChainPatch(draw: Draw): object {
  return {
    applyTo: 'FILTER_CHAIN',
    match: { context: draw.pick(CONTEXTS), listener: { ...listenerMatch(draw), filterChain: filterChainMatch(draw) } },
    patch: draw.either<object>(
      () => ({ operation: 'MERGE', value: { transport_socket_connect_timeout: '3s' } }),
      () => ({ operation: 'REMOVE' }),
      () => ({ operation: 'ADD', value: { name: 'own', filters: [ECHO] } }),
      () => ({ operation: 'MERGE', value: { filter_chain_match: { source_ports: [1] } } }),
    ),
  }
}

function networkFilterPatch(draw: Draw): object {
  const merges = draw.chance(0.3)
  return {
    applyTo: 'NETWORK_FILTER',
    match: {
      context: draw.pick(CONTEXTS),
      listener: {
        ...listenerMatch(draw),
        filterChain: {
          ...filterChainMatch(draw),
          filter: {
            // Merged into a filter of another type, istiod gives up all patches.
            name:
              merges && draw.chance(0.97)
                ? 'envoy.filters.network.http_connection_manager'
                : draw.pick([
                    'envoy.filters.network.tcp_proxy',
                    'envoy.filters.network.http_connection_manager',
                    'istio.stats',
                    'envoy.tcp_proxy',
                  ]),
          },
        },
      },
    },
    patch: !merges
      ? draw.either<object>(
          () => ({
            operation: draw.pick(['INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST', 'ADD', 'REPLACE']),
            value: ECHO,
          }),
          () => ({ operation: 'REMOVE' }),
        )
      : {
          operation: 'MERGE',
          value: {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              '@type':
                'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              ...draw.pick<object>([
                { xff_num_trusted_hops: 3 },
                { common_http_protocol_options: { idle_timeout: '9s' } },
                { server_name: 'own', use_remote_address: false },
              ]),
            },
          },
        },
  }
}

function httpFilterPatch(draw: Draw): object {
  const merges = draw.chance(0.3)
  const named = merges && draw.chance(0.97)
  const value = { name: draw.pick(['envoy.filters.http.fault', 'own.fault']), typed_config: FAULT }
  return {
    applyTo: 'HTTP_FILTER',
    match: {
      context: draw.pick(CONTEXTS),
      listener: draw.maybe(named ? 1 : 0.8, () => ({
        ...listenerMatch(draw),
        filterChain: {
          ...filterChainMatch(draw),
          filter: {
            name: 'envoy.filters.network.http_connection_manager',
            subFilter: draw.maybe(named ? 1 : 0.6, () => ({
              name: named
                ? 'envoy.filters.http.router'
                : draw.pick([
                    'envoy.filters.http.router',
                    'envoy.filters.http.cors',
                    'envoy.filters.http.fault',
                    'istio.alpn',
                    'envoy.router',
                  ]),
            })),
          },
        },
      })),
    },
    patch: !merges
      ? draw.either<object>(
          () => ({
            operation: draw.pick(['INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST', 'ADD', 'REPLACE']),
            value,
            filterClass: draw.maybe(0.2, () => draw.pick(['AUTHN', 'AUTHZ', 'STATS', 'UNSPECIFIED'])),
          }),
          () => ({ operation: 'REMOVE' }),
        )
      : {
          operation: 'MERGE',
          value: {
            name: 'envoy.filters.http.router',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
              dynamic_stats: false,
            },
          },
        },
  }
}

function listenerFilterPatch(draw: Draw): object {
  return {
    applyTo: 'LISTENER_FILTER',
    match: {
      context: draw.pick(CONTEXTS),
      listener: {
        ...listenerMatch(draw),
        listenerFilter: draw.maybe(0.6, () =>
          draw.pick(['envoy.filters.listener.tls_inspector', 'envoy.filters.listener.http_inspector']),
        ),
      },
    },
    patch: {
      operation: draw.pick(['INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST', 'ADD', 'REPLACE']),
      value: {
        name: 'envoy.filters.listener.proxy_protocol',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol',
        },
      },
    },
  }
}

function routePatch(draw: Draw): object {
  const routeConfiguration = draw.maybe(0.7, () => ({
    name: draw.maybe(0.3, () => draw.pick(['80', '9000', 'http.8080', 'https.443.https-0.r1.default'])),
    portNumber: draw.maybe(0.2, () => draw.pick(PORTS)),
    portName: draw.maybe(0.1, () => 'http-0'),
    gateway: draw.maybe(0.1, () => 'istio-system/gw0'),
    vhost: draw.maybe(0.6, () => ({
      name: draw.maybe(0.4, () =>
        draw.pick(['web.default.svc.cluster.local:80', 'ext.example.com:80', 'allow_any', 'inbound|http|80']),
      ),
      domainName: draw.maybe(0.15, () => 'web'),
      route: draw.maybe(0.5, () => ({
        name: draw.maybe(0.6, () => draw.pick(['default', 'one', 'allow_any'])),
        action: draw.maybe(0.5, () => draw.pick(['ANY', 'ROUTE', 'REDIRECT', 'DIRECT_RESPONSE'])),
      })),
    })),
  }))
  const match = { context: draw.pick(CONTEXTS), routeConfiguration }
  return draw.either<object>(
    () => ({
      applyTo: 'ROUTE_CONFIGURATION',
      match,
      patch: {
        operation: 'MERGE',
        // Not a number in a wrapper: istiod merges into one that all its routes share.
        value: { request_headers_to_remove: ['x-rc'], response_headers_to_remove: ['x-rs'] },
      },
    }),
    () => ({
      applyTo: 'VIRTUAL_HOST',
      match,
      patch: {
        operation: 'MERGE',
        // Not a list: istiod merges twice into virtual hosts that it keeps for several route configurations.
        value: { include_attempt_count_in_response: true, include_request_attempt_count: false },
      },
    }),
    () => ({ applyTo: 'VIRTUAL_HOST', match, patch: { operation: 'REMOVE' } }),
    () => ({
      applyTo: 'VIRTUAL_HOST',
      match,
      patch: {
        operation: 'ADD',
        value: {
          name: 'own',
          domains: ['own.com'],
          routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }],
        },
      },
    }),
    () => ({
      applyTo: 'HTTP_ROUTE',
      match,
      patch: { operation: 'MERGE', value: { route: { timeout: '77s' }, decorator: { operation: 'patched' } } },
    }),
    () => ({ applyTo: 'HTTP_ROUTE', match, patch: { operation: 'REMOVE' } }),
    () => ({
      applyTo: 'HTTP_ROUTE',
      match,
      patch: {
        operation: draw.pick(['ADD', 'INSERT_FIRST', 'INSERT_BEFORE', 'INSERT_AFTER']),
        value: { name: 'own-route', match: { prefix: '/own' }, direct_response: { status: 204 } },
      },
    }),
  )
}

/** Of a filter that others name (ECDS), and what belongs to bootstraps. */
const elsewherePatch = (draw: Draw): object =>
  draw.either<object>(
    () => ({
      applyTo: 'EXTENSION_CONFIG',
      match: { context: draw.pick(CONTEXTS) },
      patch: {
        operation: 'ADD',
        value: { name: draw.pick(['own-extension', 'other-extension']), typed_config: FAULT },
      },
    }),
    () => ({
      applyTo: 'HTTP_FILTER',
      match: { context: draw.pick(CONTEXTS) },
      patch: {
        operation: 'INSERT_FIRST',
        value: {
          name: 'own-extension',
          config_discovery: {
            config_source: { ads: {}, initial_fetch_timeout: '0s' },
            type_urls: [FAULT['@type']],
          },
        },
      },
    }),
    () => ({
      applyTo: 'BOOTSTRAP',
      match: { context: 'ANY' },
      patch: { operation: 'MERGE', value: { stats_flush_interval: '9s' } },
    }),
  )

/** Lists that are put in place of others. */
const replacingPatch = (draw: Draw): object =>
  draw.either<object>(
    () => ({
      applyTo: 'NETWORK_FILTER',
      match: {
        context: draw.pick(CONTEXTS),
        listener: { filterChain: { filter: { name: 'envoy.filters.network.http_connection_manager' } } },
      },
      patch: {
        operation: 'MERGE_AND_REPLACE_LIST',
        value: {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
            upgrade_configs: [{ upgrade_type: 'own' }],
            server_name: 'replaced',
          },
        },
      },
    }),
    () => ({
      applyTo: 'HTTP_ROUTE',
      match: { context: draw.pick(CONTEXTS) },
      patch: { operation: 'MERGE_AND_REPLACE_LIST', value: { request_headers_to_remove: ['x-replaced'] } },
    }),
    () => ({
      applyTo: 'CLUSTER',
      match: { context: draw.pick(CONTEXTS) },
      patch: {
        operation: 'MERGE_AND_REPLACE_LIST',
        value: { circuit_breakers: { thresholds: [{ max_connections: 8 }] } },
      },
    }),
  )

/** Workloads by labels, or the gateway of a Kubernetes Gateway. */
function attached(draw: Draw): object {
  if (draw.chance(0.95)) return { workloadSelector: draw.maybe(0.4, () => ({ labels: labels(draw) })) }
  return { targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: draw.pick(['kgw', 'kgw2']) }] }
}

export function envoyFilter(draw: Draw): object {
  const makers = [
    clusterPatch,
    listenerPatch,
    filterChainPatch,
    networkFilterPatch,
    httpFilterPatch,
    listenerFilterPatch,
    routePatch,
    routePatch,
    httpFilterPatch,
    elsewherePatch,
    replacingPatch,
  ]
  return {
    priority: draw.maybe(0.3, () => draw.between(-5, 5)),
    ...attached(draw),
    configPatches: draw.many(1, 2, () => {
      const patch = draw.pick(makers)(draw) as { match: Record<string, unknown> }
      if (draw.chance(0.1))
        patch.match.proxy = draw.pick<object>([
          { proxyVersion: '^1\\.3.*' },
          { proxyVersion: '^1\\.20.*' },
          { metadata: { K: 'v' } },
        ])
      return patch
    }),
  }
}
