// Http1ProtocolOptions, Http2ProtocolOptions and HttpProtocolOptions of either side, Envoy's defaults filled in.

import {
  type HttpProtocolOptions as CommonMessage,
  type Http1ProtocolOptions,
  type Http2ProtocolOptions,
  HttpProtocolOptions_HeadersWithUnderscoresAction as Underscores,
} from '../../api/gen/envoy/config/core/v3/protocol_pb.js'
import { durationMsOr } from '../config/duration.ts'
import { parseStringMatcher } from '../route/string-matcher.ts'
import type { CommonHttpOptions, Http1Options, Http2Options } from './connection-manager/config.ts'

const HOUR_MS = 3_600_000
const DEFAULT_MAX_HEADERS = 100
/** Envoy's HTTP/2 defaults (envoy-contract §6). */
const DEFAULT_STREAM_WINDOW = 16 * 1024 * 1024
const DEFAULT_CONNECTION_WINDOW = 24 * 1024 * 1024

/** Envoy's defaults where the message is absent or silent. `path`: of the message, for errors. */
export function parseHttp1Options(options: Http1ProtocolOptions | undefined, path = ''): Http1Options {
  const format = options?.headerKeyFormat?.headerFormat.case
  return {
    allowAbsoluteUrl: options?.allowAbsoluteUrl ?? true,
    acceptHttp10: options?.acceptHttp10 ?? false,
    defaultHostForHttp10: options?.defaultHostForHttp10 ?? '',
    enableTrailers: options?.enableTrailers ?? false,
    allowChunkedLength: options?.allowChunkedLength ?? false,
    headerKeyFormat: format === 'properCaseWords' ? 'proper_case_words' : format ? 'preserve_case' : 'lower',
    sendFullyQualifiedUrl: options?.sendFullyQualifiedUrl ?? false,
    allowCustomMethods: options?.allowCustomMethods ?? false,
    ignoredUpgrades: (options?.ignoreHttp11Upgrade ?? []).map((matcher, i) =>
      parseStringMatcher(matcher, `${path}.ignore_http_11_upgrade[${i}]`),
    ),
    streamErrorOnInvalidMessage: options?.overrideStreamErrorOnInvalidHttpMessage ?? null,
  }
}

export function parseHttp2Options(options: Http2ProtocolOptions | undefined): Http2Options {
  const keepalive = options?.connectionKeepalive
  return {
    hpackTableSize: options?.hpackTableSize ?? 4096,
    maxConcurrentStreams: options?.maxConcurrentStreams ?? 1024,
    initialStreamWindowSize: options?.initialStreamWindowSize ?? DEFAULT_STREAM_WINDOW,
    initialConnectionWindowSize: options?.initialConnectionWindowSize ?? DEFAULT_CONNECTION_WINDOW,
    allowConnect: options?.allowConnect ?? false,
    maxOutboundFrames: options?.maxOutboundFrames ?? 10_000,
    maxOutboundControlFrames: options?.maxOutboundControlFrames ?? 1000,
    maxConsecutiveInboundFramesWithEmptyPayload: options?.maxConsecutiveInboundFramesWithEmptyPayload ?? 1,
    maxInboundPriorityFramesPerStream: options?.maxInboundPriorityFramesPerStream ?? 100,
    maxInboundWindowUpdateFramesPerDataFrameSent: options?.maxInboundWindowUpdateFramesPerDataFrameSent ?? 10,
    streamErrorOnInvalidMessage:
      options?.overrideStreamErrorOnInvalidHttpMessage ?? (options?.streamErrorOnInvalidHttpMessaging ? true : null),
    keepaliveIntervalMs: durationMsOr(keepalive?.interval, 0),
    keepaliveTimeoutMs: durationMsOr(keepalive?.timeout, 0),
    keepaliveJitterPercent: keepalive?.intervalJitter?.value ?? 15,
    keepaliveIdleMs: durationMsOr(keepalive?.connectionIdleInterval, 0),
    customSettings: (options?.customSettingsParameters ?? []).map(
      ({ identifier, value }) => [identifier ?? 0, value ?? 0] as const,
    ),
    huffman: options?.enableHuffmanEncoding ?? false,
    maxHeaderFieldBytes: (options?.maxHeaderFieldSizeKb ?? 64) * 1024,
    streamResetBurst: Number(options?.streamResetBurst ?? 1000),
    streamResetRate: Number(options?.streamResetRate ?? 33),
  }
}

export function parseCommonHttpOptions(options: CommonMessage | undefined): CommonHttpOptions {
  return {
    idleTimeoutMs: durationMsOr(options?.idleTimeout, HOUR_MS),
    maxConnectionDurationMs: durationMsOr(options?.maxConnectionDuration, 0),
    maxConnectionDurationJitterPercent: options?.maxConnectionDurationJitter?.value ?? 0,
    maxHeadersCount: options?.maxHeadersCount ?? DEFAULT_MAX_HEADERS,
    maxResponseHeadersKb: options?.maxResponseHeadersKb ?? 60,
    maxStreamDurationMs: durationMsOr(options?.maxStreamDuration, 0),
    maxRequestsPerConnection: options?.maxRequestsPerConnection ?? 0,
    headersWithUnderscores: UNDERSCORES[options?.headersWithUnderscoresAction ?? Underscores.ALLOW],
  }
}

const UNDERSCORES = {
  [Underscores.ALLOW]: 'ALLOW',
  [Underscores.REJECT_REQUEST]: 'REJECT_REQUEST',
  [Underscores.DROP_HEADER]: 'DROP_HEADER',
} as const
