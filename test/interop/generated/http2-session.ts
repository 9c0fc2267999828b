// One HTTP/2 connection of a client: its requests one after another, as frames, and what it reads; a frame that ends the
// connection comes last, for what it does to streams beside it depends on the moment.

import type { Socket } from 'node:net'
import { FrameType as Frame } from '../../../src/proxy/http/h2/constants.ts'
import { Flag, frame, headerBlock, RawHttp2, uint32 } from '../harness/raw-http2.ts'
import type { Traffic } from './pair.ts'

export type Field = readonly [string, string]

export interface Http2Request {
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
  /** The end of the request never comes. */
  readonly stalled: boolean
}

export interface Session {
  readonly window: number
  readonly requests: readonly Http2Request[]
  /** Frames of a stream that is no request of the session, or of the connection. */
  readonly last: string | null
}

/** Less than SETTINGS_MAX_FRAME_SIZE, for padding. */
const MAX_FRAME = 16_000
/** How sessions are sent, compared, shrunk and printed. */
export const SESSIONS: Omit<Traffic<Session>, 'name' | 'generate'> = {
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

export function split(text: string, parts: number): string[] {
  const size = Math.min(MAX_FRAME, Math.max(1, Math.ceil(text.length / parts)))
  const out: string[] = []
  for (let at = 0; at < text.length; at += size) out.push(text.slice(at, at + size))
  return out.length > 0 ? out : ['']
}

function encodeRequest(r: Http2Request, stream: number, id: string): string {
  const block = headerBlock([...r.fields, ['x-case', id]])
  const pieces = split(block, r.pieces)
  const open = r.stalled || r.reset !== null
  const only = r.body === null && r.trailers === null && !open
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
    const end = i === r.body!.length - 1 && r.trailers === null && !open
    const flags = (end ? Flag.EndStream : 0) | (r.padded ? Flag.Padded : 0)
    out += frame(Frame.Data, flags, stream, r.padded ? `\x02${chunk}\0\0` : chunk)
  }
  if (r.trailers && !r.stalled)
    out += frame(Frame.Headers, Flag.EndHeaders | Flag.EndStream, stream, headerBlock(r.trailers))
  if (r.reset !== null) out += frame(Frame.RstStream, 0, stream, uint32(r.reset))
  return out
}

const OPEN_MS = 4000
/** No longer than it takes a proxy to close a connection after a fault. */
const CLOSE_MS = 400

async function send(
  port: number,
  session: Session,
  id: string,
  socket?: Socket,
): Promise<{ text: string; localPort: number }> {
  const client = new RawHttp2(port, session.window, socket)
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
    if (r.stalled) yield withRequest({ stalled: false })
    if (r.padded) yield withRequest({ padded: false })
    if (r.prioritised) yield withRequest({ prioritised: false })
    if (r.trailers) yield withRequest({ trailers: null })
    if (r.body) yield withRequest({ body: null })
    for (let f = 0; f < r.fields.length; f++)
      if (!r.fields[f]![0].startsWith(':')) yield withRequest({ fields: r.fields.toSpliced(f, 1) })
  }
}
