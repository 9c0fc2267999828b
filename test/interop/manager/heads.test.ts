// What becomes of the heads of requests and responses in every combination of the options that change them (contract §5.3,
// §5.5): identifiers, via, server, user agent, client certificates without TLS, schemes, headers of the connection.

import { type Case, describeCases } from '../generated/cases.ts'
import { both, given, product, type Request } from './both-protocols.ts'

const T = 'type.googleapis.com/envoy.'
const TENS = { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] }
const fields = (...list: readonly Readonly<Record<string, string | readonly string[]>>[]): Request[] =>
  list.map((one) => ({ fields: one }))

const ID = '11111111-1111-4111-8111-111111111111'
const IDS: readonly Case[] = product({
  generate_request_id: [undefined, false],
  preserve_external_request_id: [undefined, true],
  always_set_request_id_in_response: [undefined, true],
  use_remote_address: [undefined, true],
  pack: [undefined, false],
  tracing: [undefined, {}],
}).flatMap(({ pack, ...manager }) =>
  both(
    {
      name: `request ids ${JSON.stringify({ ...manager, pack })}`,
      manager: {
        // What cases have by default.
        generate_request_id: true,
        internal_address_config: TENS,
        ...given(manager),
        ...(pack === false
          ? {
              request_id_extension: {
                typed_config: {
                  '@type': `${T}extensions.request_id.uuid.v3.UuidRequestIdConfig`,
                  pack_trace_reason: pack,
                },
              },
            }
          : {}),
      },
    },
    fields(
      {},
      { 'x-request-id': ID },
      { 'x-request-id': 'short' },
      { 'x-request-id': '' },
      { 'x-request-id': ID, 'x-envoy-force-trace': '1', 'x-forwarded-for': '10.0.0.1' },
      { 'x-request-id': ID, 'x-envoy-force-trace': '1' },
      { 'x-request-id': ID, 'x-client-trace-id': 'client' },
      { 'x-request-id': ['1111a', '1111b'] },
      { 'x-request-id': ID, 'x-answer': '200,header=x-request-id:1111-upstream' },
    ),
  ),
)

const ANSWERS = fields(
  {},
  { via: '1.0 before' },
  { via: ['1.0 a', '1.1 b'] },
  { via: '' },
  { 'x-answer': '200,header=server:theirs,header=via:1.1 up' },
  { 'x-answer': '200,header=server:,header=date:Thu, 01 Jan 1970 00:00:00 GMT' },
  { 'x-answer': '200,header=server:a,header=server:b,header=via:1.1 up,header=via:1.1 down' },
  {
    'x-answer':
      '200,header=keep-alive:timeout=5,header=proxy-connection:keep-alive,header=upgrade:h2c,header=x-a:1,header=te:gzip',
  },
  { 'x-answer': '404,header=x-envoy-upstream-service-time:7,header=x-envoy-decorator-operation:op' },
  { ':authority': 'b', ':path': '/none' },
)
const NAMES: readonly Case[] = product({
  via: [undefined, 'me', '1.1 me'],
  server_name: [undefined, 'named', ''],
  server_header_transformation: [undefined, 'APPEND_IF_ABSENT', 'PASS_THROUGH'],
  add_user_agent: [undefined, true],
}).flatMap((manager) =>
  both(
    {
      name: `names ${JSON.stringify(manager)}`,
      manager: given(manager),
      routeConfig: { response_headers_to_remove: [] },
    },
    [
      ...ANSWERS,
      ...fields({ 'user-agent': 'ua' }, { 'user-agent': '' }, { 'x-envoy-downstream-service-cluster': 'x' }),
    ],
  ),
)

const FORWARDED: readonly Case[] = product({
  forward_client_cert_details: [
    undefined,
    'SANITIZE',
    'FORWARD_ONLY',
    'APPEND_FORWARD',
    'SANITIZE_SET',
    'ALWAYS_FORWARD_ONLY',
  ],
  set_current_client_cert_details: [undefined, { subject: true, cert: true, chain: true, dns: true, uri: true }],
}).flatMap((manager) =>
  both(
    { name: `client certificates without TLS ${JSON.stringify(manager)}`, manager: given(manager) },
    fields({}, { 'x-forwarded-client-cert': 'By=a;Hash=b' }, { 'x-forwarded-client-cert': ['By=a', 'By=b'] }),
  ),
)

const SCHEMES: readonly Case[] = product({
  scheme_header_transformation: [
    undefined,
    { scheme_to_overwrite: 'https' },
    { scheme_to_overwrite: 'http' },
    { match_upstream: true },
  ],
  use_remote_address: [undefined, true],
  xff_num_trusted_hops: [undefined, 1],
}).flatMap((manager) => [
  ...both(
    { name: `schemes ${JSON.stringify(manager)}`, manager: given(manager) },
    ['http', 'https', 'HTTPS', 'ftp'].flatMap((proto): Request[] => [
      { fields: { 'x-forwarded-proto': proto } },
      { fields: { 'x-forwarded-proto': proto, 'x-answer': '302,header=location:http://a/b' } },
    ]),
  ),
  ...['http', 'https', 'HTTP', 'Https', 'ftp'].map((scheme): Case => {
    const [, http2] = both({ name: `scheme ${scheme} ${JSON.stringify(manager)}`, manager: given(manager) }, [
      { fields: { ':scheme': scheme } },
      { fields: { ':scheme': scheme, 'x-forwarded-proto': 'https' } },
    ])
    return http2!
  }),
  ...['http://a/b', 'https://a/b', 'HTTPS://a/b', 'ftp://a/b', 'http://b:99', 'http://a?q', 'https://a#f'].map(
    (target): Case => {
      const [http1] = both({ name: `target ${target} ${JSON.stringify(manager)}`, manager: given(manager) }, [
        { fields: { ':path': target } },
      ])
      return http1!
    },
  ),
])

/** HTTP/1 only: what speaks of the connection. */
const CONNECTION_FIELDS: readonly Readonly<Record<string, string | readonly string[]>>[] = [
  { connection: 'x-a', 'x-a': '1' },
  { connection: 'x-a, close', 'x-a': '1', 'x-b': '2' },
  { connection: 'keep-alive, te', te: 'trailers' },
  { te: 'trailers' },
  { te: 'gzip' },
  { te: 'gzip, trailers' },
  { te: ['gzip', 'trailers'] },
  { te: 'trailers;q=1' },
  { te: 'TRAILERS' },
  { connection: 'a,b,c,d,e,f,g,h,i', a: '1' },
  { connection: 'a,b,c,d,e,f,g,h,i,j', a: '1' },
  { connection: 'a,b,c,d,e,f,g,h,i,j,k', a: '1' },
  { connection: 'x-forwarded-for', 'x-forwarded-for': '1.2.3.4' },
  { connection: 'x-forwarded-host' },
  { connection: 'x-forwarded-proto' },
  { connection: 'x-forwarded-port' },
  { connection: ':path' },
  { connection: 'host' },
  { connection: 'content-length' },
  { connection: '' },
  { connection: ',' },
  { 'keep-alive': '5' },
  { 'proxy-connection': 'keep-alive' },
  { 'proxy-connection': 'close' },
  { connection: 'upgrade' },
  { upgrade: 'h2c' },
  { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAARAAAAAAAIAAAAA' },
  { connection: 'upgrade', upgrade: 'websocket' },
  { connection: 'upgrade', upgrade: '' },
  { connection: 'http2-settings' },
]
const CONNECTION_HEADERS = CONNECTION_FIELDS.map((headers, i): Case => {
  const [http1] = both({ name: `connection headers ${i}: ${JSON.stringify(headers)}` }, fields(headers, {}))
  return http1!
})

const mutation = (mutations: object): object => ({
  name: 'envoy.http.early_header_mutation.header_mutation',
  typed_config: {
    '@type': `${T}extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation`,
    mutations,
  },
})
const append = (key: string, value: string, action?: string, keep?: boolean): object => ({
  append: { header: { key, value }, ...given({ append_action: action, keep_empty_value: keep }) },
})
const EARLY: readonly Case[] = [
  [mutation([append('x-forwarded-for', '10.0.0.5', 'OVERWRITE_IF_EXISTS_OR_ADD')])],
  [mutation([append('x-forwarded-for', '10.0.0.5')])],
  [mutation([{ remove: 'x-forwarded-for' }])],
  [mutation([append('x-forwarded-proto', 'https', 'OVERWRITE_IF_EXISTS_OR_ADD')])],
  [mutation([append('x-envoy-force-trace', '1'), append('x-envoy-internal', 'true')])],
  [
    mutation([
      append('x-new', '%REQ(:PATH)%|%REQ(X-FORWARDED-FOR)%|%PROTOCOL%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'),
    ]),
  ],
  [mutation([append('x-new', '%REQ(X-NONE)%'), append('x-empty', '%REQ(X-NONE)%', 'APPEND_IF_EXISTS_OR_ADD', true)])],
  [mutation([append('x-a', 'b', 'ADD_IF_ABSENT'), append('x-b', 'b', 'OVERWRITE_IF_EXISTS')])],
  [mutation([{ remove: 'x-a' }]), mutation([append('x-a', 'again')])],
  [mutation([append('x-request-id', '1111', 'OVERWRITE_IF_EXISTS_OR_ADD'), append('user-agent', 'early')])],
].flatMap((early_header_mutation_extensions, i) =>
  [undefined, true].flatMap((use_remote_address) =>
    both(
      {
        name: `early mutation ${i} ${use_remote_address}`,
        manager: {
          early_header_mutation_extensions,
          internal_address_config: TENS,
          ...given({ use_remote_address }),
        },
      },
      fields({}, { 'x-a': '1' }, { 'x-b': '1', 'x-forwarded-for': '1.2.3.4' }, { 'x-request-id': ID }),
    ),
  ),
)

describeCases('request ids', IDS)
describeCases('via, server and user agent', NAMES)
describeCases('client certificates without TLS, schemes', [...FORWARDED, ...SCHEMES])
describeCases('headers of the connection, early mutations', [...CONNECTION_HEADERS, ...EARLY])
