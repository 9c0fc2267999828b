// Which virtual host and route a request gets, beside real Envoy: odd hosts, paths, queries, cookies, bytes beyond ASCII.

import { describeQuestions, get, type Questions as Scenario } from './beside.ts'

const says = (body: string): object => ({ direct_response: { status: 200, body: { inline_string: body } } })
const REST = { match: { prefix: '' }, ...says('rest') }

/** Requests to a virtual host with these matches in order. */
const routes = (
  name: string,
  matches: readonly object[],
  client: readonly string[],
  more: Partial<Scenario> = {},
): Scenario => ({
  name,
  virtualHost: { routes: [...matches.map((match, i) => ({ match, ...says(`route ${i}`) })), REST] },
  client,
  ...more,
})

const domains = (...lists: readonly (readonly string[])[]): object[] =>
  lists.map((list, i) => ({ name: `v${i}`, domains: list, routes: [{ match: { prefix: '' }, ...says(list[0]!) }] }))
const hosts = (name: string, config: object, list: readonly string[]): Scenario => ({
  name,
  hcm: { route_config: config },
  client: list.map((host) => get('/', [], host)),
})
const DOMAINS = domains(
  ['a'],
  ['a:80', 'a:'],
  ['[::1]'],
  ['[::1]:80'],
  ['*.b', '*-b', '*:81'],
  ['x.b'],
  ['c.*', 'c*'],
  ['Upper.Case'],
  ['bücher.example'],
  ['*'],
)
const HOSTS = [
  'a', 'A', 'a:80', 'a:', 'a:abc', 'a:80:80', ':80', '[::1]', '[::1]:80', '[::1]:81', '::1', '[::1', 'x.b', 'y.b', '.b', 'b', '-b', 'y-b:81', 'z:81',
  ':81', 'c.', 'c.d', 'c', 'cd', 'upper.case', 'UPPER.CASE', 'bücher.example', 'BÜCHER.example', 'other', 'a.', 'user@a', '%61',
] // biome-ignore format: one list

const header = (name: string, string_match: object, more: object = {}): object => ({
  prefix: '/',
  headers: [{ name, string_match, ...more }],
})

const template = (path_template: string): object => ({
  path_match_policy: {
    name: 't',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
      path_template,
    },
  },
})
const TEMPLATE_PATHS = [
  '/a', '/a/', '/a/b', '/a/b/', '/a/b/c', '/a/b/c/d', '/a//c', '/a/b.m3u8', '/a/b/c.m3u8', '/a/.m3u8', '/a/b?x=/c/d', '/b/a', '/a/%2F', '/a/b:c', '/A/b', '/a/b@', "/a/b'", '/a/b"', '/a/b|c', '/a/~',
] // biome-ignore format: one list

const drawn = (
  own: number,
  name: string,
  weights: readonly number[],
  more: object,
  values: readonly string[],
): Scenario => ({
  name: `weighted: ${name}`,
  route: {
    cluster: undefined,
    weighted_clusters: {
      clusters: weights.map((weight, i) => ({
        name: `c${own}`,
        weight,
        response_headers_to_add: [{ header: { key: 'x-drawn', value: String(i) } }],
      })),
      ...more,
    },
  },
  client: values.map((value) => get('/', [`x-random: ${value}`])),
  upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n',
})

/** Each on a cluster of its own. */
const DRAWN: readonly ((i: number) => Scenario)[] = [
  (i) => drawn(i, 'by a header', [10, 0, 20], { header_name: 'x-random' }, [
    '0', '9', '10', '29', '30', '39', '40', '+5', '12 ', '007', '18446744073709551615', '9007199254740993',
  ]), // biome-ignore format: one list
  (i) => drawn(i, 'one cluster of all weight', [0, 100, 0], {}, ['', '1']),
  (i) =>
    drawn(i, 'weights by runtime', [100, 0], { runtime_key_prefix: 'none', header_name: 'x-random' }, [
      '0',
      '99',
      '100',
    ]),
]

const SCENARIOS: readonly Scenario[] = [
  ...DRAWN.map((make, i) => make(i)),
  hosts('hosts', { virtual_hosts: DOMAINS }, HOSTS),
  hosts('hosts without their ports', { virtual_hosts: DOMAINS, ignore_port_in_host_matching: true }, HOSTS),
  hosts(
    'hosts without their ports, no catch-all',
    { virtual_hosts: DOMAINS.slice(0, -1), ignore_port_in_host_matching: true },
    HOSTS,
  ),
  hosts('one catch-all', { virtual_hosts: DOMAINS.slice(-1) }, ['a', '', 'x:1']),
  routes(
    'paths',
    [
      { path: '/exact' },
      { path: '/É' },
      { path_separated_prefix: '/sep' },
      { path_separated_prefix: '/CI', case_sensitive: false },
      { prefix: '/Ci/', case_sensitive: false },
      { path: '/ÀB', case_sensitive: false },
      { safe_regex: { regex: '/re/[a-z]+' } },
      { safe_regex: { regex: '/u/.' } },
      { safe_regex: { regex: '/u/é+' } },
      { safe_regex: { regex: '(?i)/i/é' } },
      { safe_regex: { regex: '/lit.*' } },
      { safe_regex: { regex: '/x|/y' } },
      { prefix: '/pre' },
    ],
    [
      '/exact', '/exact?q', '/exact/', '/Exact', '/É', '/é', '/sep', '/sep/', '/sep/x', '/sepa', '/sep?x', '/sep;x', '/ci', '/Ci/x', '/cI?x', '/cix',
      '/àb', '/ÀB', '/Àb', '/re/abc', '/re/abc?x', '/re/abc1', '/re/', '/u/a', '/u/é', '/u/€', '/u/éé', '/u/ab', '/i/É', '/i/é', '/lit', '/literal/ü?x',
      '/x', '/y', '/xy', '/pre', '/prefix', '/PRE', '/pr%65', '//pre', '/pre//x',
    ].map((path) => get(path)), // biome-ignore format: one list
  ),
  routes(
    'paths without parameters',
    [{ path: '/a/b' }, { prefix: '/c' }, { safe_regex: { regex: '/d/e' } }, { path_separated_prefix: '/s' }],
    [
      '/a/b',
      '/a;x/b',
      '/a/b;x=1',
      '/a;x=1/b;y',
      '/a;/b',
      '/;x/c',
      '/c;x',
      '/d;1/e;2?q;3',
      '/s;x',
      '/s;x/y',
      '/a/b?q=;',
    ].map((path) => get(path)),
    { routeConfig: { ignore_path_parameters_in_path_matching: true } },
  ),
  routes(
    'queries',
    [
      { prefix: '/', query_parameters: [{ name: 'exact', string_match: { exact: '1' } }] },
      {
        prefix: '/',
        query_parameters: [
          { name: 'none', present_match: false },
          { name: 'absent', present_match: true },
        ],
      },
      { prefix: '/', query_parameters: [{ name: 'here' }] },
      { prefix: '/', query_parameters: [{ name: 're', string_match: { safe_regex: { regex: '[0-9]+' } } }] },
      { prefix: '/', query_parameters: [{ name: 'ci', string_match: { exact: 'AbC', ignore_case: true } }] },
      { prefix: '/', query_parameters: [{ name: 'é', string_match: { exact: 'ü' } }] },
      { prefix: '/', query_parameters: [{ name: 'empty', string_match: { exact: '' } }] },
    ],
    [
      '?exact=1', '?exact=2&exact=1', '?exact=1&exact=2', '?x&exact=1', '?&exact=1', '?exact=%31', '?exact', '?absent', '?absent=', '?absent&none', '?none=&absent=',
      '?here', '?here=', '?here=1', '?HERE', '?xhere', '?re=12', '?re=1a', '?re=', '?ci=aBc', '?ci=ABCD', '?é=ü', '?%C3%A9=%C3%BC', '?empty', '?empty=', '?empty=1',
      '?a=b?exact=1', '?exact=1;x', '?exact=1=2', '?=1', '?',
    ].map((query) => get(`/${query}`)), // biome-ignore format: one list
  ),
  routes(
    'cookies',
    [
      { prefix: '/', cookies: [{ name: 'a', string_match: { exact: '1' } }] },
      { prefix: '/', cookies: [{ name: 'b', string_match: { exact: '1' }, invert_match: true }] },
      {
        prefix: '/',
        cookies: [
          { name: 'b', string_match: { prefix: '1' } },
          { name: 'c', string_match: { exact: '' } },
        ],
      },
    ],
    [
      [],
      ['cookie: a=1'],
      ['cookie: a="1"'],
      ['cookie: a=1 ; b=1'],
      ['cookie: a=2; a=1; b=1'],
      ['cookie: a=2', 'cookie: a=1; b=1'],
      ['cookie: b=1'],
      ['cookie: b=1; c='],
      ['cookie: b=1; c'],
      ['cookie: b=1;c='],
      ['cookie: b=12; c=""'],
      ['cookie: b=2'],
      ['cookie: A=1; b=1'],
      ['cookie:  a = 1; b=1'],
      ['cookie: a=1=2; b=1'],
      ['cookie: =1; b=1'],
      ['cookie: b=1;'],
      ['cookie: b="1'],
    ].map((lines) => get('/', lines)),
  ),
  routes(
    'headers beyond ASCII',
    [
      header('x-a', { exact: 'é' }),
      header('x-a', { prefix: 'ü' }),
      header('x-a', { contains: '€' }),
      header('x-a', { exact: 'ÀB', ignore_case: true }),
      header('x-a', { safe_regex: { regex: '.x' } }),
      header('x-a', { safe_regex: { regex: '[à-ÿ]y' } }),
      header('x-a', { safe_regex: { regex: 'w.*z' } }),
      header('x-a', { suffix: 'ß' }),
    ],
    ['é', 'É', 'üx', 'a€b', 'àb', 'ÀB', 'Àb', 'ax', 'éx', '€x', 'ééx', 'éy', 'ay', 'wéz', 'xß', 'x'].map((value) =>
      get('/', [`x-a: ${value}`]),
    ),
  ),
  routes(
    'headers',
    [
      header('x-a', { exact: 'One' }),
      header('x-a', { exact: 'two', ignore_case: true }),
      header('x-a', { prefix: 'pre', ignore_case: true }),
      header('x-a', { suffix: 'SUF', ignore_case: true }),
      header('x-a', { contains: 'Mid', ignore_case: true }),
      { prefix: '/', headers: [{ name: 'x-r', range_match: { start: -5, end: 5 } }] },
      {
        prefix: '/',
        headers: [
          { name: 'x-p', present_match: false },
          { name: 'x-q', present_match: true },
        ],
      },
      { prefix: '/', headers: [{ name: 'x-i', string_match: { exact: '1' }, invert_match: true }] },
      {
        prefix: '/',
        headers: [
          { name: ':method', string_match: { exact: 'GET' } },
          { name: ':authority', string_match: { prefix: 'A' } },
        ],
      },
      {
        prefix: '/',
        headers: [
          { name: 'host', string_match: { exact: 'a' } },
          { name: ':path', string_match: { contains: '?m' } },
        ],
      },
      {
        prefix: '/',
        headers: [
          { name: ':scheme', string_match: { exact: 'http' } },
          { name: 'x-s', present_match: true },
        ],
      },
    ],
    [
      ['x-a: One'],
      ['x-a: one'],
      ['x-a: TWO'],
      ['x-a: Prefix'],
      ['x-a: xsuf'],
      ['x-a: a mid b'],
      ['x-a: no', 'x-a: One'],
      ['x-r: -5'],
      ['x-r: 5'],
      ['x-r: +4'],
      ['x-r: 4.0'],
      ['x-r: 0x1'],
      ['x-r: 99999999999999999999'],
      ['x-r: -0'],
      ['x-r: '],
      ['x-q: 1'],
      ['x-q: 1', 'x-p: 1'],
      ['x-i: 2'],
      ['x-i: 1'],
      ['x-i: 1', 'x-i: 2'],
      ['x-s: 1'],
    ]
      .map((lines) => get('/', lines))
      .concat(get('/?m'), get('/', [], 'A')),
  ),
  routes(
    'templates',
    ['/a/*/c', '/a/{x}.m3u8', '/a/{x=**}.m3u8', '/a/{x=*/c}/d', '/{x}/a', '/a/**'].map(template),
    TEMPLATE_PATHS.map((path) => get(path)),
  ),
  routes(
    'templates, one star',
    ['/a/*', '/*/b', '/**'].map(template),
    TEMPLATE_PATHS.map((path) => get(path)),
  ),
  routes(
    'fractions',
    [
      { prefix: '/none', runtime_fraction: { default_value: { numerator: 0 } } },
      { prefix: '/all', runtime_fraction: { default_value: { numerator: 100 } } },
      { prefix: '/more', runtime_fraction: { default_value: { numerator: 300 } } },
      { prefix: '/million', runtime_fraction: { default_value: { numerator: 1000000, denominator: 'MILLION' } } },
      { prefix: '/key-0', runtime_fraction: { default_value: { numerator: 100 }, runtime_key: 'route.zero' } },
      { prefix: '/key-100', runtime_fraction: { default_value: { numerator: 0 }, runtime_key: 'route.hundred' } },
      { prefix: '/key-fraction', runtime_fraction: { default_value: { numerator: 0 }, runtime_key: 'route.fraction' } },
      { prefix: '/key-text', runtime_fraction: { default_value: { numerator: 100 }, runtime_key: 'route.text' } },
      { prefix: '/key-missing', runtime_fraction: { default_value: { numerator: 100 }, runtime_key: 'route.missing' } },
      { prefix: '/key-true', runtime_fraction: { default_value: { numerator: 0 }, runtime_key: 'route.yes' } },
      {
        prefix: '/key-ten',
        runtime_fraction: {
          default_value: { numerator: 0, denominator: 'TEN_THOUSAND' },
          runtime_key: 'route.hundred',
        },
      },
      { prefix: '/key-double', runtime_fraction: { default_value: { numerator: 100 }, runtime_key: 'route.double' } },
    ],
    [
      'none',
      'all',
      'more',
      'million',
      'key-0',
      'key-100',
      'key-fraction',
      'key-text',
      'key-missing',
      'key-true',
      'key-ten',
      'key-double',
    ].map((path) => get(`/${path}`)),
  ),
]

describeQuestions('matches of routes', SCENARIOS, {
  bootstrap: (made) => ({
    ...made,
    layered_runtime: {
      layers: [
        {
          name: 's',
          static_layer: {
            route: {
              zero: 0,
              hundred: 100,
              fraction: { numerator: 10000, denominator: 'TEN_THOUSAND' },
              text: 'x',
              yes: true,
              double: 0.5,
            },
          },
        },
      ],
    },
  }),
})
