// MeshConfig.
import { localityLb } from './destination-rule.ts'
import type { Draw } from './draw.ts'
import { retries } from './virtual-service.ts'

/** A MeshConfig laid over Istio's default; most meshes have none or one thing changed. */
export function meshConfig(draw: Draw): object {
  const rare = 0.07
  return {
    extensionProviders: [
      {
        name: 'authz-http',
        envoyExtAuthzHttp: {
          service: 'web.default.svc.cluster.local',
          port: 80,
          timeout: '2s',
          pathPrefix: draw.maybe(0.3, () => '/check'),
          includeRequestHeadersInCheck: ['x-a'],
          failOpen: draw.chance(0.5),
        },
      },
      { name: 'authz-grpc', envoyExtAuthzGrpc: { service: 'ext.example.com', port: 9000, failOpen: draw.chance(0.5) } },
      {
        name: 'log-json',
        envoyFileAccessLog: { path: '/dev/stdout', logFormat: { labels: { a: '%PROTOCOL%', b: 'x' } } },
      },
      { name: 'log-text', envoyFileAccessLog: { path: '/dev/stderr', logFormat: { text: '%PROTOCOL%' } } },
      { name: 'als', envoyHttpAls: { service: 'shop.default.svc.cluster.local', port: 9000 } },
      { name: 'otel-log', envoyOtelAls: { service: 'api.default.svc.cluster.local', port: 9000 } },
      {
        name: 'zipkin',
        zipkin: { service: 'web.default.svc.cluster.local', port: 80, maxTagLength: draw.maybe(0.3, () => 56) },
      },
      { name: 'otel', opentelemetry: { service: 'api.default.svc.cluster.local', port: 9000 } },
    ],
    defaultProviders: draw.maybe(0.3, () => ({
      metrics: draw.maybe(0.6, () => ['prometheus']),
      accessLogging: draw.maybe(0.4, () => draw.some(['envoy', 'log-json'], 1, 2)),
      tracing: draw.maybe(0.4, () => [draw.pick(['zipkin', 'otel'])]),
    })),
    outboundTrafficPolicy: draw.maybe(0.2, () => ({ mode: draw.pick(['REGISTRY_ONLY', 'ALLOW_ANY']) })),
    inboundTrafficPolicy: draw.maybe(rare, () => ({ mode: draw.pick(['PASSTHROUGH', 'LOCALHOST']) })),
    connectTimeout: draw.maybe(rare, () => '3s'),
    tcpKeepalive: draw.maybe(rare, () => ({ time: '100s', interval: '10s' })),
    protocolDetectionTimeout: draw.maybe(rare, () => '1s'),
    proxyHttpPort: draw.maybe(rare, () => 15099),
    enableAutoMtls: draw.maybe(rare, () => draw.chance(0.3)),
    trustDomain: draw.maybe(rare, () => 'td.example'),
    trustDomainAliases: draw.maybe(rare, () => ['old-td', 'older']),
    defaultServiceExportTo: draw.maybe(rare, () => draw.pick([['.'], ['*'], ['~']])),
    defaultVirtualServiceExportTo: draw.maybe(rare, () => draw.pick([['.'], ['*']])),
    defaultDestinationRuleExportTo: draw.maybe(rare, () => draw.pick([['.'], ['*']])),
    localityLbSetting: draw.maybe(rare, () => localityLb(draw)),
    accessLogFile: draw.maybe(0.1, () => draw.pick(['/dev/stdout', '/tmp/log'])),
    ...draw.either<object>(
      () => ({ accessLogFormat: draw.maybe(rare, () => draw.pick(['%PROTOCOL%\n', '%PROTOCOL%'])) }),
      () => ({ accessLogEncoding: draw.maybe(rare, () => draw.pick(['JSON', 'TEXT'])) }),
    ),
    disableEnvoyListenerLog: draw.maybe(rare, () => true),
    enableTracing: draw.maybe(0.12, () => draw.chance(0.7)),
    enablePrometheusMerge: draw.maybe(0.03, () => false),
    verifyCertificateAtClient: draw.maybe(rare, () => draw.chance(0.5)),
    h2UpgradePolicy: draw.maybe(rare, () => draw.pick(['UPGRADE', 'DO_NOT_UPGRADE'])),
    dnsRefreshRate: draw.maybe(rare, () => '30s'),
    pathNormalization: draw.maybe(rare, () => ({
      normalization: draw.pick(['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES']),
    })),
    defaultHttpRetryPolicy: draw.maybe(rare, () => retries(draw)),
    serviceSettings: draw.maybe(rare, () => [
      {
        settings: { clusterLocal: true },
        hosts: [draw.pick(['*.default.svc.cluster.local', 'web.default.svc.cluster.local'])],
      },
    ]),
    meshMTLS: draw.maybe(rare, () => ({
      minProtocolVersion: draw.pick(['TLSV1_2', 'TLSV1_3']),
      cipherSuites: draw.maybe(0.3, () => ['ECDHE-RSA-AES256-GCM-SHA384']),
    })),
    tlsDefaults: draw.maybe(rare, () => ({
      minProtocolVersion: draw.pick(['TLSV1_2', 'TLSV1_3']),
      cipherSuites: draw.maybe(0.3, () => ['ECDHE-RSA-AES256-GCM-SHA384']),
      ecdhCurves: draw.maybe(0.3, () => ['P-256']),
    })),
    hboneIdleTimeout: undefined,
    defaultConfig: draw.maybe(0.2, () => ({
      tracing: draw.maybe(0.4, () => ({
        ...draw.pick<object>([{ zipkin: { address: 'web.default.svc.cluster.local:80' } }, {}]),
        sampling: draw.maybe(0.5, () => 12),
        maxPathTagLength: draw.maybe(0.3, () => 99),
        customTags: draw.maybe(0.3, () => ({ mesh: { literal: { value: 'm' } } })),
      })),
      gatewayTopology: draw.maybe(0.4, () => ({
        numTrustedProxies: draw.maybe(0.6, () => 2),
        forwardClientCertDetails: draw.maybe(0.4, () => 'APPEND_FORWARD'),
        proxyProtocol: draw.maybe(0.3, () => ({})),
      })),
      proxyHeaders: draw.maybe(0.5, () => ({
        forwardedClientCert: draw.maybe(0.4, () =>
          draw.pick(['SANITIZE', 'FORWARD_ONLY', 'APPEND_FORWARD', 'SANITIZE_SET', 'ALWAYS_FORWARD_ONLY']),
        ),
        requestId: draw.maybe(0.3, () => ({ disabled: draw.chance(0.7) })),
        server: draw.maybe(0.4, () => draw.pick<object>([{ disabled: true }, { value: 'srv' }])),
        attemptCount: draw.maybe(0.3, () => ({ disabled: draw.chance(0.7) })),
        envoyDebugHeaders: draw.maybe(0.3, () => ({ disabled: true })),
        metadataExchangeHeaders: draw.maybe(0.3, () => ({ mode: 'IN_MESH' })),
        preserveHttp1HeaderCase: draw.maybe(0.3, () => true),
        xForwardedHost: draw.maybe(0.2, () => ({ enabled: true })),
        xForwardedPort: draw.maybe(0.2, () => ({ enabled: true })),
        setCurrentClientCertDetails: draw.maybe(0.3, () => ({ subject: true, uri: draw.chance(0.5), dns: true })),
      })),
    })),
  }
}
