// Writes message heads into the connection's write buffer.

import { putLatin1, writeLatin1 } from '../../../base/bytes.ts'
import type { Connection } from '../../network/connection.ts'
import type { HeaderMap } from '../header-map.ts'

const LF = 10
const CR = 13
const SPACE = 32
const COLON = 58
const HTTP11 = ' HTTP/1.1\r\n'

export type HeaderKeyFormat = 'lower' | 'proper_case_words' | 'preserve_case'

/** Reason phrases of RFC 9110 and friends, in Envoy's wording. */
const REASONS: Record<number, string> = {
  100: 'Continue',
  101: 'Switching Protocols',
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  203: 'Non-Authoritative Information',
  204: 'No Content',
  205: 'Reset Content',
  206: 'Partial Content',
  207: 'Multi-Status',
  208: 'Already Reported',
  226: 'IM Used',
  300: 'Multiple Choices',
  301: 'Moved Permanently',
  302: 'Found',
  303: 'See Other',
  304: 'Not Modified',
  305: 'Use Proxy',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  402: 'Payment Required',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  406: 'Not Acceptable',
  407: 'Proxy Authentication Required',
  408: 'Request Timeout',
  409: 'Conflict',
  410: 'Gone',
  411: 'Length Required',
  412: 'Precondition Failed',
  413: 'Payload Too Large',
  414: 'URI Too Long',
  415: 'Unsupported Media Type',
  416: 'Range Not Satisfiable',
  417: 'Expectation Failed',
  421: 'Misdirected Request',
  422: 'Unprocessable Entity',
  423: 'Locked',
  424: 'Failed Dependency',
  425: 'Too Early',
  426: 'Upgrade Required',
  428: 'Precondition Required',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
  506: 'Variant Also Negotiates',
  507: 'Insufficient Storage',
  508: 'Loop Detected',
  510: 'Not Extended',
  511: 'Network Authentication Required',
  599: 'Last Unassigned Server Error Code',
}

const statusLines = new Map<number, string>()

/** HTTP/1.0 clients are answered in their version. */
export function statusLine10(status: number): string {
  return `HTTP/1.0 ${status} ${reasonPhrase(status)}\r\n`
}

export function statusLine(status: number): string {
  let line = statusLines.get(status)
  if (line === undefined) statusLines.set(status, (line = `HTTP/1.1 ${status} ${REASONS[status] ?? 'Unknown'}\r\n`))
  return line
}

export function reasonPhrase(status: number): string {
  return REASONS[status] ?? 'Unknown'
}

/** Bytes of the `name: value` lines. */
function linesLength(list: readonly string[]): number {
  let length = 0
  for (let i = 0; i < list.length; i += 2) length += list[i]!.length + list[i + 1]!.length + 4
  return length
}

/** Writes the `name: value` lines at `at`, where there is room; the position after them. */
function putLines(buffer: Buffer, at: number, headers: HeaderMap, format: HeaderKeyFormat): number {
  const { list, spellings } = headers
  const plain = spellings === null && format !== 'proper_case_words'
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!
    at = putLatin1(buffer, plain ? name : shownName(name, spellings, format), at)
    buffer[at] = COLON
    buffer[at + 1] = SPACE
    at = putLatin1(buffer, list[i + 1]!, at + 2)
    buffer[at] = CR
    buffer[at + 1] = LF
    at += 2
  }
  return at
}

/** The name as it is written. Names that came with their spelling keep it, whatever `format` is. */
export function shownName(
  name: string,
  spellings: ReadonlyMap<string, string> | null,
  format: HeaderKeyFormat,
): string {
  if (spellings === null) return format === 'proper_case_words' ? properCase(name) : name
  return spellings.get(name) ?? name
}

/**
 * Writes a message head: `start` (with its line end), the header lines, `framing` (lines) and the empty line. Byte by
 * byte into the write buffer: joining the strings first costs more than writing them. Returns its length.
 */
export function writeHead(
  connection: Connection,
  start: string,
  headers: HeaderMap,
  framing: string,
  format: HeaderKeyFormat,
): number {
  const length = start.length + linesLength(headers.list) + framing.length + 2
  const buffer = connection.reserve(length)
  return finishHead(
    connection,
    buffer,
    putLatin1(buffer, start, connection.reserveOffset),
    length,
    headers,
    framing,
    format,
  )
}

/** As writeHead, for a request: `hostName` is how Host is spelled. */
export function writeRequestHead(
  connection: Connection,
  target: string,
  hostName: string,
  headers: HeaderMap,
  framing: string,
  format: HeaderKeyFormat,
): number {
  const { method, authority } = headers
  const fixed = method.length + target.length + authority.length + hostName.length + HTTP11.length + 5
  const length = fixed + linesLength(headers.list) + framing.length + 2
  const buffer = connection.reserve(length)
  let at = putLatin1(buffer, method, connection.reserveOffset)
  buffer[at] = SPACE
  at = putLatin1(buffer, target, at + 1)
  at = putLatin1(buffer, HTTP11, at)
  at = putLatin1(buffer, hostName, at)
  buffer[at] = COLON
  buffer[at + 1] = SPACE
  at = putLatin1(buffer, authority, at + 2)
  buffer[at] = CR
  buffer[at + 1] = LF
  return finishHead(connection, buffer, at + 2, length, headers, framing, format)
}

function finishHead(
  connection: Connection,
  buffer: Buffer,
  from: number,
  length: number,
  headers: HeaderMap,
  framing: string,
  format: HeaderKeyFormat,
): number {
  let at = putLines(buffer, from, headers, format)
  if (framing !== '') at = putLatin1(buffer, framing, at)
  buffer[at] = CR
  buffer[at + 1] = LF
  connection.commit(length)
  return length
}

/** The `name: value` lines of trailers, without the empty one. Header formats are not for them (Envoy). */
export function trailerLines({ list }: HeaderMap): string {
  let text = ''
  for (let i = 0; i < list.length; i += 2) text += `${list[i]}: ${list[i + 1]}\r\n`
  return text
}

const properNames = new Map<string, string>()

/** `content-type` → `Content-Type`; words end at anything but a letter or digit. */
function properCase(name: string): string {
  let proper = properNames.get(name)
  if (proper === undefined) {
    proper = ''
    let start = true
    for (const c of name) {
      proper += start ? c.toUpperCase() : c
      start = !/[a-z0-9]/i.test(c)
    }
    if (properNames.size < 2000) properNames.set(name, proper)
  }
  return proper
}

/** Puts a byte string (one char per byte) into the connection's write buffer. */
export function writeText(connection: Connection, text: string): void {
  const buffer = connection.reserve(text.length)
  writeLatin1(buffer, text, connection.reserveOffset)
  connection.commit(text.length)
}
