// The filters csrf and stateful_session beside real Envoy.

import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const ok = (): string => 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
const get = (headers = '', path = '/'): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const sent = (method: string, headers = '', host = 'a'): string =>
  `${method} / HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 0\r\n${headers}\r\n`

const ALWAYS = { default_value: { numerator: 100 } }
const NEVER = { default_value: { numerator: 0 } }
const csrfPolicy = (more: object = {}): object => ({
  '@type': type('extensions.filters.http.csrf.v3.CsrfPolicy'),
  filter_enabled: ALWAYS,
  ...more,
})
const csrf = (more: object = {}) => ({ filters: [{ name: 'envoy.filters.http.csrf', typed_config: csrfPolicy(more) }] })

const session = (state: object | null, more: object = {}): object => ({
  ...(state && { session_state: state }),
  stat_prefix: 'sessions',
  ...more,
})
const stateful = (state: object | null, more: object = {}) => ({
  filters: [
    {
      name: 'envoy.filters.http.stateful_session',
      typed_config: {
        '@type': type('extensions.filters.http.stateful_session.v3.StatefulSession'),
        ...session(state, more),
      },
    },
  ],
})
const byCookie = (cookie: object): object => ({
  name: 'envoy.http.stateful_session.cookie',
  typed_config: {
    '@type': type('extensions.http.stateful_session.cookie.v3.CookieBasedSessionState'),
    cookie: { name: 's', ...cookie },
  },
})
const BY_HEADER = {
  name: 'envoy.http.stateful_session.header',
  typed_config: {
    '@type': type('extensions.http.stateful_session.header.v3.HeaderBasedSessionState'),
    name: 'X-Session',
  },
}
const perRoute = (override: object): object => ({
  typed_per_filter_config: {
    'envoy.filters.http.stateful_session': {
      '@type': type('extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute'),
      ...override,
    },
  },
})
const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64')
/** As Envoy writes it: field 1 the address, field 2 the second at which it ends. */
const cookie = (address: string, expires = ''): string =>
  `cookie: x=y; s="${base64(`\x0a${String.fromCharCode(address.length)}${address}${expires}`)}"\r\n`
const GONE = '127.0.0.9:9'

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'csrf: origins',
    ...csrf({
      additional_origins: [{ exact: 'b.example' }, { exact: 'http://c.example' }, { exact: 'd.example:8080' }],
    }),
    client: [
      ...['origin: http://a', 'origin: http://A', 'origin: https://a:443', 'origin: a', 'origin: null'],
      ...['origin: null\r\nreferer: http://a/x', 'referer: http://a/x', 'x: y', 'origin: https://b.example'],
      ...['origin: https://b.example:1', 'origin: http://c.example', 'origin: http://d.example:8080'],
      ...['origin: http://zz\r\nreferer: http://a/', 'origin: \r\nreferer: http://a/', 'origin: http://a/'],
      ...['origin: ftp://a', 'origin: http://a?q'],
    ].map((header) => sent('POST', `${header}\r\n`)),
    upstream: ok,
  },
  {
    name: 'csrf: methods',
    ...csrf(),
    client: ['PATCH', 'GET', 'DELETE', 'PUT', 'OPTIONS'].map((method) => sent(method)),
    upstream: ok,
  },
  {
    name: 'csrf: the port of the host',
    ...csrf(),
    client: ['https://a:443', 'https://a'].map((origin) => sent('POST', `origin: ${origin}\r\n`, 'a:443')),
    upstream: ok,
  },
  {
    name: 'csrf: in the shadow',
    ...csrf({ filter_enabled: NEVER, shadow_enabled: ALWAYS }),
    client: [sent('POST'), sent('POST', 'origin: http://b\r\n'), sent('POST', 'origin: http://a\r\n')],
    upstream: ok,
  },
  {
    name: 'csrf: a policy of the route',
    ...csrf(),
    routeEntry: { typed_per_filter_config: { 'envoy.filters.http.csrf': csrfPolicy({ filter_enabled: NEVER }) } },
    client: [sent('POST')],
    upstream: ok,
  },
  {
    name: 'csrf: additional origins of the route',
    ...csrf({ filter_enabled: NEVER }),
    routeEntry: {
      typed_per_filter_config: { 'envoy.filters.http.csrf': csrfPolicy({ additional_origins: [{ suffix: '.b' }] }) },
    },
    client: [sent('POST', 'origin: http://x.b\r\n'), sent('POST', 'origin: http://b\r\n')],
    upstream: ok,
  },
  {
    name: 'stateful_session: a cookie below its path',
    ...stateful(byCookie({ path: '/x' })),
    client: ['/', '/x', '/x/y', '/xy', '/x?q', '/y/x'].map((path) => get('', path)),
    upstream: ok,
  },
  {
    name: 'stateful_session: a cookie below a path that ends with a slash',
    ...stateful(byCookie({ path: '/x/' })),
    client: ['/x', '/x/', '/x/y'].map((path) => get('', path)),
    upstream: ok,
  },
  {
    name: 'stateful_session: a cookie with a time and attributes',
    ...stateful(
      byCookie({ path: '/', ttl: '120.5s', attributes: [{ name: 'SameSite', value: 'Strict' }, { name: 'Secure' }] }),
    ),
    client: [get()],
    upstream: ok,
  },
  {
    name: 'stateful_session: the host of the cookie is gone',
    ...stateful(byCookie({})),
    client: [get(cookie(GONE)), get(`cookie: s=${base64(GONE)}\r\n`), get('cookie: s=?\r\n'), get()],
    upstream: ok,
  },
  {
    name: 'stateful_session: no other host will do',
    ...stateful(byCookie({}), { strict: true }),
    client: [
      ...[get(cookie(GONE)), get(`cookie: s=${base64(GONE)}\r\n`), get('cookie: s=?\r\n'), get('cookie: s=aa\r\n')],
      ...[get(cookie(GONE, '\x10\x01')), get(cookie(GONE, '\x10\xff\xff\xff\xff\x0f')), get(cookie('')), get()],
    ],
    upstream: ok,
  },
  {
    name: 'stateful_session: strict, with a status of its own',
    ...stateful(byCookie({}), { strict: true, status_on_strict_destination_not_found: 404 }),
    client: [get(cookie(GONE))],
    upstream: ok,
  },
  {
    name: 'stateful_session: strict and not configured for overrides',
    ...stateful(byCookie({}), { strict: true }),
    cluster: { common_lb_config: { override_host_status: {} } },
    client: [get(cookie(GONE))],
    upstream: ok,
  },
  {
    name: 'stateful_session: a header',
    ...stateful(BY_HEADER),
    client: [get(), get(`x-session: ${base64(GONE)}\r\n`), get('x-session: ?\r\n')],
    upstream: (head) =>
      `HTTP/1.1 200 OK\r\nx-session: own\r\nx-got: ${head.includes('x-session')}\r\ncontent-length: 0\r\n\r\n`,
  },
  { name: 'stateful_session: none', ...stateful(null), client: [get()], upstream: ok },
  {
    name: 'stateful_session: off for the route',
    ...stateful(BY_HEADER),
    routeEntry: perRoute({ disabled: true }),
    client: [get()],
    upstream: ok,
  },
  {
    name: 'stateful_session: another one for the route',
    ...stateful(BY_HEADER),
    routeEntry: perRoute({ stateful_session: session(byCookie({ name: 'r' })) }),
    client: [get(), get(`x-session: ${base64(GONE)}\r\n`)],
    upstream: ok,
  },
]

/** Cookies hold the host's address, which both proxies share, and the second at which they end. */
const told = (received: string): string =>
  received.replace(/s="(\S+)"; Max-Age/g, (_, value: string) => {
    const bytes = Buffer.from(value, 'base64')
    return `s="${bytes.subarray(0, bytes[1]! + 3).toString('latin1')} SECONDS"; Max-Age`
  })

describeBeside('csrf and stateful_session', SCENARIOS, {
  counted: (i) => new RegExp(`^(http\\.s${i}\\.(csrf|stateful_session|rq_)|cluster\\.c${i}\\.upstream_(rq|cx_none))`),
  told,
})
