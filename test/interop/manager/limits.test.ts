// How much a request may be, at each limit and one beside it, and what else is refused before anything routes (contract §5.1,
// §5.2, §6): sizes, counts, underscores, versions, methods.

import { type Case, describeCases, http2 } from '../generated/cases.ts'
import { both, given, product, type Request } from './both-protocols.ts'

const KB = 1024
/** A request whose head has about `bytes`, in one header or in many. */
const large = (bytes: number, pieces = 1): Request => ({
  fields: Object.fromEntries(
    Array.from({ length: pieces }, (_, i) => [`x-${i}`, 'v'.repeat(Math.floor(bytes / pieces))]),
  ),
})
const many = (count: number): Request => ({
  fields: Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, 'v'])),
})

const SIZES: readonly Case[] = [undefined, 1, 8, 96].flatMap((max_request_headers_kb) => {
  const limit = (max_request_headers_kb ?? 60) * KB
  return [limit / 2, limit - 400, limit - 200, limit, limit + 200, 2 * limit].flatMap((bytes) =>
    [1, 7].flatMap((pieces) =>
      both(
        {
          name: `head of ${bytes} in ${pieces}, limit ${max_request_headers_kb}`,
          manager: { ...given({ max_request_headers_kb }), common_http_protocol_options: { idle_timeout: '0.8s' } },
        },
        [large(bytes, pieces)],
      ),
    ),
  )
})
// Beside the ones here the requests have :method, :path, :authority, :scheme, x-case, and over HTTP/1 connection.
const COUNTS: readonly Case[] = [undefined, 1, 5, 6, 10].flatMap((max_headers_count) =>
  [0, 1, 2, 4, 5, 6, 94, 95, 96, 97].flatMap((count) =>
    both(
      {
        name: `${count} headers, limit ${max_headers_count}`,
        manager: { common_http_protocol_options: { idle_timeout: '0.8s', ...given({ max_headers_count }) } },
      },
      [many(count)],
    ),
  ),
)
const UNDERSCORED: readonly Readonly<Record<string, string>>[] = [
  { x_a: '1' },
  { x_a: '1', x_b: '2', 'x-c': '3' },
  { _: '1' },
  { 'x-a_': '' },
]
const UNDERSCORES: readonly Case[] = product({
  headers_with_underscores_action: [undefined, 'ALLOW', 'REJECT_REQUEST', 'DROP_HEADER'],
  stream_error_on_invalid_http_message: [undefined, true],
}).flatMap(({ headers_with_underscores_action, ...manager }) =>
  UNDERSCORED.flatMap((fields) =>
    both(
      {
        name: `underscores ${JSON.stringify({ headers_with_underscores_action, ...manager, fields })}`,
        manager: {
          ...given(manager),
          common_http_protocol_options: { idle_timeout: '0.8s', ...given({ headers_with_underscores_action }) },
        },
      },
      [{ fields }],
    ),
  ),
)

const VERSIONS: readonly Case[] = product({
  accept_http_10: [undefined, true],
  default_host_for_http_10: [undefined, 'default'],
  allow_absolute_url: [undefined, false],
  allow_custom_methods: [undefined, true],
}).flatMap((options) =>
  [
    'GET /a HTTP/1.0\r\nx-case: ID\r\n\r\n',
    'GET /a HTTP/1.0\r\nhost: a\r\nx-case: ID\r\n\r\n',
    'GET /a HTTP/1.0\r\nhost:\r\nx-case: ID\r\n\r\n',
    'GET http://b/a HTTP/1.0\r\nx-case: ID\r\n\r\n',
    'GET /a HTTP/1.0\r\nhost: a\r\nx-case: ID\r\nconnection: keep-alive\r\n\r\nGET /a HTTP/1.0\r\nhost: a\r\nx-case: ID\r\n\r\n',
    'POST /a HTTP/1.0\r\nhost: a\r\nx-case: ID\r\ncontent-length: 2\r\n\r\nok',
    'POST /a HTTP/1.0\r\nhost: a\r\nx-case: ID\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'GET /a HTTP/1.0\r\nhost: a\r\nx-case: ID\r\nx-answer: 200,chunked\r\n\r\n',
    'GET /a HTTP/1.0\r\nhost: a\r\nx-case: ID\r\nx-answer: 200,early\r\n\r\n',
    'HEAD /a HTTP/1.0\r\nhost: a\r\nx-case: ID\r\nx-answer: 200,chunked\r\n\r\n',
    'GET /a HTTP/1.2\r\nhost: a\r\nx-case: ID\r\n\r\n',
    'GET /a HTTP/2.0\r\nhost: a\r\nx-case: ID\r\n\r\n',
    'GET /a HTTP/0.9\r\nhost: a\r\nx-case: ID\r\n\r\n',
    'GET /a\r\n\r\n',
    'GET http://b/a?x HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nconnection: close\r\n\r\n',
    'GET http://b HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nconnection: close\r\n\r\n',
    'OPTIONS * HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nconnection: close\r\n\r\n',
    'OPTIONS http://b HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nconnection: close\r\n\r\n',
    ...['get', 'FOO', 'PURGE', 'M-SEARCH', 'PROPFIND', 'PRI', 'A(B', 'TRACE', 'PATCH', 'QUERY'].map(
      (method) => `${method} /a HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nconnection: close\r\n\r\n`,
    ),
  ].map(
    (client): Case => ({
      name: `${JSON.stringify(given(options))} ${JSON.stringify(client)}`,
      manager: { http_protocol_options: given(options), common_http_protocol_options: { idle_timeout: '0.5s' } },
      client,
    }),
  ),
)

const LENGTHS: readonly Case[] = product({
  allow_chunked_length: [undefined, true],
  enable_trailers: [undefined, true],
}).flatMap((options) =>
  [
    'content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'content-length: x\r\ntransfer-encoding: gzip\r\n\r\n',
    'content-length: 2\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'content-length: 2\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'content-length: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'transfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'transfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n',
    'transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx_t: 1\r\nhost: b\r\n\r\n',
    'transfer-encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0;z\r\n\r\n',
    'transfer-encoding: chunked\r\nx-answer: 200,chunked,trailer=x-u:1\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n',
    'transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'transfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'transfer-encoding: identity\r\n\r\n',
    'content-length: 0\r\n\r\n',
    'content-length: +1\r\n\r\nx',
    'content-length: 1, 1\r\n\r\nx',
    'content-length: 1\r\ncontent-length: 1\r\n\r\nx',
  ].map(
    (rest): Case => ({
      name: `${JSON.stringify(given(options))} ${JSON.stringify(rest)}`,
      manager: { http_protocol_options: given(options), common_http_protocol_options: { idle_timeout: '0.5s' } },
      client: `POST /a HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nconnection: close\r\n${rest}`,
    }),
  ),
)

const WITHOUT = [':method', ':path', ':scheme', ':authority'].map(
  (missing): Case => ({
    name: `without ${missing}`,
    client: [{ ...http2({}), fields: http2({}).fields.filter(([name]) => name !== missing) }],
  }),
)

const QUERIES: readonly Case[] = [
  ...both({ name: 'QUERY' }, [
    { fields: { ':method': 'QUERY' } },
    { fields: { ':method': 'QUERY', 'content-type': '' } },
    { fields: { ':method': 'QUERY', 'content-type': 'text/plain' } },
    { fields: { ':method': 'QUERY', 'content-type': 'text/plain' }, body: ['ok'] },
    { fields: { ':method': 'QUERY', ':path': '/%00' } },
    { fields: { ':method': 'QUERY', ':authority': 'b', 'content-type': 'application/grpc' } },
  ]),
  ...['QUERY x HTTP/1.1\r\n', 'QUERY /a HTTP/1.1\r\n', 'QUERY /a HTTP/1.0\r\n', 'QUERY * HTTP/1.1\r\nhost: a\r\n'].map(
    (head): Case => ({ name: JSON.stringify(head), client: `${head}x-case: ID\r\nconnection: close\r\n\r\n` }),
  ),
]

describeCases('sizes and counts of heads', [...SIZES, ...COUNTS, ...UNDERSCORES])
describeCases('versions, methods and framing', [...VERSIONS, ...LENGTHS, ...QUERIES, ...WITHOUT])
