// What HTTP/2 clients may send and what no client may: header blocks, framing and last frames, as generated traffic
// (test/interop/generated) and probing found them. Real Envoy and ours, the same bytes: the same frames back, the same
// log lines.

import assert from 'node:assert/strict'
import type { AddressInfo, Server } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { FrameType as Frame } from '../../src/proxy/http/h2/constants.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { Flag, frame, headerBlock, RawHttp2, uint32 } from './harness/raw-http2.ts'
import { linesOf, type Situation, situationBootstrap, startUpstream } from './harness/situations.ts'

type Field = readonly [string, string]

interface Scenario extends Situation {
  /** Bytes after the preface and SETTINGS. */
  readonly bytes: string
  /** The stream that is to settle before `last` or the end; null: none will. */
  readonly stream?: number | null
  /** Bytes sent then. */
  readonly last?: string
}

const OPEN_MS = 4000
/** Envoy holds a connection that it is done with for up to a second before it closes it. */
const CLOSE_MS = 3000
const WHOLE = Flag.EndHeaders | Flag.EndStream
const PSEUDO: readonly Field[] = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':authority', 'a'],
  [':path', '/'],
]
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const common = (options: object): object => ({ common_http_protocol_options: options })

/** The pseudo-headers with changes (null: without) and regular headers behind. */
function fields(changes: Readonly<Record<string, string | null>>, ...regular: Field[]): Field[] {
  const pseudo = PSEUDO.flatMap(([name, value]): Field[] => {
    const changed = name in changes ? changes[name] : value
    return changed === null || changed === undefined ? [] : [[name, changed]]
  })
  return [...pseudo, ...regular]
}

const request = (list: readonly Field[], stream = 1): string => frame(Frame.Headers, WHOLE, stream, headerBlock(list))
const open = (list: readonly Field[], stream = 1): string =>
  frame(Frame.Headers, Flag.EndHeaders, stream, headerBlock(list))
const post = (...regular: Field[]): string => open(fields({ ':method': 'POST' }, ...regular))
const data = (text: string, flags = 0): string => frame(Frame.Data, flags, 1, text)
const shown = (text: string): string => JSON.stringify(text)
const block = headerBlock(PSEUDO)
const many = (count: number): Field[] => Array.from({ length: count }, (_, i): Field => [`x-${i}`, 'y'])

const AUTHORITIES = ['', 'a@b', 'a b', 'a:80', '[::1]', 'a/b', 'é', 'a,b', '*']
const PATHS = ['', 'a', '*', '/a b', '/é', '/\x7f', '/#a', '//', '/%00', '/a?b c', 'http://a/']
const SCHEMES = ['', 'https', 'HTTP', 'ftp', 'f tp', '1a']
const METHODS = ['', 'get', 'G T', 'OPTIONS', 'ANY_', 'PRI']
const FIELDS: readonly Field[] = [
  ['X-Upper', '1'],
  ['x y', '1'],
  ['', '1'],
  ['x', 'a\x01b'],
  ['x', 'a\0b'],
  ['x', 'a\x7fb'],
  ['x', '\xe9'],
  ['te', 'gzip'],
  ['te', 'trailers'],
  ['connection', 'close'],
  ['keep-alive', '1'],
  ['proxy-connection', 'close'],
  ['transfer-encoding', 'chunked'],
  ['upgrade', 'websocket'],
  ['host', 'b'],
  ['host', 'a b'],
  [':path', '/b'],
  [':odd', '1'],
  [':status', '200'],
  [':protocol', 'websocket'],
]
const LENGTHS = ['0', '2', '02', '+2', '-2', '2 ', '', '2,2', '0x2', '18446744073709551616']

const headers = (flags: number, payload: string, stream = 1): string => frame(Frame.Headers, flags, stream, payload)
const more = (flags: number, payload: string, stream = 1): string => frame(Frame.Continuation, flags, stream, payload)

const LAST: Readonly<Record<string, string>> = {
  'DATA without a stream': frame(Frame.Data, 0, 0, 'x'),
  'DATA of an idle stream': frame(Frame.Data, 0, 201, 'x'),
  'HEADERS without a stream': headers(WHOLE, block, 0),
  'HEADERS of an even stream': headers(WHOLE, block, 2),
  'HEADERS that no table explains': headers(WHOLE, '\xff\xff\xff\xff\xff', 201),
  'HEADERS with too much padding': headers(WHOLE | Flag.Padded, '\xffx', 201),
  'PRIORITY of a wrong length': frame(Frame.Priority, 0, 201, 'xxx'),
  'RST_STREAM without a stream': frame(Frame.RstStream, 0, 0, uint32(8)),
  'RST_STREAM of an idle stream': frame(Frame.RstStream, 0, 201, uint32(8)),
  'RST_STREAM of a closed stream': frame(Frame.RstStream, 0, 1, uint32(8)),
  'RST_STREAM of a wrong length': frame(Frame.RstStream, 0, 1, 'x'),
  'SETTINGS of a stream': frame(Frame.Settings, 0, 1, ''),
  'SETTINGS of a wrong length': frame(Frame.Settings, 0, 0, 'xxx'),
  'SETTINGS acknowledged with values': frame(Frame.Settings, Flag.Ack, 0, 'xxxxxx'),
  'SETTINGS_ENABLE_PUSH 2': frame(Frame.Settings, 0, 0, `\0\x02${uint32(2)}`),
  'SETTINGS_INITIAL_WINDOW_SIZE too large': frame(Frame.Settings, 0, 0, `\0\x04${uint32(0x80000000)}`),
  'SETTINGS_MAX_FRAME_SIZE too small': frame(Frame.Settings, 0, 0, `\0\x05${uint32(1)}`),
  'an unknown setting': frame(Frame.Settings, 0, 0, `\0\x63${uint32(1)}`),
  PUSH_PROMISE: frame(Frame.PushPromise, Flag.EndHeaders, 1, uint32(2) + block),
  'PING of a stream': frame(Frame.Ping, 0, 1, '12345678'),
  'PING of a wrong length': frame(Frame.Ping, 0, 0, '123'),
  'GOAWAY of a stream': frame(Frame.GoAway, 0, 1, uint32(0) + uint32(0)),
  'GOAWAY of a wrong length': frame(Frame.GoAway, 0, 0, 'x'),
  'WINDOW_UPDATE of 0': frame(Frame.WindowUpdate, 0, 0, uint32(0)),
  'WINDOW_UPDATE beyond the largest window': frame(Frame.WindowUpdate, 0, 0, uint32(0x7fffffff)),
  'WINDOW_UPDATE of an idle stream': frame(Frame.WindowUpdate, 0, 201, uint32(1)),
  'WINDOW_UPDATE of a wrong length': frame(Frame.WindowUpdate, 0, 0, 'x'),
  'CONTINUATION alone': more(Flag.EndHeaders, '', 201),
  'HEADERS within a header block': headers(0, block, 201) + headers(WHOLE, block, 203),
  'CONTINUATION of another stream': headers(0, block, 201) + more(Flag.EndHeaders, '', 203),
  'an unknown frame': frame(99, 0, 0, 'whatever'),
  'an unknown frame of a stream': frame(99, 255, 201, 'whatever'),
  'garbage that is no frame at all': 'garbage that is no frame at all',
}

const CONNECT = fields({ ':method': 'CONNECT', ':scheme': null, ':path': null })

const SCENARIOS: readonly Scenario[] = [
  ...AUTHORITIES.map((text) => ({ name: `:authority ${shown(text)}`, bytes: request(fields({ ':authority': text })) })),
  ...PATHS.map((text) => ({ name: `:path ${shown(text)}`, bytes: request(fields({ ':path': text })) })),
  ...SCHEMES.map((text) => ({ name: `:scheme ${shown(text)}`, bytes: request(fields({ ':scheme': text })) })),
  ...METHODS.map((text) => ({
    name: `:method ${shown(text)}`,
    routeEntry: { redirect: { path_redirect: '/x' } },
    bytes: request(fields({ ':method': text })),
  })),
  ...PSEUDO.map(([name]) => ({ name: `no ${name}`, bytes: request(fields({ [name]: null })) })),
  { name: '* of another scheme', bytes: request(fields({ ':scheme': 'ftp', ':path': '*' })) },
  { name: 'OPTIONS *', bytes: request(fields({ ':method': 'OPTIONS', ':path': '*' })) },
  { name: 'host in place of :authority', bytes: request(fields({ ':authority': null }, ['host', 'b'])) },
  { name: 'pseudo-headers behind others', bytes: request([['x', '1'], ...PSEUDO]) },
  ...FIELDS.map(([name, value]) => ({
    name: `${shown(name)}: ${shown(value)}`,
    bytes: request(fields({}, [name, value])),
  })),
  ...LENGTHS.map((length) => ({
    name: `content-length ${shown(length)} of 2`,
    bytes: post(['content-length', length]) + data('ok', Flag.EndStream),
  })),
  { name: 'content-length 2 of none', bytes: request(fields({}, ['content-length', '2'])) },
  { name: 'content-length 2 of 1', bytes: post(['content-length', '2']) + data('o', Flag.EndStream) },
  { name: 'content-length 2 of 3', bytes: post(['content-length', '2']) + data('oka', Flag.EndStream) },
  {
    name: 'content-length twice',
    bytes: post(['content-length', '2'], ['content-length', '2']) + data('ok', Flag.EndStream),
  },
  {
    name: 'content-length twice, not the same',
    bytes: post(['content-length', '2'], ['content-length', '3']) + data('ok', Flag.EndStream),
  },
  { name: 'padding', bytes: headers(WHOLE | Flag.Padded, `\x03${block}\0\0\0`) },
  { name: 'padding that is not zero', bytes: headers(WHOLE | Flag.Padded, `\x03${block}abc`) },
  { name: 'priority', bytes: headers(WHOLE | Flag.Priority, `${uint32(0)}\x10${block}`) },
  { name: 'priority on itself', bytes: headers(WHOLE | Flag.Priority, `${uint32(1)}\x10${block}`) },
  { name: 'too much padding', bytes: headers(WHOLE | Flag.Padded, `\xff${block}`) },
  {
    name: 'padding of DATA',
    bytes: post() + data('\x02ok\0\0', Flag.EndStream | Flag.Padded),
  },
  { name: 'too much padding of DATA', bytes: post() + data('\x09ok', Flag.EndStream | Flag.Padded) },
  {
    name: 'CONTINUATION',
    bytes:
      headers(Flag.EndStream, block.slice(0, 9)) + more(0, block.slice(9, 20)) + more(Flag.EndHeaders, block.slice(20)),
  },
  { name: 'an empty CONTINUATION', bytes: headers(Flag.EndStream, block) + more(0, '') + more(Flag.EndHeaders, '') },
  {
    name: 'trailers that do not end the stream',
    bytes: post() + data('ok') + headers(Flag.EndHeaders, headerBlock([['x-t', '1']])),
  },
  { name: 'a pseudo-header in trailers', bytes: post() + data('ok') + headers(WHOLE, headerBlock([[':path', '/']])) },
  { name: 'a fault in trailers', bytes: post() + data('ok') + headers(WHOLE, headerBlock([['X', '/']])) },
  ...['ALLOW', 'DROP_HEADER', 'REJECT_REQUEST'].flatMap((action) => {
    const hcm = common({ headers_with_underscores_action: action, max_headers_count: 8 })
    const under: Field = ['x_y', '1']
    const of = (...regular: Field[]): string => request(fields({}, ...regular))
    return [
      { name: `underscores, ${action}`, hcm, bytes: of(under) },
      { name: `underscores and a fault, ${action}`, hcm, bytes: of(under, ['X', '1']) },
      { name: `a fault and underscores, ${action}`, hcm, bytes: of(['X', '1'], under) },
      { name: `underscores and the wrong length, ${action}`, hcm, bytes: of(under, ['content-length', '9']) },
      { name: `underscores and too many, ${action}`, hcm, bytes: of(under, ...many(9)) },
      { name: `too many and underscores, ${action}`, hcm, bytes: of(...many(4), under) },
      { name: `too many with a fault, ${action}`, hcm, bytes: of(...many(4), ['X', '1']) },
      { name: `a fault behind too many, ${action}`, hcm, bytes: of(...many(5), ['X', '1']) },
    ]
  }),
  {
    name: 'too many with a wrong pseudo-header',
    hcm: common({ max_headers_count: 4 }),
    bytes: request(fields({}, [':odd', '1'])),
  },
  {
    name: 'too many cookies',
    hcm: common({ max_headers_count: 4 }),
    bytes: request(fields({}, ['cookie', 'a=1'], ['cookie', 'b=2'])),
  },
  ...[false, true].map((reset) => ({
    name: reset ? 'RST_STREAM after an answer to CONNECT' : 'CONNECT that nobody allows',
    bytes: open(CONNECT),
    ...(reset && { last: frame(Frame.RstStream, 0, 1, uint32(8)) }),
  })),
  ...Object.entries({ ended: 'hello', empty: '' }).map(([name, body]) => ({
    name: `refused CONNECT, body ${name}`,
    bytes: open(CONNECT) + data(body, Flag.EndStream),
  })),
  { name: 'refused CONNECT with a length', bytes: request([...CONNECT, ['content-length', '5']]) },
  { name: 'refused CONNECT of gRPC', bytes: request([...CONNECT, ['content-type', 'application/grpc']]) },
  {
    name: 'CONNECT of gRPC without a route',
    virtualHost: { domains: ['b'] },
    bytes: request([...CONNECT, ['content-type', 'application/grpc'], ['content-length', '5']]),
  },
  { name: 'CONNECT with a path', bytes: open(fields({ ':method': 'CONNECT' })) },
  {
    name: 'CONNECT, the last request of its connection',
    hcm: common({ max_requests_per_connection: 1 }),
    bytes: request(CONNECT),
  },
  {
    name: 'CONNECT without a route',
    virtualHost: { domains: ['b'] },
    bytes: request(CONNECT),
  },
  ...Object.entries(LAST).map(([name, last]) => ({ name, bytes: request(PSEUDO), last })),
  ...Object.entries(LAST).map(([name, last]) => ({
    name: `${name}, while a request is served`,
    upstream: () => null,
    stream: null,
    bytes: request(PSEUDO),
    last,
  })),
]

async function play(port: number, { bytes, stream = 1, last }: Scenario): Promise<string[]> {
  const client = new RawHttp2(port, 65_535)
  // What Envoy is to answer to faulty first bytes does not leave it.
  await client.greeted
  client.write(bytes)
  if (stream !== null) await client.settled(stream, OPEN_MS)
  if (last !== undefined) {
    client.write(last)
    const open = await Promise.race([client.closed, new Promise((resolve) => setTimeout(resolve, CLOSE_MS, true))])
    if (open) client.lines.push('(open)')
  }
  client.destroy()
  return client.lines.map((line) =>
    line.replace(/^date: .*/, 'date: NOW').replace(/^(x-envoy-upstream-service-time): .*/, '$1: N'),
  )
}

/** Envoy ends a connection for a malformed message without a word; GOAWAY is what RFC 9113 §5.4.1 asks for. */
function forgive(ours: readonly string[], theirs: readonly string[]): readonly string[] {
  const told = /^goaway [1-9]/
  return theirs.some((line) => told.test(line)) ? ours : ours.filter((line) => !told.test(line))
}

describe('HTTP/2 syntax', { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
  const sides: { proxy: RunningProxy; listeners: number[] }[] = []
  let servers: Server[] = []
  before(async () => {
    const situations = SCENARIOS.map((scenario): Scenario => ({ upstream: () => OK, ...scenario }))
    servers = await Promise.all(situations.map(startUpstream))
    const upstreams = servers.map((server) => (server.address() as AddressInfo).port)
    for (const name of ['envoy', 'outrigger'] as const) {
      const listeners = await Promise.all(situations.map(() => freePort()))
      const proxy = await startProxy(name, (ports) =>
        situationBootstrap(situations, 'HTTP2', ports, listeners, upstreams),
      )
      sides.push({ proxy, listeners })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
  })

  describe('in parallel', { concurrency: 16 }, () => {
    for (const [i, scenario] of SCENARIOS.entries()) {
      it(scenario.name, async () => {
        const [envoy, ours] = sides
        const theirs = await play(envoy!.listeners[i]!, scenario)
        const mine = await play(ours!.listeners[i]!, scenario)
        assert.deepEqual(forgive(mine, theirs), theirs)
        const envoyLog = await linesOf(envoy!.proxy, i, 1)
        assert.deepEqual(await linesOf(ours!.proxy, i, envoyLog.length), envoyLog)
      })
    }
  })
})
