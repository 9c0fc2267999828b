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
  withZero,
} from '../schema.ts'
import {
  clientTls,
  connectionPool,
  localityLbSetting,
  outlierDetection,
  tcpKeepalive,
  zoneAwareLbSetting,
} from './destination-rule.ts'

const strings = list(string())

const unsigned = integer({ min: 0 })
/** As Kubernetes has it; the agent checks it whole. */
const readinessProbe = message(
  {
    initialDelaySeconds: integer(),
    timeoutSeconds: integer(),
    periodSeconds: integer(),
    successThreshold: integer(),
    failureThreshold: integer(),
    httpGet: message({
      path: string(),
      port: unsigned,
      host: string(),
      scheme: string(),
      httpHeaders: list(message({ name: string(), value: string() })),
    }),
    tcpSocket: message({ host: string(), port: unsigned }),
    exec: message({ command: strings }),
    grpc: message({ port: unsigned, service: string() }),
  },
  { oneof: [['httpGet', 'tcpSocket', 'exec', 'grpc']] },
)

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
  openCensusAgent: struct,
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

const keyPolling = message({ pollDelay: duration(), fallback: bool })

/** Limits of connections and requests; what is not set is Envoy's default, or that of the profile. */
const connectionSettings = message({
  profile: oneOfNames('SIDECAR', 'EDGE'),
  listenerPerConnectionBufferLimitBytes: integer(),
  clusterPerConnectionBufferLimitBytes: integer(),
  httpIdleTimeout: duration(),
  httpMaxConnectionDuration: duration(),
  httpDrainTimeout: duration(),
  httpRequestTimeout: duration(),
  httpRequestHeadersTimeout: duration(),
  httpStreamIdleTimeout: duration(),
  httpMaxStreamDuration: duration(),
  httpMaxConcurrentStreams: integer(),
  http2InitialStreamWindowSize: integer(),
  http2InitialConnectionWindowSize: integer(),
  httpHeadersWithUnderscoresAction: oneOfNames(
    'HEADERS_WITH_UNDERSCORES_UNSPECIFIED',
    'HEADERS_WITH_UNDERSCORES_ALLOW',
    'HEADERS_WITH_UNDERSCORES_REJECT_REQUEST',
    'HEADERS_WITH_UNDERSCORES_DROP_HEADER',
  ),
  httpMergeSlashes: bool,
  httpPathWithEscapedSlashesAction: oneOfNames(
    'PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED',
    'KEEP_UNCHANGED',
    'REJECT_REQUEST',
    'UNESCAPE_AND_REDIRECT',
    'UNESCAPE_AND_FORWARD',
  ),
  listenerConnectionLimit: integer(),
  globalDownstreamConnectionLimit: integer(),
})
export type ConnectionSettings = Infer<typeof connectionSettings>

/** ProxyConfig as MeshConfig.defaultConfig and the annotation `proxy.istio.io/config` carry it. */
export const proxyConfig = message({
  configPath: string(),
  binaryPath: string(),
  serviceCluster: string(),
  tracingServiceName: oneOfNames('APP_LABEL_AND_NAMESPACE', 'CANONICAL_NAME_ONLY', 'CANONICAL_NAME_AND_NAMESPACE'),
  drainDuration: duration(),
  terminationDrainDuration: duration(),
  discoveryAddress: string(),
  discoveryRefreshDelay: duration(),
  zipkinAddress: string(),
  statsdUdpAddress: string(),
  availabilityZone: string(),
  proxyAdminPort: integer(),
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
  statusPort: integer(),
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
  readinessProbe,
  privateKeyProvider: message({ cryptomb: keyPolling, qat: keyPolling }, { oneof: [['cryptomb', 'qat']] }),
  sds: struct,
  meshId: string(),
  holdApplicationUntilProxyStarts: bool,
  caCertificatesPem: strings,
  image: message({ imageType: string() }),
  proxyHeaders,
  fileFlushInterval: duration(),
  fileFlushMinSizeKb: integer({ min: 0 }),
  statsCompression: bool,
  connectionSettings,
})
export type ProxyConfigSpec = Infer<typeof proxyConfig>

// A provider with a service or port that nobody has is unusable; the mesh around it is not (see validate/mesh-config.ts).
const logFormat = message({ text: string(), labels: struct }, { oneof: [['text', 'labels']] })
const externalAuthorizationHttp = message({
  service: withZero(string(), ''),
  port: withZero(integer({ min: 0 }), 0),
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
  service: withZero(string(), ''),
  port: withZero(integer({ min: 0 }), 0),
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
  service: withZero(string(), ''),
  port: withZero(integer({ min: 0 }), 0),
  logName: string(),
  filterStateObjectsToLog: strings,
}
const tracerAddress = {
  service: withZero(string(), ''),
  port: withZero(integer({ min: 0 }), 0),
  maxTagLength: integer({ min: 0 }),
}
const providerHeader = message(
  { name: withZero(string(), ''), value: string(), envName: string() },
  { oneof: [['value', 'envName']] },
)
/** A header of requests to a collector: a value, or the name of the control plane's environment variable that holds it. */
export type ProviderHeader = Infer<typeof providerHeader>
const providerHeaders = list(providerHeader)
const providerHttp = message({ path: string(), timeout: duration(), headers: providerHeaders })

const extensionProvider = message(
  {
    name: withZero(string(), ''),
    prometheus: message({}),
    stackdriver: struct,
    envoyFileAccessLog: message({
      path: string(),
      logFormat,
      omitEmptyValues: bool,
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
          service: withZero(string(), ''),
          port: withZero(integer({ min: 0 }), 0),
          http: providerHttp,
        }),
      }),
    }),
    lightstep: struct,
    datadog: message(tracerAddress),
    skywalking: message({
      service: withZero(string(), ''),
      port: withZero(integer({ min: 0 }), 0),
      accessToken: string(),
    }),
    opencensus: struct,
    sds: message({ name: string(), service: withZero(string(), ''), port: withZero(integer({ min: 0 }), 0) }),
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

const visibility = oneOfNames('VISIBILITY_UNSPECIFIED', 'NONE', 'NAMESPACE', 'PUBLIC')
/** How far ServiceEntries are seen, whatever their exportTo says. */
const serviceEntryVisibility = message({
  defaultVisibility: visibility,
  applyToSidecars: bool,
  policies: list(
    message({
      visibility,
      matchingRules: list(message({ namespaceSelector: labelSelector })),
    }),
  ),
})
export type ServiceEntryVisibility = Infer<typeof serviceEntryVisibility>

const configSource = message({
  address: string(),
  tlsSettings: clientTls,
  subscribedResources: list(string()),
})
const ca = message({ address: string(), tlsSettings: clientTls, requestTimeout: duration(), istiodSide: bool })
const caCertificate = message(
  { pem: string(), spiffeBundleUrl: string(), certSigners: strings, trustDomains: strings },
  { oneof: [['pem', 'spiffeBundleUrl']] },
)

const meshTlsVersion = oneOfNames('TLS_AUTO', 'TLSV1_2', 'TLSV1_3')
const tlsConfig = message({ minProtocolVersion: meshTlsVersion, ecdhCurves: strings, cipherSuites: strings })

export const meshConfig = message({
  proxyListenPort: integer(),
  proxyInboundListenPort: integer({ min: 1, max: 65535 }),
  proxyHttpPort: integer({ min: 0, max: 65535 }),
  connectTimeout: duration(),
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
  configSources: list(configSource),
  enableAutoMtls: bool,
  trustDomain: string(),
  trustDomainAliases: strings,
  caCertificates: list(caCertificate),
  certificates: list(message({ secretName: string(), dnsNames: strings })),
  defaultServiceExportTo: strings,
  defaultVirtualServiceExportTo: strings,
  defaultDestinationRuleExportTo: strings,
  rootNamespace: string(),
  localityLbSetting,
  zoneAwareLbSetting,
  dnsRefreshRate: duration(),
  h2UpgradePolicy: oneOfNames('DO_NOT_UPGRADE', 'UPGRADE'),
  inboundClusterStatName: string(),
  outboundClusterStatName: string(),
  enablePrometheusMerge: bool,
  extensionProviders: list(extensionProvider),
  defaultProviders: message({ tracing: strings, metrics: strings, accessLogging: strings }),
  discoverySelectors: list(labelSelector),
  serviceScopeConfigs: list(
    message({
      namespaceSelector: labelSelector,
      servicesSelector: labelSelector,
      scope: oneOfNames('LOCAL', 'GLOBAL'),
    }),
  ),
  pathNormalization: message({
    normalization: oneOfNames('DEFAULT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'),
  }),
  defaultHttpRetryPolicy: retryPolicy,
  defaultInboundHttpRetryPolicy: retryPolicy,
  defaultTrafficPolicy: message({ connectionPool, outlierDetection }),
  meshMTLS: tlsConfig,
  tlsDefaults: tlsConfig,
  serviceSettings: list(message({ settings: message({ clusterLocal: bool }), hosts: strings })),
  ca,
  verifyCertificateAtClient: bool,
  serviceEntryVisibility,
})
export type MeshConfigSpec = Infer<typeof meshConfig>
