// The filters compressor and decompressor beside real Envoy. Compressed bytes are compared by what they say: the libraries
// need not make the same ones.

import {
  brotliCompressSync,
  brotliDecompressSync,
  gunzipSync,
  gzipSync,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'
import { joinChunks } from './harness/responses.ts'

const extension = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const library = (kind: 'gzip' | 'brotli' | 'zstd', side: 'compressor' | 'decompressor', more: object = {}): object => ({
  // The same for all: Envoy names trailers by the first decompressor of the process.
  name: 'library',
  typed_config: {
    '@type': extension(`compression.${kind}.${side}.v3.${kind[0]!.toUpperCase()}${kind.slice(1)}`),
    ...more,
  },
})
const compressor = (config: object = {}, kind: 'gzip' | 'brotli' | 'zstd' = 'gzip', options: object = {}) => ({
  name: 'envoy.filters.http.compressor',
  typed_config: {
    '@type': extension('filters.http.compressor.v3.Compressor'),
    compressor_library: library(kind, 'compressor', options),
    ...config,
  },
})
const decompressor = (config: object = {}, kind: 'gzip' | 'brotli' | 'zstd' = 'gzip', options: object = {}) => ({
  name: 'envoy.filters.http.decompressor',
  typed_config: {
    '@type': extension('filters.http.decompressor.v3.Decompressor'),
    decompressor_library: library(kind, 'decompressor', options),
    ...config,
  },
})
const responses = (config: object): object => ({ response_direction_config: config })
const telling = (config: object = {}) => compressor(responses({ status_header_enabled: true, ...config }))
const perRoute = (config: object): object => ({
  typed_per_filter_config: {
    'envoy.filters.http.compressor': { '@type': extension('filters.http.compressor.v3.CompressorPerRoute'), ...config },
  },
})

const get = (headers = 'accept-encoding: gzip\r\n', method = 'GET'): string =>
  `${method} / HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const TEXT = 'compression is worth it for text, and text is worth compressing. '.repeat(4)
const answer =
  (headers = '', body: string | Buffer = TEXT, status = 200) =>
  (): string =>
    `HTTP/1.1 ${status} OK\r\ncontent-length: ${body.length}\r\n${headers}\r\n${body.toString('latin1')}`
const showEncoding = (head: string): string =>
  answer(`x-accepts: ${/accept-encoding: (.*)\r/.exec(head)?.[1] ?? 'nothing'}\r\n`)()
const tellEncoding = (head: string): string =>
  answer(`x-encoding: ${/content-encoding: (.*)\r/.exec(head)?.[1] ?? 'none'}\r\n`, 'ok')()
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`
const plain = (
  name: string,
  filter: ReturnType<typeof compressor>,
  headers: string,
  more: Partial<Scenario> = {},
): Scenario => ({
  name: `compressor: ${name}`,
  filters: [filter],
  client: [get()],
  upstream: answer(headers),
  ...more,
})
const gzipped = gzipSync(TEXT)
const TRAILERS = {
  hcm: { http_protocol_options: { enable_trailers: true } },
  upstreamHttp1: { enable_trailers: true },
}
const OFF = { enabled: { default_value: false, runtime_key: 'compress' } }

/** Ours works on bodies in a thread: an answer to the head alone may come before the body or behind it. */
const AFTER_BODY = '\r\n0\r\n\r\n'

const ACCEPTED = [
  ...['', 'gzip', 'GZIP', 'gzip;q=0', 'gzip;q=0.5, identity', 'identity', '*', '*;q=0.1, identity;q=0.2', 'br'],
  ...['gzip;q=x', 'deflate, *', 'gzip ; q = 0.3', 'gzip;level=1', 'gzip;q=0, *', 'x-gzip', ','],
]

const SCENARIOS: readonly Scenario[] = [
  plain('as it comes', compressor(), 'content-type: text/plain\r\n'),
  plain('nothing is said to be accepted', compressor(), '', { client: [get('')] }),
  ...ACCEPTED.map((accepted) =>
    plain(`accepted: "${accepted}"`, compressor(), '', { client: [get(`accept-encoding: ${accepted}\r\n`)] }),
  ),
  plain('brotli', compressor({}, 'brotli'), '', { client: [get('accept-encoding: br\r\n')] }),
  plain('zstd', compressor({}, 'zstd'), '', { client: [get('accept-encoding: zstd\r\n')] }),
  {
    name: 'compressor: three in a chain',
    filters: [compressor(), compressor(responses({}), 'brotli'), compressor({ choose_first: true }, 'zstd')],
    client: ['gzip, br', 'br;q=1, gzip;q=0.5', 'gzip, zstd', '*', 'gzip;q=0.9, *;q=1', 'deflate'].map((accepted) =>
      get(`accept-encoding: ${accepted}\r\n`),
    ),
    upstream: answer(),
  },
  {
    name: 'compressor: two that compress different types',
    filters: [
      compressor(responses({ common_config: { content_type: ['text/html'] } })),
      compressor(responses({ common_config: { content_type: ['text/css'] } }), 'brotli'),
    ],
    client: [get('accept-encoding: gzip, br;q=0.5\r\n')],
    upstream: answer('content-type: text/css\r\n'),
  },
  plain('too short', compressor(), '', { upstream: answer('', 'short') }),
  plain('a limit of its own', compressor(responses({ common_config: { min_content_length: 4 } })), '', {
    upstream: answer('', 'short'),
  }),
  ...['image/png', 'Text/HTML; charset=utf-8', 'application/json', 'application/grpc'].map((type) =>
    plain(`type ${type}`, compressor(), `content-type: ${type}\r\n`),
  ),
  ...['image/png', 'text/html'].map((type) =>
    plain(
      `matchers of types and ${type}`,
      compressor(
        responses({ common_config: { content_type: ['text/html'], content_type_matcher: [{ prefix: 'image/' }] } }),
      ),
      `content-type: ${type}\r\n`,
    ),
  ),
  plain('no transformation', compressor(), 'cache-control: max-age=1, No-Transform\r\n'),
  plain('compressed already', compressor(), 'content-encoding: br\r\n'),
  ...['"abc"', 'W/"abc"', '""'].map((etag) => plain(`etag ${etag}`, compressor(), `etag: ${etag}\r\n`)),
  plain('etag, weakened', compressor(responses({ weaken_etag_on_compress: true })), 'etag: "abc"\r\n'),
  plain('etag, disabled', compressor(responses({ disable_on_etag_header: true })), 'etag: "abc"\r\n'),
  plain('status that is not compressed', compressor(responses({ uncompressible_response_codes: [206] })), '', {
    upstream: answer('', TEXT, 206),
  }),
  ...['Origin', '*', 'accept-encoding, x', 'x, Accept-Encoding'].map((vary) =>
    plain(`vary ${vary}`, compressor(), `vary: ${vary}\r\n`),
  ),
  plain('told: compressed', telling(), ''),
  plain('told: a type', telling(), 'content-type: image/png\r\n'),
  plain('told: an etag', telling({ disable_on_etag_header: true }), 'etag: "abc"\r\n'),
  plain('told: a status', telling({ uncompressible_response_codes: [206] }), '', { upstream: answer('', TEXT, 206) }),
  plain('told: too short', telling(), '', { upstream: answer('', 'short') }),
  plain('told: not accepted', telling(), '', { client: [get('')] }),
  plain('told: no transformation', telling(), 'cache-control: no-transform\r\n'),
  plain('told: compressed already', telling(), 'content-encoding: br\r\n'),
  plain('told: of unknown length', telling(), '', {
    upstream: () => `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunk('hello')}0\r\n\r\n`,
  }),
  plain('told: off', telling({ common_config: OFF }), ''),
  plain('off', compressor(responses({ common_config: OFF })), ''),
  plain('off for the route', compressor(), '', { routeEntry: perRoute({ disabled: true }) }),
  plain('on for the route', compressor(responses({ common_config: OFF })), '', {
    routeEntry: perRoute({ overrides: { response_direction_config: { remove_accept_encoding_header: true } } }),
    upstream: showEncoding,
  }),
  plain('accept-encoding is not for the upstream', compressor(responses({ remove_accept_encoding_header: true })), '', {
    upstream: showEncoding,
  }),
  plain('HEAD', compressor(), '', {
    client: [get('accept-encoding: gzip\r\n', 'HEAD')],
    upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n',
  }),
  plain('trailers', compressor(), '', {
    ...TRAILERS,
    client: [get('accept-encoding: gzip\r\nte: trailers\r\n')],
    upstream: () => `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunk(TEXT)}0\r\nt: 1\r\n\r\n`,
  }),
  plain('a long body', compressor(), '', {
    upstream: answer('', TEXT.repeat(2000)),
    // As the pieces of each library come, only the end of the connection tells that it is whole.
    client: [get('accept-encoding: gzip\r\nconnection: close\r\n')],
    slackBytes: 2000,
  }),
  plain('a local reply', compressor(), '', {
    routeEntry: { direct_response: { status: 200, body: { inline_string: TEXT } }, route: undefined },
  }),
  {
    name: 'compressor: a request',
    filters: [compressor({ request_direction_config: {} })],
    answersAfter: AFTER_BODY,
    client: [`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${TEXT.length}\r\n\r\n${TEXT}`],
    upstream: tellEncoding,
  },
  {
    name: 'compressor: requests that stay as they are',
    filters: [compressor({ request_direction_config: {} })],
    client: [
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc',
      `POST / HTTP/1.1\r\nhost: a\r\ncontent-encoding: br\r\ncontent-length: ${TEXT.length}\r\n\r\n${TEXT}`,
      get(''),
    ],
    upstream: tellEncoding,
  },
  ...(['gzip', 'brotli', 'zstd'] as const).map((kind): Scenario => {
    const body = { gzip: gzipped, brotli: brotliCompressSync(TEXT), zstd: zstdCompressSync(TEXT) }[kind]
    return {
      name: `decompressor: ${kind}`,
      ...TRAILERS,
      filters: [decompressor({}, kind)],
      client: [get('te: trailers\r\naccept-encoding: x, gzip;q=0.1\r\n'), get('')],
      upstream: (head) => {
        const accepted = /accept-encoding: (.*)\r/.exec(head)?.[1] ?? 'nothing'
        return answer(`content-encoding: ${kind === 'brotli' ? 'br' : kind}\r\nx-accepts: ${accepted}\r\n`, body)()
      },
    }
  }),
  ...['gzip, x', 'x, gzip', 'GZIP', 'identity'].map(
    (coding): Scenario => ({
      name: `decompressor: ${coding}`,
      filters: [decompressor()],
      client: [get('')],
      upstream: answer(`content-encoding: ${coding}\r\n`, gzipped),
    }),
  ),
  {
    name: 'decompressor: no transformation',
    filters: [decompressor()],
    client: [get('')],
    upstream: answer('cache-control: no-transform\r\ncontent-encoding: gzip\r\n', gzipped),
  },
  {
    name: 'decompressor: whatever is said of transformation',
    filters: [decompressor(responses({ common_config: { ignore_no_transform_header: true } }))],
    client: [get('')],
    upstream: answer('cache-control: no-transform\r\ncontent-encoding: gzip\r\n', gzipped),
  },
  {
    name: 'decompressor: off for responses',
    filters: [decompressor(responses({ common_config: OFF }))],
    client: [get('')],
    upstream: (head) =>
      answer(`x-accepts: ${head.includes('accept-encoding')}\r\ncontent-encoding: gzip\r\n`, gzipped)(),
  },
  {
    name: 'decompressor: not advertised',
    filters: [decompressor({ request_direction_config: { advertise_accept_encoding: false } })],
    client: [get('')],
    upstream: showEncoding,
  },
  ...(['gzip', 'zstd'] as const).map(
    (kind): Scenario => ({
      name: `decompressor: what is no ${kind}`,
      filters: [decompressor({}, kind)],
      client: [get('')],
      upstream: answer(`content-encoding: ${kind}\r\n`, 'this is no such thing at all'),
    }),
  ),
  {
    name: 'decompressor: a body that is cut off',
    filters: [decompressor()],
    client: [get('')],
    upstream: answer('content-encoding: gzip\r\n', gzipped.subarray(0, 40)),
  },
  {
    name: 'decompressor: requests',
    filters: [decompressor()],
    answersAfter: AFTER_BODY,
    client: [
      `POST / HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\ncontent-length: ${gzipped.length}\r\n\r\n${gzipped.toString('latin1')}`,
    ],
    upstream: tellEncoding,
  },
]

function decoded(head: string, body: string): string {
  const bytes = Buffer.from(body, 'latin1')
  const coding = /content-encoding: (.*)\r/.exec(head)?.[1]
  if (coding === 'gzip') return gunzipSync(bytes).toString('latin1')
  if (coding === 'br') return brotliDecompressSync(bytes).toString('latin1')
  return coding === 'zstd' ? zstdDecompressSync(bytes).toString('latin1') : body
}

/** The same text, compressed by another build of the library, is a few bytes longer or shorter. */
const SLACK_BYTES = 48

describeBeside(
  'compression',
  SCENARIOS.map((scenario) => ({ slackBytes: SLACK_BYTES, ...scenario })),
  {
    counted: (i) => new RegExp(`^http\\.s${i}\\.(decompressor\\.|compressor\\.(?!.*total_compressed_bytes))`),
    told: (received) => joinChunks(received, decoded),
    logged: (line) => ({ ...(line as object), sent: undefined }),
  },
)
