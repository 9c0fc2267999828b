// MeshConfig: settings of the whole mesh, with ProxyConfig (`defaultConfig`) inside.
import {
  bool,
  double,
  duration,
  type Infer,
  integer,
  list,
  map,
  message,
  oneOfNames,
  required,
  string,
  struct,
} from '../schema.ts'
import { tlsProtocolVersion } from './common.ts'
import {
  clientTls,
  connectionPool,
  localityLbSetting,
  outlierDetection,
  tcpKeepalive,
  zoneAwareLbSetting,
} from './destination-rule.ts'

const strings = list(string())

const labelSelector = message({
  matchLabels: map(string()),
  matchExpressions: list(
    message({
      key: required(string()),
      operator: required(oneOfNames('In', 'NotIn', 'Exists', 'DoesNotExist')),
      values: strings,
    }),
  ),
})
export type LabelSelector = Infer<typeof labelSelector>

const retryPolicy = message({
  attempts: integer({ min: 0 }),
  perTryTimeout: duration(),
  retryOn: string(),
  retryRemoteLocalities: bool,
  retryIgnorePreviousHosts: bool,
  backoff: duration(),
})

const proxyStatsMatcher = message({ inclusionPrefixes: strings, inclusionSuffixes: strings, inclusionRegexps: strings })

const customTag = message({
  literal: message({ value: string() }),
  environment: message({ name: string(), defaultValue: string() }),
  header: message({ name: string(), defaultValue: string() }),
})
const proxyTracing = message({
  zipkin: message({ address: string() }),
  lightstep: message({ address: string(), accessToken: string() }),
  datadog: message({ address: string() }),
  stackdriver: struct,
  opencensusAgent: struct,
  customTags: map(customTag),
  maxPathTagLength: integer({ min: 0 }),
  sampling: double({ min: 0, max: 100 }),
  tlsSettings: clientTls,
  enableIstioTags: bool,
})

const disableable = message({ disabled: bool })
const proxyHeaders = message({
  forwardedClientCert: oneOfNames(
    'UNDEFINED',
    'SANITIZE',
    'FORWARD_ONLY',
    'APPEND_FORWARD',
    'SANITIZE_SET',
    'ALWAYS_FORWARD_ONLY',
  ),
  setCurrentClientCertDetails: message({ subject: bool, cert: bool, chain: bool, dns: bool, uri: bool }),
  requestId: disableable,
  server: message({ disabled: bool, value: string() }),
  attemptCount: disableable,
  envoyDebugHeaders: disableable,
  metadataExchangeHeaders: message({ mode: oneOfNames('UNDEFINED', 'IN_MESH') }),
  preserveHttp1HeaderCase: bool,
  xForwardedHost: message({ enabled: bool }),
  xForwardedPort: message({ enabled: bool }),
})
export type ProxyHeaders = Infer<typeof proxyHeaders>

const remoteService = message({ address: string(), tlsSettings: clientTls, tcpKeepalive })

/** ProxyConfig as MeshConfig.defaultConfig and the annotation `proxy.istio.io/config` carry it. */
export const proxyConfig = message({
  configPath: string(),
  binaryPath: string(),
  serviceCluster: string(),
  tracingServiceName: oneOfNames('APP_LABEL_AND_NAMESPACE', 'CANONICAL_NAME_ONLY', 'CANONICAL_NAME_AND_NAMESPACE'),
  drainDuration: duration({ min: 1000 }),
  terminationDrainDuration: duration(),
  parentShutdownDuration: duration(),
  discoveryAddress: string(),
  zipkinAddress: string(),
  proxyAdminPort: integer({ min: 0, max: 65535 }),
  controlPlaneAuthPolicy: oneOfNames('NONE', 'MUTUAL_TLS'),
  customConfigFile: string(),
  statNameLength: integer(),
  concurrency: integer({ min: 0 }),
  proxyBootstrapTemplatePath: string(),
  interceptionMode: oneOfNames('REDIRECT', 'TPROXY', 'NONE'),
  tracing: proxyTracing,
  envoyAccessLogService: remoteService,
  envoyMetricsService: remoteService,
  envoyMetricsServiceAddress: string(),
  proxyMetadata: map(string()),
  runtimeValues: map(string()),
  statusPort: integer({ min: 0, max: 65535 }),
  extraStatTags: strings,
  gatewayTopology: message({
    numTrustedProxies: integer({ min: 0 }),
    forwardClientCertDetails: oneOfNames(
      'UNDEFINED',
      'SANITIZE',
      'FORWARD_ONLY',
      'APPEND_FORWARD',
      'SANITIZE_SET',
      'ALWAYS_FORWARD_ONLY',
    ),
    proxyProtocol: struct,
  }),
  proxyStatsMatcher,
  readinessProbe: struct,
  privateKeyProvider: struct,
  sds: struct,
  meshId: string(),
  holdApplicationUntilProxyStarts: bool,
  caCertificatesPem: strings,
  image: message({ imageType: string() }),
  proxyHeaders,
  fileFlushInterval: duration(),
  fileFlushMinSizeKb: integer({ min: 0 }),
  statsCompression: bool,
  statsFlushInterval: duration(),
  statsEvictionInterval: duration(),
})
export type ProxyConfigSpec = Infer<typeof proxyConfig>

const logFormat = message({ text: string(), labels: struct }, { oneof: [['text', 'labels']] })
const externalAuthorizationHttp = message({
  service: required(string()),
  // A port out of range makes the provider unusable, not the mesh: its policies then deny.
  port: required(integer({ min: 0 })),
  timeout: duration(),
  pathPrefix: string(),
  failOpen: bool,
  clearRouteCache: bool,
  statusOnError: string(),
  includeHeadersInCheck: strings,
  includeRequestHeadersInCheck: strings,
  includeAdditionalHeadersInCheck: map(string()),
  includeRequestBodyInCheck: message({
    maxRequestBytes: integer({ min: 0 }),
    allowPartialMessage: bool,
    packAsBytes: bool,
  }),
  headersToUpstreamOnAllow: strings,
  headersToDownstreamOnDeny: strings,
  headersToDownstreamOnAllow: strings,
})
const externalAuthorizationGrpc = message({
  service: required(string()),
  // A port out of range makes the provider unusable, not the mesh: its policies then deny.
  port: required(integer({ min: 0 })),
  timeout: duration(),
  failOpen: bool,
  clearRouteCache: bool,
  statusOnError: string(),
  includeRequestBodyInCheck: message({
    maxRequestBytes: integer({ min: 0 }),
    allowPartialMessage: bool,
    packAsBytes: bool,
  }),
})
const grpcLog = {
  service: required(string()),
  port: required(integer({ min: 1, max: 65535 })),
  logName: string(),
  filterStateObjectsToLog: strings,
}
const tracerAddress = {
  service: required(string()),
  port: required(integer({ min: 1, max: 65535 })),
  maxTagLength: integer({ min: 0 }),
}
const providerHeader = message(
  { name: required(string({ minLength: 1 })), value: string(), envName: string() },
  { oneof: [['value', 'envName']] },
)
/** A header of requests to a collector: a value, or the name of the control plane's environment variable that holds it. */
export type ProviderHeader = Infer<typeof providerHeader>
const providerHeaders = list(providerHeader)
const providerHttp = message({ path: string(), timeout: duration(), headers: providerHeaders })

const extensionProvider = message(
  {
    name: required(string({ minLength: 1 })),
    prometheus: message({}),
    stackdriver: struct,
    envoyFileAccessLog: message({
      path: string(),
      logFormat,
      omitEmptyValues: bool,
      filterStateObjectsToLog: strings,
    }),
    envoyHttpAls: message({
      ...grpcLog,
      additionalRequestHeadersToLog: strings,
      additionalResponseHeadersToLog: strings,
      additionalResponseTrailersToLog: strings,
    }),
    envoyTcpAls: message(grpcLog),
    envoyOtelAls: message({ ...grpcLog, logFormat: message({ text: string(), labels: struct }) }),
    envoyExtAuthzHttp: externalAuthorizationHttp,
    envoyExtAuthzGrpc: externalAuthorizationGrpc,
    zipkin: message({
      ...tracerAddress,
      enable64bitTraceId: bool,
      path: string(),
      traceContextOption: oneOfNames('USE_B3', 'USE_B3_WITH_W3C_PROPAGATION'),
      timeout: duration(),
      headers: providerHeaders,
    }),
    opentelemetry: message({
      ...tracerAddress,
      http: providerHttp,
      grpc: message({ timeout: duration(), initialMetadata: providerHeaders }),
      resourceDetectors: message({ environment: message({}), dynatrace: message({}) }),
      serviceAttributeEnrichment: oneOfNames('ISTIO_CANONICAL', 'OTEL_SEMANTIC_CONVENTIONS'),
      dynatraceSampler: message({
        tenant: string(),
        clusterId: integer(),
        rootSpansPerMinute: integer({ min: 0 }),
        httpService: message({
          service: required(string()),
          port: required(integer({ min: 1, max: 65535 })),
          http: providerHttp,
        }),
      }),
    }),
    lightstep: struct,
    datadog: message(tracerAddress),
    skywalking: message({
      service: required(string()),
      port: required(integer({ min: 1, max: 65535 })),
      accessToken: string(),
    }),
    opencensus: struct,
    sds: struct,
  },
  {
    oneof: [
      [
        'prometheus',
        'stackdriver',
        'envoyFileAccessLog',
        'envoyHttpAls',
        'envoyTcpAls',
        'envoyOtelAls',
        'envoyExtAuthzHttp',
        'envoyExtAuthzGrpc',
        'zipkin',
        'opentelemetry',
        'lightstep',
        'datadog',
        'skywalking',
        'opencensus',
        'sds',
      ],
    ],
  },
)
export type ExtensionProvider = Infer<typeof extensionProvider>

const tlsConfig = message({ minProtocolVersion: tlsProtocolVersion, ecdhCurves: strings, cipherSuites: strings })

export const meshConfig = message({
  proxyListenPort: integer({ min: 1, max: 65535 }),
  proxyInboundListenPort: integer({ min: 1, max: 65535 }),
  proxyHttpPort: integer({ min: 0, max: 65535 }),
  connectTimeout: duration({ min: 1 }),
  hboneIdleTimeout: duration(),
  protocolDetectionTimeout: duration(),
  tcpKeepalive,
  ingressClass: string(),
  ingressService: string(),
  ingressControllerMode: oneOfNames('UNSPECIFIED', 'OFF', 'DEFAULT', 'STRICT'),
  ingressSelector: string(),
  enableTracing: bool,
  accessLogFile: string(),
  accessLogFormat: string(),
  accessLogEncoding: oneOfNames('TEXT', 'JSON'),
  enableEnvoyAccessLogService: bool,
  disableEnvoyListenerLog: bool,
  defaultConfig: proxyConfig,
  outboundTrafficPolicy: message({
    mode: oneOfNames('REGISTRY_ONLY', 'ALLOW_ANY', 'ALLOW_ANY_DYNAMIC_DNS'),
    tls: clientTls,
  }),
  inboundTrafficPolicy: message({ mode: oneOfNames('PASSTHROUGH', 'LOCALHOST') }),
  configSources: list(struct),
  enableAutoMtls: bool,
  trustDomain: string(),
  trustDomainAliases: strings,
  caCertificates: list(struct),
  defaultServiceExportTo: strings,
  defaultVirtualServiceExportTo: strings,
  defaultDestinationRuleExportTo: strings,
  rootNamespace: string(),
  localityLbSetting,
  zoneAwareLbSetting,
  dnsRefreshRate: duration({ min: 1 }),
  h2UpgradePolicy: oneOfNames('DO_NOT_UPGRADE', 'UPGRADE'),
  inboundClusterStatName: string(),
  outboundClusterStatName: string(),
  enablePrometheusMerge: bool,
  extensionProviders: list(extensionProvider),
  defaultProviders: message({ tracing: strings, metrics: strings, accessLogging: strings }),
  discoverySelectors: list(labelSelector),
  serviceScopeConfigs: list(struct),
  pathNormalization: message({
    normalization: oneOfNames('DEFAULT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'),
  }),
  defaultHttpRetryPolicy: retryPolicy,
  defaultInboundHttpRetryPolicy: retryPolicy,
  defaultTrafficPolicy: message({ connectionPool, outlierDetection }),
  meshMTLS: tlsConfig,
  tlsDefaults: tlsConfig,
  serviceSettings: list(message({ settings: message({ clusterLocal: bool }), hosts: strings })),
  ca: struct,
  verifyCertificateAtClient: bool,
  serviceEntryVisibility: struct,
  mixerCheckServer: string(),
})
export type MeshConfigSpec = Infer<typeof meshConfig>
