// Is this HTTP, and which? Pure.

export type HttpInspection = 'need-more' | 'h2c' | 'http/1.1' | 'http/1.0' | 'not-http' | 'too-long'

/** RFC 9113 §3.4. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')
/** A request line without end within this many bytes is no HTTP that we would serve. */
const MAX_INSPECT_BYTES = 64 * 1024

/** Looks at the first bytes of a plain-text connection. */
export function inspectHttp(bytes: Buffer): HttpInspection {
  const compared = Math.min(bytes.length, PREFACE.length)
  if (bytes.compare(PREFACE, 0, compared, 0, compared) === 0) return compared === PREFACE.length ? 'h2c' : 'need-more'
  const end = bytes.indexOf(10)
  if (!methodMayFollow(bytes)) return 'not-http'
  if (end < 0) return bytes.length >= MAX_INSPECT_BYTES ? 'too-long' : 'need-more'
  return requestLine(bytes.subarray(0, end))
}

/** The method: one or more token characters (RFC 9110 §5.6.2), then a space. */
function methodMayFollow(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) {
    const c = bytes[i]!
    if (c === 32) return i > 0
    if (!isToken(c)) return false
  }
  return true
}

function isToken(c: number): boolean {
  if ((c >= 48 && c <= 57) || (c >= 65 && c <= 90) || (c >= 94 && c <= 122)) return true
  return c === 33 || (c >= 35 && c <= 39) || c === 42 || c === 43 || c === 45 || c === 46 || c === 124 || c === 126
}

function requestLine(line: Buffer): HttpInspection {
  const last = line.length > 0 && line[line.length - 1] === 13 ? line.length - 1 : line.length
  const parts = line.toString('latin1', 0, last).split(' ')
  if (parts.length !== 3 || parts[1] === '') return 'not-http'
  const version = parts[2]!
  if (version === 'HTTP/1.1') return 'http/1.1'
  return /^HTTP\/\d\.\d$/.test(version) ? 'http/1.0' : 'not-http'
}
