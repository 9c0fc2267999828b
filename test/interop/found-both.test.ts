// Differences that generated traffic found (test/interop/generated) and that depend on the protocol of the client or of the
// upstream, each in its smallest form.

import { type Case, describeCases, filter, http1, http2 } from './generated/cases.ts'
import { KEYS } from './generated/tokens.ts'

const MIRROR = { request_mirror_policies: [{ cluster: 'mirror' }] }
const RETRY = { retry_policy: { retry_on: '5xx,reset,connect-failure', retry_back_off: { base_interval: '0.001s' } } }
const NOT_SENT = ['no-requests', 'no-pending', 'no-connections', 'empty', 'refused']

const MIRRORS: readonly Case[] = NOT_SENT.flatMap((cluster): Case[] => [
  { name: `mirror beside ${cluster}`, route: { ...MIRROR, cluster }, client: [http2({})] },
  { name: `mirror beside ${cluster}, a body`, route: { ...MIRROR, cluster }, client: [http2({}, ['one', 'two'])] },
  { name: `mirror beside ${cluster}, HTTP/1`, route: { ...MIRROR, cluster }, client: http1({}, ['hello']) },
  { name: `mirror beside ${cluster}, retries`, route: { ...MIRROR, ...RETRY, cluster }, client: [http2({})] },
  {
    name: `mirror beside ${cluster}, retries, a body`,
    route: { ...MIRROR, ...RETRY, cluster },
    client: [http2({}, ['one', 'two'])],
  },
])

/** What a service asked over HTTP gets of the request, and what becomes of its answer. */
const authz = (fields: object = {}, service: object = {}): object[] => [
  filter('ext_authz', 'ExtAuthz', {
    allowed_headers: { patterns: [{ exact: 'x-case' }, { prefix: 'x-' }] },
    http_service: { server_uri: { uri: 'http://authz', cluster: 'authz', timeout: '0.3s' }, ...service },
    ...fields,
  }),
]
const BODY = { with_request_body: { max_request_bytes: 5 } }
const PARTIAL = { with_request_body: { max_request_bytes: 5, allow_partial_message: true } }
const AUTHZ: readonly Case[] = [
  { name: 'ext_authz', filters: authz(), client: [http2({})] },
  {
    name: 'ext_authz, a prefix',
    filters: authz({}, { path_prefix: '/check' }),
    client: [http2({ ':path': '/a?b=c' })],
  },
  {
    name: 'ext_authz, a path that is no UTF-8',
    filters: authz({}, { path_prefix: '/check' }),
    client: [http2({ ':path': '/\xe9?\xc3\xa9', 'x-a': '\xff\xfea\xe2\x82' })],
  },
  { name: 'ext_authz, HTTP/1', filters: authz(), client: http1({ 'x-a': '\xff' }) },
  { name: 'ext_authz, forwarded for', filters: authz(), client: [http2({ 'x-forwarded-for': '1.2.3.4' })] },
  {
    name: 'ext_authz, edge',
    filters: authz(),
    manager: { use_remote_address: true, append_x_forwarded_port: true, internal_address_config: { cidr_ranges: [] } },
    client: [http2({ 'x-forwarded-for': '1.2.3.4' })],
  },
  {
    name: 'ext_authz, an expected timeout',
    filters: authz(),
    client: [http2({ 'x-envoy-expected-rq-timeout-ms': '50', 'x-envoy-upstream-rq-timeout-ms': '90' })],
  },
  { name: 'ext_authz, twice the same header', filters: authz(), client: http1({ 'x-a': '1', 'X-A': '2' }) },
  ...[BODY, PARTIAL].flatMap((fields, i): Case[] =>
    [['1234'], ['12345'], ['123456'], ['123', '45'], ['123', '456'], ['123', '456', '789'], ['']].flatMap(
      (body): Case[] => [
        { name: `ext_authz, body ${i} ${JSON.stringify(body)}`, filters: authz(fields), client: [http2({}, body)] },
        {
          name: `ext_authz, body ${i} ${JSON.stringify(body)} with trailers`,
          filters: authz(fields),
          // Frames without bytes are nothing to our filters.
          client: [http2({}, body[0] === '' ? ['1'] : body, [['x-t', '1']])],
        },
        {
          name: `ext_authz, body ${i} ${JSON.stringify(body)}, HTTP/1`,
          filters: authz(fields),
          client: http1({}, body),
        },
      ],
    ),
  ),
  ...[
    '403,header=x-up:1,hex=6e6f',
    '500',
    'hang',
    'drop',
    '302,header=location:/x',
    '204',
    '200,header=x-up:1',
  ].flatMap((answer): Case[] => [
    { name: `ext_authz answers ${answer}`, filters: authz(), client: [http2({ 'x-answer': answer })] },
    {
      name: `ext_authz answers ${answer}, allowed headers`,
      filters: authz(
        { failure_mode_allow: true, failure_mode_allow_header_add: true },
        {
          authorization_response: {
            allowed_upstream_headers: { patterns: [{ exact: 'x-up' }, { prefix: 'x-envoy' }] },
            allowed_client_headers: { patterns: [{ prefix: 'x-' }] },
          },
        },
      ),
      client: http1({ 'x-answer': answer }, ['hello']),
    },
  ]),
]

const LIMITED = { common_http_protocol_options: { max_headers_count: 9 } }
const TELL = { authorization_response: { allowed_upstream_headers: { patterns: [{ prefix: 'x-' }] } } }
const LIMITS: readonly Case[] = [1, 2, 3, 4, 5].map((count) => ({
  name: `ext_authz adds ${count} headers`,
  filters: authz({ allowed_headers: { patterns: [{ exact: 'x-case' }, { exact: 'x-answer' }] } }, TELL),
  manager: LIMITED,
  client: [http2({ 'x-answer': `200${Array.from({ length: count - 1 }, (_, i) => `,header=x-${i}:1`).join('')}` })],
}))
const REDIRECT = '302,header=location:http://a/a;200'
const REDIRECTS: readonly Case[] = ['up', 'up2'].flatMap((cluster) =>
  [null, ['one', 'two']].map((body) => ({
    name: `a redirect leaves trailers behind: ${cluster}, ${body}`,
    route: { cluster, internal_redirect_policy: {} },
    client: [http2({ 'x-answer': REDIRECT }, body, [['x-t', '1']])],
  })),
)

const buffer = (max_request_bytes: number): object => filter('buffer', 'Buffer', { max_request_bytes })
const KEPT: readonly Case[] = [
  ...[['hello'], ['he', 'llo'], ['he', 'llo', '!']].flatMap((body): Case[] => [
    { name: `kept twice ${body}`, filters: [...authz(), buffer(3)], client: [http2({}, body)] },
    {
      name: `kept twice ${body} with trailers`,
      filters: [...authz(), buffer(3)],
      client: [http2({}, body, [['x-t', '1']])],
    },
    { name: `kept twice ${body}, HTTP/1`, filters: [...authz(), buffer(3)], client: http1({}, body) },
    { name: `kept twice ${body}, the larger first`, filters: [...authz(BODY), buffer(3)], client: [http2({}, body)] },
    {
      name: `kept until there is a connection ${body}`,
      filters: [buffer(3)],
      route: { cluster: 'once' },
      client: [http2({}, body)],
    },
    {
      name: `kept until there is a connection ${body}, HTTP/1`,
      listener: { per_connection_buffer_limit_bytes: 3 },
      route: { cluster: 'once' },
      client: http1({}, body),
    },
  ]),
]

/** Lines of chunk sizes: their ends decide where the next request begins. */
const CHUNKS: readonly Case[] = [
  '2;a\rb\r\nhe\r\n0\r\n\r\n',
  '2\r\r\nhe\r\n0\r\n\r\n',
  '2;\r\r\nhe\r\n0\r\n\r\n',
  '2;a\nhe\r\n0\r\n\r\n',
  '2\nhe\r\n0\r\n\r\n',
  '2\r\nhe\n0\r\n\r\n',
  '2\r\nhe\r\n0\n\r\n',
  '2\r\nhe\r\n0\r\n\n',
  '2 x\r\nhe\r\n0\r\n\r\n',
  '2\rx\r\nhe\r\n0\r\n\r\n',
  '2\r\nhexx\r\n0\r\n\r\n',
  '2\r\nhe\r\r\n0\r\n\r\n',
  '0;a\rb\r\n\r\n',
  '2;a="b\r"\r\nhe\r\n0\r\n\r\n',
].map((body) => ({
  name: `chunks ${JSON.stringify(body)}`,
  filters: [buffer(100)],
  client: `POST /a HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n${body}`,
}))

const PATHS: readonly Record<string, string>[] = [{}, { 'x-envoy-original-path': '/orig' }]
const TOKENS: readonly Case[] = PATHS.map((fields) => ({
  name: `a token is missing, ${JSON.stringify(fields)}`,
  filters: [
    filter('jwt_authn', 'JwtAuthentication', {
      providers: { p: { issuer: 'i', local_jwks: { inline_string: KEYS } } },
      rules: [{ match: { prefix: '/' }, requires: { provider_name: 'p' } }],
    }),
  ],
  client: [http2(fields)],
}))

describeCases('bodies that are kept', KEPT)
describeCases('chunk lines', CHUNKS)
describeCases('tokens', TOKENS)
describeCases('mirrors of what is not sent', MIRRORS)
describeCases('a service that is asked', [
  ...AUTHZ,
  ...LIMITS,
  {
    name: 'ext_authz, no route',
    filters: authz({ filter_enabled: { default_value: { numerator: 0 }, runtime_key: 'k' } }),
    routeEntry: { match: { path: '/x' } },
    client: [http2({})],
  },
])
describeCases('internal redirects', REDIRECTS)
