// Differences that generated traffic found (test/interop/generated) and that depend on the protocol of the client or of the
// upstream, each in its smallest form.

import { type Case, describeCases, filter, http1, http2 } from './generated/cases.ts'

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

describeCases('mirrors of what is not sent', MIRRORS)
describeCases('a service that is asked', AUTHZ)
