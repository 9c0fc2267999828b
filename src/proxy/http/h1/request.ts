// The request line, and what the headers say about the request's target and framing.

import { detached, latin1 } from '../../../base/bytes.ts'
import { intern } from '../../../base/intern.ts'
import { compileStringMatcher, type StringMatch, type StringMatcherData } from '../../route/string-matcher.ts'
import type { CodecError } from '../codec.ts'
import { Protocol } from '../codec.ts'
import { isUpgrade, sanitizeTe } from '../connection-header.ts'
import type { Http1Options } from '../connection-manager/config.ts'
import type { HeaderMap } from '../header-map.ts'
import { ByteCache } from './byte-cache.ts'
import { isAuthority, isToken, isVisible, METHODS } from './characters.ts'
import { CODEC_ERROR, parseContentLength } from './head.ts'

const INVALID_URL: CodecError = { details: 'http1.invalid_url', message: 'invalid request target' }
const INVALID_SCHEME: CodecError = { details: 'http1.invalid_scheme', message: 'the target is neither http nor https' }
export const INVALID_AUTHORITY: CodecError = { details: 'http.invalid_authority', message: 'invalid host' }
const INVALID_TRANSFER_ENCODING: CodecError = {
  details: 'http1.invalid_transfer_encoding',
  message: 'unsupported transfer encoding',
}
const LENGTH_AND_CHUNKED: CodecError = {
  details: 'http1.content_length_and_chunked_not_allowed',
  message: 'both Content-Length and Transfer-Encoding',
}
const BODY_DISALLOWED: CodecError = { details: 'http1.body_disallowed', message: 'CONNECT with a body' }
const CONNECTION_HEADER: CodecError = {
  details: 'http1.connection_header_rejected',
  message: 'unacceptable Connection header',
}

/** Result slots of parseRequestLine. */
export const requestLine: { method: string; target: string; version: Protocol; versionGiven: boolean } = {
  method: '',
  target: '',
  version: Protocol.Http11,
  /** False for HTTP/0.9, whose requests end with their line. */
  versionGiven: true,
}

/** False for a blank or a control character: such a request is refused before more of it is read. */
export function mayBeginRequest(first: number): boolean {
  return first > 32
}

interface RequestLine {
  readonly method: string
  readonly target: string
  readonly version: Protocol
  readonly versionGiven: boolean
}

const known = new ByteCache<RequestLine>()

/** parseRequestLine of bytes `from` to `to` (the line feed): lines that came before are recognised. */
export function readRequestLine(buffer: Buffer, from: number, to: number, options: Http1Options): boolean {
  const line = known.find(buffer, from, to)
  if (line !== null) {
    requestLine.method = line.method
    requestLine.target = line.target
    requestLine.version = line.version
    requestLine.versionGiven = line.versionGiven
    return true
  }
  if (!parseRequestLine(latin1(buffer, from, to), options)) return false
  // Only what every configuration takes is kept.
  if (METHODS.has(requestLine.method) && known.wants(from, to)) {
    // Slices would keep the text of the line.
    requestLine.target = detached(requestLine.target)
    known.keep(buffer, from, to, { ...requestLine, method: intern(requestLine.method) })
  }
  return true
}

/**
 * `METHOD SP target [SP HTTP/x.y]`. Versions but 1.1 count as HTTP/1.0 and are refused later (426). As in Envoy any run
 * of blanks parts the words or ends the line (RFC 9112 §3 allows it), and control characters count as blanks here: they
 * are refused for what they are once the head is whole.
 */
export function parseRequestLine(line: string, options: Http1Options): boolean {
  const methodEnd = wordEnd(line, 0)
  const targetStart = wordStart(line, methodEnd)
  const targetEnd = wordEnd(line, targetStart)
  const versionStart = wordStart(line, targetEnd)
  requestLine.versionGiven = versionStart < line.length
  const method = line.slice(0, methodEnd)
  if (!METHODS.has(method) && !(options.allowCustomMethods && isToken(method))) return false
  const target = line.slice(targetStart, targetEnd)
  if (!isTarget(target, method)) return false
  requestLine.method = method
  requestLine.target = target
  if (!requestLine.versionGiven) {
    requestLine.version = Protocol.Http10 // HTTP/0.9
    return !target.startsWith('HTTP/')
  }
  const end = wordEnd(line, versionStart)
  if (end - versionStart !== 8 || !line.startsWith('HTTP/', versionStart)) return false
  const major = line.charCodeAt(versionStart + 5) - 48
  const minor = line.charCodeAt(versionStart + 7) - 48
  if (line.charCodeAt(versionStart + 6) !== 46 || major < 0 || major > 9 || minor < 0 || minor > 9) return false
  requestLine.version = major === 1 && minor === 1 ? Protocol.Http11 : Protocol.Http10
  return wordStart(line, end) === line.length
}

/** Position of the first blank from `at` on. */
function wordEnd(line: string, at: number): number {
  let i = at
  while (i < line.length && line.charCodeAt(i) > 32) i++
  return i
}

/** Position of the first character from `at` on that is no blank. */
function wordStart(line: string, at: number): number {
  let i = at
  while (i < line.length && line.charCodeAt(i) <= 32) i++
  return i
}

function isTarget(target: string, method: string): boolean {
  if (target === '' || !isVisible(target)) return false
  const c = target.charCodeAt(0)
  if (c === 47 || c === 42) return true
  return method === 'CONNECT' || /^[a-z][a-z0-9+.-]*:\/\//i.test(target)
}

export interface Framing {
  tunnel: boolean
  chunked: boolean
  length: number
}

/** Moves Host and target into the pseudo headers and decides the framing. Null, or why the request is refused. */
export function settleRequest(
  headers: HeaderMap,
  version: Protocol,
  options: Http1Options,
  framing: Framing,
): CodecError | null {
  const { list } = headers
  let host: string | undefined
  let length = -1
  let lengthSeen = false
  let lengthFaulty = false
  let lengthRepeated = false
  let encoding: string | undefined
  let connection = false
  for (let i = 0; i < list.length; i += 2) {
    switch (list[i]) {
      case 'host':
        host = host === undefined ? list[i + 1]! : `${host},${list[i + 1]}`
        break
      case 'content-length': {
        const value = parseContentLength(list[i + 1]!)
        // A second one may say what an intermediary overlooks, even where it agrees (Envoy).
        if (value < 0) lengthFaulty = true
        if (lengthSeen) lengthRepeated = true
        length = value
        lengthSeen = true
        break
      }
      case 'transfer-encoding':
        encoding = encoding === undefined ? list[i + 1]! : `${encoding},${list[i + 1]}`
        break
      case 'connection':
        connection = true
        break
    }
  }
  const chunked = encoding?.toLowerCase() === 'chunked'
  // Next to chunks what is no number says nothing.
  if (lengthRepeated || (lengthFaulty && !chunked)) return CODEC_ERROR
  if (host !== undefined) headers.remove('host')
  if (encoding !== undefined) {
    if (lengthSeen) {
      if (!options.allowChunkedLength || !chunked) return LENGTH_AND_CHUNKED
      headers.remove('content-length')
      length = -1
    }
    if (!chunked || headers.method === 'CONNECT') return INVALID_TRANSFER_ENCODING
  }
  if (headers.method === 'CONNECT' && length > 0) return BODY_DISALLOWED
  const bad = settleTarget(headers, host, version, options)
  if (bad) return bad
  if (connection && !sanitizeConnection(headers)) return CONNECTION_HEADER
  framing.chunked = encoding !== undefined
  framing.length = length
  framing.tunnel = headers.method === 'CONNECT' || isTunnelUpgrade(headers, options.ignoredUpgrades)
  return null
}

/**
 * An upgrade other than to h2c and to what is ignored, which nobody has to follow: its headers go and the request is a
 * plain one.
 */
function isTunnelUpgrade(headers: HeaderMap, ignored: readonly StringMatcherData[]): boolean {
  if (!isUpgrade(headers)) return false
  const wanted = headers.getAll('upgrade')!
  if (wanted.toLowerCase() !== 'h2c') {
    if (ignored.length === 0) return true
    const rest = wanted
      .split(',')
      .map((token) => token.trim())
      .filter((token) => token !== '' && !isIgnored(token, ignored))
    if (rest.length > 0) {
      headers.set('upgrade', rest.join(','))
      return true
    }
  }
  headers.remove('upgrade')
  headers.remove('http2-settings')
  const rest = (headers.getAll('connection') ?? '')
    .split(',')
    .filter((token) => !/^\s*(upgrade|http2-settings)\s*$/i.test(token))
    .join(',')
  headers.remove('connection')
  if (rest.trim() !== '') headers.add('connection', rest)
  return false
}

/** Matchers of configurations that are in use. */
const compiled = new WeakMap<readonly StringMatcherData[], readonly StringMatch[]>()

function isIgnored(token: string, ignored: readonly StringMatcherData[]): boolean {
  let matchers = compiled.get(ignored)
  if (matchers === undefined) compiled.set(ignored, (matchers = ignored.map(compileStringMatcher)))
  return matchers.some((matches) => matches(token))
}

function settleTarget(
  headers: HeaderMap,
  host: string | undefined,
  version: Protocol,
  options: Http1Options,
): CodecError | null {
  const target = headers.path
  if (headers.method === 'CONNECT') {
    headers.path = ''
    headers.authority = target
    headers.hostSeen = true
    return isAuthority(target) ? null : INVALID_URL
  }
  if (target.charCodeAt(0) !== 47 && !(target === '*' && headers.method === 'OPTIONS')) {
    // What is not allowed stays as it is: the connection manager answers a path without a leading slash.
    if (!options.allowAbsoluteUrl) return settleHost(headers, host, version, options)
    const scheme = target.indexOf('://')
    if (scheme <= 0) return INVALID_URL
    const name = target.slice(0, scheme).toLowerCase()
    if (name !== 'http' && name !== 'https') return INVALID_SCHEME
    const from = scheme + 3
    let end = from
    while (end < target.length && target.charCodeAt(end) !== 47 && target.charCodeAt(end) !== 63) end++
    if (end === from) return INVALID_URL
    if (target.slice(from, end).includes('#')) return CODEC_ERROR
    headers.scheme = name
    host = target.slice(from, end)
    headers.path = end === target.length ? '/' : target.slice(end)
  }
  return settleHost(headers, host, version, options)
}

function settleHost(
  headers: HeaderMap,
  host: string | undefined,
  version: Protocol,
  options: Http1Options,
): CodecError | null {
  if (host === undefined) {
    if (version === Protocol.Http10 && options.defaultHostForHttp10 !== '') host = options.defaultHostForHttp10
    else return null
  }
  headers.hostSeen = true
  headers.authority = host
  return isAuthority(host) ? null : INVALID_AUTHORITY
}

const MAX_CONNECTION_TOKENS = 10
const NEVER_NOMINATED = new Set([
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  ':authority',
  ':method',
  ':path',
  ':scheme',
])

/** Drops headers that Connection nominates (RFC 9110 §7.6.1); false when it nominates what it must not, or too many. */
function sanitizeConnection(headers: HeaderMap): boolean {
  const value = headers.getAll('connection')!
  if (!value.includes(',')) {
    const token = value.trim().toLowerCase()
    if (token === 'close' || token === 'keep-alive' || token === 'upgrade' || token === '') return true
  }
  const tokens = value.split(',')
  if (tokens.length >= MAX_CONNECTION_TOKENS) return false
  for (const written of tokens) {
    const token = written.trim().toLowerCase()
    if (
      token === '' ||
      token === 'close' ||
      token === 'keep-alive' ||
      token === 'upgrade' ||
      token === 'http2-settings'
    )
      continue
    if (NEVER_NOMINATED.has(token)) return false
    if (token === 'te') sanitizeTe(headers)
    else if (token === 'host') {
      // The request then has none.
      headers.authority = ''
      headers.hostSeen = false
    } else headers.remove(token)
  }
  return true
}
