// What a request's `connection` asks for: another protocol, or the end of the connection.

import { Protocol } from './codec.ts'
import type { HeaderMap } from './header-map.ts'

/** `Upgrade: x` named by `Connection: upgrade`. */
export function isUpgrade(headers: HeaderMap): boolean {
  if (!headers.has('upgrade')) return false
  const connection = headers.getAll('connection')
  return connection !== undefined && hasToken(connection, 'upgrade')
}

/** `connect`, the upgrade type in lower case, which may be empty, or null for a plain request. */
export function upgradeType(headers: HeaderMap): string | null {
  if (headers.method === 'CONNECT') return headers.protocol === '' ? 'connect' : headers.protocol.toLowerCase()
  return isUpgrade(headers) ? (headers.getAll('upgrade') ?? '').toLowerCase() : null
}

/** Whether the request itself ends its connection (RFC 9112 §9.3, and `proxy-connection` of old clients). */
export function closesConnection(protocol: string, headers: HeaderMap): boolean {
  if (protocol === Protocol.Http2) return false
  const connection = headers.getAll('connection')
  if (protocol === Protocol.Http10) return connection === undefined || !hasToken(connection, 'keep-alive')
  if (connection !== undefined && hasToken(connection, 'close')) return true
  const old = headers.getAll('proxy-connection')
  return old !== undefined && hasToken(old, 'close')
}

/** Of what a client takes, only `trailers`, in this spelling, may pass on (Envoy). */
export function sanitizeTe(headers: HeaderMap): void {
  const te = headers.getAll('te')
  if (te === undefined || te === 'trailers' || te === '') return
  if (te.split(',').some((one) => one.trim() === 'trailers')) headers.set('te', 'trailers')
  else headers.remove('te')
}

/** True when comma-separated `value` holds `token` (lower case). */
export function hasToken(value: string, token: string): boolean {
  if (value === token) return true
  if (value.length < token.length) return false
  if (!value.includes(',')) return isToken(value, token)
  for (const part of value.split(',')) if (isToken(part, token)) return true
  return false
}

function isToken(part: string, token: string): boolean {
  const trimmed = part.trim()
  // Lowering is a call: most values are of another length.
  return trimmed.length === token.length && trimmed.toLowerCase() === token
}
