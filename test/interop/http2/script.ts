// What the two ends of a proxied exchange write, step by step: requests of one client connection, and what the upstream
// makes of them. After each step both ends wait until everything written has been dealt with.

import { FrameType as Frame } from '../../../src/proxy/http/h2/constants.ts'
import { Flag, frame, headerBlock, uint32 } from '../harness/raw-http2.ts'
import type { Field } from './peer.ts'

/** The n-th request of the client, or the n-th that reached the upstream; -1: the connection. */
export type Target = number

export type Op =
  | {
      readonly op: 'headers'
      readonly to: Target
      readonly fields: readonly Field[]
      readonly end: boolean
      readonly pieces?: number
      readonly padded?: boolean
      readonly priority?: boolean
    }
  | {
      readonly op: 'data'
      readonly to: Target
      readonly bytes: number
      readonly end: boolean
      readonly frames?: number
      readonly padded?: boolean
    }
  | { readonly op: 'reset'; readonly to: Target; readonly code: number }
  | { readonly op: 'window'; readonly to: Target; readonly bytes: number }
  | { readonly op: 'settings'; readonly values: readonly (readonly [id: number, value: number])[] }
  /** `last`: the last stream that is served, as a request's number; -1: none. */
  | { readonly op: 'goaway'; readonly last: Target; readonly code: number }
  /** Frames of a kind of their own, `count` times. */
  | { readonly op: 'raw'; readonly to: Target; readonly kind: RawKind; readonly count?: number }
  /** The connection of that request ends, in order or not. */
  | { readonly op: 'close'; readonly to: Target; readonly abort: boolean }
  /** Windows are given back from now on, or no more. */
  | { readonly op: 'reading'; readonly to: Target; readonly on: boolean }

export interface Step {
  readonly at: 'client' | 'upstream'
  /** Written at once. */
  readonly ops: readonly Op[]
}

export interface Script {
  /** Values of the first SETTINGS of either end. */
  readonly clientSettings: readonly (readonly [number, number])[]
  readonly upstreamSettings: readonly (readonly [number, number])[]
  readonly steps: readonly Step[]
  /** How long the ends wait at last for what takes its time, in milliseconds. */
  readonly lastMs: number
}

const GET: readonly Field[] = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':authority', 'a'],
  [':path', '/'],
]
const block = headerBlock(GET)
const OK = headerBlock([[':status', '200']])
const FIELD = headerBlock([['x-piece', '1']])

/** Frames that are seldom or never right; `stream` is the one that they are about, `next` one that does not exist yet. */
export const RAW = {
  'DATA without a stream': () => frame(Frame.Data, 0, 0, 'x'),
  'DATA of an idle stream': (_s, next) => frame(Frame.Data, 0, next, 'x'),
  'DATA with too much padding': (s) => frame(Frame.Data, Flag.Padded, s, '\x09ok'),
  'padded DATA of no length': (s) => frame(Frame.Data, Flag.Padded, s, ''),
  'empty DATA': (s) => frame(Frame.Data, 0, s, ''),
  'DATA of padding alone': (s) => frame(Frame.Data, Flag.Padded, s, '\x03\0\0\0'),
  'DATA of the largest frame': (s) => frame(Frame.Data, 0, s, 'd'.repeat(16_384)),
  'DATA too large for a frame': (s) => frame(Frame.Data, 0, s, 'd'.repeat(16_385)),
  'HEADERS without a stream': () => frame(Frame.Headers, Flag.EndHeaders, 0, block),
  'HEADERS of an even stream': () => frame(Frame.Headers, Flag.EndHeaders, 2, block),
  'HEADERS of an idle stream': (_s, next) => frame(Frame.Headers, Flag.EndHeaders | Flag.EndStream, next, OK),
  'HEADERS that no table explains': (s) => frame(Frame.Headers, Flag.EndHeaders, s, '\xff\xff\xff\xff\xff'),
  'HEADERS of an index beyond the table': (s) => frame(Frame.Headers, Flag.EndHeaders, s, '\xfe'),
  'HEADERS with too much padding': (s) => frame(Frame.Headers, Flag.EndHeaders | Flag.Padded, s, '\xffx'),
  'empty HEADERS': (s) => frame(Frame.Headers, Flag.EndHeaders, s, ''),
  'empty HEADERS that end': (s) => frame(Frame.Headers, Flag.EndHeaders | Flag.EndStream, s, ''),
  'a table size update': (s) => frame(Frame.Headers, Flag.EndHeaders, s, `\x20${OK}`),
  'too large a table size update': (s) => frame(Frame.Headers, Flag.EndHeaders, s, `\x3f\xe1\xff\x03${OK}`),
  'HEADERS and empty CONTINUATIONs': (s) =>
    frame(Frame.Headers, 0, s, '') + frame(Frame.Continuation, 0, s, '') + frame(Frame.Continuation, 0, s, ''),
  'HEADERS within a header block': (s, next) =>
    frame(Frame.Headers, 0, s, FIELD) + frame(Frame.Headers, Flag.EndHeaders, next, OK),
  'DATA within a header block': (s) => frame(Frame.Headers, 0, s, FIELD) + frame(Frame.Data, 0, s, 'x'),
  'CONTINUATION alone': (s) => frame(Frame.Continuation, Flag.EndHeaders, s, ''),
  'CONTINUATION of another stream': (s, next) =>
    frame(Frame.Headers, 0, s, FIELD) + frame(Frame.Continuation, Flag.EndHeaders, next, ''),
  'CONTINUATION without an end': (s) =>
    frame(Frame.Headers, 0, s, OK) +
    frame(Frame.Continuation, 0, s, headerBlock([['x-more', 'm'.repeat(9000)]])).repeat(9),
  PRIORITY: (s) => frame(Frame.Priority, 0, s, `${uint32(0)}\x10`),
  'PRIORITY of an idle stream': (_s, next) => frame(Frame.Priority, 0, next, `${uint32(0)}\x10`),
  'PRIORITY of a wrong length': (s) => frame(Frame.Priority, 0, s, 'xxx'),
  'RST_STREAM without a stream': () => frame(Frame.RstStream, 0, 0, uint32(8)),
  'RST_STREAM of an idle stream': (_s, next) => frame(Frame.RstStream, 0, next, uint32(8)),
  'RST_STREAM of a wrong length': (s) => frame(Frame.RstStream, 0, s, 'x'),
  'RST_STREAM twice': (s) => frame(Frame.RstStream, 0, s, uint32(8)).repeat(2),
  'SETTINGS of a stream': (s) => frame(Frame.Settings, 0, s, ''),
  'SETTINGS of a wrong length': () => frame(Frame.Settings, 0, 0, 'xxx'),
  'SETTINGS acknowledged with values': () => frame(Frame.Settings, Flag.Ack, 0, 'xxxxxx'),
  'SETTINGS acknowledged once more': () => frame(Frame.Settings, Flag.Ack, 0, ''),
  'SETTINGS_ENABLE_PUSH 1': () => frame(Frame.Settings, 0, 0, `\0\x02${uint32(1)}`),
  'SETTINGS_ENABLE_PUSH 2': () => frame(Frame.Settings, 0, 0, `\0\x02${uint32(2)}`),
  'SETTINGS_INITIAL_WINDOW_SIZE too large': () => frame(Frame.Settings, 0, 0, `\0\x04${uint32(0x80000000)}`),
  'SETTINGS_MAX_FRAME_SIZE too small': () => frame(Frame.Settings, 0, 0, `\0\x05${uint32(1)}`),
  'SETTINGS_MAX_FRAME_SIZE too large': () => frame(Frame.Settings, 0, 0, `\0\x05${uint32(0x1000000)}`),
  'SETTINGS_ENABLE_CONNECT_PROTOCOL 2': () => frame(Frame.Settings, 0, 0, `\0\x08${uint32(2)}`),
  'an unknown setting': () => frame(Frame.Settings, 0, 0, `\0\x63${uint32(1)}`),
  'empty SETTINGS': () => frame(Frame.Settings, 0, 0, ''),
  PUSH_PROMISE: (s) => frame(Frame.PushPromise, Flag.EndHeaders, s, uint32(2) + block),
  'PING of a stream': (s) => frame(Frame.Ping, 0, s, '12345678'),
  'PING of a wrong length': () => frame(Frame.Ping, 0, 0, '123'),
  'PING acknowledged unasked': () => frame(Frame.Ping, Flag.Ack, 0, 'unasked '),
  'GOAWAY of a stream': (s) => frame(Frame.GoAway, 0, s, uint32(0) + uint32(0)),
  'GOAWAY of a wrong length': () => frame(Frame.GoAway, 0, 0, 'x'),
  'WINDOW_UPDATE of 0': () => frame(Frame.WindowUpdate, 0, 0, uint32(0)),
  'WINDOW_UPDATE beyond the largest window': () => frame(Frame.WindowUpdate, 0, 0, uint32(0x7fffffff)),
  'WINDOW_UPDATE of an idle stream': (_s, next) => frame(Frame.WindowUpdate, 0, next, uint32(1)),
  'WINDOW_UPDATE of a wrong length': (s) => frame(Frame.WindowUpdate, 0, s, 'x'),
  'an unknown frame': () => frame(99, 0, 0, 'whatever'),
  'an unknown frame of a stream': (s) => frame(99, 255, s, 'whatever'),
  'METADATA of nothing': (s) => frame(0x4d, 4, s, ''),
  garbage: () => 'garbage that is no frame at all',
} satisfies Record<string, (stream: number, next: number) => string>

export type RawKind = keyof typeof RAW

/** Less than SETTINGS_MAX_FRAME_SIZE, for padding. */
const MAX_FRAME = 16_000

function split(text: string, parts: number): string[] {
  const size = Math.min(MAX_FRAME, Math.max(1, Math.ceil(text.length / parts)))
  const out: string[] = []
  for (let at = 0; at < text.length; at += size) out.push(text.slice(at, at + size))
  return out.length > 0 ? out : ['']
}

/** What an operation is written with. */
export interface Writing {
  /** The stream that it is about, and one that does not exist yet. */
  readonly stream: number
  readonly next: number
  streamOf(to: Target): number
  /** What a header block has to begin with. */
  takeSizeUpdate(): string
}

export function encodeOp(op: Op, { stream, next, streamOf, takeSizeUpdate }: Writing): string {
  switch (op.op) {
    case 'headers': {
      const pieces = split(takeSizeUpdate() + headerBlock(op.fields), op.pieces ?? 1)
      return pieces.map((piece, i) => headersFrame(op, stream, piece, i === 0, i === pieces.length - 1)).join('')
    }
    case 'data': {
      const pieces = split('d'.repeat(op.bytes), op.frames ?? 1)
      return pieces
        .map((piece, i) => {
          const end = op.end && i === pieces.length - 1 ? Flag.EndStream : 0
          return op.padded
            ? frame(Frame.Data, end | Flag.Padded, stream, `\x02${piece}\0\0`)
            : frame(Frame.Data, end, stream, piece)
        })
        .join('')
    }
    case 'reset':
      return frame(Frame.RstStream, 0, stream, uint32(op.code))
    case 'window':
      return frame(Frame.WindowUpdate, 0, op.to < 0 ? 0 : stream, uint32(op.bytes))
    case 'settings':
      return frame(Frame.Settings, 0, 0, settingsPayload(op.values))
    case 'goaway':
      return frame(Frame.GoAway, 0, 0, uint32(op.last < 0 ? 0 : streamOf(op.last)) + uint32(op.code))
    case 'raw':
      return RAW[op.kind](stream, next).repeat(op.count ?? 1)
    default:
      return ''
  }
}

function headersFrame(
  op: Op & { readonly op: 'headers' },
  stream: number,
  piece: string,
  first: boolean,
  last: boolean,
): string {
  let flags = last ? Flag.EndHeaders : 0
  if (!first) return frame(Frame.Continuation, flags, stream, piece)
  if (op.end) flags |= Flag.EndStream
  let payload = piece
  if (op.priority) {
    flags |= Flag.Priority
    payload = `${uint32(0)}\x10${payload}`
  }
  if (op.padded) {
    flags |= Flag.Padded
    payload = `\x03${payload}\0\0\0`
  }
  return frame(Frame.Headers, flags, stream, payload)
}

export function settingsPayload(values: readonly (readonly [number, number])[]): string {
  return values.map(([id, value]) => `\0${String.fromCharCode(id)}${uint32(value)}`).join('')
}

/** Smaller scripts, largest step first, for shrinking. */
export function* smallerScripts(script: Script): Generator<Script> {
  const { steps } = script
  for (let i = 0; i < steps.length && steps.length > 1; i++) yield { ...script, steps: steps.toSpliced(i, 1) }
  if (script.clientSettings.length > 0) yield { ...script, clientSettings: [] }
  if (script.upstreamSettings.length > 0) yield { ...script, upstreamSettings: [] }
  if (script.lastMs > 0) yield { ...script, lastMs: 0 }
  for (const [i, step] of steps.entries()) {
    const withOps = (ops: readonly Op[]): Script => ({ ...script, steps: steps.with(i, { ...step, ops }) })
    for (let j = 0; j < step.ops.length && step.ops.length > 1; j++) yield withOps(step.ops.toSpliced(j, 1))
    for (const [j, op] of step.ops.entries()) {
      const withOp = (changed: Op): Script => withOps(step.ops.with(j, changed))
      if (op.op === 'headers') {
        if (op.pieces !== undefined || op.padded || op.priority)
          yield withOp({ op: 'headers', to: op.to, fields: op.fields, end: op.end })
        for (let f = 0; f < op.fields.length; f++)
          if (!op.fields[f]![0].startsWith(':')) yield withOp({ ...op, fields: op.fields.toSpliced(f, 1) })
      } else if (op.op === 'data') {
        if (op.frames !== undefined || op.padded) yield withOp({ op: 'data', to: op.to, bytes: op.bytes, end: op.end })
        if (op.bytes > 5) yield withOp({ ...op, bytes: 5 })
      } else if (op.op === 'raw' && (op.count ?? 1) > 1) yield withOp({ ...op, count: 1 })
    }
  }
}

/** One line for each step. */
export function showScript({ clientSettings, upstreamSettings, steps, lastMs }: Script): string {
  const op = (o: Op): string => JSON.stringify(o).replace(/(.)\1{30,}/g, '$1…')
  return [
    `client ${JSON.stringify(clientSettings)}, upstream ${JSON.stringify(upstreamSettings)}, ${lastMs} ms`,
    ...steps.map(({ at, ops }) => `  ${at}: ${ops.map(op).join(' + ')}`),
  ]
    .join('\n')
    .slice(0, 4000)
}
