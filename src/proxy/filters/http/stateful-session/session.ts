// How a client keeps its host: a cookie whose value is a small protobuf message in base64, or a header with the address in
// base64 (Envoy's envoy.http.stateful_session.cookie and .header).

import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire'
import type { HeaderMap } from '../../../http/header-map.ts'
import { cookieValue } from '../../../route/request-path.ts'
import type { SessionPlace } from './config.ts'

/** The address that the client asks for; undefined: this request can have no session, null: it has none yet. */
export function sessionAddress(place: SessionPlace, headers: HeaderMap, nowS: number): string | null | undefined {
  if (place.kind === 'header') return decodeBase64(headers.get(place.name) ?? '')?.toString('latin1') ?? null
  if (!underPath(headers.path, place.path)) return undefined
  const value = decodeBase64(cookieValue(headers, place.name) ?? '')
  return value === null ? null : readCookie(value, nowS)
}

/** Tells the client its host. */
export function tellSession(place: SessionPlace, address: string, response: HeaderMap, nowS: number): void {
  if (place.kind === 'header') {
    response.remove(place.name)
    response.add(place.name, Buffer.from(address, 'latin1').toString('base64'))
    return
  }
  const { name, path, ttlS, attributes } = place
  const value = writeCookie(address, ttlS === 0 ? 0 : nowS + ttlS)
  let cookie = `${name}="${value}"`
  if (ttlS > 0) cookie += `; Max-Age=${ttlS}`
  if (path !== '') cookie += `; Path=${path}`
  for (const attribute of attributes) {
    cookie += attribute.value === '' ? `; ${attribute.name}` : `; ${attribute.name}=${attribute.value}`
  }
  response.add('set-cookie', `${cookie}; HttpOnly`)
}

/** RFC 6265 §5.1.4. */
function underPath(path: string, prefix: string): boolean {
  if (prefix === '' || prefix === '/') return true
  if (!path.startsWith(prefix)) return false
  return prefix.endsWith('/') || path.length === prefix.length || '/?#'.includes(path[prefix.length]!)
}

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/

function decodeBase64(text: string): Buffer | null {
  return text.length % 4 === 0 && BASE64.test(text) ? Buffer.from(text, 'base64') : null
}

const ADDRESS = 1
const EXPIRES = 2

/** What is no such message is an address as it stands: cookies of old proxies were. */
function readCookie(value: Buffer, nowS: number): string | null {
  let address = ''
  let expires = 0
  try {
    const reader = new BinaryReader(value)
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag()
      if (field === ADDRESS && wireType === 2) address = reader.string()
      else if (field === EXPIRES && wireType === 0) expires = Number(reader.uint64())
      else reader.skip(wireType, field)
    }
  } catch {
    return value.toString('latin1')
  }
  return address === '' || (expires !== 0 && nowS > expires) ? null : address
}

function writeCookie(address: string, expires: number): string {
  const writer = new BinaryWriter().tag(ADDRESS, 2).string(address)
  if (expires !== 0) writer.tag(EXPIRES, 0).uint64(expires)
  return Buffer.from(writer.finish()).toString('base64')
}
