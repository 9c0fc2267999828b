// What the connection manager does to request headers before anything routes on them (envoy-contract §5.3, §5.4), in
// Envoy's order.

import type { Address, ConnectionInfo } from '../../network/connection.ts'
import { isUpgrade, sanitizeTe } from '../connection-header.ts'
import type { HeaderMap } from '../header-map.ts'
import { schemeOf } from '../scheme.ts'
import { mutateClientCert } from './client-certificate.ts'
import type { HcmConfig } from './config.ts'
import { addressFromXff, appendXff, type DetectedAddress, detectAddress, isInternal } from './remote-address.ts'
import { newRequestId } from './request-id.ts'
import { appendVia } from './response-headers.ts'

/** Names only a trusted, internal caller may set. */
const INTERNAL_ONLY = [
  'x-envoy-retriable-status-codes',
  'x-envoy-retriable-header-names',
  'x-envoy-retry-on',
  'x-envoy-retry-grpc-on',
  'x-envoy-max-retries',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-force-trace',
  'x-envoy-ip-tags',
  'x-envoy-original-url',
  'x-envoy-hedge-on-per-try-timeout',
] as const
/** Names that must not come in from outside at the edge. */
const EDGE_ONLY = [
  'x-envoy-decorator-operation',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
  'x-envoy-original-path',
  'x-envoy-original-host',
] as const

/** What the caller needs to know afterwards. */
export interface RequestOrigin {
  /** The trusted client address; the peer's when X-Forwarded-For gives none. */
  remoteAddress: Address
  internal: boolean
  /** Not 0: the client's address was not found and the request is answered so. */
  rejectStatus: number
}

/** Result slots, reused: read them before the next call. */
export const origin: RequestOrigin = {
  remoteAddress: { ip: '', port: 0, text: '' },
  internal: false,
  rejectStatus: 0,
}

export interface LocalNode {
  readonly cluster: string
  readonly id: string
  /** The machine's own address, which stands in X-Forwarded-For for a client on loopback. */
  readonly address: string
}

/** Mutates `headers` in place and fills `origin`. `internalOnly`: the route table's internal_only_headers. */
export function mutateRequestHeaders(
  headers: HeaderMap,
  connection: ConnectionInfo,
  config: HcmConfig,
  node: LocalNode,
  internalOnly: readonly string[],
): void {
  const list = headers.list
  if (headers.protocol === '' && !isUpgrade(headers)) {
    headers.remove('connection')
    headers.remove('upgrade')
    sanitizeTe(headers)
  }
  // One pass instead of four removals: most requests have none of them.
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!
    if (
      name === 'x-envoy-internal' ||
      name === 'keep-alive' ||
      name === 'proxy-connection' ||
      name === 'transfer-encoding'
    ) {
      headers.remove(name)
      i -= 2
    }
  }
  const tls = connection.transportProtocol === 'tls' && connection.ssl() !== null
  const { address, trusted, rejectStatus } = trustedAddress(headers, connection, config, tls, node.address)
  origin.rejectStatus = rejectStatus
  if (rejectStatus !== 0) {
    origin.remoteAddress = connection.remoteAddress
    origin.internal = false
    return
  }
  if (headers.scheme === '') headers.scheme = schemeOf(headers, tls)
  if (config.schemeOverwrite !== '') {
    headers.scheme = config.schemeOverwrite
    headers.set('x-forwarded-proto', config.schemeOverwrite)
  }
  const internal = trusted && address !== null && isInternal(config.internalAddresses, address)
  const remoteAddress = address ?? connection.remoteAddress
  const edge = !internal && config.useRemoteAddress
  if (internal) headers.set('x-envoy-internal', 'true')
  else sanitizeExternal(headers, edge, internalOnly)
  if (config.addUserAgent) addUserAgent(headers, node)
  if (config.via !== '') appendVia(headers, config.via)
  if (edge && remoteAddress.pipe === undefined) headers.set('x-envoy-external-address', remoteAddress.ip)
  if (config.generateRequestId && ((edge && !config.preserveExternalRequestId) || !headers.get('x-request-id'))) {
    headers.set('x-request-id', newRequestId())
  }
  mutateClientCert(headers, config.forwardClientCert, config.clientCertDetails, tls ? connection.ssl() : null)
  origin.remoteAddress = remoteAddress
  origin.internal = internal
}

const ofPeer: DetectedAddress = { address: null, trusted: false, rejectStatus: 0 }

function trustedAddress(
  headers: HeaderMap,
  connection: ConnectionInfo,
  config: HcmConfig,
  tls: boolean,
  ownAddress: string,
): DetectedAddress {
  const hops = config.xffTrustedHops
  if (!config.useRemoteAddress) {
    const found = detectAddress(headers, connection, config, ownAddress)
    if (found.rejectStatus !== 0) return found
    if (!headers.has('x-forwarded-proto')) headers.list.push('x-forwarded-proto', tls ? 'https' : 'http')
    if (!headers.has('x-forwarded-port')) appendPort(headers, connection, config)
    return found
  }
  const xff = headers.getAll('x-forwarded-for')
  ofPeer.trusted = xff === undefined
  ofPeer.address = (hops > 0 ? addressFromXff(xff, hops - 1)?.address : undefined) ?? connection.remoteAddress
  if (!config.skipXffAppend) appendXff(headers, connection, config, ownAddress)
  if (hops === 0 || !headers.has('x-forwarded-proto')) headers.set('x-forwarded-proto', tls ? 'https' : 'http')
  appendPort(headers, connection, config)
  return ofPeer
}

/** Only a trusted hop's own x-forwarded-port stays. */
function appendPort(headers: HeaderMap, connection: ConnectionInfo, config: HcmConfig): void {
  if (!config.appendXForwardedPort || (config.xffTrustedHops > 0 && headers.has('x-forwarded-port'))) return
  headers.set('x-forwarded-port', String(connection.localAddress.port))
}

function sanitizeExternal(headers: HeaderMap, edge: boolean, internalOnly: readonly string[]): void {
  for (let i = 0; i < internalOnly.length; i++) headers.remove(internalOnly[i]!)
  if (edge) {
    for (let i = 0; i < EDGE_ONLY.length; i++) headers.remove(EDGE_ONLY[i]!)
  }
  const list = headers.list
  let suspicious = false
  for (let i = 0; i < list.length && !suspicious; i += 2) suspicious = list[i]!.startsWith('x-envoy-')
  if (suspicious) for (let i = 0; i < INTERNAL_ONLY.length; i++) headers.remove(INTERNAL_ONLY[i]!)
}

function addUserAgent(headers: HeaderMap, node: LocalNode): void {
  headers.set('x-envoy-downstream-service-cluster', node.cluster)
  if (!headers.get('user-agent')) headers.set('user-agent', node.cluster)
  if (node.id !== '') headers.set('x-envoy-downstream-service-node', node.id)
}
