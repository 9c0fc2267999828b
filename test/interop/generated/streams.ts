// Random byte streams for one HTTP/1 connection: some requests one after another, most well formed, some with an edit
// that breaks their framing.

import fc from 'fast-check'
import { TOKENS } from './tokens.ts'
import { HEADER_NAMES, HEADER_VALUES, HOSTS, PATHS, QUERY_NAMES, QUERY_VALUES } from './vocabulary.ts'

export interface StreamRequest {
  readonly method: string
  readonly path: string
  readonly version: string
  readonly host: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
  readonly framing: 'none' | 'length' | 'chunked' | 'trailers'
  /** Before and behind the size of each chunk (RFC 9112 §7.1.1). */
  readonly chunkLine: readonly [before: string, behind: string]
}

/** Replaces the text at a place of the stream, or nothing. */
export interface Edit {
  /** 0 … 1 of the first head's length, or of what follows it. */
  readonly at: number
  readonly behindHead: boolean
  readonly remove: number
  readonly insert: string
}

export interface Stream {
  readonly requests: readonly StreamRequest[]
  readonly edits: readonly Edit[]
  /** A plain request follows that ends the connection: it shows where the proxy saw the end of the ones before. */
  readonly last: boolean
}

const suffix = fc.constantFrom(
  '',
  '',
  '/',
  '/b',
  '/../a',
  '/./',
  '//',
  '/%2e%2e/',
  '%2F',
  '%5c',
  '/%41',
  ';v=1',
  '\\x',
  '/é',
  '%zz',
)
const query = fc.oneof(
  { weight: 3, arbitrary: fc.constant('') },
  {
    weight: 2,
    arbitrary: fc
      .array(
        fc.tuple(fc.constantFrom(...QUERY_NAMES), fc.constantFrom('=', '=', ''), fc.constantFrom(...QUERY_VALUES)),
        { minLength: 1, maxLength: 3 },
      )
      .map((list) => `?${list.map((p) => p.join('')).join('&')}`),
  },
  { weight: 1, arbitrary: fc.constantFrom('?', '#f', '?q#f', '?x=/../a') },
)
const path = fc.oneof(
  { weight: 12, arbitrary: fc.tuple(fc.constantFrom(...PATHS), suffix, query).map((parts) => parts.join('')) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '*',
      'a',
      'http://one.example/a?q=1',
      'https://sub.two.example/b/',
      'http://one.example',
      '//a',
      '/a b',
    ),
  },
)
const header = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(
      fc.constantFrom<string>(...HEADER_NAMES, 'X-A', 'X-Mixed-Case', 'x_under'),
      fc.constantFrom<string>(...HEADER_VALUES),
    ),
  },
  {
    weight: 4,
    arbitrary: fc.constantFrom<[string, string]>(
      ['x-forwarded-for', '10.1.2.3'],
      ['x-forwarded-for', '1.2.3.4, 10.0.0.1, 5.6.7.8'],
      ['x-forwarded-for', 'junk'],
      ['x-forwarded-proto', 'https'],
      ['x-forwarded-proto', 'ftp'],
      ['x-forwarded-host', 'before'],
      ['x-forwarded-port', '99'],
      ['x-envoy-internal', 'true'],
      ['x-envoy-external-address', '9.9.9.9'],
      ['x-envoy-max-retries', '1'],
      ['x-envoy-retry-on', '5xx'],
      ['x-envoy-retry-grpc-on', 'unavailable'],
      ['x-envoy-retriable-status-codes', '404,409'],
      ['x-envoy-retriable-header-names', 'x-up'],
      ['x-envoy-upstream-rq-timeout-ms', '8000'],
      ['x-envoy-upstream-rq-per-try-timeout-ms', '7000'],
      ['x-envoy-expected-rq-timeout-ms', '6000'],
      ['x-envoy-original-path', '/orig'],
      ['x-envoy-hedge-on-per-try-timeout', 'false'],
      ['x-envoy-upstream-alt-stat-name', 'alt'],
      ['x-envoy-decorator-operation', 'op'],
      ['x-envoy-force-trace', '1'],
      ['x-envoy-ip-tags', 'tag'],
      ['x-request-id', '11111111-2222-4333-8444-555555555555'],
      ['x-client-trace-id', 'trace'],
      ['x-cluster', 'up'],
      ['x-cluster', 'up2'],
      ['x-cluster', 'nowhere'],
      ['x-random', '3'],
      ['x-random', '33'],
      ['x-random', '77'],
      ['via', '1.0 before'],
      ['te', 'trailers'],
      ['te', 'gzip, trailers'],
      ['expect', '100-continue'],
      ['expect', 'something'],
      ['connection', 'keep-alive'],
      ['connection', 'close'],
      ['connection', 'x-a'],
      ['connection', 'close, x-b'],
      ['keep-alive', 'timeout=5'],
      ['proxy-connection', 'keep-alive'],
      ['proxy-connection', 'close'],
      ['upgrade', 'h2c'],
      ['upgrade', 'foo'],
      ['http2-settings', 'AAMAAABkAAQAAP__'],
      ['user-agent', 'generated'],
      ['referer', 'http://x/'],
      ['cookie', 'a=1'],
      ['cookie', 'b=2; c=3'],
      ['content-type', 'application/grpc'],
      ['content-type', 'application/grpc+proto'],
      ['content-type', 'text/plain'],
      ['grpc-timeout', '5S'],
      ['x-long', 'l'.repeat(1500)],
      ['x-forwarded-client-cert', 'Hash=abc'],
      ['trailer', 'x-t'],
      ['origin', 'http://one.example'],
      ['origin', 'http://two.other'],
      ['origin', 'null'],
      ['access-control-request-method', 'GET'],
      ['access-control-request-private-network', 'true'],
      ['accept-encoding', 'gzip, br'],
      ['accept-encoding', 'gzip;q=0'],
      ['x-envoy-fault-abort-request', '418'],
      ['x-envoy-fault-abort-grpc-request', '5'],
      ['x-envoy-fault-delay-request', '1'],
      ['x-envoy-upstream-rq-timeout-ms', '600'],
      ['x-envoy-upstream-rq-per-try-timeout-ms', '400'],
      ['x-envoy-upstream-rq-timeout-alt-response', '1'],
      ['content-type', 'application/grpc-web+proto'],
      ['content-type', 'application/grpc-web-text'],
      ['content-type', 'application/x-protobuf'],
    ),
  },
  { weight: 1, arbitrary: fc.constantFrom(...TOKENS).map(([name, value]): [string, string] => [name, value]) },
)

/** What the upstream is asked for (see recording-upstream.ts). */
const answer = fc.constantFrom(
  '200',
  '200',
  '200',
  '200,len=0',
  '200,chunked',
  '200,len=9000',
  '200,chunked,len=9000',
  '204',
  '304',
  '404',
  '409',
  '500',
  '503;200',
  '503;503;200',
  '418;200',
  '502',
  '504;200',
  'drop',
  'drop;200',
  '200,chunked,trailer=x-t:1',
  '200,early',
  '200,early,len=0',
  '200,header=X-Up:one,header=x-up:two',
  '503,header=x-up:1;200',
  '200,header=server:mine',
  '200,header=via:1.1 up',
  '200,header=date:Thu, 01 Jan 1970 00:00:00 GMT',
  '200,close',
  '200,header=x-envoy-overloaded:true',
  '200,header=Connection:close',
  '302,header=location:http://one.example/a',
  '302,header=location:http://other/b/c?q=1',
  '302,header=location:/relative',
  '307,header=location:http://three.x/',
  '200,header=x-request-id:up',
  '200,header=x-envoy-upstream-canary:true',
  '200,header=content-type:application/grpc,header=grpc-status:14',
  '200,header=x-envoy-degraded:true',
  '200,header=x-envoy-immediate-health-check-fail:1',
  '200,header=Keep-Alive:timeout=3',
  '200,header=x_under:1',
  '200,header=transfer-encoding:chunked,len=0',
  '200,header=content-length:2',
  '200,header=x bad:1',
  '200,header=:status:201',
  '201,http10',
  '200,lf',
  'hang',
  'hang;200',
  'junk',
  'junk;200',
  'half-head',
  '200,short',
  '200,chunked,short',
  '200,extra',
  '200,chunked,extra',
  'reset',
  'drop,rst=7',
  'drop,rst=0;200',
  'drop,rst=11',
  '200,rst=8',
  '200,len=9000,rst=2',
  '200,len=0,rst=5',
  '200,pieces,header=x-up:1',
  '200,padded,len=9000',
  '200,hex=6162+6364+65',
  '200,hex=00000000026869,header=content-type:application/grpc,trailer=grpc-status:0,trailer=grpc-message:m',
  '200,hex=00000000026869,header=content-type:application/grpc,trailer=grpc-status:13',
  '200,data-first',
  '200,early,early-end',
  '200,stray',
  '200,bad=X-Upper:1',
  '200,bad=te:trailers',
  '200,bad=:odd:1',
)

const request = fc
  .record({
    method: fc.oneof(
      { weight: 12, arbitrary: fc.constantFrom('GET', 'GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH') },
      { weight: 1, arbitrary: fc.constantFrom('TRACE', 'PROPFIND', 'M-SEARCH', 'get', 'BOGUS', 'CONNECT') },
    ),
    path,
    version: fc.oneof(
      { weight: 12, arbitrary: fc.constant('HTTP/1.1') },
      { weight: 2, arbitrary: fc.constant('HTTP/1.0') },
      { weight: 1, arbitrary: fc.constantFrom('HTTP/1.2', 'HTTP/0.9', 'HTTP/2.0', 'http/1.1') },
    ),
    host: fc.oneof(
      { weight: 12, arbitrary: fc.constantFrom<string>(...HOSTS) },
      { weight: 2, arbitrary: fc.constantFrom('one.example.', 'one.example:99', '', 'bad host', 'a@b', '[::1]:80') },
    ),
    headers: fc
      .tuple(fc.array(header, { maxLength: 6 }), answer)
      // One x-random at most: with several Envoy chooses at random.
      .map(([list, a]) => [
        ...list.filter(([name], i) => name !== 'x-random' || list.findIndex((h) => h[0] === name) === i),
        ['x-answer', a] as const,
      ]),
    body: fc.oneof(
      fc.constant(''),
      fc.constant('hello'),
      fc.nat(20_000).map((n) => 'b'.repeat(n)),
    ),
    framing: fc.constantFrom('none', 'length', 'length', 'chunked', 'chunked', 'trailers'),
    chunkLine: fc.oneof(
      { weight: 6, arbitrary: fc.constant<[string, string]>(['', '']) },
      {
        weight: 2,
        arbitrary: fc.tuple(
          fc.constantFrom('', '0', '000'),
          fc.constantFrom('', ';', ';a', ';a=b', ';a="b;c"', ' ;a', ' ', '\t', ';a=\xe9'),
        ),
      },
      {
        weight: 1,
        arbitrary: fc.tuple(
          fc.constantFrom('', ' ', '+', '-', '0x', '\r\n'),
          fc.constantFrom('', '\r', 'g', ';\0', ';a\rb', ' x', ',5'),
        ),
      },
    ),
  })
  .map((r): StreamRequest => {
    const framing = r.framing as StreamRequest['framing']
    if (framing === 'none') return { ...r, framing, body: '' }
    return { ...r, framing }
  })

const edit = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  behindHead: fc.constantFrom(false, false, false, true),
  remove: fc.constantFrom(0, 0, 0, 1, 2, 5),
  insert: fc.constantFrom(
    '',
    ' ',
    '\t',
    '\r',
    '\n',
    '\r\n',
    '\0',
    ':',
    ': ',
    '\r\n ',
    '\r\nhost: two',
    '\r\ncontent-length: 5',
    '\r\ncontent-length: 5, 5',
    '\r\ncontent-length: +5',
    '\r\ntransfer-encoding: chunked',
    '\r\ntransfer-encoding: gzip',
    '\r\ntransfer-encoding: identity',
    '\r\nTransfer-Encoding : chunked',
    '\r\n: empty',
    '\r\nno-colon',
    '\x7f',
    '\xe9',
    '"',
    '(',
    '\r\n\r\n',
  ),
})

/** `count` streams, the same for the same seed. */
export function generateStreams(seed: number, count: number): Stream[] {
  const stream = fc.record({
    requests: fc.oneof(
      { weight: 4, arbitrary: fc.array(request, { minLength: 1, maxLength: 1 }) },
      { weight: 1, arbitrary: fc.array(request, { minLength: 2, maxLength: 2 }) },
    ),
    edits: fc.oneof(
      { weight: 5, arbitrary: fc.constant([]) },
      { weight: 2, arbitrary: fc.array(edit, { minLength: 1, maxLength: 2 }) },
    ),
    last: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  })
  // Two requests at most: from three answers on it depends on the moment whether Envoy finds too many of them queued.
  return fc
    .sample(stream, { seed, numRuns: count })
    .map((made) => (made.requests.length > 1 ? { ...made, last: false } : made))
}

/** The bytes; each request's `x-case` is `id`. */
export function encodeStream({ requests, edits, last }: Stream, id: string): string {
  let first = 0
  let text = ''
  for (const request of requests) {
    text += encodeRequest(request, id)
    first ||= text.indexOf('\r\n\r\n') + 4
  }
  for (const { at, behindHead, remove, insert } of edits) {
    // Not behind the last byte: empty lines there are a documented difference.
    const place = behindHead ? first + Math.floor(at * Math.max(0, text.length - first - 1)) : Math.floor(at * first)
    text = text.slice(0, place) + insert + text.slice(place + remove)
  }
  return last ? `${text}GET / HTTP/1.1\r\nhost: last\r\nx-case: ${id}\r\nconnection: close\r\n\r\n` : text
}

function encodeRequest(request: StreamRequest, id: string): string {
  const { method, path: target, version, host, headers, body, framing } = request
  const [before, behind] = request.chunkLine
  const lines = [`${method} ${target} ${version}`, `host: ${host}`, `x-case: ${id}`]
  for (const [name, value] of headers) lines.push(`${name}: ${value}`)
  if (framing === 'none') return `${lines.join('\r\n')}\r\n\r\n`
  if (framing === 'length') return `${lines.join('\r\n')}\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  const half = body.length >> 1
  const chunk = (part: string): string => (part ? `${before}${part.length.toString(16)}${behind}\r\n${part}\r\n` : '')
  const end = framing === 'trailers' ? '0\r\nx-trailer: t\r\nX-Other: u\r\n\r\n' : '0\r\n\r\n'
  return `${lines.join('\r\n')}\r\ntransfer-encoding: chunked\r\n\r\n${chunk(body.slice(0, half))}${chunk(body.slice(half))}${end}`
}

/** Smaller streams, largest step first, for shrinking. */
export function* smaller(stream: Stream): Generator<Stream> {
  const { requests, edits } = stream
  for (let i = 0; i < requests.length && requests.length > 1; i++)
    yield { ...stream, requests: requests.toSpliced(i, 1) }
  for (let i = 0; i < edits.length; i++) yield { ...stream, edits: edits.toSpliced(i, 1) }
  for (const [i, r] of requests.entries()) {
    const withRequest = (change: Partial<StreamRequest>): Stream => ({
      ...stream,
      requests: requests.with(i, { ...r, ...change }),
    })
    for (let h = 0; h < r.headers.length; h++) yield withRequest({ headers: r.headers.toSpliced(h, 1) })
    if (r.framing !== 'none') yield withRequest({ framing: 'none', body: '' })
    if (r.body.length > 5) yield withRequest({ body: 'hello' })
    if (r.path.includes('?')) yield withRequest({ path: r.path.slice(0, r.path.indexOf('?')) })
    if (r.method !== 'GET') yield withRequest({ method: 'GET' })
  }
}
