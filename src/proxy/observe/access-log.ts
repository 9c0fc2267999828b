// The seam between what ends (streams, connections) and the access logs.

import type { HeaderMap } from '../http/header-map.ts'
import type { StreamInfo } from '../stream-info.ts'

/** The kinds that `%ACCESS_LOG_TYPE%` prints and log_type_filter selects. */
export type AccessLogType =
  | 'NotSet'
  | 'TcpConnectionStart'
  | 'TcpUpstreamConnected'
  | 'TcpPeriodic'
  | 'TcpConnectionEnd'
  | 'DownstreamStart'
  | 'DownstreamPeriodic'
  | 'DownstreamEnd'
  | 'UpstreamPoolReady'
  | 'UpstreamPeriodic'
  | 'UpstreamEnd'
  | 'DownstreamTunnelSuccessfullyEstablished'

/** What a log line may draw on. Any header block may be null (TCP, or never reached). */
export interface LogContext {
  readonly info: StreamInfo
  readonly requestHeaders: HeaderMap | null
  readonly responseHeaders: HeaderMap | null
  readonly responseTrailers: HeaderMap | null
  readonly localReplyBody: string
  readonly type: AccessLogType
}

/** One configured log: filter, format, sink. */
export interface AccessLog {
  log(context: LogContext): void
}
