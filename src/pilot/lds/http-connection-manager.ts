// The HTTP connection manager as Istio configures it for each direction.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import type { Filter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import {
  HttpConnectionManager_ForwardClientCertDetails as Forward,
  type HttpConnectionManager,
  HttpConnectionManagerSchema,
  HttpConnectionManager_ServerHeaderTransformation as ServerHeader,
  HttpConnectionManager_PathWithEscapedSlashesAction as Slashes,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { UuidRequestIdConfigSchema } from '../../api/gen/envoy/extensions/request_id/uuid/v3/uuid_pb.js'
import { type MeshConfig, type MeshNetworks, parseDuration } from '../../config/index.ts'
import type { Service } from '../model/service.ts'
import { buildAccessLogs } from '../telemetry/access-log.ts'
import { buildTracing } from '../telemetry/tracing.ts'
import { PRESERVE_CASE } from '../xds/header-case.ts'
import { ADS_WITHOUT_TIMEOUT, cidrRange, durationOf } from '../xds/messages.ts'
import { applyConnectionSettings, connectionSettingsOf } from './connection-settings.ts'
import type { ListenerClass, ListenerContext } from './context.ts'
import { extensionsBeforeHttp, type HttpSecurityFilters, httpFilters, networkFilter } from './filters.ts'

export interface HttpChainOptions {
  readonly kind: ListenerClass
  /** Without the trailing `;` that lets stats tags find its end. */
  readonly statPrefix: string
  /** Route configuration name, fetched by RDS, or the configuration itself. */
  readonly routes: string | RouteConfiguration
  readonly grpcWeb: boolean
  readonly security: HttpSecurityFilters
  /** What extensions call the listener's port: that of the service outbound, of the router itself, of the workload inbound. */
  readonly port: number
  /** Wildcard services whose hosts are resolved as requests name them. */
  readonly dynamic?: readonly Service[]
  /** The port is declared to speak HTTP/2. */
  readonly http2?: boolean
  /** HTTP proxy port of sidecars: requests name the whole URL. */
  readonly httpProxy?: boolean
}

const UUID_REQUEST_ID: Any = anyPack(
  UuidRequestIdConfigSchema,
  create(UuidRequestIdConfigSchema, { useRequestIdForTraceSampling: true }),
)
const ZERO = durationOf(0)

export function httpConnectionManager(context: ListenerContext, options: HttpChainOptions): Filter {
  return networkFilter(
    'envoy.filters.network.http_connection_manager',
    anyPack(HttpConnectionManagerSchema, build(context, options)),
  )
}

/** The network filters of an HTTP chain: extensions, then the connection manager. */
export function httpChainFilters(context: ListenerContext, options: HttpChainOptions): Filter[] {
  return [...extensionsBeforeHttp(context, options.kind, options.port), httpConnectionManager(context, options)]
}

function build(context: ListenerContext, options: HttpChainOptions): HttpConnectionManager {
  const { kind } = options
  const { idleTimeout } = context.proxy
  const idleTimeoutMs = idleTimeout === '' ? undefined : parseDuration(idleTimeout)
  const side = kind === 'inbound' ? context.telemetry.server : context.telemetry.client
  const manager = create(HttpConnectionManagerSchema, {
    statPrefix: options.statPrefix,
    routeSpecifier:
      typeof options.routes === 'string'
        ? { case: 'rds', value: { configSource: ADS_WITHOUT_TIMEOUT, routeConfigName: options.routes } }
        : { case: 'routeConfig', value: options.routes },
    httpFilters: httpFilters(context, kind, options),
    streamIdleTimeout: ZERO,
    commonHttpProtocolOptions: idleTimeoutMs === undefined ? undefined : { idleTimeout: durationOf(idleTimeoutMs) },
    ...normalization(context.mesh),
    proxy100Continue: true,
    upgradeConfigs: [{ upgradeType: 'websocket' }],
    requestIdExtension: { typedConfig: UUID_REQUEST_ID },
    accessLog: buildAccessLogs(context.push, context.proxy, side, 'http'),
    tracing: buildTracing(context.push, context.proxy, side.tracing),
    ...byDirection(context, options),
  })
  const settings = connectionSettingsOf(context)
  if (settings) applyConnectionSettings(manager, settings)
  return manager
}

type Init = Exclude<MessageInitShape<typeof HttpConnectionManagerSchema>, HttpConnectionManager>

function byDirection(context: ListenerContext, options: HttpChainOptions): Init {
  const acceptHttp10 = context.proxy.http10
  const keepsCase = context.proxyConfig.proxyHeaders?.preserveHttp1HeaderCase === true
  const http1 = {
    acceptHttp10,
    allowAbsoluteUrl: options.httpProxy ? true : undefined,
    headerKeyFormat: keepsCase ? PRESERVE_CASE : undefined,
  }
  const needsHttp1 = acceptHttp10 || options.httpProxy === true || keepsCase
  switch (options.kind) {
    case 'outbound':
      return {
        useRemoteAddress: false,
        ...serverHeader(context, ''),
        httpProtocolOptions: needsHttp1 ? http1 : undefined,
      }
    case 'inbound':
      return {
        useRemoteAddress: false,
        ...serverHeader(context, 'istio-envoy'),
        forwardClientCertDetails:
          FORWARD[context.proxyConfig.proxyHeaders?.forwardedClientCert ?? ''] ?? Forward.APPEND_FORWARD,
        setCurrentClientCertDetails: {
          ...INBOUND_DETAILS,
          ...context.proxyConfig.proxyHeaders?.setCurrentClientCertDetails,
        },
        http2ProtocolOptions: options.http2 ? {} : undefined,
        httpProtocolOptions: needsHttp1 ? http1 : undefined,
      }
    case 'gateway':
      return { ...gatewaySettings(context), httpProtocolOptions: http1 }
  }
}

/** The `server` header and request ids, as ProxyConfig.proxyHeaders wants them. */
function serverHeader({ proxyConfig }: ListenerContext, usual: string): Init {
  const { server, requestId, xForwardedPort } = proxyConfig.proxyHeaders ?? {}
  return {
    serverName: server?.disabled ? '' : server?.value || usual,
    serverHeaderTransformation: server?.disabled ? ServerHeader.PASS_THROUGH : ServerHeader.OVERWRITE,
    generateRequestId: requestId?.disabled ? false : undefined,
    appendXForwardedPort: xForwardedPort?.enabled ?? false,
  }
}

const FORWARD: Readonly<Record<string, Forward>> = {
  SANITIZE: Forward.SANITIZE,
  FORWARD_ONLY: Forward.FORWARD_ONLY,
  APPEND_FORWARD: Forward.APPEND_FORWARD,
  SANITIZE_SET: Forward.SANITIZE_SET,
  ALWAYS_FORWARD_ONLY: Forward.ALWAYS_FORWARD_ONLY,
}
const INBOUND_DETAILS = { subject: true, dns: true, uri: true }
const GATEWAY_DETAILS = { subject: true, cert: true, dns: true, uri: true }

function gatewaySettings(context: ListenerContext): Init {
  const { gatewayTopology } = context.proxyConfig
  // Of gateways the topology alone says it: proxyHeaders.forwardedClientCert is for sidecars.
  const forward = FORWARD[gatewayTopology?.forwardClientCertDetails ?? ''] ?? Forward.SANITIZE_SET
  const sets = forward === Forward.SANITIZE_SET || forward === Forward.APPEND_FORWARD
  return {
    useRemoteAddress: true,
    internalAddressConfig: internalAddresses(context.push.meshNetworks),
    xffNumTrustedHops: gatewayTopology?.numTrustedProxies ?? 0,
    ...serverHeader(context, 'istio-envoy'),
    forwardClientCertDetails: forward,
    setCurrentClientCertDetails: sets ? GATEWAY_DETAILS : undefined,
  }
}

/** Clients at these addresses are internal: ranges that MeshNetworks names. Undefined: Envoy's own idea. */
function internalAddresses({ networks = {} }: MeshNetworks): Init['internalAddressConfig'] {
  const ranges = Object.values(networks).flatMap(({ endpoints = [] }) => endpoints.flatMap((e) => e.fromCidr ?? []))
  return ranges.length > 0 ? { cidrRanges: [...new Set(ranges)].sort().map(cidrRange) } : undefined
}

/** MeshConfig.pathNormalization; DEFAULT is BASE. */
function normalization(mesh: MeshConfig): Init {
  switch (mesh.pathNormalization?.normalization ?? 'DEFAULT') {
    case 'NONE':
      return { normalizePath: false, pathWithEscapedSlashesAction: Slashes.KEEP_UNCHANGED }
    case 'MERGE_SLASHES':
      return {
        normalizePath: true,
        mergeSlashes: true,
        pathWithEscapedSlashesAction: Slashes.KEEP_UNCHANGED,
      }
    case 'DECODE_AND_MERGE_SLASHES':
      return {
        normalizePath: true,
        mergeSlashes: true,
        pathWithEscapedSlashesAction: Slashes.UNESCAPE_AND_FORWARD,
      }
    default:
      return { normalizePath: true, pathWithEscapedSlashesAction: Slashes.KEEP_UNCHANGED }
  }
}
