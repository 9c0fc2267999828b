// Peers' faults as values: what is sent (RFC 9113 §5.4, §7) and what logs and answers say.

import type { CodecError } from '../codec.ts'
import { ErrorCode } from './constants.ts'

/** A fault that ends the connection with GOAWAY `code`. */
export interface Http2Error extends CodecError {
  readonly code: ErrorCode
}

/** Response code details in Envoy's words. */
export const Http2Details = {
  ProtocolError: 'http2.protocol_error',
  /** What the requests of a connection end with, whose client broke the protocol. */
  ConnectionFault: 'codec_error:The_user_callback_function_failed',
  /** The same, for a frame that names one of them. */
  UnknownFault: 'http2.unknown.nghttp2.error',
  MessagingRule: 'http2.violation.of.messaging.rule',
  InvalidHeaderField: 'http2.invalid.header.field',
  TooManyHeaders: 'http2.too_many_headers',
  HeaderListTooLarge: 'http2.header_list_size_too_large',
  Underscore: 'http2.unexpected_underscore',
  RemoteReset: 'http2.remote_reset',
  RemoteRefused: 'http2.remote_refuse',
  EmptyFramesFlood: 'http2.inbound_empty_frames_flood',
  /** The same of the other requests of the connection. */
  OtherEmptyFramesFlood: 'codec_error:Too_many_consecutive_frames_with_an_empty_payload',
  PriorityFlood: 'codec_error:Too_many_PRIORITY_frames',
  WindowUpdateFlood: 'codec_error:Too_many_WINDOW_UPDATE_frames',
  OutboundFlood: 'http2.outbound_frames_flood',
  OutboundControlFlood: 'http2.outbound_control_frames_flood',
  PrematureResets: 'too_many_premature_resets',
  KeepaliveTimeout: 'http2.keepalive_timeout',
} as const

const FLOODS: readonly string[] = [
  Http2Details.OtherEmptyFramesFlood,
  Http2Details.PriorityFlood,
  Http2Details.WindowUpdateFlood,
  Http2Details.OutboundFlood,
  Http2Details.OutboundControlFlood,
]

/** Frames that are right one by one, and too many. */
export function isFlood(details: string): boolean {
  return FLOODS.includes(details)
}

export function connectionError(
  code: ErrorCode,
  message: string,
  details: string = Http2Details.ProtocolError,
): Http2Error {
  return { code, details, message }
}

export function protocolError(message: string): Http2Error {
  return connectionError(ErrorCode.ProtocolError, message)
}
