// What is known of one stream (HTTP request or TCP connection): filled along the path, read by access logs, formats,
// tracing and stats (Envoy's StreamInfo). Every field is set in the constructor, in order: one hidden class.

import { changeEveryField } from '../base/changing-fields.ts'
import { ownObject, setOwnValue } from '../base/own-property.ts'
import type { Protocol } from './http/codec.ts'
import type { RequestSpan } from './http/connection-manager/tracing.ts'
import type { HeaderBytes } from './http/header-bytes.ts'
import { DetectedClose } from './network/close.ts'
import type { ConnectionInfo } from './network/connection.ts'
import { type DynamicMetadata, FilterState } from './network/filter.ts'
import type { Route } from './route/route.ts'
import type { HostDescription } from './upstream/host.ts'

/** Response flag bits, in the order in which they are printed (envoy-contract §17.3). */
export const RESPONSE_FLAGS = [
  ['LH', 'FailedLocalHealthCheck'],
  ['UH', 'NoHealthyUpstream'],
  ['UT', 'UpstreamRequestTimeout'],
  ['LR', 'LocalReset'],
  ['UR', 'UpstreamRemoteReset'],
  ['UF', 'UpstreamConnectionFailure'],
  ['UC', 'UpstreamConnectionTermination'],
  ['UO', 'UpstreamOverflow'],
  ['NR', 'NoRouteFound'],
  ['DI', 'DelayInjected'],
  ['FI', 'FaultInjected'],
  ['RL', 'RateLimited'],
  ['UAEX', 'UnauthorizedExternalService'],
  ['RLSE', 'RateLimitServiceError'],
  ['DC', 'DownstreamConnectionTermination'],
  ['URX', 'UpstreamRetryLimitExceeded'],
  ['SI', 'StreamIdleTimeout'],
  ['IH', 'InvalidEnvoyRequestHeaders'],
  ['DPE', 'DownstreamProtocolError'],
  ['UMSDR', 'UpstreamMaxStreamDurationReached'],
  ['RFCF', 'ResponseFromCacheFilter'],
  ['NFCF', 'NoFilterConfigFound'],
  ['DT', 'DurationTimeout'],
  ['UPE', 'UpstreamProtocolError'],
  ['NC', 'NoClusterFound'],
  ['OM', 'OverloadManagerTerminated'],
  ['DF', 'DnsResolutionFailed'],
  ['DO', 'DropOverload'],
  ['DR', 'DownstreamRemoteReset'],
  ['UDO', 'UnconditionalDropOverload'],
] as const
export type ResponseFlagName = (typeof RESPONSE_FLAGS)[number][0]

/** Flag name → bit. 30 flags fit a small integer's bits only up to 2^30, so this stays an SMI on 64-bit V8. */
export const Flag = Object.fromEntries(RESPONSE_FLAGS.map(([short], i) => [short, 1 << i])) as Record<
  ResponseFlagName,
  number
>

export { now } from '../base/clock.ts'

/** Times are `now()` values, 0 = not reached. */
export class StreamInfo {
  /** Wall clock, ms since the epoch, of the first downstream byte. */
  startTimeMs = 0
  /** `now()` at the same moment. */
  start = 0
  lastDownstreamRxByte = 0
  firstUpstreamTxByte = 0
  lastUpstreamTxByte = 0
  firstUpstreamRxByte = 0
  lastUpstreamRxByte = 0
  firstDownstreamTxByte = 0
  lastDownstreamTxByte = 0
  upstreamConnectStart = 0
  upstreamConnectEnd = 0
  upstreamHandshakeEnd = 0
  /** `now()` at the end of the stream. */
  end = 0

  protocol: Protocol | '' = ''
  upstreamProtocol: Protocol | '' = ''
  /** 0 = no answer was sent. */
  responseCode = 0
  responseCodeDetails = ''
  responseFlags = 0
  /** Set when there are several. */
  flagOrder: ResponseFlagName[] | null = null
  connectionTerminationDetails = ''
  /** Body bytes. */
  bytesReceived = 0
  bytesSent = 0
  /** Wire bytes. */
  upstreamWireBytesReceived = 0
  upstreamWireBytesSent = 0
  downstreamWireBytesReceived = 0
  downstreamWireBytesSent = 0
  /** Of HTTP streams, while a format prints them. */
  upstreamHeaderBytes: HeaderBytes | null = null
  downstreamHeaderBytes: HeaderBytes | null = null
  /** How long the last attempt waited for its connection, in ms; -1 = none was asked for. */
  upstreamPoolReadyMs = -1
  /** How a TCP connection ended (only tcp_proxy knows of resets), and why we ended it. */
  downstreamCloseType: DetectedClose = DetectedClose.Normal
  /** '' = nothing was asked of an upstream. */
  upstreamCloseType: DetectedClose | '' = ''
  downstreamLocalCloseReason = ''
  upstreamLocalCloseReason = ''
  attemptCount = 0
  streamId = 0
  /** 53 random bits of this stream: every fraction and weight of one request is decided with it (Envoy: streamId). */
  random = 0

  downstream: ConnectionInfo
  route: Route | null = null
  routeName = ''
  virtualClusterName = ''
  upstreamCluster = ''
  /** Observability name of the cluster: alt_stat_name, else its name. */
  upstreamClusterStatName = ''
  /** filter_metadata of the cluster, for `%METADATA(CLUSTER:…)%`. */
  upstreamClusterMetadata: Readonly<Record<string, unknown>> | null = null
  upstreamHost: HostDescription | null = null
  /** `ip:port` texts. */
  upstreamLocalAddress = ''
  upstreamRemoteAddress = ''
  upstreamConnectionId = 0
  upstreamTransportFailureReason = ''
  /** The connection that carried the request upstream: its TLS facts. */
  upstreamConnection: ConnectionInfo | null = null
  /** What its network filters keep. */
  upstreamFilterState: FilterState | null = null
  /** Hosts and connections that attempts have reached; the same one twice running counts once. */
  hostsAttempted: HostDescription[] | null = null
  connectionIdsAttempted: number[] | null = null
  requestId = ''
  traceId = ''
  spanId = ''
  /** The request's span, where a tracer collects spans. */
  span: RequestSpan | null = null
  isHealthCheck = false
  /** Its upstream requests have the scheme of the upstream's transport. */
  schemeMatchUpstream = false
  /** Reason for tracing, from the request id (envoy-contract §5.3). */
  traced = false
  filterState: FilterState
  dynamicMetadata: DynamicMetadata | null = null

  constructor(downstream: ConnectionInfo, filterState: FilterState | null) {
    this.downstream = downstream
    this.filterState = filterState ?? new FilterState()
  }

  /** Flags are printed in the order in which they were set. */
  setFlag(name: ResponseFlagName): void {
    const bit = Flag[name]
    if ((this.responseFlags & bit) !== 0) return
    if (this.responseFlags !== 0) {
      this.flagOrder ??= RESPONSE_FLAGS.filter(([short]) => (this.responseFlags & Flag[short]) !== 0).map(
        ([short]) => short,
      )
      this.flagOrder.push(name)
    }
    this.responseFlags |= bit
  }

  setDynamicMetadata(namespace: string, key: string, value: unknown): void {
    this.dynamicMetadata ??= {}
    setOwnValue(ownObject(this.dynamicMetadata, namespace), key, value)
  }
}

// Most of them change only where something goes wrong.
changeEveryField(new StreamInfo(null as never, null))
