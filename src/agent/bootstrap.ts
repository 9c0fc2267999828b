// The bootstrap that starts a data plane, stock Envoy or ours alike (istio-contract 13.1 and 7).
import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { ConfigError } from '../base/errors.ts'
import { type BootstrapAdditions, bootstrapAdditions } from './bootstrap-additions.ts'
import { buildNode } from './node.ts'
import type { ProxyConfig } from './proxy-config.ts'
import { duration, isRecord } from './raw-fields.ts'
import { SDS_CLUSTER } from './secret-source.ts'
import type { AgentSettings } from './settings.ts'

/** Unix sockets of the agent, relative to its working directory as in Istio's bootstrap. */
export const SDS_SOCKET = './var/run/secrets/workload-spiffe-uds/socket'
export const XDS_SOCKET_NAME = 'XDS'
export const PROMETHEUS_PORT = 15090
const HEALTH_PORT = 15021

const HCM = 'envoy.filters.network.http_connection_manager'
const TYPE = 'type.googleapis.com/'

/** The bootstrap in Envoy's JSON (snake_case, as `/config_dump` shows it). */
export function buildBootstrap(settings: AgentSettings): JsonObject {
  const { config } = settings
  const { clusters, tracing, statsSinks } = additionsOf(settings)
  const ads: JsonObject = { ads: {}, initial_fetch_timeout: '0s', resource_api_version: 'V3' }
  return {
    node: buildNode(settings) as unknown as JsonObject,
    layered_runtime: {
      layers: [
        { name: 'global config', static_layer: runtimeFlags(config.runtimeValues) },
        { name: 'admin', admin_layer: {} },
      ],
    },
    bootstrap_extensions: [
      {
        name: 'envoy.bootstrap.internal_listener',
        typed_config: {
          '@type': `${TYPE}envoy.extensions.bootstrap.internal_listener.v3.InternalListener`,
          buffer_size_kb: 64,
        },
      },
    ],
    ...flushInterval(settings),
    stats_config: statsConfig(settings),
    admin: {
      access_log: [
        {
          name: 'envoy.access_loggers.file',
          typed_config: { '@type': `${TYPE}envoy.extensions.access_loggers.file.v3.FileAccessLog`, path: '/dev/null' },
        },
      ],
      profile_path: '/var/lib/istio/data/envoy.prof',
      address: socketAddress('127.0.0.1', config.proxyAdminPort),
    },
    dynamic_resources: {
      lds_config: ads,
      cds_config: ads,
      ads_config: {
        api_type: 'DELTA_GRPC',
        set_node_on_first_message_only: true,
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }],
      },
    },
    static_resources: {
      clusters: [
        tcpCluster('prometheus_stats', config.proxyAdminPort),
        tcpCluster('agent', config.statusPort),
        pipeCluster(SDS_CLUSTER, SDS_SOCKET),
        xdsCluster(`${config.configPath}/${XDS_SOCKET_NAME}`),
        ...clusters,
      ],
      listeners: [
        staticListener(PROMETHEUS_PORT, 'stats', '/stats/prometheus', 'prometheus_stats', compressors(config)),
        staticListener(HEALTH_PORT, 'agent', '/healthz/ready', 'agent'),
      ],
    },
    ...(tracing ? { tracing } : {}),
    ...(statsSinks.length > 0 ? { stats_sinks: [...statsSinks] } : {}),
  }
}

function additionsOf({ config, instanceIps, proxy }: AgentSettings): BootstrapAdditions {
  const family = instanceIps.every((ip) => ip.includes(':')) ? 'V6_ONLY' : 'V4_ONLY'
  return bootstrapAdditions(config, family, proxy === 'outrigger')
}

/** What ProxyConfig asks for and this proxy is not given, in words. */
export function leftOutOfBootstrap(settings: AgentSettings): readonly string[] {
  return additionsOf(settings).leftOut
}

/** Istio's order: who accepts several codings gets the first of them. */
const CODINGS = ['brotli', 'zstd', 'gzip'] as const
const TEXT_TYPES = ['text/plain', 'application/vnd.google.protobuf', 'application/openmetrics-text'] as const

function compressors({ statsCompression }: ProxyConfig): JsonObject[] {
  if (!statsCompression) return []
  return CODINGS.map((coding) => ({
    name: `envoy.filters.http.compressor.${coding}`,
    typed_config: {
      '@type': `${TYPE}envoy.extensions.filters.http.compressor.v3.Compressor`,
      compressor_library: {
        name: `stats_${coding}`,
        typed_config: {
          '@type': `${TYPE}envoy.extensions.compression.${coding}.compressor.v3.${coding[0]!.toUpperCase()}${coding.slice(1)}`,
        },
      },
      response_direction_config: { common_config: { content_type: [...TEXT_TYPES] } },
    },
  }))
}

/** A value of `''` takes a flag of the defaults away; booleans and numbers are what they look like, as Envoy wants them. */
function runtimeFlags(values: Readonly<Record<string, string>>): JsonObject {
  const flags: Record<string, JsonValue> = {
    ...RUNTIME_FLAGS,
  }
  for (const [name, value] of Object.entries(values)) {
    if (value === '') delete flags[name]
    else if (value === 'true' || value === 'false') flags[name] = value === 'true'
    else flags[name] = /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value
  }
  return flags
}

const RUNTIME_FLAGS: JsonObject = {
  'envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst': true,
  'envoy.reloadable_features.http_reject_path_with_fragment': false,
  're2.max_program_size.error_level': 32_768,
  'overload.global_downstream_max_connections': '2147483647',
}

/**
 * Tag expressions: group 1 is cut out of the stat's name, group 2 is the tag's value. The control plane ends cluster names
 * and stat prefixes with `;` (alt_stat_name, stat_prefix), so that dots inside a name do not end it.
 */
const STAT_TAGS: readonly (readonly [name: string, regex: string])[] = [
  ['cluster_name', '^cluster\\.(([^.;|]+|[^;]+);?\\.)'],
  ['tcp_prefix', '^tcp\\.(([^;]+);?\\.)\\w+?$'],
  ['response_code', '_rq(_(\\d{3}))$'],
  ['response_code_class', '_rq(_(\\dxx))$'],
  ['http_conn_manager_prefix', '^http\\.(([^;]+);\\.)'],
  ['listener_address', '^listener\\.(([_0-9.]+|[_\\[\\]a-fA-F0-9]+)\\.)'],
  ['mongo_prefix', '^mongo\\.(.+?)\\.(collection|cmd|cx_|op_|delays_|decoding_)(.*?)$'],
  ['cache', '(cache\\.(.+?)\\.)'],
  ['component', '(component\\.(.+?)\\.)'],
  ['tag', '(tag\\.(.+?);\\.)'],
  ['authz_enforce_result', 'rbac(\\.(allowed|denied))'],
  ['authz_dry_run_action', '(\\.istio_dry_run_(allow|deny)_)'],
  ['authz_dry_run_result', '(\\.shadow_(allowed|denied))'],
]

const INCLUDED_PREFIXES = ['cluster_manager', 'listener_manager', 'server', 'cluster.xds-grpc', 'wasm']
const INCLUDED_SUFFIXES = ['rbac.allowed', 'rbac.denied', 'shadow_allowed', 'shadow_denied']

function statsConfig(settings: AgentSettings): JsonObject {
  const { config, annotations } = settings
  const annotated = (name: string) =>
    annotations[`sidecar.istio.io/${name}`]?.split(',').filter((word) => word !== '') ?? []
  // The annotation stands in the place of ProxyConfig's; `{pod_ip}` is every address of the pod.
  const asked = (annotation: string, own: readonly string[], always: readonly string[]): string[] => {
    const words = annotated(annotation)
    return unique([...(words.length > 0 ? words : own), ...always]).flatMap((word) =>
      word.includes('{pod_ip}') ? settings.instanceIps.map((ip) => word.replaceAll('{pod_ip}', ip)) : [word],
    )
  }
  const { proxyStatsMatcher } = config
  const prefixes = asked('statsInclusionPrefixes', proxyStatsMatcher.prefixes, INCLUDED_PREFIXES)
  const draining = settings.exitOnZeroActiveConnections ? ['downstream_cx_active'] : []
  const suffixes = asked('statsInclusionSuffixes', proxyStatsMatcher.suffixes, [...INCLUDED_SUFFIXES, ...draining])
  const regexps = asked('statsInclusionRegexps', proxyStatsMatcher.regexps, ['vhost\\..*\\.route\\..*'])
  const extraTags = unique([...config.extraStatTags, ...annotated('extraStatTags')])
  const extra = extraTags.map((tag): readonly [string, string] => [tag, `(${tag}=\\.=(.*?);\\.;)`])
  return {
    use_all_default_tags: false,
    stats_tags: [...STAT_TAGS, ...extra].map(([tag_name, regex]) => ({ tag_name, regex })),
    ...histogramBuckets(settings),
    stats_matcher: {
      inclusion_list: {
        patterns: [
          { prefix: 'reporter=' },
          ...prefixes.map((prefix) => ({ prefix })),
          ...suffixes.map((suffix) => ({ suffix })),
          ...regexps.map((regex) => ({ safe_regex: { regex } })),
          { prefix: 'component' },
          { prefix: 'istio' },
        ],
      },
    },
  }
}

const FLUSH_INTERVAL = 'sidecar.istio.io/statsFlushInterval'
const HISTOGRAM_BUCKETS = 'sidecar.istio.io/statsHistogramBuckets'

function flushInterval({ annotations }: AgentSettings): JsonObject {
  if (annotations[FLUSH_INTERVAL] === undefined) return {}
  return { stats_flush_interval: `${duration(annotations, FLUSH_INTERVAL) / 1000}s` }
}

/** The annotation's value is JSON: the prefix of the histograms, and the upper bounds of their buckets. */
function histogramBuckets({ annotations }: AgentSettings): JsonObject {
  const text = annotations[HISTOGRAM_BUCKETS]
  if (text === undefined) return {}
  let asked: unknown
  try {
    asked = JSON.parse(text)
  } catch (error) {
    throw new ConfigError(HISTOGRAM_BUCKETS, 'is not JSON', { cause: error })
  }
  const settings = Object.entries(isRecord(asked) ? asked : {}).sort(([a], [b]) => (a < b ? -1 : 1))
  if (settings.length === 0 || !settings.every(([, bounds]) => isAscending(bounds)))
    throw new ConfigError(HISTOGRAM_BUCKETS, 'must map prefixes to rising lists of numbers')
  return {
    histogram_bucket_settings: settings.map(([prefix, buckets]) => ({
      match: { prefix },
      buckets: buckets as number[],
    })),
  }
}

function isAscending(value: unknown): boolean {
  return Array.isArray(value) && value.every((n, i) => typeof n === 'number' && (i === 0 || n > value[i - 1]))
}

function unique(words: readonly string[]): string[] {
  return [...new Set(words)]
}

function socketAddress(address: string, port: number): JsonObject {
  return { socket_address: { protocol: 'TCP', address, port_value: port } }
}

function assignment(name: string, address: JsonObject): JsonObject {
  return { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] }
}

function tcpCluster(name: string, port: number): JsonObject {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '0.250s',
    lb_policy: 'ROUND_ROBIN',
    load_assignment: assignment(name, socketAddress('127.0.0.1', port)),
  }
}

function pipeCluster(name: string, path: string): JsonObject {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    lb_policy: 'ROUND_ROBIN',
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': `${TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions`,
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    load_assignment: assignment(name, { pipe: { path } }),
  }
}

function xdsCluster(path: string): JsonObject {
  const threshold = (priority: string): JsonValue => ({
    priority,
    max_connections: 100_000,
    max_pending_requests: 100_000,
    max_requests: 100_000,
  })
  return {
    ...pipeCluster('xds-grpc', path),
    circuit_breakers: { thresholds: [threshold('DEFAULT'), threshold('HIGH')] },
    upstream_connection_options: { tcp_keepalive: { keepalive_time: 300 } },
    max_requests_per_connection: 1,
  }
}

/** A listener that hands one path to one cluster; probes and scrapes must pass whatever the load is. */
function staticListener(
  port: number,
  statPrefix: string,
  prefix: string,
  cluster: string,
  filters: readonly JsonObject[] = [],
): JsonObject {
  return {
    address: socketAddress('0.0.0.0', port),
    ignore_global_conn_limit: true,
    bypass_overload_manager: true,
    filter_chains: [
      {
        filters: [
          {
            name: HCM,
            typed_config: {
              '@type': `${TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              codec_type: 'AUTO',
              stat_prefix: statPrefix,
              route_config: {
                virtual_hosts: [
                  { name: 'backend', domains: ['*'], routes: [{ match: { prefix }, route: { cluster } }] },
                ],
              },
              http_filters: [
                ...filters,
                {
                  name: 'envoy.filters.http.router',
                  typed_config: { '@type': `${TYPE}envoy.extensions.filters.http.router.v3.Router` },
                },
              ],
            },
          },
        ],
      },
    ],
  }
}
