// Fields of route actions, mirrors and redirects beside real Envoy: what the copy of a request looks like, paths of
// redirects by format, virtual hosts by a header, PROXY headers ahead of CONNECT's bytes, the older fields of internal redirects.

import type { Socket } from 'node:net'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const get = (path = '/', headers = ''): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const ok = (headers = ''): string => `HTTP/1.1 200 OK\r\ncontent-length: 0\r\n${headers}\r\n`

/** Scenario `i` mirrors to its own upstream, which tells the copy's head to whoever asks for /told. */
function mirrored(i: number, name: string, policy: object, headers = ''): Scenario {
  const cluster = `c${i}`
  let copy: string | null = null
  let asking: Socket | null = null
  const tell = (socket: Socket, head: string): void => {
    copy = asking = null
    const lines = head
      .trimEnd()
      .replace(/x-request-id: .*/, 'x-request-id: ID')
      .split('\r\n')
    socket.write(ok(`x-told: ${lines.join('|')}\r\n`))
  }
  return {
    name,
    virtualHost: {
      routes: [
        { match: { path: '/told' }, route: { cluster } },
        { match: { prefix: '/' }, route: { cluster, request_mirror_policies: [{ cluster, ...policy }] } },
      ],
    },
    client: [get('/copied', `x-drop: 1\r\nx-keep: 2\r\n${headers}`), get('/told')],
    upstream: (head, socket) => {
      if (head.startsWith('GET /told')) {
        if (copy === null) asking = socket
        else tell(socket, copy)
        return null
      }
      // Only the proxy's own request says where it comes from.
      if (!head.includes('x-forwarded-for:')) return ok()
      if (asking) tell(asking, head)
      else copy = head
      return ok()
    },
  }
}

/** Each of the two clusters, which are one, tells its name in the response. */
const hashed = (name: string, hash_policy: object[], paths: readonly string[], more: object = {}): Scenario => ({
  name: `use_hash_policy: ${name}`,
  route: {
    cluster: undefined,
    weighted_clusters: {
      use_hash_policy: true,
      clusters: [3, 7].map((weight) => ({
        name: 'c0',
        weight,
        response_headers_to_add: [{ header: { key: 'x-drawn', value: String(weight) } }],
      })),
      ...more,
    },
    hash_policy,
  },
  client: paths.map((path) => get(path, `x-key: ${path}\r\ncookie: k=${path.slice(2)}\r\n`)),
})
const KEYS = Array.from({ length: 12 }, (_, i) => `/?q=${i}`)

const header = (key: string, value: string, append_action?: string): object => ({
  append: { header: { key, value }, ...(append_action && { append_action }) },
})
const redirect = (name: string, action: object, paths: readonly string[], more: Partial<Scenario> = {}): Scenario => ({
  name,
  routeEntry: { redirect: action, ...more.routeEntry },
  client: paths.map((path) => get(path, 'x-a: b/c\r\n')),
})

const answering = (name: string, ...domains: string[]): object => ({
  name,
  domains,
  routes: [{ name, match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: name } } }],
})
const byHeader = (more: object): object => ({
  vhost_header: 'X-Pick',
  virtual_hosts: [answering('one', 'one'), answering('two', '*.two'), answering('host', 'a'), answering('any', '*')],
  ...more,
})

/** A CONNECT whose upstream tells what came ahead of the tunneled bytes, without the ports. */
const connect = (version: 'V1' | 'V2'): Scenario => ({
  name: `CONNECT with a PROXY header of ${version}`,
  hcm: { upgrade_configs: [{ upgrade_type: 'CONNECT' }] },
  route: {
    upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: { proxy_protocol_config: { version } } }],
  },
  connect: true,
  client: ['CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n', get()],
  upstream: (head) => {
    const ahead = head.slice(0, head.indexOf('GET '))
    const told =
      version === 'V1'
        ? ahead.trimEnd().replaceAll(/\b\d{4,5}\b/g, 'PORT')
        : Buffer.from(ahead, 'latin1').toString('hex', 0, 19)
    return ok(`x-ahead: ${told}\r\nx-bytes: ${version === 'V1' ? '' : ahead.length}\r\n`)
  },
})

const cluster = (i: number): string => `c${i}`
const OLD_REDIRECTS = 16

/** Redirects within the proxy, asked for by the older two fields. */
const internal = (i: number, route: object): Scenario => ({
  name: `internal redirects: ${JSON.stringify(route)}`,
  virtualHost: {
    routes: [{ name: 'only', match: { prefix: '/' }, route: { cluster: cluster(i), ...route } }],
  },
  client: [get('/0')],
  upstream: (head) => {
    const hop = Number(/ \/(\d)/.exec(head)?.[1] ?? 9)
    if (hop >= 3) return ok(`x-hop: ${hop}\r\n`)
    return `HTTP/1.1 302 Found\r\nlocation: http://a/${hop + 1}\r\ncontent-length: 0\r\n\r\n`
  },
})

const SCENARIOS: readonly Scenario[] = [
  mirrored(0, 'a copy as it is', {}),
  mirrored(1, 'headers of a copy changed', {
    request_headers_mutations: [
      { remove: 'x-drop' },
      header('x-added', '%REQ(x-keep)% %REQ(:path)%'),
      header('x-keep', '3'),
      header('x-none', '4', 'OVERWRITE_IF_EXISTS'),
      header('x-drop', '5'),
    ],
  }),
  mirrored(2, 'another host for a copy', { host_rewrite_literal: 'other.example:1' }),
  mirrored(3, 'another host and headers for a copy', {
    host_rewrite_literal: 'other.example',
    disable_shadow_host_suffix_append: true,
    request_headers_mutations: [header('x-host', '%REQ(:authority)%')],
  }),
  mirrored(4, 'the host that headers of a copy read', {
    request_headers_mutations: [header('x-host', '%REQ(:authority)% %REQ(host)%')],
  }),
  mirrored(5, 'what a copy tells of its making', { request_headers_mutations: [{ remove: 'x-envoy-internal' }] }),
  {
    name: 'a virtual host by a header',
    hcm: { route_config: byHeader({}) },
    client: [
      'x-pick: one',
      'x-pick: ONE',
      'x-pick: one:80',
      'x-pick: a.two',
      'x-pick: one\r\nx-pick: a.two',
      'x-pick:',
      'x-x: 1',
    ].map((line) => get('/', `${line}\r\n`)),
  },
  {
    name: 'a virtual host by a header, its port left out',
    hcm: { route_config: byHeader({ ignore_port_in_host_matching: true }) },
    client: ['x-pick: one', 'x-pick: one:80', 'x-pick: none'].map((line) => get('/', `${line}\r\n`)),
  },
  {
    name: 'a virtual host by a header that is missing, of one wildcard',
    hcm: { route_config: { vhost_header: 'X-Pick', virtual_hosts: [answering('any', '*')] } },
    client: [get('/', 'x-pick: one\r\n'), get()],
  },
  hashed('a header', [{ header: { header_name: 'x-key' } }], KEYS),
  hashed('a query parameter', [{ query_parameter: { name: 'q' } }], KEYS),
  hashed('the source address', [{ connection_properties: { source_ip: true } }], KEYS.slice(0, 2)),
  hashed('two policies', [{ header: { header_name: 'x-key' } }, { query_parameter: { name: 'q' } }], KEYS),
  hashed('a cookie', [{ cookie: { name: 'k' } }], KEYS),
  ...['ROUND_ROBIN', 'LEAST_REQUEST', 'RING_HASH', 'MAGLEV'].map(
    (lb_policy): Scenario => ({
      name: `hash_policy: a cookie that is made for ${lb_policy}`,
      route: { hash_policy: [{ cookie: { name: 'made', ttl: '5s' } }] },
      cluster: { lb_policy },
      client: [get()],
      upstream: () => ok(),
    }),
  ),
  redirect('a path by format', { path_rewrite: '/new/%REQ(x-a)%' }, ['/p', '/p?q=1']),
  redirect('a path by format, without a slash', { path_rewrite: '%REQ(x-a)%' }, ['/p?q=1']),
  redirect('a path by format, with a query', { path_rewrite: '/n?z=%REQ(x-a)%' }, ['/p', '/p?q=1']),
  redirect('a path by format, query stripped', { path_rewrite: '/n%REQ(:path)%', strip_query: true }, ['/p?q=1']),
  redirect('a path by format, of nothing', { path_rewrite: '%REQ(x-none)%', host_redirect: 'b' }, ['/p', '/p?q=1']),
  connect('V1'),
  connect('V2'),
  internal(OLD_REDIRECTS, { internal_redirect_action: 'HANDLE_INTERNAL_REDIRECT' }),
  internal(OLD_REDIRECTS + 1, { internal_redirect_action: 'HANDLE_INTERNAL_REDIRECT', max_internal_redirects: 2 }),
  internal(OLD_REDIRECTS + 2, { internal_redirect_action: 'HANDLE_INTERNAL_REDIRECT', max_internal_redirects: 3 }),
  internal(OLD_REDIRECTS + 3, { max_internal_redirects: 3 }),
]

// Made of the connection's ports.
describeBeside('fields of routes', SCENARIOS, { told: (received) => received.replace(/made="\w+"/, 'made="…"') })
