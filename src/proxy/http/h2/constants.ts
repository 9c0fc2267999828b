// Numbers of HTTP/2 (RFC 9113).

/** The client connection preface (§3.4). */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

/** §6. */
export const FrameType = {
  Data: 0,
  Headers: 1,
  Priority: 2,
  RstStream: 3,
  Settings: 4,
  PushPromise: 5,
  Ping: 6,
  GoAway: 7,
  WindowUpdate: 8,
  Continuation: 9,
} as const

export const END_STREAM = 0x1
export const ACK = 0x1
export const END_HEADERS = 0x4
export const PADDED = 0x8
export const PRIORITY = 0x20

/** §7. */
export const ErrorCode = {
  NoError: 0x0,
  ProtocolError: 0x1,
  InternalError: 0x2,
  FlowControlError: 0x3,
  SettingsTimeout: 0x4,
  StreamClosed: 0x5,
  FrameSizeError: 0x6,
  RefusedStream: 0x7,
  Cancel: 0x8,
  CompressionError: 0x9,
  ConnectError: 0xa,
  EnhanceYourCalm: 0xb,
} as const
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode]

/** §6.5.2 and RFC 8441 §3. */
export const Setting = {
  HeaderTableSize: 0x1,
  EnablePush: 0x2,
  MaxConcurrentStreams: 0x3,
  InitialWindowSize: 0x4,
  MaxFrameSize: 0x5,
  MaxHeaderListSize: 0x6,
  EnableConnectProtocol: 0x8,
} as const

export const FRAME_HEADER_BYTES = 9
/** What both sides start with (§6.5.2, §6.9.2); we never ask for larger frames. */
export const DEFAULT_MAX_FRAME_SIZE = 16_384
export const DEFAULT_WINDOW = 65_535
export const DEFAULT_TABLE_SIZE = 4096
export const MAX_WINDOW = 0x7fffffff
export const MAX_STREAM_ID = 0x7fffffff
