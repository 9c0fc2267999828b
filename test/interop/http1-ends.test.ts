// How connections to HTTP/1 upstreams end, and which of them carry another request: with their counters. Real Envoy and
// ours, the same bytes.

import type { Socket } from 'node:net'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const GET = 'GET /a HTTP/1.1\r\nhost: a\r\n\r\n'
const HEAD = 'HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n'
const POST = 'POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello'
const CHUNKED = 'POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

const PERSISTENCE = [
  'connection: close',
  'connection: Close, x',
  'connection: keep-alive',
  'proxy-connection: close',
  'connection: keep-alive\r\nproxy-connection: close',
  'proxy-connection: a\r\nproxy-connection: close',
]
/** What an upstream sends before it ends the connection. */
const CUT = [
  '',
  'HTTP/1.1 200',
  'HTTP/1.1 103 E\r\n\r\n',
  'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n',
  'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab',
  OK,
  `${OK}more`,
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore',
  'HTTP/1.1 200 OK\r\n\r\nok',
  'garbage\r\n\r\n',
]
const ENDS = ['end', 'destroy', 'resetAndDestroy'] as const

const answer =
  (text: string): Scenario['upstream'] =>
  () =>
    text
const cut =
  (text: string, how: (typeof ENDS)[number]): Scenario['upstream'] =>
  (_head, socket: Socket) => {
    socket.write(text, 'latin1', () => socket[how]())
    return null
  }
/** Answers in part when a request has begun, and the rest when `last` has come of its body. */
const inParts =
  (last: string): Scenario['upstream'] =>
  (_head, socket: Socket) => {
    const take = (chunk: Buffer): void => {
      if (!chunk.includes(last)) return
      socket.off('data', take)
      socket.write('2\r\nok\r\n0\r\n\r\n')
    }
    socket.on('data', take)
    return 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n'
  }
const shown = (text: string): string => JSON.stringify(text)

const SCENARIOS: readonly Scenario[] = [
  ...[
    ['POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello', 'world'],
    ['POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello', `world${GET}`],
    ['POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 15\r\n\r\nhello', 'hello', 'world', GET],
    ['POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n', '5\r\nworld\r\n0\r\n\r\n'],
  ].map((client) => ({
    name: `an answer that begins before its request ends: ${shown(client.join(' | '))}`,
    client,
    upstream: inParts('world'),
  })),
  {
    name: 'an answer that ends before its request does',
    client: ['POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello', 'world', GET],
    upstream: answer(OK),
  },
  ...[GET, HEAD, POST, CHUNKED].flatMap((request) => [
    {
      name: `pipelined requests share one connection: ${shown(request)}`,
      client: [request.repeat(4)],
      upstream: answer(request === HEAD ? OK.slice(0, -2) : OK),
    },
    {
      name: `pipelined requests after an answer in chunks: ${shown(request)}`,
      client: [request.repeat(3)],
      upstream: answer(
        `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${request === HEAD ? '' : '2\r\nok\r\n0\r\n\r\n'}`,
      ),
    },
  ]),
  ...PERSISTENCE.flatMap((line) =>
    ['HTTP/1.1', 'HTTP/1.0'].flatMap((version) => [
      {
        name: `${version}, ${shown(line)}`,
        client: [GET + GET],
        upstream: answer(`${version} 200 OK\r\n${line}\r\ncontent-length: 2\r\n\r\nok`),
      },
      {
        name: `${version}, ${shown(line)}, until the end`,
        client: [GET + GET],
        upstream: cut(`${version} 200 OK\r\n${line}\r\n\r\nok`, 'end'),
      },
      {
        name: `${version}, ${shown(line)}, with more behind it`,
        client: [GET + GET],
        upstream: answer(`${version} 200 OK\r\n${line}\r\ncontent-length: 0\r\n\r\nx`),
      },
    ]),
  ),
  // No second request after a whole answer: whether it still meets a connection that has just ended is a race.
  ...CUT.flatMap((text) =>
    ENDS.map((how) => ({
      name: `${how}() after ${shown(text)}`,
      client: text === OK ? [GET] : [GET, GET],
      upstream: cut(text, how),
    })),
  ),
]

describeBeside('ends of HTTP/1 upstream connections', SCENARIOS, {
  counted: (i) => new RegExp(`^cluster\\.c${i}\\.upstream_(rq_(?!.*time)|cx_(?!.*bytes|connect_ms|length))`),
})
