// Options of routes and of the filter header_mutation beside real Envoy: matches by filter state, bodies by format, mutations
// of queries and trailers.

import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const extension = (name: string): string => `type.googleapis.com/envoy.extensions.filters.http.${name}`
const get = (headers = '', path = '/'): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const echo = (head: string): string =>
  `HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-line: ${head.split('\r\n')[0]}\r\nx-del-a: 1\r\nx-keep: 2\r\nx-del-b: 3\r\n\r\n`
const mutate = (mutations: object) => [
  {
    name: 'envoy.filters.http.header_mutation',
    typed_config: { '@type': extension('header_mutation.v3.HeaderMutation'), mutations },
  },
]
const append = (key: string, value: string, action?: string): object => ({
  append: { record: { key, value }, ...(action && { action }) },
})
const header = (key: string, value: string): object => ({ append: { header: { key, value } } })
const answer = (direct_response: object): object => ({ routeEntry: { direct_response, route: undefined } })
const format = (inline_string: string, more: object = {}): object => ({
  text_format_source: { inline_string },
  ...more,
})
const setState = (key: string, text: string) => [
  {
    name: 'envoy.filters.http.set_filter_state',
    typed_config: {
      '@type': extension('set_filter_state.v3.Config'),
      clear_route_cache: true,
      on_request_headers: [{ object_key: key, factory_key: 'envoy.string', format_string: format(text) }],
    },
  },
]

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'a body by format',
    ...answer({
      status: 200,
      body: { inline_string: 'body' },
      body_format: format('<%LOCAL_REPLY_BODY%> %REQ(x-a)% %RESPONSE_CODE% %ROUTE_NAME%'),
    }),
    client: [get('x-a: 1\r\n'), get()],
  },
  {
    name: 'a body by format, JSON',
    ...answer({
      status: 403,
      body: { inline_string: 'body' },
      body_format: { json_format: { a: '%REQ(x-a)%', b: '%LOCAL_REPLY_BODY%' } },
    }),
    client: [get('x-a: 1\r\n')],
  },
  {
    name: 'a body by format, of a type',
    ...answer({ status: 404, body_format: format('<p>', { content_type: 'text/html' }) }),
    client: [get()],
  },
  {
    name: 'a match by filter state',
    filters: setState('tier', '%REQ(x-tier)%'),
    virtualHost: {
      routes: [
        {
          name: 'gold',
          match: { prefix: '/', filter_state: [{ key: 'tier', string_match: { prefix: 'gold' } }] },
          direct_response: { status: 201 },
        },
        {
          name: 'nothing',
          match: { prefix: '/', filter_state: [{ key: 'none', string_match: { suffix: 'x' } }] },
          direct_response: { status: 202 },
        },
        { name: 'rest', match: { prefix: '/' }, direct_response: { status: 203 } },
      ],
    },
    client: [get('x-tier: gold-plus\r\n'), get('x-tier: tin\r\n'), get()],
  },
  {
    name: 'query parameters',
    filters: mutate({
      query_parameter_mutations: [
        append('a', '1'),
        append('b', '%REQ(x-a)%', 'OVERWRITE_IF_EXISTS_OR_ADD'),
        { remove: 'c' },
        append('d', '4', 'ADD_IF_ABSENT'),
        append('e', '5', 'OVERWRITE_IF_EXISTS'),
      ],
    }),
    client: [
      get('x-a: v v\r\n', '/p?a=0&b=0&c=1&c=2&d=9&x'),
      get('', '/p'),
      get('x-a: 1\r\n', '/p?e=1&e=2&b=1&b=2&z=3'),
    ],
    upstream: echo,
  },
  {
    name: 'headers removed by a matcher',
    filters: mutate({ response_mutations: [{ remove_on_match: { key_matcher: { prefix: 'x-del' } } }] }),
    client: [get()],
    upstream: echo,
  },
  {
    name: 'trailers',
    filters: mutate({
      request_trailers_mutations: [header('q', '%REQ(x-a)%'), { remove: 'gone' }],
      response_trailers_mutations: [header('r', '%RESP(x-r)% %REQ(x-a)%'), { remove: 't' }],
    }),
    hcm: { http_protocol_options: { enable_trailers: true } },
    upstreamHttp1: { enable_trailers: true },
    client: [
      'POST / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ngone: 1\r\n\r\n',
    ],
    upstream: () =>
      'HTTP/1.1 200 OK\r\nx-r: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nt: 1\r\nu: 2\r\n\r\n',
  },
]

describeBeside('options of routes', SCENARIOS, { counted: (i) => new RegExp(`^http\\.s${i}\\.rq_`) })
