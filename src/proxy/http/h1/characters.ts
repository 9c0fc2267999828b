// Byte classes of HTTP/1 (RFC 9110 §5.6.2, RFC 9112), as Envoy's parser draws the lines.

import { intern } from '../../../base/intern.ts'

/** tchar: what a header name and a method are made of. */
const TOKEN = new Uint8Array(256)
for (const c of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  TOKEN[c.charCodeAt(0)] = 1

/** Control bytes that no head may contain; HT, LF and CR have rules of their own. */
const FORBIDDEN = new Uint8Array(256)
for (let c = 0; c < 32; c++) if (c !== 9 && c !== 10 && c !== 13) FORBIDDEN[c] = 1
FORBIDDEN[127] = 1

/** What a scan of a head stops at: line ends (1) and control bytes (2). */
export const HEAD_STOP = new Uint8Array(FORBIDDEN.map((forbidden) => forbidden * 2))
HEAD_STOP[10] = 1

/** What an authority may contain (RFC 3986 §3.2, loosely, as Envoy checks Host). */
const AUTHORITY = new Uint8Array(256)
for (const c of "-._~%!$&'()*+,;=:@[]0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  AUTHORITY[c.charCodeAt(0)] = 1

function all(text: string, table: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (table[text.charCodeAt(i)] !== 1) return false
  return true
}

/** One or more tchar. */
export function isToken(text: string): boolean {
  return text !== '' && all(text, TOKEN)
}

/** May be empty. */
export function isAuthority(text: string): boolean {
  return all(text, AUTHORITY)
}

/** Holds a byte that no head may contain. */
export function hasControls(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (FORBIDDEN[text.charCodeAt(i)] === 1) return true
  return false
}

/** Visible ASCII only: the bytes of a request target. */
export function isVisible(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c < 33 || c > 126) return false
  }
  return true
}

/** No token, but nothing that Envoy's parser stops at before it looks at the headers one by one. */
export function mayPassAsName(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (TOKEN[c] !== 1 && c !== 34 && c < 128) return false
  }
  return text !== ''
}

/** Methods a server takes without allow_custom_methods. */
export const METHODS: ReadonlySet<string> = new Set(
  'ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE'.split(
    ' ',
  ),
)

/** Names as written → lower-case names: each spelling is lowered and checked once. Bounded, because peers choose them. */
const MAX_NAMES = 2000
const lowered = new Map<string, string>()

/** The lower-case form of a header name, or '' when it is no token. */
export function headerName(written: string): string {
  const known = lowered.get(written)
  if (known !== undefined) return known
  const lower = isToken(written) ? intern(written.toLowerCase()) : ''
  // Interned, because a slice would keep the whole head alive, and because headers are found by comparing names.
  if (lowered.size < MAX_NAMES) lowered.set(intern(written), lower)
  return lower
}
