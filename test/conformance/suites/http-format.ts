// Format strings of access logs and response headers: what Envoy printed for four recorded requests, and what it refused.
// The formats run in process on the facts of those requests.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { HeaderMap } from '../../../src/proxy/http/header-map.ts'
import { ipAddress } from '../../../src/proxy/network/address.ts'
import { SocketConnectionInfo } from '../../../src/proxy/network/connection-info.ts'
import type { LogContext } from '../../../src/proxy/observe/access-log.ts'
import { JsonFormat, type JsonTemplate } from '../../../src/proxy/observe/format/json-format.ts'
import { compileHeaderFormat, TextFormat } from '../../../src/proxy/observe/format/text-format.ts'
import type { Route } from '../../../src/proxy/route/route.ts'
import { now, StreamInfo } from '../../../src/proxy/stream-info.ts'
import type { Difference, Suite } from '../suite.ts'

type Output = string | null | { latin1: string } | Record<string, unknown>

interface Case {
  readonly id: string
  readonly where:
    | 'access-log'
    | 'access-log-omit-empty'
    | 'access-log-json'
    | 'access-log-json-omit-empty'
    | 'response-header'
  readonly format: string | Record<string, JsonTemplate>
  readonly expect: { accept: boolean; message?: string; output?: Record<string, Output>; raw?: string }
}

interface File {
  readonly requests: Record<string, { bytes: string }>
  readonly cases: readonly Case[]
}

/** The stored request as the connection manager hands it on: its own headers first, then what it adds. */
function requestHeaders(bytes: string): HeaderMap {
  const [start, ...lines] = bytes.split('\r\n\r\n')[0]!.split('\r\n') as [string, ...string[]]
  const headers = new HeaderMap()
  const [method, path] = start.split(' ') as [string, string]
  headers.method = method
  headers.path = path
  headers.scheme = 'http'
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).trim()
    if (name === 'host') headers.authority = value
    else if (name !== 'connection') headers.add(name, value)
  }
  headers.add('x-forwarded-proto', 'http')
  return headers
}

function route(name: string, metadata: Record<string, unknown> | null): Route {
  return { name, metadata } as Route
}

/** A recorded request at the moment of logging, or (`early`) when response headers are finalized. */
function contextOf(name: string, bytes: string, early: boolean): LogContext {
  const connection = new SocketConnectionInfo(ipAddress('127.0.0.1', 10000), ipAddress('127.0.0.1', 50000))
  const info = new StreamInfo(connection, null)
  info.start = now()
  info.startTimeMs = Date.now()
  info.end = info.start + 5
  info.protocol = 'HTTP/1.1'
  const response = new HeaderMap()
  switch (name) {
    case 'get':
    case 'post':
      info.responseCode = 200
      info.responseCodeDetails = 'via_upstream'
      info.upstreamProtocol = 'HTTP/1.1'
      info.routeName = 'route-p'
      info.route = route('route-p', { ns: { key: 'route-value' } })
      info.upstreamCluster = 'up'
      info.upstreamClusterMetadata = { ns: { key: 'cluster-value' } }
      info.bytesReceived = name === 'post' ? 5 : 0
      info.bytesSent = early ? 0 : 7
      response.status = 200
      response.add('content-type', 'application/json')
      response.add('x-echo', '1')
      response.add('x-up', 'up-value')
      break
    case 'nothing':
      info.responseCode = 404
      info.responseCodeDetails = 'route_not_found'
      info.setFlag('NR')
      response.status = 404
      break
    default:
      info.responseCode = early ? 0 : 503
      info.responseCodeDetails =
        'upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}'
      info.setFlag('UF')
      info.upstreamTransportFailureReason = 'delayed connect error: Connection refused'
      info.routeName = 'route-down'
      info.route = route('route-down', null)
      info.upstreamCluster = 'down'
      info.bytesSent = early ? 0 : 98
      response.status = 503
      if (!early) response.add('content-type', 'text/plain')
  }
  if (!early) response.add('server', 'envoy')
  return {
    info,
    requestHeaders: requestHeaders(bytes),
    responseHeaders: response,
    responseTrailers: null,
    localReplyBody: '',
    type: 'DownstreamEnd',
  }
}

/** Formats for one recorded request; undefined = the header is not added. */
function compile(test: Case): (context: LogContext) => string | null {
  if (test.where === 'response-header') {
    const text = test.format as string
    // validate.rules on HeaderValue.value refuse these before the format is parsed.
    if (/[\0\r\n]/.test(text)) throw new Error('value does not match the header value pattern')
    const format = compileHeaderFormat(text, 'value')
    // Trimmed, as a header value is on the wire.
    return (context) => format.format(context.requestHeaders, context.responseHeaders, context.info).trim() || null
  }
  const omit = test.where.endsWith('omit-empty')
  if (typeof test.format === 'string') {
    const format = new TextFormat(`${test.format}\n`, omit, 'text_format')
    return (context) => format.format(context)
  }
  const format = new JsonFormat(test.format, omit, 'json_format')
  return (context) => format.format(context)
}

function compare(test: Case, requests: File['requests']): string | null {
  let format: (context: LogContext) => string | null
  try {
    format = compile(test)
  } catch (error) {
    return test.expect.accept ? `refused: ${(error as Error).message}` : null
  }
  if (!test.expect.accept) return `accepted, Envoy says: ${test.expect.message}`
  const early = test.where === 'response-header'
  for (const [name, expected] of Object.entries(test.expect.output ?? {})) {
    // Nothing is added to answers of requests that no virtual host took.
    const got = early && name === 'nothing' ? null : format(contextOf(name, requests[name]!.bytes, early))
    const want = typeof expected === 'object' && expected !== null && 'latin1' in expected ? expected.latin1 : expected
    const line = got?.replace(/\n$/, '') ?? null
    const same =
      typeof want === 'object' && want !== null ? isDeepStrictEqual(JSON.parse(line ?? 'null'), want) : line === want
    if (!same) return `${name}: got ${JSON.stringify(line)}, Envoy printed ${JSON.stringify(want)}`
    if (test.expect.raw !== undefined && name === 'get' && line !== test.expect.raw) {
      return `${name}: got ${line}, Envoy wrote ${test.expect.raw}`
    }
  }
  return null
}

export const suite: Suite = {
  name: 'http-format',
  async run(dataDirectory) {
    const file = JSON.parse(await readFile(join(dataDirectory, 'conformance/http-format.json'), 'utf8')) as File
    const differences: Difference[] = []
    for (const test of file.cases) {
      const message = compare(test, file.requests)
      if (message !== null) differences.push({ id: test.id, message })
    }
    return { total: file.cases.length, differences }
  },
}
