// RBAC of requests beside real Envoy: metadata of every kind, paths and queries, stats.

import { describeQuestions, get, type Questions } from './beside.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.filters.http.${name}`
const any = { any: true }
const policy = (permission: object, principal: object = any): object => ({
  permissions: [permission],
  principals: [principal],
})
const rbac = (message: object): { name: string; typed_config: object } => ({
  name: 'rbac',
  typed_config: { '@type': type('rbac.v3.RBAC'), ...message },
})
const read = (header: string, valueType: string): object => ({
  header,
  on_header_present: { metadata_namespace: 'f', key: header, type: valueType },
})
const metadata = {
  name: 'header_to_metadata',
  typed_config: {
    '@type': type('header_to_metadata.v3.Config'),
    request_rules: [read('text', 'STRING'), read('number', 'NUMBER'), read('empty', 'STRING')],
  },
}
const KEYS = [['text'], ['number'], ['empty'], ['absent'], ['text', 'k']]
const VALUES: readonly object[] = [
  { null_match: {} },
  { present_match: true },
  { present_match: false },
  { bool_match: true },
  { bool_match: false },
  { double_match: { exact: 1.5 } },
  { double_match: { range: { start: 1.5, end: 2 } } },
  { string_match: { exact: '' } },
  { string_match: { prefix: 'v' } },
  { list_match: { one_of: { null_match: {} } } },
  { list_match: { one_of: { double_match: { exact: 2 } } } },
  { or_match: { value_matchers: [{ null_match: {} }, { string_match: { exact: 'v' } }] } },
]
const upstream = (): string => 'HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n'
const PATHS = ['/', '/a', '/a?b', '/a/', '/a%3Fb', '/A', '/a;b?c', '/?'].map((path) => get(path))
const paths = (name: string, permission: object): Questions => ({
  name,
  filters: [rbac({ rules: { policies: { p: policy(permission) } } })],
  upstream,
  client: PATHS,
})

const SITUATIONS: readonly Questions[] = [
  ...VALUES.map(
    (value): Questions => ({
      name: `metadata ${JSON.stringify(value)}`,
      // The counters of each filter tell whether its rule matched.
      filters: [
        metadata,
        ...[false, true].flatMap((invert) =>
          KEYS.map((keys) =>
            rbac({
              shadow_rules: {
                policies: {
                  p: policy({ metadata: { filter: 'f', path: keys.map((key) => ({ key })), value, invert } }),
                },
              },
              shadow_rules_stat_prefix: `${invert ? 'not_' : ''}${keys.join('_')}_`,
            }),
          ),
        ),
      ],
      upstream,
      client: [get('/', ['text: v', 'number: 1.5', 'empty:'])],
    }),
  ),
  paths('url_path exact', { url_path: { path: { exact: '/a' } } }),
  paths('url_path exact, whatever the case', { url_path: { path: { exact: '/a', ignore_case: true } } }),
  paths('url_path by regex', { url_path: { path: { safe_regex: { regex: '/a.?' } } } }),
  paths('path header', { header: { name: ':path', string_match: { exact: '/a?b' } } }),
  paths('not url_path', { not_rule: { url_path: { path: { prefix: '/a' } } } }),
  {
    name: 'stats of each policy, with prefixes',
    filters: [
      rbac({
        rules: {
          action: 'DENY',
          policies: {
            'a b': policy({ url_path: { path: { prefix: '/a' } } }),
            c: policy({ header: { name: 'x', present_match: true } }),
          },
        },
        rules_stat_prefix: 'r',
        shadow_rules: { action: 'LOG', policies: { s: policy({ url_path: { path: { exact: '/A' } } }) } },
        shadow_rules_stat_prefix: 't_',
        track_per_rule_stats: true,
      }),
    ],
    upstream,
    client: [...PATHS, get('/', ['x: 1'])],
  },
  {
    name: 'clients without TLS',
    filters: [
      rbac({ rules: { action: 'DENY', policies: { p: policy(any, { authenticated: {} }) } } }),
      rbac({
        rules: { policies: { p: policy({ requested_server_name: { exact: '' } }, { not_id: { authenticated: {} } }) } },
      }),
    ],
    upstream,
    client: [get('/')],
  },
]

describeQuestions('RBAC', SITUATIONS, { counted: /rbac/ })
