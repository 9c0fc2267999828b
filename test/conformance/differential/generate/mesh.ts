// MeshConfig.
import { clientTls, connectionPool, localityLb, outlierDetection, zoneAwareLb } from './destination-rule.ts'
import type { Draw } from './draw.ts'
import { extensionProviders, TRACERS } from './providers.ts'
import { defaultConfig } from './proxy-config.ts'
import { retries } from './virtual-service.ts'

// Never empty: Envoy refuses what istiod makes of such a name.
const STAT_NAMES = [
  '%SERVICE%_%SERVICE_PORT%_%SERVICE_PORT_NAME%',
  '%SERVICE_FQDN%.%SUBSET_NAME%_%TARGET_PORT%',
  '%SERVICE_NAME%_%SERVICE_PORT%',
  'own',
] as const

/**
 * Left out: discoverySelectors and the policies of serviceEntryVisibility, for which istiod's test server has no namespaces;
 * what belongs to bootstraps, to authorities outside of the mesh, or to the ambient mode.
 */
/** A MeshConfig laid over Istio's default; most meshes have none or one thing changed. */
export function meshConfig(draw: Draw): object {
  const rare = 0.07
  return {
    extensionProviders: extensionProviders(draw),
    defaultProviders: draw.maybe(0.3, () => ({
      metrics: draw.maybe(0.6, () => draw.pick([['prometheus'], ['prometheus'], ['own-prometheus']])),
      accessLogging: draw.maybe(0.5, () => draw.some(['envoy', 'log-json', 'als', 'tcp-als', 'otel-log'], 1, 2)),
      tracing: draw.maybe(0.5, () => [draw.pick(TRACERS)]),
    })),
    outboundTrafficPolicy: draw.maybe(0.2, () => ({
      mode: draw.pick(['REGISTRY_ONLY', 'ALLOW_ANY', 'ALLOW_ANY_DYNAMIC_DNS']),
      tls: draw.maybe(0.3, () => clientTls(draw)),
    })),
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
    zoneAwareLbSetting: draw.maybe(rare, () => zoneAwareLb(draw)),
    defaultTrafficPolicy: draw.maybe(rare, () => ({
      connectionPool: draw.maybe(0.6, () => connectionPool(draw)),
      outlierDetection: draw.maybe(0.6, () => outlierDetection(draw)),
    })),
    proxyListenPort: draw.maybe(0.03, () => 15101),
    proxyInboundListenPort: draw.maybe(0.03, () => 15106),
    rootNamespace: draw.maybe(0.04, () => 'third'),
    inboundClusterStatName: draw.maybe(rare, () => draw.pick(STAT_NAMES)),
    outboundClusterStatName: draw.maybe(rare, () => draw.pick(STAT_NAMES)),
    serviceEntryVisibility: draw.maybe(rare, () => ({
      defaultVisibility: draw.pick(['VISIBILITY_UNSPECIFIED', 'NONE', 'NAMESPACE', 'PUBLIC']),
      applyToSidecars: draw.chance(0.8),
    })),
    ingressControllerMode: draw.maybe(rare, () => draw.pick(['OFF', 'DEFAULT', 'STRICT'])),
    ingressClass: draw.maybe(rare, () => draw.pick(['istio', 'other'])),
    ingressSelector: draw.maybe(rare, () => draw.pick(['ingressgateway', 'none'])),
    ingressService: draw.maybe(rare, () => draw.pick(['ingress', 'none'])),
    enableEnvoyAccessLogService: draw.maybe(rare, () => true),
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
    defaultConfig: draw.maybe(0.25, () => defaultConfig(draw)),
  }
}
