// The generic matching API beside real Envoy: filter_chain_matcher, matchers of virtual hosts and of RBAC.

import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { ask, type Call } from '../conformance/suites/filter-chain-match.ts'
import { until } from '../system/mesh.ts'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'
import { exchange } from './harness/raw-client.ts'

const skip = envoyBinary() === null ? 'real Envoy is not installed' : false
const T = 'type.googleapis.com/'
const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })
const extension = (type: string, fields: object = {}): object => ({
  name: 'e',
  typed_config: { '@type': T + type, ...fields },
})

// Inputs.
const network = (name: string, fields: object = {}): object =>
  extension(`envoy.extensions.matching.common_inputs.network.v3.${name}Input`, fields)
const header = (header_name: string): object =>
  extension('envoy.type.matcher.v3.HttpRequestHeaderMatchInput', { header_name })

// Trees.
const on = (action: object): object => ({ action })
const nested = (matcher: object): object => ({ matcher })
const single = (input: object, value_match: object): object => ({ single_predicate: { input, value_match } })
const list = (...matchers: [predicate: object, on_match: object][]): object => ({
  matcher_list: { matchers: matchers.map(([predicate, on_match]) => ({ predicate, on_match })) },
})
const exact = (input: object, map: Record<string, object>): object => ({
  matcher_tree: { input, exact_match_map: { map } },
})
const prefix = (input: object, map: Record<string, object>): object => ({
  matcher_tree: { input, prefix_match_map: { map } },
})
const ip = (input: object, ...range_matchers: object[]): object => ({
  matcher_tree: { input, custom_match: extension('xds.type.matcher.v3.IPMatcher', { range_matchers }) },
})
const range = (address_prefix: string, prefix_len: number, on_match: object, exclusive = false): object => ({
  ranges: [{ address_prefix, prefix_len }],
  on_match,
  exclusive,
})
const domains = (input: object, ...matchers: [string[], object][]): object => ({
  matcher_tree: {
    input,
    custom_match: extension('xds.type.matcher.v3.ServerNameMatcher', {
      domain_matchers: matchers.map(([names, on_match]) => ({ domains: names, on_match })),
    }),
  },
})

const MATCHERS: Readonly<Record<string, string>> = {
  ip: 'ip.v3.Ip',
  consistent_hashing: 'consistent_hashing.v3.ConsistentHashing',
  runtime_fraction: 'runtime_fraction.v3.RuntimeFraction',
}
const custom = (input: object, name: string, fields: object): object => ({
  single_predicate: {
    input,
    custom_match: extension(`envoy.extensions.matching.input_matchers.${MATCHERS[name]}`, fields),
  },
})
const RANGES = [{ address_prefix: '10.0.0.0', prefix_len: 8 }]
const HALF = { default_value: { numerator: 50 } }

const chain = (name: string): object => extension('google.protobuf.StringValue', { value: name })
const CHAINS = ['a', 'b', 'c', 'd']
const [A, B, C, D] = CHAINS.map((name) => on(chain(name))) as [object, object, object, object]
/** A tree that finds nothing. */
const NOTHING = nested(exact(network('DestinationPort'), { 1: A }))

const LISTENERS: Record<string, object> = {
  'destination port': { ...exact(network('DestinationPort'), { 8080: A, 8081: B }), on_no_match: C },
  'destination port without on_no_match': exact(network('DestinationPort'), { 8080: A }),
  'a chain that is not there': { ...exact(network('DestinationPort'), { 8080: on(chain('x')) }), on_no_match: A },
  'the default chain by its name': exact(network('DestinationPort'), { 8080: on(chain('default')) }),
  'a nested tree without a match, on_no_match': {
    ...exact(network('DestinationPort'), { 8080: NOTHING, 8081: A }),
    on_no_match: B,
  },
  'a nested tree without a match, list': list(
    [single(network('DestinationPort'), { prefix: '80' }), NOTHING],
    [single(network('DestinationPort'), { prefix: '8' }), A],
  ),
  'prefixes, the longest leads nowhere': {
    ...prefix(network('DestinationIP'), { '10.': A, '10.1.': NOTHING, '192.168.': B, '192.': C }),
    on_no_match: D,
  },
  'addresses and shares': {
    ...list(
      [custom(network('DestinationIP'), 'ip', { cidr_ranges: RANGES, stat_prefix: 'ranges' }), A],
      [custom(network('DestinationPort'), 'consistent_hashing', { modulo: 100, threshold: 50, seed: 7 }), B],
      [custom(network('SourceIP'), 'runtime_fraction', { runtime_fraction: HALF, seed: 3 }), C],
      // Not an address: counted.
      [custom(network('DestinationPort'), 'ip', { cidr_ranges: RANGES, stat_prefix: 'ports' }), A],
    ),
    on_no_match: D,
  },
  ranges: {
    ...ip(
      network('DestinationIP'),
      range('10.0.0.0', 8, A),
      range('10.1.0.0', 16, NOTHING),
      range('10.2.0.0', 16, NOTHING, true),
      range('172.16.0.0', 12, A, true),
      range('172.16.0.0', 16, NOTHING),
      range('172.17.0.0', 16, NOTHING),
      range('192.168.0.0', 16, B),
      range('192.168.0.0', 24, C),
      range('2001:db8::', 32, D),
    ),
    on_no_match: on(chain('b')),
  },
  'source ranges': ip(network('SourceIP'), range('10.0.0.0', 24, A), range('0.0.0.0', 0, B), range('::', 0, C)),
  'direct source': ip(network('DirectSourceIP'), range('127.0.0.0', 8, A), range('0.0.0.0', 0, B)),
  'source port': { ...prefix(network('SourcePort'), { 1: A, 10: B, 100: C }), on_no_match: D },
  'source type': { ...exact(network('SourceType'), { local: A }), on_no_match: B },
  'server name, exact': { ...exact(network('ServerName'), { 'server1.example.com': A, '': B }), on_no_match: C },
  domains: {
    ...domains(
      network('ServerName'),
      [['server1.example.com'], A],
      [['*.example.com'], B],
      [['*.com', '*.server1.example.com'], C],
      [['www.example.com'], NOTHING],
    ),
    on_no_match: D,
  },
  'domains in upper case': domains(
    network('ServerName'),
    [['SERVER2.example.com'], A],
    [['*.Example.com'], B],
    [['*'], C],
  ),
  'domains and *': domains(network('ServerName'), [['*'], A], [['*.example.com'], NOTHING]),
  'transport protocol': exact(network('TransportProtocol'), { tls: A, raw_buffer: B }),
  'application protocols': list(
    [
      {
        or_matcher: {
          predicate: [
            single(network('ApplicationProtocol'), { contains: "'h2'" }),
            single(network('ApplicationProtocol'), { exact: "'h2c'" }),
          ],
        },
      },
      A,
    ],
    [
      {
        and_matcher: {
          predicate: [
            single(network('ApplicationProtocol'), {
              safe_regex: { google_re2: {}, regex: "'(istio|http/1\\.1)'(,.*)?" },
            }),
            { not_matcher: single(network('ServerName'), { suffix: '.EXAMPLE.com', ignore_case: true }) },
          ],
        },
      },
      B,
    ],
    [{ not_matcher: single(network('ApplicationProtocol'), { prefix: "'" }) }, C],
  ),
  'filter state': {
    ...exact(network('FilterState', { key: 'nothing' }), { x: A }),
    on_no_match: nested(list([{ not_matcher: single(network('FilterState', { key: 'k' }), { prefix: 'x' }) }, B])),
  },
  'only on_no_match': { on_no_match: A },
  nothing: {},
}

const plain = (destinationIp: string, destinationPort: number, sourceIp: string, sourcePort: number): Call => ({
  destinationIp,
  destinationPort,
  sourceIp,
  sourcePort,
  sni: '',
  transport: 'raw_buffer',
  alpn: [],
})
const tls = (sni: string, ...alpn: string[]): Call => ({
  ...plain('10.0.0.1', 8443, '10.0.0.2', 100),
  sni,
  transport: 'tls',
  alpn,
})
const CALLS: readonly Call[] = [
  plain('10.0.0.1', 8080, '10.0.0.9', 100),
  plain('10.1.0.1', 8081, '10.0.0.9', 101),
  plain('10.2.0.1', 9, '10.0.1.9', 11),
  plain('192.168.0.1', 81, '192.168.0.1', 1),
  plain('192.168.9.1', 8000, '127.0.0.1', 2),
  plain('172.18.0.1', 8080, '10.0.0.9', 100),
  plain('172.16.0.1', 8080, '172.16.0.2', 1000),
  plain('2001:db8::1', 8080, '2001:db8::2', 7),
  plain('fe80::1', 8443, '::1', 10),
  tls('', 'h2'),
  tls('server1.example.com', 'istio', 'h2'),
  tls('server2.example.com', 'http/1.1'),
  tls('deep.server1.example.com', 'istio', 'http/1.1'),
  tls('www.example.com', 'istio'),
  tls('example.org', 'http/1.1', 'x'),
  tls('example.com'),
]

const direct = (text: string): object => ({
  filters: [
    extension('envoy.extensions.filters.network.direct_response.v3.Config', { response: { inline_string: text } }),
  ],
})

const listenerFilters = ['proxy_protocol.v3.ProxyProtocol', 'tls_inspector.v3.TlsInspector'].map((name) =>
  extension(`envoy.extensions.filters.listener.${name}`),
)

// HTTP: each virtual host is asked all requests.
const route = (text: string, match: object = { prefix: '/' }): object => ({
  match,
  direct_response: { status: 200, body: { inline_string: text } },
})
const oneRoute = (text: string, match?: object): object =>
  on(extension('envoy.config.route.v3.Route', route(text, match)))
const routes = (...all: object[]): object => on(extension('envoy.config.route.v3.RouteList', { routes: all }))

const HOSTS: Record<string, object> = {
  header: {
    ...exact(header('x-a'), { one: oneRoute('one'), 'one,two': oneRoute('both'), '': oneRoute('empty') }),
    on_no_match: oneRoute('none'),
  },
  path: prefix(header(':path'), {
    '/': oneRoute('root'),
    '/api': routes(route('v1', { prefix: '/api/v1' }), route('x', { prefix: '/', headers: [{ name: 'x-a' }] })),
    '/api/v2': nested(exact(header(':method'), { POST: oneRoute('posted') })),
  }),
  shares: list(
    [custom(header(':path'), 'consistent_hashing', { modulo: 10, threshold: 6, seed: 1 }), oneRoute('hash')],
    [custom(header(':path'), 'runtime_fraction', { runtime_fraction: HALF, seed: 2 }), oneRoute('fraction')],
    [custom(header('x-a'), 'ip', { cidr_ranges: RANGES, stat_prefix: 's' }), oneRoute('ip')],
  ),
  list: list(
    [single(header('X-A'), { exact: 'ONE', ignore_case: true }), oneRoute('first', { prefix: '/api' })],
    [{ not_matcher: single(header('x-b'), { prefix: 'x' }) }, oneRoute('second')],
  ),
  domain: {
    ...domains(header('x-a'), [['one'], oneRoute('one')], [['*'], oneRoute('any')]),
    on_no_match: oneRoute('none'),
  },
  state: { ...exact(network('FilterState', { key: 'k' }), { a: oneRoute('a') }), on_no_match: oneRoute('stateless') },
}
const PATHS = ['/h/1', '/h/2', '/h/3', '/h/4', '/h/5', '/', '/api', '/api/v1?q', '/api/v2', '/apis']
const HEADERS = ['', 'x-a: One\r\n', 'x-a: one\r\n', 'X-A: one\r\nx-a: two\r\n', 'x-a:\r\nx-b: xyz\r\n']

const act = (name: string, action: string): object => on(extension('envoy.config.rbac.v3.Action', { name, action }))
const rules = (matcher: object, shadow_matcher: object): object =>
  extension('envoy.extensions.filters.http.rbac.v3.RBAC', { matcher, shadow_matcher })
const RBAC: Record<string, object> = {
  allow: rules(prefix(header(':path'), { '/api': act('api', 'ALLOW'), '/api/v1': act('v1', 'DENY') }), {
    ...exact(header('x-a'), { one: act('one', 'DENY') }),
    on_no_match: act('rest', 'ALLOW'),
  }),
  log: rules(
    {
      ...exact(header('x-a'), { one: act('one', 'LOG'), 'one,two': act('two', 'DENY') }),
      on_no_match: act('rest', 'ALLOW'),
    },
    exact(network('SourceIP'), { '127.0.0.1': act('local', 'LOG') }),
  ),
  loglist: rules(exact(header('x-a'), { one: act('one', 'LOG') }), exact(header('x-a'), { one: act('one', 'ALLOW') })),
  'log rules': extension('envoy.extensions.filters.http.rbac.v3.RBAC', {
    rules: {
      action: 'LOG',
      policies: { api: { permissions: [{ url_path: { path: { prefix: '/api' } } }], principals: [{ any: true }] } },
    },
    track_per_rule_stats: true,
  }),
  // Wins over the rules beside it.
  both: extension('envoy.extensions.filters.http.rbac.v3.RBAC', {
    rules: { action: 'ALLOW', policies: {} },
    matcher: exact(network('DestinationIP'), { '127.0.0.1': act('here', 'ALLOW') }),
    track_per_rule_stats: true,
  }),
}

const TCP_RBAC: Record<string, object> = {
  allow: exact(network('SourceIP'), { '127.0.0.1': act('local', 'ALLOW') }),
  deny: exact(network('DirectSourceIP'), { '127.0.0.1': act('local', 'DENY') }),
  none: exact(network('DestinationPort'), { 1: act('never', 'ALLOW') }),
}

/** What the echo sends back, '' when the connection is closed instead. */
async function echo(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  socket.write('hello')
  const text = await new Promise<string>((resolve) => {
    socket.once('data', (bytes) => resolve(bytes.toString()))
    socket.once('close', () => resolve(''))
  })
  socket.destroy()
  return text
}

const NAMES = [
  ...Object.keys(LISTENERS),
  'hosts',
  ...Object.keys(RBAC).map((name) => `rbac ${name}`),
  ...Object.keys(TCP_RBAC).map((name) => `tcp ${name}`),
]

function httpListener(name: string, port: number, accessLog: string, hosts: object[], filters: object[]): object {
  return {
    name,
    address: address(port),
    filter_chains: [
      {
        filters: [
          extension('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
            stat_prefix: name.replace(' ', '_'),
            route_config: { name: 'r', virtual_hosts: hosts },
            access_log: [
              extension('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
                path: accessLog,
                log_format: {
                  text_format_source: {
                    inline_string: `${name} %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.common:access_log_hint)% %DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_engine_result)% %DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)% %DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_engine_result)% %DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_effective_policy_id)%\n`,
                  },
                },
              }),
            ],
            http_filters: [...filters, extension('envoy.extensions.filters.http.router.v3.Router')],
          }),
        ],
      },
    ],
  }
}

function bootstrap(ports: Ports, listeners: readonly number[]): object {
  const port = (name: string): number => listeners[NAMES.indexOf(name)]!
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: [
        ...Object.entries(LISTENERS).map(([name, filter_chain_matcher]) => ({
          name,
          address: address(port(name)),
          listener_filters: listenerFilters,
          // A filter_chain_match beside the matcher has no effect.
          filter_chains: CHAINS.map((one) => ({
            name: one,
            filter_chain_match: { destination_port: 1 },
            ...direct(one),
          })),
          default_filter_chain: { name: 'default', ...direct('default') },
          filter_chain_matcher,
        })),
        httpListener(
          'hosts',
          port('hosts'),
          ports.accessLog,
          Object.entries(HOSTS).map(([name, matcher]) => ({ name, domains: [name], matcher })),
          [],
        ),
        ...Object.entries(RBAC).map(([name, filter]) =>
          httpListener(
            `rbac ${name}`,
            port(`rbac ${name}`),
            ports.accessLog,
            [{ name: 'v', domains: ['*'], routes: [route('in')] }],
            [filter],
          ),
        ),
        ...Object.entries(TCP_RBAC).map(([name, matcher]) => ({
          name: `tcp ${name}`,
          address: address(port(`tcp ${name}`)),
          filter_chains: [
            {
              filters: [
                extension('envoy.extensions.filters.network.rbac.v3.RBAC', {
                  stat_prefix: `${name}.`,
                  matcher,
                  shadow_matcher: matcher,
                }),
                extension('envoy.extensions.filters.network.echo.v3.Echo'),
              ],
            },
          ],
        })),
      ],
    },
  }
}

describe('matchers', { skip }, () => {
  const sides: { proxy: RunningProxy; listeners: number[] }[] = []

  before(async () => {
    for (const name of ['envoy', 'outrigger'] as const) {
      const listeners = await Promise.all(NAMES.map(() => freePort()))
      sides.push({ proxy: await startProxy(name, (ports) => bootstrap(ports, listeners)), listeners })
    }
  })

  after(() => Promise.all(sides.map((side) => side.proxy.stop())))

  /** What both sides answer at the port of one listener, which must be equal. */
  async function both<T>(name: string, play: (port: number) => Promise<T>): Promise<void> {
    const [envoy, ours] = await Promise.all(sides.map(({ listeners }) => play(listeners[NAMES.indexOf(name)]!)))
    assert.deepEqual(ours, envoy)
  }

  for (const name of Object.keys(LISTENERS)) {
    test(`filter chain: ${name}`, () =>
      both(name, async (port) => {
        const answers: string[] = []
        for (const call of CALLS) answers.push(`${JSON.stringify(call)}: ${await ask(port, call)}`)
        return answers
      }))
  }

  const askAll =
    (host: string) =>
    async (port: number): Promise<string[]> => {
      const answers: string[] = []
      for (const method of ['GET', 'POST']) {
        for (const path of PATHS) {
          for (const headers of HEADERS) {
            const end = method === 'POST' ? 'content-length: 0\r\n' : ''
            const request = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n${headers}${end}\r\n`
            const [answer] = await exchange(port, request, [method])
            answers.push(`${request}: ${answer!.status} ${answer!.body}`)
          }
        }
      }
      return answers
    }

  for (const name of Object.keys(HOSTS)) test(`virtual host: ${name}`, () => both('hosts', askAll(name)))

  for (const name of Object.keys(RBAC)) test(`RBAC: ${name}`, () => both(`rbac ${name}`, askAll('h')))

  for (const name of Object.keys(TCP_RBAC)) {
    test(`RBAC of TCP: ${name}`, () => both(`tcp ${name}`, echo))
  }

  test('stats and metadata of RBAC', async () => {
    // Log lines reach their files a moment after the answers.
    await until('equal stats and log lines', async () => {
      const [envoy, ours] = await Promise.all(
        sides.map(async ({ proxy }) => ({
          stats: (await proxy.admin('/stats?filter=ip_parsing_failed|rbac\\.')).split('\n').sort(),
          log: proxy.logLines().sort(),
        })),
      )
      assert.deepEqual(ours, envoy)
      return true
    })
  })
})
