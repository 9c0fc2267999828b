// What HTTP/1 peers may write and what no peer may: odd heads, framings and status lines of clients and upstreams, as
// generated traffic and probing found them. Real Envoy and ours, the same bytes.

import type { Socket } from 'node:net'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const GET = 'GET /a HTTP/1.1\r\nhost: a\r\n\r\n'
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const CHUNKED = '2\r\nok\r\n0\r\n\r\n'
const http1 = (options: object): object => ({ http_protocol_options: options })
/** No request ids: the length of what the upstream echoes must not depend on them. */
const ECHO = { generate_request_id: false }
const echo = (head: string): string => `HTTP/1.1 200 OK\r\ncontent-length: ${head.length}\r\n\r\n${head}`
const post = (headers: string, body: string): string => `POST / HTTP/1.1\r\nhost: a\r\n${headers}\r\n\r\n${body}`

/** The same answer to every request, which names the connection that it came over, for each proxy its own count. */
function numbered(text: string): NonNullable<Scenario['upstream']> {
  const connections = new Map<Socket, number>()
  return (head, socket) => {
    // Each proxy's first request says that it is the first.
    if (head.startsWith('GET /first')) connections.clear()
    if (!connections.has(socket)) connections.set(socket, connections.size)
    return text.replace('\r\n', `\r\nx-connection: ${connections.get(socket)}\r\n`)
  }
}

const LEADS = ['\r', '\n', '\r\r', '\r\n\r', '\r\r\n', '\n\r', ' ', '\t', '\r ', '\0', '\rG', '\n\n\r\n']
const STATUS_WORDS = [
  '099',
  '0',
  '99',
  '100',
  '101',
  '103',
  '199',
  '600',
  '999',
  '20',
  'abc',
  '20x',
  '-20',
  '+20',
  ' 200',
]
const STATUS_LINES = [
  'HTTP/1.1 200',
  'HTTP/1.1  200 OK',
  'HTTP/1.1\t200\tOK',
  'http/1.1 200 OK',
  'HTTP 200 OK',
  'HTTP/1.11 200 OK',
  'HTTP/x 200 OK',
  '200 OK',
  'ICY 200 OK',
  '\r\nHTTP/1.1 200 OK',
  '\nHTTP/1.1 200 OK',
  '\rHTTP/1.1 200 OK',
  'HTTP/1.1 200 O\x7fK',
  'HTTP/1.1 200 O\xe9K',
  'HTTP/1.1 200 O\0K',
]
const VERSIONS = ['HTTP/1.1', 'HTTP/1.0', 'HTTP/1.2', 'HTTP/0.9', 'HTTP/2.0']
const ENCODINGS = [
  'chunked\r\ntransfer-encoding: chunked',
  'chunked,chunked',
  'gzip, chunked',
  'identity',
  'Chunked',
  'chunked ',
  'gzip',
  '',
]
const LENGTHS = [
  '+2',
  '2 ',
  '02',
  '-2',
  '2,2',
  '2, 2',
  '',
  '0x2',
  '18446744073709551616',
  '2\r\ncontent-length: 2',
  '2\r\ncontent-length: 3',
]
const LINES = [
  'x bad: 1',
  ': x',
  'nocolon',
  'x\x7f: 1',
  'x: \x01',
  'x: \x7f',
  'x: \xe9',
  'x\xe9: 1',
  ' x: 1',
  'x : 1',
  '\rx: 1',
  'x(: 1',
  'x": 1',
  ':status: 201',
  ':path: /',
  'x: a\0b',
  'x: 1\r\n  folded',
  'x: 1 \r\n\tfolded\r\n twice',
  'x: \tb\t',
]
/** Faults that a parser of whole heads finds before it looks at limits, and some that it does not. */
const LATE_LINES = [
  '\rx: 1',
  'nocolon',
  'content-length: x',
  'content-length: 1\r\ncontent-length: 1',
  'x": 1',
  'x\xe9: 1',
  'x(: 1',
]
/** Something that limits refuse. */
const LIMITS = {
  'x_y: 1': { headers_with_underscores_action: 'REJECT_REQUEST' },
  'x: 1': { max_headers_count: 1 },
}
const shown = (text: string): string => JSON.stringify(text)

const SCENARIOS: readonly Scenario[] = [
  ...LEADS.map((lead) => ({ name: `${shown(lead)} before a request`, client: [lead + GET], upstream: () => OK })),
  { name: 'line ends between requests', client: [`${GET}\r\r\n${GET}`], upstream: () => OK },
  { name: 'a line end alone, then a request', client: ['\r', GET], upstream: () => OK },
  {
    name: 'GET * where absolute targets are not looked at',
    hcm: http1({ allow_absolute_url: false }),
    client: [GET.replace('/a', '*')],
    upstream: () => OK,
  },
  { name: 'GET *', client: [GET.replace('/a', '*')], upstream: () => OK },
  ...STATUS_WORDS.map((word) => ({
    name: `status ${shown(word)}`,
    client: [GET],
    upstream: () => `HTTP/1.1 ${word} X\r\ncontent-length: 2\r\n\r\nok`,
  })),
  ...STATUS_LINES.map((line) => ({
    name: `status line ${shown(line)}`,
    client: [GET],
    upstream: () => `${line}\r\ncontent-length: 2\r\n\r\nok`,
  })),
  ...VERSIONS.map((version) => ({
    name: `connections of ${version}`,
    client: [GET.replace('/a', '/first'), GET],
    upstream: numbered(`${version} 200 OK\r\ncontent-length: 2\r\n\r\nok`),
  })),
  ...VERSIONS.map((version) => ({
    name: `connections of ${version}, chunked`,
    client: [GET.replace('/a', '/first'), GET],
    upstream: numbered(`${version} 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${CHUNKED}`),
  })),
  ...VERSIONS.map((version) => ({
    name: `connections of ${version}, kept alive`,
    client: [GET.replace('/a', '/first'), GET],
    upstream: numbered(`${version} 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok`),
  })),
  ...['content-length: 0', 'content-length: 00', 'content-length: 5', 'transfer-encoding: chunked'].flatMap((line) => [
    { name: `103 with ${line}`, client: [GET], upstream: () => `HTTP/1.1 103 E\r\n${line}\r\nlink: a\r\n\r\n${OK}` },
    { name: `101 with ${line}`, client: [GET], upstream: () => `HTTP/1.1 101 E\r\n${line}\r\n\r\n` },
    { name: `204 with ${line}`, client: [GET, GET], upstream: () => `HTTP/1.1 204 E\r\n${line}\r\n\r\n` },
    { name: `304 with ${line}`, client: [GET, GET], upstream: () => `HTTP/1.1 304 E\r\n${line}\r\n\r\n` },
    {
      name: `HEAD, ${line}`,
      client: [GET.replace('GET', 'HEAD'), GET.replace('GET', 'HEAD')],
      upstream: () => `HTTP/1.1 200 E\r\n${line}\r\n\r\n`,
    },
  ]),
  {
    name: '101 that nobody asked for',
    client: [GET],
    upstream: () => 'HTTP/1.1 101 E\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n',
  },
  ...ENCODINGS.flatMap((encoding) => [
    {
      name: `request, transfer-encoding ${shown(encoding)}`,
      client: [post(`transfer-encoding: ${encoding}`, CHUNKED)],
      upstream: () => OK,
    },
    {
      name: `response, transfer-encoding ${shown(encoding)}`,
      client: [GET],
      upstream: (_head: string, socket: Socket) => {
        socket.end(`HTTP/1.1 200 OK\r\ntransfer-encoding: ${encoding}\r\n\r\n${CHUNKED}`)
        return null
      },
    },
  ]),
  ...LENGTHS.flatMap((length) => [
    {
      name: `request, content-length ${shown(length)}`,
      client: [post(`content-length: ${length}`, 'ok')],
      upstream: () => OK,
    },
    {
      name: `response, content-length ${shown(length)}`,
      client: [GET],
      upstream: (_head: string, socket: Socket) => {
        socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\nok`)
        return null
      },
    },
  ]),
  ...[false, true].flatMap((allowed) => [
    {
      name: `response with both framings, ${allowed ? 'allowed' : 'not allowed'}`,
      upstreamHttp1: { allow_chunked_length: allowed },
      client: [GET],
      upstream: () => `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n${CHUNKED}`,
    },
    {
      name: `request with both framings, ${allowed ? 'allowed' : 'not allowed'}`,
      hcm: http1({ allow_chunked_length: allowed }),
      client: [post('transfer-encoding: chunked\r\ncontent-length: 5', CHUNKED)],
      upstream: () => OK,
    },
    {
      name: `request with two lengths beside chunked, ${allowed ? 'allowed' : 'not allowed'}`,
      hcm: http1({ allow_chunked_length: allowed }),
      client: [post('transfer-encoding: chunked\r\ncontent-length: 5\r\ncontent-length: 5', CHUNKED)],
      upstream: () => OK,
    },
  ]),
  ...LINES.flatMap((line) => [
    {
      name: `request header ${shown(line)}`,
      hcm: ECHO,
      client: [`GET / HTTP/1.1\r\nhost: a\r\n${line}\r\n\r\n`],
      upstream: echo,
    },
    {
      name: `response header ${shown(line)}`,
      client: [GET],
      upstream: () => `HTTP/1.1 200 OK\r\ncontent-length: 2\r\n${line}\r\n\r\nok`,
    },
  ]),
  ...Object.entries(LIMITS).flatMap(([refused, options]) =>
    LATE_LINES.flatMap((line) =>
      [`${refused}\r\n${line}`, `${refused}\r\nz: 1\r\n${line}`].map((lines) => ({
        name: `limits and faults: ${shown(lines)}`,
        hcm: { common_http_protocol_options: options },
        client: [`GET / HTTP/1.1\r\nhost: a\r\n${lines}\r\n\r\n`],
      })),
    ),
  ),
]

describeBeside('HTTP/1 syntax', SCENARIOS, {
  counted: (i) =>
    new RegExp(
      `^(cluster\\.c${i}\\.upstream_(rq_(?!pending_total)|cx_protocol_error)|http\\.s${i}\\.downstream_(rq|cx_prot))`,
    ),
})
