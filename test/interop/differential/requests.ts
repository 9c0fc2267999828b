// Seeded random requests: well framed, otherwise as odd as HTTP allows.

import fc from 'fast-check'

export interface GeneratedRequest {
  readonly method: string
  readonly path: string
  readonly host: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
  readonly chunked: boolean
}

const segment = fc.constantFrom('a', 'B', 'x.y', '..', '.', '', '%2e', '%2F', 'a%20b', ';p=1', '~', "it's", '%zz', '\\')
const query = fc.constantFrom('', '?', '?a=1', '?b', '?a=2&b=3', '?a=1#frag', '?x=/../y', '?a=%31')
const start = fc.constantFrom(
  '/exact',
  '/EXACT-ci',
  '/sep',
  '/sep/x',
  '/separate',
  '/strip/',
  '/strip/deep/er',
  '/re/12',
  '/re/12/rest',
  '/re/x',
  '/method',
  '/h',
  '/q',
  '/redir/path',
  '/redir/query',
  '/redir/host/x',
  '/redir/https',
  '/redir/prefix/y',
  '/redir/regex/zed',
  '/mutate',
  '/retry',
  '/retry4',
  '/nocluster',
  '/notfound-cluster',
  '/by-header',
  '/empty',
  '/refused',
  '/',
)
const path = fc
  .tuple(start, fc.array(segment, { maxLength: 2 }), query)
  .map(([s, segments, q]) => `${s}${segments.map((p) => `/${p}`).join('')}${q}`)

const header = fc.oneof(
  fc.tuple(fc.constant('x-a'), fc.constantFrom('on', 'onward', 'has mid dle', '', 'a,b')),
  fc.tuple(fc.constant('x-b'), fc.constantFrom('the End', 'other', '')),
  fc.tuple(fc.constant('x-c'), fc.constantFrom('', 'c', ' padded ')),
  fc.tuple(fc.constant('x-n'), fc.constantFrom('5', '9', '10', '-1', '7x', '')),
  fc.tuple(fc.constant('X-Mixed-Case'), fc.constantFrom('Value', 'v\tw')),
  fc.tuple(fc.constant('x-cluster'), fc.constantFrom('up', 'missing', 'empty')),
  fc.tuple(fc.constant('x-forwarded-for'), fc.constantFrom('10.0.0.1', '1.2.3.4, 5.6.7.8', 'junk')),
  fc.tuple(fc.constant('x-forwarded-proto'), fc.constantFrom('https', 'http', 'ftp')),
  fc.tuple(fc.constant('te'), fc.constantFrom('trailers', 'gzip')),
  fc.tuple(fc.constant('cookie'), fc.constantFrom('a=b', 'a=b; c=d')),
  fc.tuple(fc.constant('x-envoy-max-retries'), fc.constantFrom('0', '1', 'x')),
  fc.tuple(fc.constant('x-envoy-retry-on'), fc.constantFrom('5xx', 'retriable-4xx')),
  fc.tuple(fc.constant('x-envoy-internal'), fc.constant('true')),
  fc.tuple(fc.constant('x-request-id'), fc.constant('11111111-2222-4333-8444-555555555555')),
  fc.tuple(fc.constant('via'), fc.constant('1.1 someone')),
  fc.tuple(fc.constant('keep-alive'), fc.constant('timeout=5')),
  fc.tuple(fc.constant('proxy-connection'), fc.constant('keep-alive')),
  fc.tuple(fc.constant('content-type'), fc.constantFrom('application/grpc', 'application/grpc+proto', 'text/plain')),
  fc.tuple(fc.constant('user-agent'), fc.constant('interop/1')),
)

const answer = fc.constantFrom(
  '200',
  '200,len=0',
  '200,chunked',
  '200,len=20000',
  '204',
  '304',
  '404',
  '500',
  '503;200',
  '503;503;503;200',
  '418;200',
  '409;200',
  'drop',
  'drop;200',
  '200,header=X-Up:one,header=x-up:two',
  '200,header=server:mine',
  '200,header=date:Thu, 01 Jan 1970 00:00:00 GMT',
  '200,close',
  '200,header=x-envoy-overloaded:true',
  '302,header=location:/elsewhere',
)

/** `count` requests, the same for the same seed. */
export function generateRequests(seed: number, count: number): GeneratedRequest[] {
  const request = fc.record({
    method: fc.constantFrom('GET', 'GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH'),
    path,
    host: fc.constantFrom(
      'exact.example',
      'Exact.Example',
      'exact.example:8080',
      'exact.example:99',
      'x.suffix.example',
      'x.a.suffix.example',
      'prefix.anything',
      'tls.example',
      'unknown',
      '127.0.0.1',
    ),
    headers: fc
      .tuple(fc.uniqueArray(header, { maxLength: 5, selector: ([name]) => name }), answer)
      .map(([list, a]) => [...list, ['x-answer', a] as [string, string]]),
    body: fc.oneof(
      fc.constant(''),
      fc.constant('hello'),
      fc.nat(40_000).map((n) => 'b'.repeat(n)),
    ),
    chunked: fc.boolean(),
  })
  return fc
    .sample(request, { seed, numRuns: count })
    .map((r) => (r.method === 'HEAD' || r.method === 'GET' ? { ...r, body: '' } : r))
}

/** The bytes of one request that asks for the connection to close after it. */
export function encodeRequest(request: GeneratedRequest, id: string): string {
  const lines = [`${request.method} ${request.path} HTTP/1.1`, `host: ${request.host}`, `x-case: ${id}`]
  for (const [name, value] of request.headers) lines.push(`${name}: ${value}`)
  lines.push('connection: close')
  if (request.body === '') return `${lines.join('\r\n')}\r\n\r\n`
  if (!request.chunked) return `${lines.join('\r\n')}\r\ncontent-length: ${request.body.length}\r\n\r\n${request.body}`
  const half = request.body.length >> 1
  const chunk = (s: string): string => (s ? `${s.length.toString(16)}\r\n${s}\r\n` : '')
  return `${lines.join('\r\n')}\r\ntransfer-encoding: chunked\r\n\r\n${chunk(request.body.slice(0, half))}${chunk(request.body.slice(half))}0\r\n\r\n`
}
