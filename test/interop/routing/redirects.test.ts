// Where redirects and rewrites lead beside real Envoy: hosts with ports, queries, regular expressions, locations that the proxy
// follows itself.

import { describeQuestions, get, type Questions as Scenario } from './beside.ts'

const ANY_HOST = { domains: ['*'] }
const regex = (pattern: string, substitution: string): object => ({ pattern: { regex: pattern }, substitution })

const HOSTS = ['a', 'a:80', 'a:443', 'a:8080', '[::1]', '[::1]:80', '[::1]:443', 'a:', 'a:abc', '::1', 'A:80']
const redirect = (
  name: string,
  action: object,
  client: readonly string[],
  match: object = { prefix: '/' },
): Scenario => ({
  name: `redirect: ${name}`,
  virtualHost: { ...ANY_HOST, routes: [{ match, redirect: action }] },
  client,
})
const toHosts = (name: string, action: object): Scenario =>
  redirect(name, action, [
    ...HOSTS.map((host) => get('/p?q', [], host)),
    ...HOSTS.map((host) => get('/p?q', ['x-forwarded-proto: https'], host)),
  ])
const PATHS = [
  '/',
  '/p',
  '/p/',
  '/p/x',
  '/p/x?q=1',
  '/p?q',
  '/p?',
  '/p?a?b',
  '/p/x/y?q#f',
  '//p',
  '/P/x',
  '/p%20x?%20',
  '/px?y',
]
const toPaths = (name: string, action: object, match?: object): Scenario =>
  redirect(
    name,
    action,
    PATHS.map((path) => get(path)),
    match,
  )

/** The upstream tells what it is asked for. */
const tell = (head: string): string => {
  const told = head
    .trimEnd()
    .split('\r\n')
    .filter((line) => /^(GET|host:|x-envoy-original|x-forwarded-host)/i.test(line))
  return `HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-told: ${told.join('|')}\r\n\r\n`
}
const rewrite = (
  i: number,
  name: string,
  route: object,
  client: readonly string[],
  match: object = { prefix: '/' },
): Scenario => ({
  name: `rewrite: ${name}`,
  virtualHost: { ...ANY_HOST, routes: [{ match, route: { cluster: `c${i}`, ...route } }] },
  client,
  upstream: tell,
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
const templateRewrite = (path_template_rewrite: string): object => ({
  path_rewrite_policy: {
    name: 't',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig',
      path_template_rewrite,
    },
  },
})

const REWRITES: readonly ((i: number) => Scenario)[] = [
  (i) =>
    rewrite(
      i,
      'a prefix',
      { prefix_rewrite: '/new' },
      PATHS.map((path) => get(path)),
      { prefix: '/p' },
    ),
  (i) =>
    rewrite(
      i,
      'a prefix with a slash',
      { prefix_rewrite: '/new/' },
      PATHS.map((path) => get(path)),
      { prefix: '/p/' },
    ),
  (i) =>
    rewrite(
      i,
      'a whole path',
      { prefix_rewrite: '/new' },
      PATHS.map((path) => get(path)),
      { path: '/p' },
    ),
  (i) =>
    rewrite(
      i,
      'segments',
      { prefix_rewrite: '/new' },
      PATHS.map((path) => get(path)),
      { path_separated_prefix: '/p' },
    ),
  (i) =>
    rewrite(
      i,
      'a prefix whatever its case',
      { prefix_rewrite: '/new' },
      PATHS.map((path) => get(path)),
      { prefix: '/p', case_sensitive: false },
    ),
  (i) =>
    rewrite(
      i,
      'a prefix where a regex matched',
      { prefix_rewrite: '/new' },
      PATHS.map((path) => get(path)),
      { safe_regex: { regex: '/p.*' } },
    ),
  (i) =>
    rewrite(
      i,
      'every match',
      { regex_rewrite: regex('x', 'yy') },
      ['/x/x?x', '/axbxc', '/', '/xx'].map((path) => get(path)),
    ),
  (i) =>
    rewrite(
      i,
      'groups',
      { regex_rewrite: regex('^/([^/]*)/(.*)$', '/\\2/\\1/\\0') },
      ['/a/b?c', '/a/', '/a', '/a/b/c'].map((path) => get(path)),
    ),
  (i) =>
    rewrite(
      i,
      'empty matches',
      { regex_rewrite: regex('q*', '-') },
      ['/aqqb', '/', '/q'].map((path) => get(path)),
    ),
  (i) =>
    rewrite(
      i,
      'empty matches behind others',
      { regex_rewrite: regex('b*', 'x') },
      ['/abb', '/bbab', '/b'].map((path) => get(path)),
    ),
  (i) =>
    rewrite(
      i,
      'the beginning of each line',
      { regex_rewrite: regex('^/a', '/z') },
      ['/a/a', '/a'].map((path) => get(path)),
    ),
  (i) =>
    rewrite(
      i,
      'a backslash',
      { regex_rewrite: regex('a', '\\\\b') },
      ['/a'].map((path) => get(path)),
    ),
  (i) =>
    rewrite(
      i,
      'to no path at all',
      { regex_rewrite: regex('.*', '') },
      ['/a?b', '/'].map((path) => get(path)),
    ),
  (i) =>
    rewrite(
      i,
      'to a query',
      { prefix_rewrite: '/new?x=1' },
      ['/p', '/p?q', '/p/y?q'].map((path) => get(path)),
      { prefix: '/p' },
    ),
  (i) =>
    rewrite(
      i,
      'by a template',
      templateRewrite('/{b}/{a}'),
      ['/x/1/2', '/x/1/2?q', '/x/1', "/x/a'b/c"].map((path) => get(path)),
      template('/x/{a}/{b}'),
    ),
  (i) =>
    rewrite(
      i,
      'by a template, the rest',
      templateRewrite('/v/{rest}'),
      ['/x/1/2', '/x/', '/x/1/2/?q'].map((path) => get(path)),
      template('/x/{rest=**}'),
    ),
  (i) =>
    rewrite(i, 'the host by a literal', { host_rewrite_literal: 'b:1', append_x_forwarded_host: true }, [
      get('/'),
      get('/', ['x-forwarded-host: z'], 'a:80'),
    ]),
  (i) =>
    rewrite(i, 'the host by a header', { host_rewrite_header: 'x-host', append_x_forwarded_host: true }, [
      get('/', ['x-host: b'], 'a'),
      get('/', ['x-host:'], 'a'),
      get('/'),
      get('/', ['x-host: b', 'x-host: c'], 'a'),
    ]),
  (i) =>
    rewrite(
      i,
      'the host by the path',
      { host_rewrite_path_regex: regex('^/(\\w+)/.*$', '\\1.example') },
      ['/b/c?d', '/b', '/'].map((path) => get(path)),
    ),
  (i) =>
    rewrite(
      i,
      'the host by the path, which is rewritten too',
      { host_rewrite_path_regex: regex('^/(\\w+)', '\\1'), prefix_rewrite: '/new' },
      ['/p/c'].map((path) => get(path)),
      { prefix: '/p' },
    ),
  (i) =>
    rewrite(i, 'the host to the upstream', { auto_host_rewrite: true, append_x_forwarded_host: true }, [
      get('/'),
      get('/', [], 'x:1'),
    ]),
  (i) =>
    rewrite(i, 'a host that is the same', { host_rewrite_literal: 'a', append_x_forwarded_host: true }, [get('/')]),
]

const LOCATIONS = [
  'http://a/next', 'http://a', 'http://a?q=1', 'http://a/next?q=1#f', 'http://a:80/next', 'http://a:8080/next', 'HTTP://a/next', 'http://A/next', '/next', 'next', '//a/next',
  'http:///next', 'http://', 'http://a/x/../next', 'http://a/./next', 'http://a/%2e/n%65xt', 'http://a/ne xt', 'http://a/next/ü', 'http://user@a/next', 'http://user:pw@a/next',
  'https://a/next', 'ftp://a/next', 'http://[::1]/next', 'http://a:abc/next', 'http://a:99999/next', 'http://a\\next', '', 'http://a/next?x y', 'http://a//next', 'http://b/next',
  'http://a./next', 'http://a/next?', 'mailto:a', 'http:/a/next', 'http:a', 'http://a_b/next', 'http://a/"<>', 'http://0x7f.1/next', 'http://xn--bcher-kva.example/', 'http://a/%',
] // biome-ignore format: one list

/** The first answer redirects to each of the locations in turn; the second tells what is asked for. */
const followed = (i: number): Scenario => ({
  name: 'internal redirects to odd places',
  virtualHost: {
    ...ANY_HOST,
    routes: [
      {
        match: { prefix: '/' },
        route: { cluster: `c${i}`, internal_redirect_policy: { allow_cross_scheme_redirect: true } },
      },
    ],
  },
  client: LOCATIONS.map((_, n) => get(`/first/${n}`)),
  upstream: (head) => {
    const n = /^GET \/first\/(\d+) /.exec(head)?.[1]
    if (n === undefined || /x-envoy-original-url/i.test(head)) return tell(head)
    const location = Buffer.from(LOCATIONS[Number(n)]!).toString('latin1')
    return `HTTP/1.1 302 Found\r\nlocation: ${location}\r\ncontent-length: 0\r\n\r\n`
  },
})

const SCENARIOS: readonly Scenario[] = [
  ...[...REWRITES, followed].map((make, i) => make(i)),
  toHosts('to https', { https_redirect: true }),
  toHosts('to a scheme', { scheme_redirect: 'http' }),
  toHosts('to a scheme of its own', { scheme_redirect: 'Foo' }),
  toHosts('to a port', { port_redirect: 99 }),
  toHosts('to https at a port', { https_redirect: true, port_redirect: 443 }),
  toHosts('to a host', { host_redirect: 'b' }),
  toHosts('to a host with a port', { host_redirect: 'b:1', port_redirect: 2 }),
  toHosts('not to https', { https_redirect: false }),
  toPaths('to a path', { path_redirect: '/there' }),
  toPaths('to a path without a slash', { path_redirect: 'there' }),
  toPaths('to a path with a query', { path_redirect: '/there?x=1' }),
  toPaths('to a path with an empty query', { path_redirect: '/there?' }),
  toPaths('to a path with a fragment', { path_redirect: '/there#f' }),
  toPaths('to a path with a query, stripped', { path_redirect: '/there?x=1', strip_query: true }),
  toPaths('without query', { host_redirect: 'b', strip_query: true }),
  toPaths('to a prefix', { prefix_rewrite: '/new' }, { prefix: '/p' }),
  toPaths('to a prefix, without query', { prefix_rewrite: '/new', strip_query: true }, { prefix: '/p' }),
  toPaths('to no prefix', { prefix_rewrite: '/' }, { prefix: '/p' }),
  toPaths('to a prefix with a query', { prefix_rewrite: '/new?x=1' }, { prefix: '/p' }),
  toPaths('to segments', { prefix_rewrite: '/new' }, { path_separated_prefix: '/p' }),
  toPaths('to a whole path', { prefix_rewrite: '/new' }, { path: '/p' }),
  toPaths('by a regex', { regex_rewrite: regex('/p/(.*)', '/new/\\1/') }),
  toPaths('by a regex to nothing', { regex_rewrite: regex('.*', '') }),
  toPaths('by a regex, without query', { regex_rewrite: regex('/p/(.*)', '/\\1'), strip_query: true }),
  ...['MOVED_PERMANENTLY', 'FOUND', 'SEE_OTHER', 'TEMPORARY_REDIRECT', 'PERMANENT_REDIRECT'].map((response_code) =>
    redirect(response_code, { path_redirect: '/there', response_code }, [get('/')]),
  ),
  {
    name: 'require_tls: ALL',
    virtualHost: { ...ANY_HOST, require_tls: 'ALL' },
    client: [
      ...HOSTS.map((host) => get('/p?q', [], host)),
      ...PATHS.map((path) => get(path)),
      get('/', ['x-forwarded-proto: HTTPS'], 'a'),
    ],
  },
]

describeQuestions('redirects and rewrites', SCENARIOS, { counted: /internal_redirect/ })
