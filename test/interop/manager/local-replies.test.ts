// What the proxy's own answers become (contract §5.8): every filter of a mapper, what it changes, formats and content types,
// for answers of the connection manager, the router and filters, to gRPC clients and HEAD, too.

import { type Case, describeCases, filter } from '../generated/cases.ts'
import { both, type Request } from './both-protocols.ts'

const T = 'type.googleapis.com/envoy.'
const ROUTES = {
  validate_clusters: false,
  virtual_hosts: [
    {
      name: 'v',
      domains: ['a', 'b'],
      response_headers_to_add: [{ header: { key: 'x-vhost', value: '%RESPONSE_CODE%' } }],
      routes: [
        { name: 'refused', match: { prefix: '/refused' }, route: { cluster: 'refused' } },
        { name: 'empty', match: { prefix: '/empty' }, route: { cluster: 'empty' } },
        { name: 'full', match: { prefix: '/full' }, route: { cluster: 'no-requests' } },
        { name: 'slow', match: { prefix: '/slow' }, route: { cluster: 'up', timeout: '0.15s' } },
        { name: 'unknown', match: { prefix: '/unknown' }, route: { cluster: 'nobody' } },
        { name: 'moved', match: { prefix: '/moved' }, redirect: { path_redirect: '/a' } },
        {
          name: 'direct',
          match: { prefix: '/direct' },
          direct_response: { status: 418, body: { inline_string: 'direct "body" ~\n' } },
        },
        { name: 'nothing', match: { prefix: '/nothing' }, direct_response: { status: 200 } },
        {
          name: 'typed',
          match: { prefix: '/typed' },
          direct_response: { status: 503, body: { inline_string: '<p>' } },
          response_headers_to_add: [{ header: { key: 'content-type', value: 'text/html' } }],
        },
        {
          name: 'typed-nothing',
          match: { prefix: '/blank' },
          direct_response: { status: 503 },
          response_headers_to_add: [{ header: { key: 'content-type', value: 'text/html' } }],
        },
        { name: 'up', match: { prefix: '/a' }, route: { cluster: 'up' } },
      ],
    },
  ],
}
const FAULT = filter('fault', 'HTTPFault', {
  abort: { header_abort: {}, percentage: { numerator: 100 } },
})
const RBAC = filter('rbac', 'RBAC', {
  rules: {
    action: 'DENY',
    policies: {
      p: { permissions: [{ header: { name: 'x-denied', present_match: true } }], principals: [{ any: true }] },
    },
  },
})

const ORDINARY: readonly Readonly<Record<string, string>>[] = [
  {},
  { ':path': '/refused' },
  { ':path': '/empty' },
  { ':path': '/full' },
  { ':path': '/slow', 'x-answer': 'hang' },
  { ':path': '/unknown' },
  { ':path': '/moved' },
  { ':path': '/direct' },
  { ':path': '/nothing' },
  { ':path': '/typed' },
  { ':path': '/blank' },
  { ':path': '/a', 'x-answer': 'drop' },
  { ':path': '/a', 'x-answer': '503' },
  { ':path': '/none' },
  { ':authority': 'c' },
  { 'x-envoy-fault-abort-request': '429' },
  { 'x-denied': '1' },
]
/** Each answer to a plain client, to HEAD and to a gRPC client. */
const REQUESTS: readonly Request[] = [
  ...ORDINARY.map((fields) => ({ fields })),
  ...ORDINARY.map((fields) => ({ fields: { ...fields, ':method': 'HEAD' } })),
  ...ORDINARY.map((fields) => ({ fields: { ...fields, 'content-type': 'application/grpc' }, body: ['\0\0\0\0\0'] })),
  { fields: { ':path': '/direct', ':method': 'HEAD', 'content-type': 'application/grpc' } },
  { fields: { ':path': '/direct', 'content-type': 'application/grpc+proto' } },
  { fields: { ':path': '/direct', 'content-type': 'application/grpc-web' } },
]

const text = (inline_string: string): object => ({ text_format_source: { inline_string } })
const always = { status_code_filter: { comparison: { op: 'GE', value: { default_value: 0, runtime_key: 'none' } } } }
const status = (op: string, default_value: number): object => ({
  status_code_filter: { comparison: { op, value: { default_value, runtime_key: 'none' } } },
})
const header = (name: string, match: object): object => ({ header_filter: { header: { name, ...match } } })
const header503 = header(':status', { string_match: { exact: '503' } })
const cel = (expression: string): object => ({
  extension_filter: {
    name: 'envoy.access_loggers.extension_filters.cel',
    typed_config: { '@type': `${T}extensions.access_loggers.filters.cel.v3.ExpressionFilter`, expression },
  },
})
const marked = (filter: object, n = 1): object => ({
  filter,
  headers_to_add: [{ header: { key: 'x-mapped', value: String(n) } }],
})

const FILTERS: Readonly<Record<string, object>> = {
  ...Object.fromEntries(['EQ', 'GE', 'LE', 'NE'].map((op) => [`status ${op} 503`, status(op, 503)])),
  'duration GE': { duration_filter: { comparison: { op: 'GE', value: { default_value: 0, runtime_key: 'none' } } } },
  'duration LE': {
    duration_filter: { comparison: { op: 'LE', value: { default_value: 99_999, runtime_key: 'none' } } },
  },
  'not a health check': { not_health_check_filter: {} },
  traceable: { traceable_filter: {} },
  'runtime all': { runtime_filter: { runtime_key: 'none', percent_sampled: { numerator: 100 } } },
  'runtime none': { runtime_filter: { runtime_key: 'none', percent_sampled: { numerator: 0 } } },
  and: {
    and_filter: { filters: [status('GE', 500), header('x-denied', { present_match: true, invert_match: true })] },
  },
  or: { or_filter: { filters: [status('EQ', 404), header('x-denied', { present_match: true })] } },
  ':path': header(':path', { string_match: { prefix: '/d' } }),
  ':method': header(':method', { string_match: { exact: 'HEAD' } }),
  ':status': header503,
  ':authority': header(':authority', { string_match: { exact: 'c' } }),
  'flags any': { response_flag_filter: {} },
  'flags UF, NR': { response_flag_filter: { flags: ['UF', 'NR'] } },
  'flags FI, UAEX, UT': { response_flag_filter: { flags: ['FI', 'UAEX', 'UT'] } },
  'flags UH, UO, NC': { response_flag_filter: { flags: ['UH', 'UO', 'NC'] } },
  'grpc UNAVAILABLE': { grpc_status_filter: { statuses: ['UNAVAILABLE'] } },
  'grpc not UNAVAILABLE': { grpc_status_filter: { statuses: ['UNAVAILABLE'], exclude: true } },
  'grpc UNIMPLEMENTED, UNKNOWN': { grpc_status_filter: { statuses: ['UNIMPLEMENTED', 'UNKNOWN'] } },
  'grpc OK': { grpc_status_filter: { statuses: ['OK'] } },
  metadata: {
    metadata_filter: {
      matcher: { filter: 'ns', path: [{ key: 'k' }], value: { string_match: { exact: 'v' } } },
      match_if_key_not_found: false,
    },
  },
  'metadata absent': {
    metadata_filter: { matcher: { filter: 'ns', path: [{ key: 'k' }], value: { string_match: { exact: 'v' } } } },
  },
  'log type DownstreamEnd': { log_type_filter: { types: ['DownstreamEnd'] } },
  'log type NotSet': { log_type_filter: { types: ['NotSet'] } },
  'log type not NotSet': { log_type_filter: { types: ['NotSet'], exclude: true } },
  'cel code': cel('response.code == 503'),
  'cel path': cel("request.path.startsWith('/d')"),
  'cel details': cel("response.code_details == 'direct_response'"),
  'cel headers': cel("'x-vhost' in response.headers"),
  'cel flags': cel('response.flags == 0'),
  'cel grpc': cel('response.grpc_status == 14'),
  'cel route': cel("xds.route_name == 'direct'"),
}

const OVERRIDES: Readonly<Record<string, object>> = {
  'status 201': { status_code: 201 },
  'status 401': { status_code: 401 },
  'status 599': { status_code: 599 },
  'a body': { body: { inline_string: 'mapped 100% ü~' } },
  'a body in bytes': { body: { inline_bytes: 'bWFwcGVkAP8K' } },
  'an empty body': { body: { inline_string: '' }, body_format_override: text('[%LOCAL_REPLY_BODY%]') },
  'a text': {
    body_format_override: text('%RESPONSE_CODE%|%LOCAL_REPLY_BODY%|%RESPONSE_CODE_DETAILS%|%RESPONSE_FLAGS%'),
  },
  'the same text': { body_format_override: text('%LOCAL_REPLY_BODY%') },
  'the same text of another type': { body_format_override: { ...text('%LOCAL_REPLY_BODY%'), content_type: 'a/b' } },
  'a text without line end': { body_format_override: text('x') },
  'an empty text': { body_format_override: { text_format: '' } },
  'a text of the old field': { body_format_override: { text_format: 'old %REQ(:PATH)% %PROTOCOL%' } },
  'a text of answers': {
    body_format_override: text(
      '%RESP(CONTENT-TYPE)%|%RESP(CONTENT-LENGTH)%|%RESP(:STATUS)%|%RESP(X-VHOST)%|%GRPC_STATUS%',
    ),
  },
  'a text about the request': {
    body_format_override: text(
      '%REQ(X-DENIED?:AUTHORITY)% %ROUTE_NAME% %UPSTREAM_CLUSTER% %BYTES_RECEIVED% %REQUESTED_SERVER_NAME%',
    ),
  },
  'a text with its type': {
    body_format_override: { ...text('<b>%LOCAL_REPLY_BODY%</b>'), content_type: 'text/html; charset=UTF-8' },
  },
  JSON: {
    body_format_override: { json_format: { code: '%RESPONSE_CODE%', body: '%LOCAL_REPLY_BODY%', none: '%REQ(NONE)%' } },
  },
  'JSON without the unknown': {
    body_format_override: {
      json_format: {
        a: { path: '%REQ(:PATH)%', none: '%REQ(NONE)%' },
        b: ['%RESPONSE_CODE%', null, '%REQ(NONE)%', 'x %RESPONSE_CODE%'],
        n: 1,
        t: true,
        z: null,
        empty: { list: [], object: {}, text: '', absent: ['%REQ(NONE)%'], deep: { none: { none: '%REQ(NONE)%' } } },
      },
      omit_empty_values: true,
    },
  },
  'JSON of nothing': { body_format_override: { json_format: { none: '%REQ(NONE)%' }, omit_empty_values: true } },
  'JSON with its type': {
    body_format_override: { json_format: { body: '%LOCAL_REPLY_BODY%' }, content_type: 'application/problem+json' },
  },
  'JSON sorted': {
    body_format_override: {
      json_format: { z: '1', a: '%REQ(:METHOD)%', m: { y: '', b: '%ROUTE_NAME%x' } },
      json_format_options: { sort_properties: true },
    },
  },
  'headers added': {
    headers_to_add: [
      { header: { key: 'x-add', value: '%RESPONSE_CODE%' } },
      { header: { key: 'x-add', value: '%REQ(:PATH)%' } },
      { header: { key: 'x-vhost', value: 'mapper' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
      { header: { key: 'location', value: '/mapped' }, append_action: 'ADD_IF_ABSENT' },
    ],
    status_code: 302,
  },
  'content type added': { headers_to_add: [{ header: { key: 'content-type', value: 'text/x' } }] },
  'content type overwritten': {
    headers_to_add: [{ header: { key: 'content-type', value: 'text/x' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }],
    body_format_override: { json_format: { body: '%LOCAL_REPLY_BODY%' } },
  },
  'gRPC headers added': {
    headers_to_add: [
      { header: { key: 'grpc-status', value: '9' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
      { header: { key: 'grpc-message', value: 'mine' } },
    ],
  },
  all: {
    status_code: 500,
    body: { inline_string: 'mapped' },
    body_format_override: { json_format: { code: '%RESPONSE_CODE%', body: '%LOCAL_REPLY_BODY%' } },
    headers_to_add: [{ header: { key: 'x-add', value: '%RESPONSE_CODE%' } }],
  },
}

const CONFIGS: readonly (readonly [name: string, config: object])[] = [
  ...Object.entries(FILTERS).map(([name, one]) => [name, { mappers: [marked(one)] }] as const),
  ...Object.entries(OVERRIDES).flatMap(
    ([name, change]) =>
      [
        [name, { mappers: [{ filter: always, ...change }] }],
        [
          `${name}, beside a common format`,
          { mappers: [{ filter: always, ...change }], body_format: text('common %RESPONSE_CODE% %LOCAL_REPLY_BODY%') },
        ],
      ] as const,
  ),
  ['only a common text', { body_format: text('common %LOCAL_REPLY_BODY%') }],
  ['only common JSON', { body_format: { json_format: { b: '%LOCAL_REPLY_BODY%' }, content_type: 'a/b' } }],
  ['the first that matches', { mappers: [marked(header503, 1), marked(status('GE', 500), 2), marked(always, 3)] }],
  [
    'the first changes what no other sees',
    {
      mappers: [
        { filter: status('EQ', 503), status_code: 404 },
        { filter: status('EQ', 404), status_code: 410 },
      ],
    },
  ],
  ['nothing', {}],
]

const CASES: readonly Case[] = CONFIGS.flatMap(([name, local_reply_config]) =>
  both({ name, filters: [FAULT, RBAC], manager: { route_config: ROUTES, local_reply_config } }, REQUESTS),
)
const REFUSED: readonly Case[] = [
  'GET /a HTTP/1.1\r\nx-case: ID\r\n\r\n',
  'GET /a HTTP/1.0\r\nx-case: ID\r\n\r\n',
  'GET  HTTP/1.1\r\n\r\n',
  'HEAD /a HTTP/1.1\r\nhost: a\r\nx-case: ID\r\ncontent-length: x\r\n\r\n',
  'GET /a#x HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nconnection: close\r\n\r\n',
  `GET /${'x'.repeat(70_000)} HTTP/1.1\r\nhost: a\r\n\r\n`,
  'GET /%00 HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nconnection: close\r\n\r\n',
  'POST /a HTTP/1.1\r\nhost: a\r\nx-case: ID\r\ncontent-type: application/grpc\r\n',
  'POST /a HTTP/1.1\r\nhost: a\r\nx-case: ID\r\ncontent-type: application/grpc\r\ncontent-length: 5\r\n\r\n',
].flatMap((client) =>
  Object.entries({
    all: OVERRIDES.all!,
    'a text': OVERRIDES['a text']!,
    'a text of answers': OVERRIDES['a text of answers']!,
    'JSON without the unknown': OVERRIDES['JSON without the unknown']!,
  }).map(
    ([name, change]): Case => ({
      name: `${name}: ${JSON.stringify(client.slice(0, 99))}`,
      manager: { normalize_path: true, local_reply_config: { mappers: [{ filter: always, ...change }] } },
      client,
    }),
  ),
)

describeCases('local replies', [...CASES, ...REFUSED])
