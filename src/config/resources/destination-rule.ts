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
  positiveDuration,
  required,
  string,
} from '../schema.ts'
import { clientTlsMode, policySelector } from './common.ts'

const uint64 = integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const tcpKeepalive = message({ probes: integer({ min: 0 }), time: positiveDuration, interval: positiveDuration })
export type TcpKeepalive = Infer<typeof tcpKeepalive>
export { tcpKeepalive }

export const connectionPool = message({
  tcp: message({
    maxConnections: integer(),
    connectTimeout: positiveDuration,
    tcpKeepalive,
    maxConnectionDuration: positiveDuration,
    idleTimeout: duration({ min: 0, wholeMs: true }),
  }),
  http: message({
    http1MaxPendingRequests: integer(),
    http2MaxRequests: integer(),
    maxRequestsPerConnection: integer(),
    maxRetries: integer(),
    idleTimeout: positiveDuration,
    h2UpgradePolicy: oneOfNames('DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'),
    useClientProtocol: bool,
    maxConcurrentStreams: integer(),
    http2KeepAlive: message({ interval: positiveDuration, timeout: positiveDuration }),
  }),
})
export type ConnectionPool = Infer<typeof connectionPool>

export const outlierDetection = message({
  consecutiveErrors: integer(),
  splitExternalLocalOriginErrors: bool,
  consecutiveLocalOriginFailures: integer({ min: 0 }),
  consecutiveGatewayErrors: integer({ min: 0 }),
  consecutive5xxErrors: integer({ min: 0 }),
  interval: positiveDuration,
  baseEjectionTime: positiveDuration,
  maxEjectionPercent: integer(),
  minHealthPercent: integer(),
  outlierDetectionHttpErrorCodes: list(integer({ min: 0 })),
})
export type OutlierDetection = Infer<typeof outlierDetection>

export const localityLbSetting = message({
  distribute: list(message({ from: string(), to: map(integer({ min: 0 })) })),
  failover: list(message({ from: string(), to: string() })),
  failoverPriority: list(string()),
  enabled: bool,
})
export type LocalityLbSetting = Infer<typeof localityLbSetting>

/** Zones of the proxy's region are balanced by Envoy itself; other regions come after. */
export const zoneAwareLbSetting = message({
  enabled: bool,
  failover: list(message({ from: string(), to: string() })),
  failoverPriority: list(string()),
  minClusterSize: integer({ min: 0 }),
})
export type ZoneAwareLbSetting = Infer<typeof zoneAwareLbSetting>

const consistentHash = message(
  {
    httpHeaderName: string(),
    httpCookie: message({
      name: required(string()),
      path: string(),
      ttl: duration(),
      attributes: list(message({ name: required(string()), value: string() })),
    }),
    useSourceIp: bool,
    httpQueryParameterName: string(),
    ringHash: message({ minimumRingSize: uint64 }),
    maglev: message({ tableSize: uint64 }),
    minimumRingSize: uint64,
  },
  {
    oneof: [
      ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'],
      ['ringHash', 'maglev'],
    ],
  },
)
export type ConsistentHash = Infer<typeof consistentHash>

const loadBalancer = message(
  {
    simple: oneOfNames('UNSPECIFIED', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH', 'ROUND_ROBIN', 'LEAST_REQUEST'),
    consistentHash,
    localityLbSetting,
    zoneAwareLbSetting,
    warmupDurationSecs: duration(),
    warmup: message({
      duration: required(positiveDuration),
      minimumPercent: double({ min: 0, max: 100 }),
      aggression: double({ min: 1 }),
    }),
  },
  { oneof: [['simple', 'consistentHash']] },
)
export type LoadBalancer = Infer<typeof loadBalancer>

const clientTls = message({
  mode: clientTlsMode,
  clientCertificate: string(),
  privateKey: string(),
  caCertificates: string(),
  credentialName: string(),
  subjectAltNames: list(string()),
  sni: string(),
  insecureSkipVerify: bool,
  caCrl: string(),
})
export type ClientTls = Infer<typeof clientTls>
export { clientTls }

const policyBlocks = { loadBalancer, connectionPool, outlierDetection, tls: clientTls }

const portTrafficPolicy = message({ port: message({ number: integer({ min: 0 }) }), ...policyBlocks })
export type PortTrafficPolicy = Infer<typeof portTrafficPolicy>

export const trafficPolicy = message({
  ...policyBlocks,
  portLevelSettings: list(portTrafficPolicy, { max: 4096 }),
  tunnel: message({
    protocol: string(),
    targetHost: required(string()),
    targetPort: required(integer({ min: 0 })),
  }),
  proxyProtocol: message({ version: oneOfNames('V1', 'V2') }),
  retryBudget: message({
    percent: double({ min: 0, max: 100 }),
    minRetryConcurrency: integer({ min: 0 }),
    budgetInterval: duration(),
  }),
})
export type TrafficPolicy = Infer<typeof trafficPolicy>

const subset = message({ name: required(string()), labels: map(string()), trafficPolicy })
export type Subset = Infer<typeof subset>

export const destinationRule = message({
  host: required(string()),
  trafficPolicy,
  subsets: list(subset),
  exportTo: list(string()),
  workloadSelector: policySelector,
})
export type DestinationRuleSpec = Infer<typeof destinationRule>
