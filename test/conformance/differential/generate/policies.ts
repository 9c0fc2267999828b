// Security policies, Telemetry, EnvoyFilters, ProxyConfigs.
import type { Draw } from './draw.ts'
import { labels, PORTS, SUBSETS } from './vocabulary.ts'

const selector = (draw: Draw) => draw.maybe(0.5, () => ({ matchLabels: labels(draw) }))
const MODES = ['STRICT', 'PERMISSIVE', 'DISABLE', 'UNSET'] as const

export function peerAuthentication(draw: Draw): object {
  const chosen = selector(draw)
  return {
    selector: chosen,
    mtls: draw.maybe(0.85, () => ({ mode: draw.pick(MODES) })),
    portLevelMtls:
      chosen &&
      draw.maybe(0.5, () =>
        Object.fromEntries(
          draw.some([80, 8080, 9000, 443, 8443, 7777, 9999], 1, 2).map((port) => [port, { mode: draw.pick(MODES) }]),
        ),
      ),
  }
}

export function requestAuthentication(draw: Draw): object {
  return {
    selector: selector(draw),
    jwtRules: draw.many(0, 2, (index) => ({
      issuer: `issuer-${index}${draw.pick(['', '-a'])}`,
      audiences: draw.maybe(0.4, () => draw.some(['aud1', 'aud2'], 1, 2)),
      jwks: '{"keys":[]}',
      fromHeaders: draw.maybe(0.3, () => [{ name: 'x-jwt', prefix: draw.maybe(0.5, () => 'Bearer ') }]),
      fromParams: draw.maybe(0.2, () => ['token']),
      fromCookies: draw.maybe(0.2, () => ['session']),
      outputPayloadToHeader: draw.maybe(0.3, () => 'x-payload'),
      forwardOriginalToken: draw.maybe(0.3, () => draw.chance(0.7)),
      outputClaimToHeaders: draw.maybe(0.2, () => [{ header: 'x-sub', claim: draw.pick(['sub', 'nested.key']) }]),
      timeout: draw.maybe(0.1, () => '3s'),
      spaceDelimitedClaims: draw.maybe(0.1, () => ['custom']),
    })),
  }
}

function source(draw: Draw): object {
  const list = (values: readonly string[]) => draw.maybe(0.25, () => draw.some(values, 1, 2))
  return {
    principals: list(['cluster.local/ns/default/sa/web', '*', '*/sa/web', 'cluster.local/*', 'td/ns/x/sa/y']),
    notPrincipals: list(['cluster.local/ns/other/sa/db']),
    requestPrincipals: list(['issuer/sub', '*', 'issuer/*', '*/sub']),
    notRequestPrincipals: list(['issuer/bad']),
    namespaces: list(['default', 'o*', '*er', '*']),
    notNamespaces: list(['third', 'x*']),
    serviceAccounts: draw.maybe(0.1, () => draw.some(['web', 'other/db'], 1, 2)),
    ipBlocks: list(['10.0.0.0/8', '192.168.1.1', '2001:db8::/32']),
    notIpBlocks: list(['10.1.0.0/16']),
    remoteIpBlocks: list(['203.0.113.0/24']),
    notRemoteIpBlocks: list(['203.0.113.7']),
  }
}

function operation(draw: Draw): object {
  const list = (values: readonly string[]) => draw.maybe(0.3, () => draw.some(values, 1, 2))
  return {
    hosts: list(['web', '*.example.com', 'a.com:*', '*']),
    notHosts: list(['bad.com']),
    ports: list(['80', '8080', '9000']),
    notPorts: list(['443']),
    methods: list(['GET', 'POST', '*']),
    notMethods: list(['DELETE']),
    paths: list(['/a', '/a*', '*/z', '*', '/a/{*}/b', '/a/{**}']),
    notPaths: list(['/admin', '/x*']),
  }
}

const CONDITIONS: readonly [string, readonly string[]][] = [
  ['request.headers[x-user]', ['a', 'b*', '*c', '*']],
  ['source.ip', ['10.0.0.0/8', '10.1.1.1']],
  ['remote.ip', ['10.0.0.0/8']],
  ['source.namespace', ['default', 'o*']],
  ['source.principal', ['cluster.local/ns/default/sa/web', '*']],
  ['source.serviceAccount', ['default/web', 'web']],
  ['request.auth.principal', ['issuer/sub', '*']],
  ['request.auth.audiences', ['aud1']],
  ['request.auth.presenter', ['me']],
  ['request.auth.claims[group]', ['admin', 'a*']],
  ['request.auth.claims[nested][key]', ['x']],
  ['destination.ip', ['10.1.0.1']],
  ['destination.port', ['80', '8080']],
  ['connection.sni', ['a.com', '*.b.com']],
]

export function authorizationPolicy(draw: Draw): object {
  const nonEmpty = (value: object): object | undefined =>
    Object.values(value).some((v) => v !== undefined) ? value : undefined
  const rules = draw.many(0, 3, () => ({
    from: draw.maybe(0.5, () => {
      const sources = draw.many(1, 2, () => nonEmpty(source(draw))).filter((s) => s)
      return sources.length > 0 ? sources.map((s) => ({ source: s })) : undefined
    }),
    to: draw.maybe(0.5, () => {
      const operations = draw.many(1, 2, () => nonEmpty(operation(draw))).filter((o) => o)
      return operations.length > 0 ? operations.map((o) => ({ operation: o })) : undefined
    }),
    when: draw.maybe(0.3, () =>
      draw.some(CONDITIONS, 1, 2).map(([key, values]) => ({
        key,
        ...draw.either<object>(
          () => ({ values: draw.some(values, 1, 2) }),
          () => ({ notValues: draw.some(values, 1, 2) }),
          () => ({ values: draw.some(values, 1, 1), notValues: draw.some(values, 1, 1) }),
        ),
      })),
    ),
  }))
  const custom = draw.chance(0.1)
  return {
    selector: selector(draw),
    action: custom
      ? 'CUSTOM'
      : rules.length === 0
        ? draw.pick(['ALLOW', undefined])
        : draw.pick(['ALLOW', 'DENY', 'AUDIT', 'ALLOW', undefined]),
    provider: custom ? { name: draw.pick(['authz-http', 'authz-grpc']) } : undefined,
    rules: custom
      ? [{ to: [{ operation: { methods: ['GET'], paths: ['/x*'] } }] }]
      : rules.length === 0
        ? draw.maybe(0.5, () => rules)
        : rules,
  }
}

const MODE = ['CLIENT', 'SERVER', 'CLIENT_AND_SERVER'] as const

export function telemetry(draw: Draw): object {
  const match = () => draw.maybe(0.4, () => ({ mode: draw.pick(MODE) }))
  return {
    selector: selector(draw),
    accessLogging: draw.maybe(0.5, () =>
      draw.many(1, 2, () => ({
        match: match(),
        providers: draw.maybe(0.7, () =>
          draw.some(['envoy', 'log-json', 'log-text', 'missing', 'otel-log', 'als'], 1, 2).map((name) => ({ name })),
        ),
        disabled: draw.maybe(0.2, () => draw.chance(0.8)),
        filter: draw.maybe(0.3, () => ({
          expression: draw.pick(['response.code >= 400', 'connection.mtls', 'request.host == "x"']),
        })),
      })),
    ),
    tracing: draw.maybe(0.4, () => [
      {
        match: match(),
        providers: draw.maybe(0.6, () => [{ name: draw.pick(['zipkin', 'otel', 'missing']) }]),
        randomSamplingPercentage: draw.maybe(0.5, () => draw.pick([0, 5, 33.33, 100])),
        disableSpanReporting: draw.maybe(0.2, () => draw.chance(0.7)),
        useRequestIdForTraceSampling: draw.maybe(0.2, () => draw.chance(0.5)),
        enableIstioTags: draw.maybe(0.2, () => draw.chance(0.5)),
        customTags: draw.maybe(0.3, () => ({
          tag: draw.pick([
            { literal: { value: 'x' } },
            { environment: { name: 'ENV', defaultValue: 'd' } },
            { header: { name: 'x-user', defaultValue: 'u' } },
            { formatter: { value: '%PROTOCOL%' } },
          ]),
        })),
      },
    ]),
    metrics: draw.maybe(0.4, () => [
      {
        providers: draw.maybe(0.7, () => [{ name: 'prometheus' }]),
        reportingInterval: draw.maybe(0.2, () => '10s'),
        overrides: draw.maybe(0.7, () =>
          draw.many(1, 2, () => ({
            match: draw.maybe(0.7, () => ({
              ...draw.pick<object>([
                { metric: 'REQUEST_COUNT' },
                { metric: 'ALL_METRICS' },
                { customMetric: 'own' },
                {},
                { metric: 'TCP_SENT_BYTES' },
              ]),
              mode: draw.maybe(0.4, () => draw.pick(MODE)),
            })),
            disabled: draw.maybe(0.4, () => draw.chance(0.7)),
            tagOverrides: draw.maybe(0.5, () => ({
              request_method: draw.pick<object>([
                { value: 'request.method' },
                { operation: 'REMOVE' },
                { operation: 'UPSERT', value: 'request.host' },
              ]),
              ...(draw.chance(0.4) && { 'a-tag': { value: "'x'" } }),
            })),
          })),
        ),
      },
    ]),
  }
}

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
            filterClass: draw.maybe(0.2, () => draw.pick(['AUTHN', 'AUTHZ', 'STATS'])),
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
  ]
  return {
    priority: draw.maybe(0.3, () => draw.between(-5, 5)),
    workloadSelector: draw.maybe(0.4, () => ({ labels: labels(draw) })),
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

export function proxyConfig(draw: Draw): object {
  return {
    selector: selector(draw),
    concurrency: draw.maybe(0.5, () => draw.between(0, 4)),
    environmentVariables: draw.maybe(0.4, () => ({ K: 'v' })),
  }
}

export function wasmPlugin(draw: Draw): object {
  return {
    selector: selector(draw),
    url: draw.pick(['oci://example.com/m:1', 'file:///opt/m.wasm', 'https://example.com/m.wasm', 'example.com/m:2']),
    type: draw.maybe(0.4, () => draw.pick(['HTTP', 'NETWORK'])),
    phase: draw.maybe(0.6, () => draw.pick(['AUTHN', 'AUTHZ', 'STATS', 'UNSPECIFIED_PHASE'])),
    priority: draw.maybe(0.4, () => draw.between(-3, 3)),
    failStrategy: draw.maybe(0.4, () => draw.pick(['FAIL_OPEN', 'FAIL_CLOSE', 'FAIL_RELOAD'])),
    imagePullPolicy: draw.maybe(0.3, () => draw.pick(['Always', 'IfNotPresent'])),
    sha256: draw.maybe(0.15, () => 'ab'.repeat(32)),
    pluginName: draw.maybe(0.3, () => 'plug'),
    pluginConfig: draw.maybe(0.4, () => ({ a: 1 })),
    match: draw.maybe(0.3, () => [
      { mode: draw.pick(MODE), ports: draw.maybe(0.5, () => [{ number: draw.pick(PORTS) }]) },
    ]),
    vmConfig: draw.maybe(0.2, () => ({
      env: [
        { name: 'E', value: 'v' },
        { name: 'H', valueFrom: 'HOST' },
      ],
    })),
  }
}
