// Why a transport failed, in Envoy's words: access logs, local replies and alerts are matched against these texts.

import { errorText } from '../../base/errors.ts'
import { ipAddress } from './address.ts'
import type { Address } from './connection.ts'

/** Linux's strerror for what sockets report. */
const ERRNO_TEXT: Readonly<Record<string, string>> = {
  EACCES: 'Permission denied',
  EADDRINUSE: 'Address already in use',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EAGAIN: 'Resource temporarily unavailable',
  ECONNABORTED: 'Software caused connection abort',
  ECONNREFUSED: 'Connection refused',
  ECONNRESET: 'Connection reset by peer',
  EHOSTUNREACH: 'No route to host',
  EINVAL: 'Invalid argument',
  EMFILE: 'Too many open files',
  ENETDOWN: 'Network is down',
  ENETUNREACH: 'Network is unreachable',
  ENOENT: 'No such file or directory',
  ENOTSOCK: 'Socket operation on non-socket',
  EPERM: 'Operation not permitted',
  EPIPE: 'Broken pipe',
  ETIMEDOUT: 'Connection timed out',
}

/** Errors that connect(2) itself returns; the others come later, with the socket's error state. */
const IMMEDIATE: ReadonlySet<string> = new Set([
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'EACCES',
  'EPERM',
  'EINVAL',
  'ENOENT',
  'EMFILE',
  'EADDRINUSE',
])

function errnoText(error: NodeJS.ErrnoException): string {
  return ERRNO_TEXT[error.code ?? ''] ?? error.message
}

/** The local address that was asked for, as Node's error has it. */
function boundText(error: NodeJS.ErrnoException & { address?: string; port?: number }): string {
  return ipAddress(error.address ?? '', error.port ?? 0).text
}

const SETSOCKOPT = 'setsockopt'

/** The error of a socket whose options cannot be set; Envoy ends the connection itself then, and gives no reason. */
export function optionRefused(cause: unknown): NodeJS.ErrnoException {
  return Object.assign(new Error(errorText(cause), { cause }), { syscall: SETSOCKOPT })
}

export function isOptionRefused(error: NodeJS.ErrnoException): boolean {
  return error.syscall === SETSOCKOPT
}

/** `delayed connect error: Connection refused`, or `immediate connect error: …|remote address:…`. */
export function connectFailureText(error: NodeJS.ErrnoException, remote: Address): string {
  if (isOptionRefused(error)) return ''
  if (error.syscall === 'bind') return `failed to bind to ${boundText(error)}: ${errnoText(error)}`
  const immediate = remote.pipe !== undefined || IMMEDIATE.has(error.code ?? '')
  if (immediate) return `immediate connect error: ${errnoText(error)}|remote address:${remote.text}`
  return `delayed connect error: ${errnoText(error)}`
}

/**
 * BoringSSL's numbers for the reasons that OpenSSL reports under the same names (openssl/ssl.h of BoringSSL; alerts are
 * 1000 + the alert's number of RFC 8446 §6). 16 is the SSL library.
 */
const BORINGSSL_REASON: Readonly<Record<string, number>> = {
  CONNECTION_REJECTED: 133,
  CERTIFICATE_VERIFY_FAILED: 125,
  HTTPS_PROXY_REQUEST: 155,
  HTTP_REQUEST: 156,
  NO_COMMON_SIGNATURE_ALGORITHMS: 253,
  NO_SHARED_CIPHER: 184,
  NO_SHARED_GROUP: 266,
  PEER_DID_NOT_RETURN_A_CERTIFICATE: 192,
  ENCRYPTED_LENGTH_TOO_LONG: 146,
  UNEXPECTED_MESSAGE: 224,
  UNEXPECTED_RECORD: 225,
  UNKNOWN_PROTOCOL: 236,
  UNSUPPORTED_PROTOCOL: 240,
  WRONG_VERSION_NUMBER: 247,
}
const ALERTS: Readonly<Record<string, number>> = {
  SSLV3_ALERT_CLOSE_NOTIFY: 0,
  SSLV3_ALERT_UNEXPECTED_MESSAGE: 10,
  SSLV3_ALERT_BAD_RECORD_MAC: 20,
  SSLV3_ALERT_HANDSHAKE_FAILURE: 40,
  SSLV3_ALERT_NO_CERTIFICATE: 41,
  SSLV3_ALERT_BAD_CERTIFICATE: 42,
  SSLV3_ALERT_UNSUPPORTED_CERTIFICATE: 43,
  SSLV3_ALERT_CERTIFICATE_REVOKED: 44,
  SSLV3_ALERT_CERTIFICATE_EXPIRED: 45,
  SSLV3_ALERT_CERTIFICATE_UNKNOWN: 46,
  SSLV3_ALERT_ILLEGAL_PARAMETER: 47,
  TLSV1_ALERT_UNKNOWN_CA: 48,
  TLSV1_ALERT_ACCESS_DENIED: 49,
  TLSV1_ALERT_DECODE_ERROR: 50,
  TLSV1_ALERT_DECRYPT_ERROR: 51,
  TLSV1_ALERT_PROTOCOL_VERSION: 70,
  TLSV1_ALERT_INSUFFICIENT_SECURITY: 71,
  TLSV1_ALERT_INTERNAL_ERROR: 80,
  TLSV1_ALERT_NO_RENEGOTIATION: 100,
  TLSV1_UNRECOGNIZED_NAME: 112,
  TLSV1_ALERT_UNRECOGNIZED_NAME: 112,
  TLSV1_ALERT_UNKNOWN_PSK_IDENTITY: 115,
  TLSV1_ALERT_CERTIFICATE_REQUIRED: 116,
  TLSV1_ALERT_NO_APPLICATION_PROTOCOL: 120,
}

/** OpenSSL 3 spells newer alerts `TLSV13_…`; BoringSSL has one spelling. */
function boringsslName(reason: string): string {
  const name = reason.toUpperCase().replaceAll(/[^A-Z0-9]+/g, '_')
  if (name === 'TLSV13_ALERT_CERTIFICATE_REQUIRED') return 'TLSV1_ALERT_CERTIFICATE_REQUIRED'
  if (name === 'SSL_TLS_ALERT_HANDSHAKE_FAILURE' || name === 'TLS_ALERT_HANDSHAKE_FAILURE')
    return 'SSLV3_ALERT_HANDSHAKE_FAILURE'
  if (name === 'DATA_LENGTH_TOO_LONG') return 'ENCRYPTED_LENGTH_TOO_LONG'
  if (name === 'NO_SUITABLE_KEY_SHARE') return 'NO_SHARED_GROUP'
  if (name === 'NO_SUITABLE_SIGNATURE_ALGORITHM' || name === 'NO_SHARED_SIGNATURE_ALGORITHMS')
    return 'NO_COMMON_SIGNATURE_ALGORITHMS'
  return name.replace(/^SSL\/TLS_ALERT_|^SSL_TLS_ALERT_/, 'SSLV3_ALERT_')
}

/** One BoringSSL error as Envoy prints it: `TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end`. */
export function tlsErrorText(reason: string, suffix = ''): string {
  const name = boringsslName(reason)
  const alert = ALERTS[name]
  const number = alert === undefined ? (BORINGSSL_REASON[name] ?? 68) : 1000 + alert
  return `TLS_error:|${(16 << 24) + number}:SSL routines:OPENSSL_internal:${name}:${suffix}TLS_error_end`
}

/** The failure that an alert of the peer is, by its number (RFC 8446 §6). */
export function alertText(description: number): string {
  const [name] = Object.entries(ALERTS).find(([, number]) => number === description) ?? ['UNKNOWN_ALERT_TYPE']
  return tlsErrorText(name)
}

/** A socket's failure under TLS, as BoringSSL's queue has it: 2 is the system library. */
export function socketFailureText(error: NodeJS.ErrnoException): string {
  const number = (2 << 24) + Math.abs(error.errno ?? 0)
  return `TLS_error:|${number}:system library:OPENSSL_internal:${errnoText(error)}:TLS_error_end`
}

/** For a socket that cannot be written to any more. */
export function brokenPipe(): NodeJS.ErrnoException {
  return Object.assign(new Error(ERRNO_TEXT.EPIPE), { code: 'EPIPE', errno: -32 })
}
