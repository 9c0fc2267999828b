// Generated HTTP/2 connections: most requests well formed, some as no client should send them.

import fc from 'fast-check'
import { FrameType as Frame } from '../../../src/proxy/http/h2/constants.ts'
import { Flag, frame, headerBlock, uint32 } from '../harness/raw-http2.ts'
import { type Field, type Http2Request, SESSIONS, type Session, split } from './http2-session.ts'
import type { Traffic } from './pair.ts'
import { generateStreams, type StreamRequest } from './streams.ts'

/** Headers that HTTP/1 requests of the same generator may have and HTTP/2 must not: some are left in. */
const FORBIDDEN = new Set([
  'x_under',
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'te',
])

const twist = fc.oneof(
  { weight: 12, arbitrary: fc.constant('none') },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      'forbidden',
      'uppercase',
      'no method',
      'no path',
      'no scheme',
      'no authority',
      'host too',
      'host instead',
      'two paths',
      'unknown pseudo',
      'pseudo late',
      'status',
      'empty path',
      'empty authority',
      'other scheme',
      'blank in name',
      'control in value',
      'length twice',
      'crumbs',
      'protocol',
      'connect',
      'connect with path',
      'trailers without end',
      'many headers',
    ),
  },
)

function fieldsOf(r: StreamRequest, kind: string): Field[] {
  const length = r.body.length
  const regular: Field[] = r.headers
    .map(([name, value]): Field => [kind === 'uppercase' ? name : name.toLowerCase(), value.trim()])
    .filter(([name]) => kind === 'forbidden' || !FORBIDDEN.has(name))
  if (r.framing === 'length') regular.push(['content-length', String(length)])
  let pseudo: Field[] = [
    [':method', r.method],
    [':scheme', 'http'],
    [':authority', r.host],
    [':path', r.path],
  ]
  const without = (name: string): void => void (pseudo = pseudo.filter(([other]) => other !== name))
  const change = (name: string, value: string): void =>
    void (pseudo = pseudo.map((field): Field => (field[0] === name ? [name, value] : field)))
  switch (kind) {
    case 'forbidden':
      regular.push(['te', 'gzip'])
      break
    case 'uppercase':
      regular.push(['X-Upper', '1'])
      break
    case 'no method':
    case 'no path':
    case 'no scheme':
    case 'no authority':
      without(`:${kind.slice(3)}`)
      break
    case 'host too':
      regular.push(['host', 'sub.two.example'])
      break
    case 'host instead':
      without(':authority')
      regular.push(['host', r.host])
      break
    case 'two paths':
      pseudo.push([':path', '/b/'])
      break
    case 'unknown pseudo':
      pseudo.push([':odd', '1'])
      break
    case 'status':
      pseudo.push([':status', '200'])
      break
    case 'empty path':
      change(':path', '')
      break
    case 'empty authority':
      change(':authority', '')
      break
    case 'other scheme':
      change(':scheme', 'ftp')
      break
    case 'blank in name':
      regular.push(['x y', '1'])
      break
    case 'control in value':
      regular.push(['x-c', 'a\x01b'])
      break
    case 'length twice':
      regular.push(['content-length', String(length)], ['content-length', String(length)])
      break
    case 'crumbs':
      regular.push(['cookie', 'd=4'], ['cookie', 'e=5'])
      break
    case 'protocol':
      pseudo.push([':protocol', 'websocket'])
      break
    case 'connect':
      change(':method', 'CONNECT')
      without(':path')
      without(':scheme')
      break
    case 'connect with path':
      change(':method', 'CONNECT')
      break
    case 'many headers':
      for (let i = 0; i < 110; i++) regular.push([`x-many-${i}`, 'y'])
      break
  }
  if (kind === 'pseudo late') return [...pseudo.slice(0, 2), ...regular, ...pseudo.slice(2)]
  return [...pseudo, ...regular]
}

const shape = fc.record({
  kind: twist,
  pieces: fc.constantFrom(1, 1, 1, 2, 5),
  padded: fc.boolean(),
  prioritised: fc.boolean(),
  frames: fc.constantFrom(1, 1, 2, 7),
  reset: fc.constantFrom(0, 5, 7, 8, 99),
  stalled: fc.oneof({ weight: 30, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
})

function requestOf(
  r: StreamRequest,
  s: {
    kind: string
    pieces: number
    padded: boolean
    prioritised: boolean
    frames: number
    reset: number
    stalled: boolean
  },
): Http2Request {
  const body = r.framing === 'none' ? null : split(r.body, s.frames)
  const withTrailers = r.framing === 'trailers' || s.kind === 'trailers without end'
  const trailers: Field[] = [['x-trailer', 't']]
  return {
    fields: fieldsOf(r, s.kind),
    body: withTrailers ? (body ?? ['']) : body,
    trailers: withTrailers ? trailers : null,
    pieces: s.kind === 'none' && isPlain(r) ? s.pieces : 1,
    padded: s.padded,
    prioritised: s.prioritised,
    reset: s.kind === 'reset' ? s.reset : null,
    stalled: s.stalled,
  }
}

/** Nothing that a header block could be refused for: Envoy ends the connection for a fault that CONTINUATION carries. */
function isPlain({ host, path, headers }: StreamRequest): boolean {
  return /^[\w.:-]+$/.test(host) && /^\/[!-~]*$/.test(path) && headers.length <= 3
}

/** What ends the connection, or should not. */
const LAST: readonly string[] = [
  frame(Frame.Data, 0, 0, 'x'),
  frame(Frame.Data, 0, 201, 'x'),
  frame(Frame.Headers, Flag.EndHeaders | Flag.EndStream, 0, headerBlock([[':method', 'GET']])),
  frame(Frame.Headers, Flag.EndHeaders | Flag.EndStream, 2, headerBlock([[':method', 'GET']])),
  frame(Frame.Headers, Flag.EndHeaders | Flag.EndStream, 201, '\xff\xff\xff\xff\xff'),
  frame(Frame.Priority, 0, 201, 'xxx'),
  frame(Frame.RstStream, 0, 0, uint32(8)),
  frame(Frame.RstStream, 0, 201, uint32(8)),
  frame(Frame.RstStream, 0, 1, 'x'),
  frame(Frame.Settings, 0, 1, ''),
  frame(Frame.Settings, 0, 0, 'xxx'),
  frame(Frame.Settings, Flag.Ack, 0, 'xxxxxx'),
  frame(Frame.Settings, 0, 0, `\0\x02${uint32(2)}`),
  frame(Frame.Settings, 0, 0, `\0\x04${uint32(0x80000000)}`),
  frame(Frame.Settings, 0, 0, `\0\x05${uint32(1)}`),
  frame(Frame.Settings, 0, 0, `\0\x63${uint32(1)}`),
  frame(Frame.PushPromise, Flag.EndHeaders, 1, `${uint32(2)}${headerBlock([[':method', 'GET']])}`),
  frame(Frame.Ping, 0, 1, '12345678'),
  frame(Frame.Ping, 0, 0, '123'),
  frame(Frame.GoAway, 0, 1, uint32(0) + uint32(0)),
  frame(Frame.GoAway, 0, 0, 'x'),
  frame(Frame.WindowUpdate, 0, 0, uint32(0)),
  frame(Frame.WindowUpdate, 0, 0, uint32(0x7fffffff)),
  frame(Frame.WindowUpdate, 0, 201, uint32(1)),
  frame(Frame.WindowUpdate, 0, 0, 'x'),
  frame(Frame.Continuation, Flag.EndHeaders, 201, ''),
  frame(99, 0, 0, 'whatever'),
  frame(99, 255, 201, 'whatever'),
  frame(Frame.Headers, Flag.EndHeaders | Flag.Padded, 201, '\xffx'),
  'garbage that is no frame at all',
]

function generateSessions(seed: number, count: number): Session[] {
  const streams = generateStreams(seed, count)
  const rest = fc.sample(
    fc.record({
      shapes: fc.array(shape, { minLength: 3, maxLength: 3 }),
      // Larger than any answer that may end before its request has: whether such a one is cut is a matter of time.
      window: fc.constantFrom(65_535, 65_535, 65_535, 1000),
      last: fc.oneof({ weight: 5, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.constantFrom(...LAST) }),
    }),
    { seed, numRuns: count },
  )
  return streams.map(({ requests }, i) => {
    const { shapes, window, last } = rest[i]!
    return { window, last, requests: requests.map((request, j) => requestOf(request, shapes[j % 3]!)) }
  })
}

export const HTTP2: Traffic<Session> = { name: 'HTTP/2', generate: generateSessions, ...SESSIONS }
