// Filters behind a matcher (ExtensionWithMatcher) beside real Envoy: which streams they see, by what inputs.

import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const T = 'type.googleapis.com/'
const get = (path = '/', ...headers: string[]): string =>
  `GET ${path} HTTP/1.1\r\nhost: a\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`
const post = (...headers: string[]): string =>
  `POST / HTTP/1.1\r\nhost: a\r\n${headers.map((line) => `${line}\r\n`).join('')}content-length: 5\r\n\r\nhello`

const skip = {
  action: {
    name: 'skip',
    typed_config: { '@type': `${T}envoy.extensions.filters.common.matcher.action.v3.SkipFilter` },
  },
}
const header = (header_name: string): object => ({
  name: 'header',
  typed_config: { '@type': `${T}envoy.type.matcher.v3.HttpRequestHeaderMatchInput`, header_name },
})
const input = (name: string): object => ({
  name,
  typed_config: { '@type': `${T}envoy.extensions.matching.common_inputs.network.v3.${name}` },
})
const tree = (of: object, kind: 'exact_match_map' | 'prefix_match_map', map: object, more: object = {}): object => ({
  matcher_tree: { input: of, [kind]: { map } },
  ...more,
})
const list = (predicate: object, more: object = {}): object => ({
  matcher_list: { matchers: [{ predicate, on_match: skip }] },
  ...more,
})
const single = (of: object, value_match: object): object => ({ single_predicate: { input: of, value_match } })

const FAULT = {
  name: 'envoy.filters.http.fault',
  typed_config: {
    '@type': `${T}envoy.extensions.filters.http.fault.v3.HTTPFault`,
    abort: { http_status: 418, percentage: { numerator: 100 } },
  },
}
const MUTATION = {
  name: 'envoy.filters.http.header_mutation',
  typed_config: {
    '@type': `${T}envoy.extensions.filters.http.header_mutation.v3.HeaderMutation`,
    mutations: {
      request_mutations: [{ append: { header: { key: 'x-in', value: 'yes' } } }],
      response_mutations: [{ append: { header: { key: 'x-out', value: 'yes' } } }],
    },
  },
}
const BUFFER = {
  name: 'envoy.filters.http.buffer',
  typed_config: { '@type': `${T}envoy.extensions.filters.http.buffer.v3.Buffer`, max_request_bytes: 3 },
}
const behind = (extension_config: object, matcher: object, field = 'xds_matcher'): object => ({
  name: 'with-matcher',
  typed_config: {
    '@type': `${T}envoy.extensions.common.matching.v3.ExtensionWithMatcher`,
    extension_config,
    [field]: matcher,
  },
})
const upstream = (head: string): string =>
  `HTTP/1.1 200 OK\r\nx-seen: ${/x-in: yes/i.test(head)}\r\ncontent-length: 0\r\n\r\n`

const MATCHERS: readonly (readonly [string, object])[] = [
  ['exact', tree(header('x-skip'), 'exact_match_map', { yes: skip })],
  ['prefix', tree(header('x-skip'), 'prefix_match_map', { y: skip })],
  ['no match', tree(header('x-skip'), 'exact_match_map', { no: skip }, { on_no_match: skip })],
  ['only otherwise', { on_no_match: skip }],
  ['list', list(single(header('x-skip'), { exact: 'yes' }))],
  [
    'or',
    list({
      or_matcher: {
        predicate: [single(header('x-skip'), { prefix: 'y' }), single(header(':path'), { suffix: 'skipped' })],
      },
    }),
  ],
  ['not', list({ not_matcher: single(header('x-skip'), { exact: 'yes' }) })],
  ['source address', tree(input('SourceIPInput'), 'exact_match_map', { '127.0.0.1': skip })],
  ['direct address', list(single(input('DirectSourceIPInput'), { prefix: '10.' }))],
]
const CLIENT = [
  get(),
  get('/', 'x-skip: yes'),
  get('/', 'x-skip: yellow'),
  get('/skipped'),
  get('/', 'x-skip: no', 'x-skip: yes'),
]

const SCENARIOS: Scenario[] = [
  ...MATCHERS.flatMap(([name, matcher]): Scenario[] => [
    { name: `fault, ${name}`, filters: [behind(FAULT, matcher) as never], client: CLIENT, upstream },
    { name: `header_mutation, ${name}`, filters: [behind(MUTATION, matcher) as never], client: CLIENT, upstream },
  ]),
  {
    name: 'buffer',
    filters: [behind(BUFFER, tree(header('x-skip'), 'exact_match_map', { yes: skip })) as never],
    client: [post('x-skip: yes'), post()],
    upstream,
  },
  {
    name: 'the older matcher',
    filters: [behind(FAULT, tree(header('x-skip'), 'exact_match_map', { yes: skip }), 'matcher') as never],
    client: CLIENT,
    upstream,
  },
  {
    name: 'a filter before it answers',
    filters: [FAULT as never, behind(MUTATION, tree(header('x-skip'), 'exact_match_map', { yes: skip })) as never],
    client: [get(), get('/', 'x-skip: yes')],
    upstream,
  },
  {
    name: 'what an earlier filter has changed',
    filters: [MUTATION as never, behind(FAULT, tree(header('x-in'), 'exact_match_map', { yes: skip })) as never],
    client: [get()],
    upstream,
  },
  {
    name: 'one behind another',
    filters: [
      behind(
        behind(FAULT, tree(header('x-inner'), 'exact_match_map', { yes: skip })),
        tree(header('x-skip'), 'exact_match_map', { yes: skip }),
      ) as never,
    ],
    client: [get(), get('/', 'x-skip: yes'), get('/', 'x-inner: yes')],
    upstream,
  },
]

describeBeside('filters behind a matcher', SCENARIOS, {
  counted: (i) => new RegExp(`^http\\.s${i}\\.(fault|rq_total)`),
})
