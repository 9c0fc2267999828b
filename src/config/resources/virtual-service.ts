import {
  bool,
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
import { destination, percent, portNumber, stringMatch } from './common.ts'

const headerOperations = message({ set: map(string()), add: map(string()), remove: list(string()) })
export type HeaderOperations = Infer<typeof headerOperations>
const headers = message({ request: headerOperations, response: headerOperations })
export type Headers = Infer<typeof headers>

const httpMatch = message({
  name: string(),
  uri: stringMatch,
  scheme: stringMatch,
  method: stringMatch,
  authority: stringMatch,
  headers: map(stringMatch),
  port: portNumber,
  sourceLabels: map(string()),
  gateways: list(string()),
  queryParams: map(stringMatch),
  ignoreUriCase: bool,
  withoutHeaders: map(stringMatch),
  sourceNamespace: string(),
  statPrefix: string(),
})
export type HttpMatchRequest = Infer<typeof httpMatch>

const httpRouteDestination = message({ destination: required(destination), weight: integer({ min: 0 }), headers })
export type HttpRouteDestination = Infer<typeof httpRouteDestination>

const redirect = message(
  {
    uri: string(),
    authority: string(),
    port: integer({ min: 0 }),
    derivePort: oneOfNames('FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT'),
    scheme: string(),
    redirectCode: integer({ min: 0 }),
    prefixRewrite: string(),
  },
  { oneof: [['port', 'derivePort']] },
)
export type HttpRedirect = Infer<typeof redirect>

const directResponse = message({
  status: required(integer({ min: 0 })),
  body: message({ string: string(), bytes: string() }, { oneof: [['string', 'bytes']] }),
})
export type HttpDirectResponse = Infer<typeof directResponse>

const rewrite = message({
  uri: string(),
  authority: string(),
  uriRegexRewrite: message({ match: string(), rewrite: string() }),
})
export type HttpRewrite = Infer<typeof rewrite>

const retries = message({
  attempts: integer(),
  perTryTimeout: positiveDuration,
  retryOn: string(),
  retryRemoteLocalities: bool,
  retryIgnorePreviousHosts: bool,
  backoff: positiveDuration,
})
export type HttpRetry = Infer<typeof retries>

const fault = message({
  delay: message(
    { percent: integer(), fixedDelay: positiveDuration, exponentialDelay: positiveDuration, percentage: percent },
    { oneof: [['fixedDelay', 'exponentialDelay']] },
  ),
  abort: message(
    { httpStatus: integer(), grpcStatus: string(), http2Error: string(), percentage: percent },
    { oneof: [['httpStatus', 'grpcStatus', 'http2Error']] },
  ),
})
export type HttpFaultInjection = Infer<typeof fault>

const mirrorPolicy = message({ destination: required(destination), percentage: percent })

const cors = message({
  allowOrigin: list(string()),
  allowOrigins: list(stringMatch),
  allowMethods: list(string()),
  allowHeaders: list(string()),
  exposeHeaders: list(string()),
  maxAge: positiveDuration,
  allowCredentials: bool,
  unmatchedPreflights: oneOfNames('UNSPECIFIED', 'FORWARD', 'IGNORE'),
})
export type CorsPolicy = Infer<typeof cors>

const httpRoute = message(
  {
    name: string(),
    match: list(httpMatch),
    route: list(httpRouteDestination),
    redirect,
    directResponse,
    delegate: message({ name: string(), namespace: string() }),
    rewrite,
    timeout: positiveDuration,
    retries,
    fault,
    mirror: destination,
    mirrors: list(mirrorPolicy),
    mirrorPercent: integer(),
    mirrorPercentage: percent,
    corsPolicy: cors,
    headers,
  },
  { aliases: { mirror_percent: 'mirrorPercent' } },
)
export type HttpRoute = Infer<typeof httpRoute>

const l4Match = {
  destinationSubnets: list(string()),
  port: portNumber,
  sourceLabels: map(string()),
  gateways: list(string()),
  sourceNamespace: string(),
}
const routeDestination = message({ destination: required(destination), weight: integer({ min: 0 }) })
export type RouteDestination = Infer<typeof routeDestination>

const tlsMatch = message({ sniHosts: required(list(string())), ...l4Match })
export type TlsMatchAttributes = Infer<typeof tlsMatch>
const tlsRoute = message({ match: required(list(tlsMatch)), route: list(routeDestination) })
export type TlsRoute = Infer<typeof tlsRoute>

const l4MatchAttributes = message({ ...l4Match, sourceSubnet: string() })
export type L4MatchAttributes = Infer<typeof l4MatchAttributes>
const tcpRoute = message({ match: list(l4MatchAttributes), route: list(routeDestination) })
export type TcpRoute = Infer<typeof tcpRoute>

export const virtualService = message({
  hosts: list(string()),
  gateways: list(string()),
  http: list(httpRoute),
  tls: list(tlsRoute),
  tcp: list(tcpRoute),
  exportTo: list(string()),
})
export type VirtualServiceSpec = Infer<typeof virtualService>
