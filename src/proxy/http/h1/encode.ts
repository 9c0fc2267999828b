// Writes message heads: one string, one write into the connection's buffer.

import { writeLatin1 } from '../../../base/bytes.ts'
import type { Connection } from '../../network/connection.ts'
import type { HeaderMap } from '../header-map.ts'

export type HeaderKeyFormat = 'lower' | 'proper_case_words' | 'preserve_case'

/** Reason phrases of RFC 9110 and friends, in Envoy's wording. */
const REASONS: Record<number, string> = {
  100: 'Continue',
  101: 'Switching Protocols',
  102: 'Processing',
  103: 'Early Hints',
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

/** `name: value` lines, without the empty one. Names that came with their spelling keep it, whatever `format` is. */
export function headerLines(headers: HeaderMap, format: HeaderKeyFormat): string {
  const { list, rawNames } = headers
  let text = ''
  if (format !== 'proper_case_words' && rawNames === null) {
    for (let i = 0; i < list.length; i += 2) text += `${list[i]}: ${list[i + 1]}\r\n`
    return text
  }
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!
    const raw = rawNames?.[i >> 1]
    const shown = rawNames === null ? properCase(name) : raw?.toLowerCase() === name ? raw : name
    text += `${shown}: ${list[i + 1]}\r\n`
  }
  return text
}

const properNames = new Map<string, string>()

/** `content-type` → `Content-Type`; words end at anything but a letter or digit. */
export function properCase(name: string): string {
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
