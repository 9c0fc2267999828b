// The connection manager's configuration as plain data: parsed once on the main thread, cloned into every worker.

import type { Cidr } from '../../../base/cidr.ts'
import type { ParsedExtension } from '../../config/extension.ts'
import type { LogFormatData } from '../../filters/access-loggers/log-format.ts'
import type { LogFilterData } from '../../observe/access-log-filter.ts'
import type { TracingConfig } from '../../observe/tracing/config.ts'
import type { HeaderMutationsData, RouteConfigData } from '../../route/config.ts'
import type { StringMatcherData } from '../../route/string-matcher.ts'
import type { PathOptions } from '../path.ts'

/** HTTP/1 settings of one side (envoy-contract §6). */
export interface Http1Options {
  readonly allowAbsoluteUrl: boolean
  readonly acceptHttp10: boolean
  readonly defaultHostForHttp10: string
  readonly enableTrailers: boolean
  readonly allowChunkedLength: boolean
  readonly headerKeyFormat: 'lower' | 'proper_case_words' | 'preserve_case'
  readonly sendFullyQualifiedUrl: boolean
  readonly allowCustomMethods: boolean
  /** Upgrades that are not heard of (ignore_http_11_upgrade). */
  readonly ignoredUpgrades: readonly StringMatcherData[]
  /** null = as the connection manager's stream_error_on_invalid_http_message. */
  readonly streamErrorOnInvalidMessage: boolean | null
}

/** HTTP/2 settings of one side, Envoy's defaults filled in. */
export interface Http2Options {
  readonly hpackTableSize: number
  readonly maxConcurrentStreams: number
  readonly initialStreamWindowSize: number
  readonly initialConnectionWindowSize: number
  readonly allowConnect: boolean
  readonly maxOutboundFrames: number
  readonly maxOutboundControlFrames: number
  readonly maxConsecutiveInboundFramesWithEmptyPayload: number
  readonly maxInboundPriorityFramesPerStream: number
  readonly maxInboundWindowUpdateFramesPerDataFrameSent: number
  readonly streamErrorOnInvalidMessage: boolean | null
  /** 0 = no keep-alive pings. */
  readonly keepaliveIntervalMs: number
  readonly keepaliveTimeoutMs: number
  readonly keepaliveJitterPercent: number
  /** Ping before the first request after this much silence; 0 = never. */
  readonly keepaliveIdleMs: number
  readonly customSettings: readonly (readonly [number, number])[]
  /** Strings that we send are coded where that is shorter. */
  readonly huffman: boolean
  /** Of one name or value on the wire. */
  readonly maxHeaderFieldBytes: number
  /** RST_STREAM frames that a client may send at once, and each second. */
  readonly streamResetBurst: number
  readonly streamResetRate: number
}

/** What both protocols share (HttpProtocolOptions). 0 = off. */
export interface CommonHttpOptions {
  readonly idleTimeoutMs: number
  readonly maxConnectionDurationMs: number
  /** By how much it may be longer, at random; of clients' connections. */
  readonly maxConnectionDurationJitterPercent: number
  readonly maxHeadersCount: number
  /** Of an upstream's responses. */
  readonly maxResponseHeadersKb: number
  readonly maxStreamDurationMs: number
  readonly maxRequestsPerConnection: number
  readonly headersWithUnderscores: 'ALLOW' | 'REJECT_REQUEST' | 'DROP_HEADER'
}

export type ForwardClientCert = 'SANITIZE' | 'FORWARD_ONLY' | 'APPEND_FORWARD' | 'SANITIZE_SET' | 'ALWAYS_FORWARD_ONLY'

export interface ClientCertDetails {
  readonly subject: boolean
  readonly cert: boolean
  readonly chain: boolean
  readonly dns: boolean
  readonly uri: boolean
}

/** http_filters entry: one filter of the chain. */
export interface HttpFilterConfig {
  readonly name: string
  /** Of a discovered filter: its default configuration, or null. */
  readonly filter: ParsedExtension | null
  /** Its configuration comes by ECDS under its name. */
  readonly discovered: boolean
  /** Off unless a route turns it on. */
  readonly disabled: boolean
}

export interface UpgradeConfig {
  /** Lower case. */
  readonly type: string
  readonly enabled: boolean
  /** Its own chain, or null for the connection manager's. */
  readonly filters: readonly HttpFilterConfig[] | null
}

/** SubstitutionFormatString of a reply's body. */
export interface BodyFormat {
  readonly format: LogFormatData
  readonly contentType: string
}

export interface LocalReplyMapper {
  readonly filter: LogFilterData
  /** 0 = unchanged. */
  readonly status: number
  readonly body: string | null
  readonly bodyFormat: BodyFormat | null
  readonly headersToAdd: HeaderMutationsData
}

export interface LocalReplyConfig {
  readonly mappers: readonly LocalReplyMapper[]
  readonly bodyFormat: BodyFormat | null
}

/** One of original_ip_detection_extensions. */
export type IpDetectionData =
  | {
      readonly kind: 'xff'
      readonly hops: number
      /** Proxies whose entries are passed over, instead of `hops`; null = by hops. */
      readonly trusted: readonly Cidr[] | null
      /** The peer is appended to the header. */
      readonly append: boolean
    }
  | {
      readonly kind: 'custom_header'
      /** Lower case. */
      readonly header: string
      /** The address may make the request an internal one. */
      readonly trusted: boolean
      /** The answer when the header gives no address; 0 = the next extension is asked. */
      readonly rejectStatus: number
    }

/** proxy_status_config, what is removed turned into what is told. */
export interface ProxyStatusConfig {
  /** '' = the node's id. */
  readonly name: string
  readonly details: boolean
  readonly connectionTerminationDetails: boolean
  readonly responseFlags: boolean
  readonly setRecommendedResponseCode: boolean
}

/** Timeouts in milliseconds, 0 = off. */
export interface HcmConfig {
  readonly statPrefix: string
  readonly codecType: 'AUTO' | 'HTTP1' | 'HTTP2'
  /** RDS name, or null when the table is inline. */
  readonly rdsName: string | null
  readonly routeConfig: RouteConfigData | null
  readonly filters: readonly HttpFilterConfig[]
  readonly upgrades: readonly UpgradeConfig[]
  readonly accessLogs: readonly ParsedExtension[]
  readonly accessLogOnNewRequest: boolean
  readonly accessLogIntervalMs: number
  readonly accessLogOnTunnel: boolean
  readonly common: CommonHttpOptions
  readonly http1: Http1Options
  readonly http2: Http2Options
  readonly serverName: string
  readonly serverHeader: 'OVERWRITE' | 'APPEND_IF_ABSENT' | 'PASS_THROUGH'
  readonly schemeOverwrite: string
  /** The upstream's transport decides what scheme its requests have. */
  readonly schemeMatchUpstream: boolean
  readonly proxyStatus: ProxyStatusConfig | null
  /** Answers of an overloaded proxy say so. */
  readonly appendLocalOverload: boolean
  /** A connection of HTTP/1 that is too old ends with its next request, not before. */
  readonly http1SafeMaxConnectionDuration: boolean
  readonly maxRequestHeadersKb: number
  readonly streamIdleTimeoutMs: number
  /** How long the end of a response may wait for the client's window; 0 = without end. */
  readonly streamFlushTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly requestHeadersTimeoutMs: number
  readonly drainTimeoutMs: number
  /** Percent by which the drain timeout of a connection may be longer. */
  readonly drainTimeoutJitterPercent: number
  readonly delayedCloseTimeoutMs: number
  readonly useRemoteAddress: boolean
  readonly xffTrustedHops: number
  readonly skipXffAppend: boolean
  /** In their order, the first that finds an address wins; without use_remote_address there is at least one. */
  readonly ipDetection: readonly IpDetectionData[]
  /** Applied to request headers before anything else is made of them. */
  readonly earlyHeaderMutations: readonly HeaderMutationsData[]
  /** null = nobody is internal. */
  readonly internalAddresses: { readonly ranges: readonly Cidr[]; readonly unixSockets: boolean } | null
  readonly via: string
  readonly addUserAgent: boolean
  readonly generateRequestId: boolean
  readonly preserveExternalRequestId: boolean
  readonly alwaysSetRequestIdInResponse: boolean
  /** The request id carries the trace decision in its 15th character. */
  readonly packTraceReason: boolean
  readonly useRequestIdForTraceSampling: boolean
  readonly forwardClientCert: ForwardClientCert
  readonly clientCertDetails: ClientCertDetails
  readonly proxy100Continue: boolean
  /** rejectFragment comes from runtime in the worker. */
  readonly path: Omit<PathOptions, 'rejectFragment'>
  readonly stripPort: 'none' | 'matching' | 'any'
  readonly stripTrailingHostDot: boolean
  readonly streamErrorOnInvalidMessage: boolean
  readonly appendXForwardedPort: boolean
  readonly ipv4MappedIpv6: boolean
  readonly localReply: LocalReplyConfig | null
  readonly tracing: TracingConfig | null
}
