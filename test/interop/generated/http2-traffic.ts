// Generated HTTP/2 connections: requests one after another, most well formed, some as no client should send them; a frame
// that ends the connection comes last, for what it does to streams beside it depends on the moment.

import fc from 'fast-check'
import { FrameType as Frame } from '../../../src/proxy/http/h2/constants.ts'
import { Flag, frame, headerBlock, RawHttp2, uint32 } from '../harness/raw-http2.ts'
import type { Traffic } from './pair.ts'
import { generateStreams, type StreamRequest } from './streams.ts'

type Field = readonly [string, string]

interface Http2Request {
  readonly fields: readonly Field[]
  /** DATA frames, or null: the header block ends the stream. */
  readonly body: readonly string[] | null
  readonly trailers: readonly Field[] | null
  /** Pieces of the header block: HEADERS and CONTINUATIONs. */
  readonly pieces: number
  readonly padded: boolean
  readonly prioritised: boolean
  /** RST_STREAM with this code instead of the end of the stream. */
  readonly reset: number | null
}

interface Session {
  readonly window: number
  readonly requests: readonly Http2Request[]
  /** Frames of a stream that is no request of the session, or of the connection. */
  readonly last: string | null
}

/** Less than SETTINGS_MAX_FRAME_SIZE, for padding. */
const MAX_FRAME = 16_000
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
      'length too short',
      'length too long',
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
    case 'length too short':
      regular.push(['content-length', String(Math.max(0, length - 1))])
      break
    case 'length too long':
      regular.push(['content-length', String(length + 1)])
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
})

function requestOf(
  r: StreamRequest,
  s: { kind: string; pieces: number; padded: boolean; prioritised: boolean; frames: number; reset: number },
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
  }
}

/** Nothing that a header block could be refused for: Envoy ends the connection for a fault that CONTINUATION carries. */
function isPlain({ host, path, headers }: StreamRequest): boolean {
  return /^[\w.:-]+$/.test(host) && /^\/[!-~]*$/.test(path) && headers.length <= 3
}

function split(text: string, parts: number): string[] {
  const size = Math.min(MAX_FRAME, Math.max(1, Math.ceil(text.length / parts)))
  const out: string[] = []
  for (let at = 0; at < text.length; at += size) out.push(text.slice(at, at + size))
  return out.length > 0 ? out : ['']
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

function encodeRequest(r: Http2Request, stream: number, id: string): string {
  const block = headerBlock([...r.fields, ['x-case', id]])
  const pieces = split(block, r.pieces)
  const only = r.body === null && r.trailers === null && r.reset === null
  let out = ''
  for (const [i, piece] of pieces.entries()) {
    let flags = i === pieces.length - 1 ? Flag.EndHeaders : 0
    let payload = piece
    if (i === 0) {
      if (only) flags |= Flag.EndStream
      if (r.prioritised) {
        flags |= Flag.Priority
        payload = `${uint32(0)}\x10${payload}`
      }
      if (r.padded) {
        flags |= Flag.Padded
        payload = `\x03${payload}\0\0\0`
      }
    }
    out += frame(i === 0 ? Frame.Headers : Frame.Continuation, flags, stream, payload)
  }
  for (const [i, chunk] of (r.body ?? []).entries()) {
    const end = i === r.body!.length - 1 && r.trailers === null && r.reset === null
    const flags = (end ? Flag.EndStream : 0) | (r.padded ? Flag.Padded : 0)
    out += frame(Frame.Data, flags, stream, r.padded ? `\x02${chunk}\0\0` : chunk)
  }
  if (r.trailers) out += frame(Frame.Headers, Flag.EndHeaders | Flag.EndStream, stream, headerBlock(r.trailers))
  if (r.reset !== null) out += frame(Frame.RstStream, 0, stream, uint32(r.reset))
  return out
}

const OPEN_MS = 4000
/** No longer than it takes a proxy to close a connection after a fault. */
const CLOSE_MS = 400

async function send(port: number, session: Session, id: string): Promise<{ text: string; localPort: number }> {
  const client = new RawHttp2(port, session.window)
  for (const [i, request] of session.requests.entries()) {
    client.write(encodeRequest(request, 2 * i + 1, id))
    // Nobody answers a stream that its client has reset.
    if (request.reset === null) await client.settled(2 * i + 1, OPEN_MS)
  }
  if (session.last !== null) {
    client.write(session.last)
    await Promise.race([client.closed, new Promise((resolve) => setTimeout(resolve, CLOSE_MS))])
  }
  client.destroy()
  const hasty = new Set(session.requests.flatMap((r, i) => (isHasty(r) ? [2 * i + 1] : [])))
  // SETTINGS are a scenario of their own; how soon a drained connection says its last stream is a matter of time.
  const lines = without(client.lines, hasty).filter((line) => !/^(settings |goaway 0 last (?!2147483647))/.test(line))
  return { text: lines.join('\r\n'), localPort: client.localPort }
}

/** Reset, or known to be faulty by its last bytes: whether an answer goes out before that is a matter of time. */
function isHasty({ fields, body, reset }: Http2Request): boolean {
  const length = (body ?? []).reduce((sum, chunk) => sum + chunk.length, 0)
  return reset !== null || fields.some(([name, value]) => name === 'content-length' && value !== String(length))
}

function without(lines: readonly string[], streams: ReadonlySet<number>): string[] {
  let dropping = false
  return lines.filter((line) => {
    const stream = /^(\d+) (headers after|end, body|reset)/.exec(line)?.[1]
    if (stream !== undefined) dropping = streams.has(Number(stream))
    else if (/^(goaway|settings) /.test(line)) dropping = false
    return !dropping
  })
}

function* smaller(session: Session): Generator<Session> {
  const { requests } = session
  if (session.last !== null) yield { ...session, last: null }
  if (session.window !== 65_535) yield { ...session, window: 65_535 }
  for (let i = 0; i < requests.length && requests.length > 1; i++)
    yield { ...session, requests: requests.toSpliced(i, 1) }
  for (const [i, r] of requests.entries()) {
    const withRequest = (change: Partial<Http2Request>): Session => ({
      ...session,
      requests: requests.with(i, { ...r, ...change }),
    })
    if (r.pieces > 1) yield withRequest({ pieces: 1 })
    if (r.padded) yield withRequest({ padded: false })
    if (r.prioritised) yield withRequest({ prioritised: false })
    if (r.trailers) yield withRequest({ trailers: null })
    if (r.body) yield withRequest({ body: null })
    for (let f = 0; f < r.fields.length; f++)
      if (!r.fields[f]![0].startsWith(':')) yield withRequest({ fields: r.fields.toSpliced(f, 1) })
  }
}

export const HTTP2: Traffic<Session> = {
  name: 'HTTP/2',
  generate: generateSessions,
  send,
  forgive: (theirs, ours) => {
    // Envoy ends a connection for a malformed message without a word; GOAWAY is what RFC 9113 §5.4.1 asks for.
    const told = /^goaway [1-9]/
    if (theirs.some((line) => told.test(line)) || !ours.some((line) => told.test(line))) return ours
    // Nor has it told of a drain that began with the faulty request.
    const drain = 'goaway 0 last 2147483647'
    return ours.filter((line) => !told.test(line) && (line !== drain || theirs.includes(drain)))
  },
  smaller,
  show: (session) =>
    JSON.stringify(session)
      .replace(/(.)\1{30,}/g, '$1…')
      .slice(0, 1200),
}
