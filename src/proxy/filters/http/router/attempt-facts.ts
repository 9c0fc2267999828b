// What the access log is told of a request's attempts.

import type { Protocol } from '../../../http/codec.ts'
import type { Connection } from '../../../network/connection.ts'
import type { StreamInfo } from '../../../stream-info.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import type { UpstreamRequest } from './upstream-request.ts'

/** There is a connection to `host`: only then it counts as attempted, as in Envoy. */
export function noteConnection(
  info: StreamInfo,
  host: HostDescription,
  connection: Connection,
  protocol: Protocol,
): void {
  info.upstreamProtocol = protocol
  info.upstreamLocalAddress = connection.info.localAddress.text
  info.upstreamRemoteAddress = connection.info.remoteAddress.text
  info.upstreamConnectionId = connection.id
  if (info.connectionIdsAttempted === null) info.connectionIdsAttempted = [connection.id]
  else if (info.connectionIdsAttempted.at(-1) !== connection.id) info.connectionIdsAttempted.push(connection.id)
  info.upstreamConnection = connection.info
  info.upstreamFilterState = connection.info.filterState ?? null
  info.upstreamConnectStart = connection.info.connectStart ?? 0
  info.upstreamConnectEnd = connection.info.connectEnd ?? 0
  info.upstreamHandshakeEnd = connection.info.handshakeEnd ?? 0
  info.upstreamHost = host
  if (info.hostsAttempted === null) info.hostsAttempted = [host]
  else if (info.hostsAttempted.at(-1) !== host) info.hostsAttempted.push(host)
}

/** Logs tell of the last attempt, however it ended. */
export function noteAttempt(info: StreamInfo, request: UpstreamRequest): void {
  info.upstreamPoolReadyMs = request.poolReadyMs
  info.firstUpstreamTxByte = request.firstTxAt
  info.lastUpstreamTxByte = request.lastTxAt
  info.firstUpstreamRxByte = request.firstRxAt
  const { stream } = request
  if (stream === null) return
  info.upstreamHeaderBytes = stream.headerBytes
  info.upstreamWireBytesReceived = request.receivedBefore + stream.wireBytesReceived
  info.upstreamWireBytesSent = request.sentBefore + stream.wireBytesSent
}
