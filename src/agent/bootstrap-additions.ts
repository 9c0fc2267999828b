// What ProxyConfig adds to Istio's bootstrap: tracers, sinks of stats, and the clusters that these and the access log
// service are reached by.
import type { JsonObject } from '@bufbuild/protobuf'
import { ConfigError } from '../base/errors.ts'
import type { ProxyConfig } from './proxy-config.ts'
import type { RemoteService, TlsSettings } from './remote-services.ts'
import { SDS_CLUSTER } from './secret-source.ts'

const TYPE = 'type.googleapis.com/'

/** Parts of the bootstrap; each is left out when nothing asks for it. */
export interface BootstrapAdditions {
  readonly clusters: readonly JsonObject[]
  readonly tracing?: JsonObject
  readonly statsSinks: readonly JsonObject[]
  /** What the proxy cannot do and is not given, in words. */
  readonly leftOut: readonly string[]
}

/** `ours`: for the proxy of this package, which has no Datadog tracer and no metrics service. */
export function bootstrapAdditions(config: ProxyConfig, family: string, ours: boolean): BootstrapAdditions {
  const clusters: JsonObject[] = []
  const statsSinks: JsonObject[] = []
  const leftOut: string[] = []
  let tracing: JsonObject | undefined
  const { tracer, statsdUdpAddress, envoyMetricsService, envoyAccessLogService } = config
  if (tracer?.kind === 'zipkin') {
    clusters.push({ ...remoteCluster('zipkin', tracer, family, false), dns_refresh_rate: '30s' })
    tracing = http('envoy.tracers.zipkin', {
      '@type': `${TYPE}envoy.config.trace.v3.ZipkinConfig`,
      collector_cluster: 'zipkin',
      collector_endpoint: '/api/v2/spans',
      collector_endpoint_version: 'HTTP_JSON',
      trace_id_128bit: true,
      shared_span_context: false,
    })
  } else if (tracer?.kind === 'datadog') {
    if (ours) leftOut.push('tracing.datadog: this proxy has no Datadog tracer')
    else {
      clusters.push(remoteCluster('datadog_agent', tracer, family, false))
      tracing = http('envoy.tracers.datadog', {
        '@type': `${TYPE}envoy.config.trace.v3.DatadogConfig`,
        collector_cluster: 'datadog_agent',
        service_name: config.serviceCluster,
      })
    }
  }
  if (envoyMetricsService) {
    if (ours) leftOut.push('envoyMetricsService: this proxy has no metrics service; scrape its stats')
    else {
      clusters.push(remoteCluster('envoy_metrics_service', envoyMetricsService, family, true))
      statsSinks.push({
        name: 'envoy.stat_sinks.metrics_service',
        typed_config: {
          '@type': `${TYPE}envoy.config.metrics.v3.MetricsServiceConfig`,
          transport_api_version: 'V3',
          grpc_service: { envoy_grpc: { cluster_name: 'envoy_metrics_service' } },
        },
      })
    }
  }
  if (envoyAccessLogService) {
    clusters.push(remoteCluster('envoy_accesslog_service', envoyAccessLogService, family, true))
  }
  if (statsdUdpAddress) {
    statsSinks.push({
      name: 'envoy.stat_sinks.statsd',
      typed_config: {
        '@type': `${TYPE}envoy.config.metrics.v3.StatsdSink`,
        address: socketAddress(statsdUdpAddress, 'statsdUdpAddress'),
      },
    })
  }
  return { clusters, tracing, statsSinks, leftOut }
}

function http(name: string, typed_config: JsonObject): JsonObject {
  return { http: { name, typed_config } }
}

function remoteCluster(name: string, service: RemoteService, family: string, http2: boolean): JsonObject {
  const { address, tls, tcpKeepalive } = service
  return {
    name,
    alt_stat_name: `${name};`,
    ...(tls ? { transport_socket: tlsSocket(tls, address, http2) } : {}),
    ...(tcpKeepalive ? { upstream_connection_options: { tcp_keepalive: tcpKeepalive } } : {}),
    type: 'STRICT_DNS',
    respect_dns_ttl: true,
    dns_lookup_family: family,
    connect_timeout: '1s',
    lb_policy: 'ROUND_ROBIN',
    ...(http2
      ? {
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': `${TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
        }
      : {}),
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(address, name) } }] }],
    },
  }
}

/** `host:port` of a name or an address, `[v6]:port`. */
function socketAddress(address: string, path: string): JsonObject {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address)
  if (!found) throw new ConfigError(path, `"${address}" is not host:port`)
  return { socket_address: { address: found[1] ?? found[2]!, port_value: Number(found[3]) } }
}

/** Certificates are read from the files that the settings name, without the agent between. */
function tlsSocket(tls: TlsSettings, address: string, http2: boolean): JsonObject {
  const { mode, sni, subjectAltNames } = tls
  const file = (filename: string): JsonObject => ({ filename })
  const mesh = mode === 'ISTIO_MUTUAL'
  const certificates =
    mode === 'MUTUAL' ? [{ certificate_chain: file(tls.clientCertificate), private_key: file(tls.privateKey) }] : []
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `${TYPE}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`,
      sni: sni || (mesh ? address.replace(/:\d+$/, '') : ''),
      common_tls_context: {
        ...(http2 || mesh ? { alpn_protocols: mesh ? ['istio', 'h2'] : ['h2'] } : {}),
        ...(mesh ? meshCertificates(subjectAltNames) : {}),
        ...(certificates.length > 0 ? { tls_certificates: certificates } : {}),
        ...(!mesh && tls.caCertificates
          ? {
              validation_context: {
                trusted_ca: file(tls.caCertificates),
                ...(subjectAltNames.length > 0 ? { match_typed_subject_alt_names: subjectAltNames.map(dnsName) } : {}),
              },
            }
          : {}),
      },
    },
  }
}

function dnsName(exact: string): JsonObject {
  return { san_type: exact.includes('://') ? 'URI' : 'DNS', matcher: { exact } }
}

function meshCertificates(subjectAltNames: readonly string[]): JsonObject {
  const sds = (name: string): JsonObject => ({
    name,
    sds_config: {
      api_config_source: {
        api_type: 'GRPC',
        grpc_services: [{ envoy_grpc: { cluster_name: SDS_CLUSTER } }],
        set_node_on_first_message_only: true,
        transport_api_version: 'V3',
      },
      resource_api_version: 'V3',
    },
  })
  return {
    tls_certificate_sds_secret_configs: [sds('default')],
    combined_validation_context: {
      default_validation_context:
        subjectAltNames.length > 0
          ? { match_typed_subject_alt_names: subjectAltNames.map((name) => dnsName(name)) }
          : {},
      validation_context_sds_secret_config: sds('ROOTCA'),
    },
  }
}
