// Random scripts: up to three requests at a time, their answers, and what no peer should send in between.

import { Draw } from '../../conformance/differential/generate/draw.ts'
import type { Field } from './peer.ts'
import { type Op, RAW, type RawKind, type Script, type Step } from './script.ts'

/** `count` scripts, the same for the same seed. */
export function drawScripts(seed: number, count: number): Script[] {
  const draw = new Draw(seed)
  return Array.from({ length: count }, () => script(draw))
}

const KINDS = Object.keys(RAW) as RawKind[]
const CODES = [0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 13, 99]
const SIZES = [0, 1, 5, 100, 16_384, 20_000]

function script(draw: Draw): Script {
  const alone = draw.chance(0.6)
  // An answer that must wait for a window while its request is incomplete is cut off by Envoy (docs/differences.md).
  const small = draw.chance(0.15)
  const stories: Story[] = draw.many(1, alone || small ? 1 : 3, (i) => story(draw, i, alone, small))
  const steps: Step[] = []
  const left = stories.map((s) => ({ client: [...s.client], upstream: [...s.upstream], begun: false }))
  while (left.some((s) => s.client.length + s.upstream.length > 0)) {
    const one = draw.pick(left.filter((s) => s.client.length + s.upstream.length > 0))
    // Nobody answers what has not begun.
    const client = one.client.length > 0 && (!one.begun || one.upstream.length === 0 || draw.chance(0.6))
    one.begun = true
    const from = client ? one.client : one.upstream
    const most = draw.chance(0.8) ? 1 : draw.between(1, 3)
    // What ends a request comes after it: whether an answer that is ready goes out before is a matter of taste. So it is
    // with what makes the request faulty.
    const end = from.findIndex(({ op }, i) => i > 0 && (op === 'reset' || (client && op === 'headers')))
    const ops = from.splice(0, end < 0 ? most : Math.min(most, end))
    steps.push({ at: client ? 'client' : 'upstream', ops })
  }
  for (let i = draw.pick([0, 0, 1, 1, 2]); i > 0; i--) {
    const at = draw.pick(['client', 'upstream'] as const)
    const op = disturbance(draw, draw.below(stories.length))
    const place = draw.between(1, steps.length)
    const before = steps[place - 1]!
    // In one write with the frames before it, or after them.
    if (before.at === at && HARMLESS.has(op.op) && draw.chance(0.3)) steps[place - 1] = { at, ops: [...before.ops, op] }
    else steps.splice(place, 0, { at, ops: [op] })
  }
  return {
    clientSettings: small ? [[4, draw.pick([1, 100])]] : settings(draw, LARGE_WINDOWS),
    upstreamSettings: settings(draw),
    steps,
    lastMs: 0,
  }
}

/** May stand in one write with what comes before. */
const HARMLESS: ReadonlySet<string> = new Set(['settings', 'window', 'reading'])

const LARGE_WINDOWS = [65_535, 70_000]

function settings(draw: Draw, windows: readonly number[] = [1, 100, 70_000]): [number, number][] {
  if (draw.chance(0.6)) return []
  return draw.some<[number, number]>(
    [
      [1, draw.pick([0, 50, 4096, 65_536])],
      [3, draw.pick([0, 1, 2, 100])],
      [4, draw.pick(windows)],
      [5, draw.pick([16_384, 16_385, 100_000])],
      [6, draw.pick([10, 100_000])],
      [8, 1],
    ],
    1,
    2,
  )
}

interface Story {
  readonly client: readonly Op[]
  readonly upstream: readonly Op[]
}

const REQUEST_FIELDS: readonly Field[] = [
  ['te', 'trailers'],
  ['te', 'gzip'],
  ['cookie', 'a=1'],
  ['cookie', 'b=2'],
  ['x-under_score', '1'],
  ['x_y', '2'],
  ['connection', 'close'],
  ['keep-alive', '1'],
  ['proxy-connection', 'close'],
  ['transfer-encoding', 'chunked'],
  ['upgrade', 'websocket'],
  ['host', 'b'],
  ['X-Upper', '1'],
  ['x-c', 'a\x01b'],
  ['content-length', '5'],
  ['content-length', '0'],
  ['content-type', 'application/grpc'],
  ['grpc-timeout', '9S'],
  ['expect', '100-continue'],
  ['x-empty', ''],
  ['', 'no name'],
  ['x-large', 'l'.repeat(9000)],
  ['x-huge', 'h'.repeat(70_000)],
  [':path', '/second'],
  [':late', '1'],
  ['user-agent', 'script'],
  ['x-envoy-retry-on', 'reset'],
]

const RESPONSE_FIELDS: readonly Field[] = [
  ['connection', 'close'],
  ['keep-alive', '1'],
  ['proxy-connection', 'close'],
  ['transfer-encoding', 'chunked'],
  ['upgrade', 'websocket'],
  ['te', 'trailers'],
  ['te', 'gzip'],
  ['host', 'b'],
  ['X-Upper', '1'],
  ['x_y', '2'],
  ['x-c', 'a\x01b'],
  ['content-length', '5'],
  ['content-length', '0'],
  ['content-length', 'x'],
  ['content-type', 'application/grpc'],
  ['grpc-status', '0'],
  ['grpc-status', '14'],
  ['x-empty', ''],
  ['', 'no name'],
  ['x-large', 'l'.repeat(9000)],
  ['x-huge', 'h'.repeat(70_000)],
  [':status', '201'],
  [':path', '/'],
  [':late', '1'],
  ['set-cookie', 'a=1'],
  ['set-cookie', 'b=2'],
  ['server', 'mine'],
  ['date', 'Thu, 01 Jan 1970 00:00:00 GMT'],
  ['cookie', 'c=1'],
  ['cookie', 'd=1'],
]

const TRAILER_FIELDS: readonly Field[] = [
  ['grpc-status', '0'],
  ['grpc-status', '5'],
  ['grpc-message', 'no'],
  ['x-trailer', 't'],
  [':status', '200'],
  ['x_y', '2'],
  ['X-Upper', '1'],
  ['connection', 'close'],
  ['content-length', '3'],
  ['te', 'gzip'],
]

const STATUSES = ['200', '200', '200', '200', '204', '304', '404', '500', '503', '101', '20', '1000', 'abc', '']

function extra(draw: Draw, fields: readonly Field[]): Field[] {
  return draw.chance(0.6) ? [] : draw.some(fields, 1, draw.chance(0.8) ? 1 : 3)
}

function request(
  draw: Draw,
  tunnels: boolean,
  connects: boolean,
): { fields: Field[]; tunnel: boolean; connect: boolean } {
  const drawn = draw.pick(['plain', 'plain', 'plain', 'plain', 'plain', 'direct', 'CONNECT', 'websocket', 'grpc'])
  const kind = (drawn === 'CONNECT' && !connects) || (drawn === 'websocket' && !tunnels) ? 'plain' : drawn
  const method = kind === 'grpc' ? 'POST' : draw.pick(['GET', 'POST', 'HEAD', 'PUT'])
  const pseudo: Field[] = [
    [':method', kind === 'CONNECT' || kind === 'websocket' ? 'CONNECT' : method],
    [':authority', kind === 'CONNECT' ? 'a:80' : 'a'],
  ]
  if (kind !== 'CONNECT') pseudo.push([':scheme', 'http'], [':path', kind === 'direct' ? '/direct' : '/x'])
  if (kind === 'websocket') pseudo.push([':protocol', 'websocket'])
  const grpc: Field[] =
    kind === 'grpc'
      ? [
          ['content-type', 'application/grpc'],
          ['te', 'trailers'],
        ]
      : []
  return {
    fields: [...pseudo, ...grpc, ...extra(draw, REQUEST_FIELDS)],
    tunnel: kind === 'CONNECT' || kind === 'websocket',
    connect: kind === 'CONNECT',
  }
}

const framing = (draw: Draw): object => ({
  ...(draw.chance(0.2) && { pieces: draw.pick([2, 5]) }),
  ...(draw.chance(0.15) && { padded: true }),
  ...(draw.chance(0.15) && { priority: true }),
})
const cutting = (draw: Draw): object => ({
  ...(draw.chance(0.2) && { frames: draw.pick([2, 7]) }),
  ...(draw.chance(0.15) && { padded: true }),
})

/** Body and end of a message. */
function rest(draw: Draw, to: number, trailers: readonly Field[]): Op[] {
  const ops: Op[] = []
  const ending = draw.pick(['end', 'end', 'end', 'trailers', 'reset', 'nothing'])
  const chunks = draw.pick([0, 1, 1, 2])
  for (let i = 0; i < chunks; i++)
    ops.push({ op: 'data', to, bytes: draw.pick(SIZES), end: ending === 'end' && i === chunks - 1, ...cutting(draw) })
  if (ending === 'end' && chunks === 0) ops.push({ op: 'data', to, bytes: 0, end: true })
  if (ending === 'trailers')
    ops.push({ op: 'headers', to, fields: draw.some(trailers, 0, 2), end: draw.chance(0.9), ...framing(draw) })
  if (ending === 'reset') ops.push({ op: 'reset', to, code: draw.pick(CODES) })
  return ops
}

function story(draw: Draw, to: number, single: boolean, complete: boolean): Story {
  const { fields, tunnel, connect } = request(draw, !complete, single && !complete)
  const bodyless = !tunnel && (complete || draw.chance(0.5))
  const client: Op[] = [{ op: 'headers', to, fields, end: bodyless, ...framing(draw) }]
  if (!bodyless) client.push(...rest(draw, to, TRAILER_FIELDS))
  if (draw.chance(0.1)) client.push({ op: 'reset', to, code: draw.pick(CODES) })
  const upstream: Op[] = []
  if (draw.chance(0.1)) upstream.push({ op: 'reset', to, code: draw.pick(CODES) })
  if (!connect && draw.chance(0.15))
    upstream.push({
      op: 'headers',
      to,
      fields: [[':status', draw.pick(['100', '102', '103', '104', '150'])], ...extra(draw, RESPONSE_FIELDS)],
      end: draw.chance(0.1),
    })
  const alone = draw.chance(0.3)
  // Envoy does not survive a CONNECT that is refused by its upstream while bytes for it wait.
  const status = connect ? '200' : draw.chance(0.8) ? draw.pick(STATUSES.slice(0, 9)) : draw.pick(STATUSES)
  upstream.push({
    op: 'headers',
    to,
    fields: [[':status', status], ...extra(draw, RESPONSE_FIELDS)],
    end: alone,
    ...framing(draw),
  })
  if (!alone) upstream.push(...rest(draw, to, TRAILER_FIELDS))
  if (draw.chance(0.1)) upstream.push({ op: 'reset', to, code: draw.pick(CODES) })
  // Another attempt may be answered, too.
  if (draw.chance(0.3))
    upstream.push({
      op: 'headers',
      to: to + 1,
      fields: [[':status', draw.pick(['200', '503'])]],
      end: draw.chance(0.7),
    })
  return { client, upstream }
}

function disturbance(draw: Draw, to: number): Op {
  return draw.either<Op>(
    () => ({ op: 'raw', to, kind: draw.pick(KINDS) }),
    () => ({ op: 'raw', to, kind: draw.pick(KINDS) }),
    () => ({
      op: 'raw',
      to,
      kind: draw.pick<RawKind>([
        'empty DATA',
        'PRIORITY',
        'DATA of padding alone',
        'empty SETTINGS',
        'an unknown frame',
      ]),
      count: draw.between(2, 5),
    }),
    () => ({ op: 'settings', values: settings(draw, LARGE_WINDOWS) }),
    () => ({ op: 'window', to: draw.pick([-1, to]), bytes: draw.pick([1, 100, 100_000]) }),
    () => ({ op: 'goaway', last: draw.pick([-1, to, to, to + 1]), code: draw.pick([0, 0, 1, 2, 11]) }),
    () => ({ op: 'close', to, abort: draw.chance(0.5) }),
    () => ({ op: 'reading', to, on: false }),
    () => ({ op: 'reset', to, code: draw.pick(CODES) }),
  )
}
