// Options that Envoy has had for a short time only, beside real Envoy: ignored upgrades, trusted proxies of X-Forwarded-For.

import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const ok = (head: string): string => {
  const told = head.match(/^(upgrade|connection|http2-settings|x-forwarded-for|x-envoy-external-address): .*$/gim) ?? []
  const lines = told.map((line) => `x-told: ${line.trim()}\r\n`).join('')
  if (/^upgrade: websocket\r$/im.test(head))
    return `HTTP/1.1 101 X\r\n${lines}upgrade: websocket\r\nconnection: upgrade\r\n\r\n`
  return `HTTP/1.1 200 OK\r\n${lines}content-length: 0\r\n\r\n`
}
const get = (...headers: string[]): string =>
  `GET / HTTP/1.1\r\nhost: a\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n`

const ignoring = (...ignore_http_11_upgrade: object[]): object => ({
  http_protocol_options: { ignore_http_11_upgrade },
})
const UPGRADES: readonly (readonly string[])[] = [
  ['upgrade: TLS/1.2', 'connection: upgrade'],
  ['upgrade: TLS/1.2', 'connection: keep-alive, Upgrade, x-other'],
  ['upgrade: tls/1.2', 'connection: upgrade'],
  ['upgrade: foo', 'connection: upgrade'],
  ['upgrade: FOO', 'connection: upgrade'],
  ['upgrade: foo, TLS/1.2', 'connection: upgrade'],
  ['upgrade: TLS/1.2,websocket', 'connection: upgrade'],
  ['upgrade: foo', 'upgrade: TLS/1.0', 'connection: Upgrade'],
  ['upgrade: TLS/1.2, h2c', 'connection: upgrade, http2-settings', 'http2-settings: AAMAAABkAAQAAP__'],
  ['upgrade: h2c', 'connection: upgrade, http2-settings', 'http2-settings: AAMAAABkAAQAAP__'],
  ['upgrade: other', 'connection: upgrade'],
  ['upgrade: TLS/1.2'],
  ['upgrade: ', 'connection: upgrade'],
  ['upgrade: ,', 'connection: upgrade'],
]
const ignored = UPGRADES.map(
  (lines): Scenario => ({
    name: `ignored upgrades: ${lines.join('; ')}`,
    hcm: { ...ignoring({ prefix: 'TLS/' }, { exact: 'foo' }), upgrade_configs: [{ upgrade_type: 'websocket' }] },
    client: [get(...lines)],
    upstream: ok,
  }),
)

const extension = (name: string, message: string, config: object): object => ({
  name: `envoy.http.original_ip_detection.${name}`,
  typed_config: {
    '@type': `type.googleapis.com/envoy.extensions.http.original_ip_detection.${name}.v3.${message}`,
    ...config,
  },
})
const xff = (config: object): object => ({
  original_ip_detection_extensions: [extension('xff', 'XffConfig', config)],
})
const cidrs = (...list: string[]): object => ({
  xff_trusted_cidrs: {
    cidrs: list.map((text) => ({ address_prefix: text.split('/')[0], prefix_len: Number(text.split('/')[1]) })),
  },
})
const VALUES: readonly (readonly string[])[] = [
  [],
  ['1.2.3.4'],
  ['10.0.0.1'],
  ['1.2.3.4, 10.0.0.1'],
  ['1.2.3.4,5.6.7.8,10.0.0.1,10.0.0.2'],
  ['10.0.0.9,10.0.0.1'],
  ['192.168.1.1'],
  ['1.2.3.4, 192.168.1.1'],
  ['1.2.3.4, bad, 10.0.0.1'],
  ['1.2.3.4, 10.0.0.1, bad'],
  ['bad, 10.0.0.1'],
  ['1.2.3.4', '10.0.0.1'],
  ['1.2.3.4,'],
  [',10.0.0.1'],
  [''],
  ['1.2.3.4 ,10.0.0.1 '],
  ['2001:db8::1, 10.0.0.1'],
  ['1.2.3.4,127.0.0.1'],
  ['1.2.3.4:80, 10.0.0.1'],
]
const log = { from: '%DOWNSTREAM_REMOTE_ADDRESS%', direct: '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%' }
const internal = { internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] } }
const KINDS: readonly (readonly [string, object])[] = [
  ['trusted peer', cidrs('127.0.0.0/8', '10.0.0.0/8')],
  ['peer that is not trusted', cidrs('10.0.0.0/8')],
  ['nobody trusted', { xff_trusted_cidrs: {} }],
  ['trusted peer, appended', { ...cidrs('127.0.0.0/8', '10.0.0.0/8'), skip_xff_append: false }],
  ['peer that is not trusted, appended', { ...cidrs('10.0.0.0/8'), skip_xff_append: false }],
  ['by hops, appended', { xff_num_trusted_hops: 1, skip_xff_append: false }],
  ['by hops, not appended', { xff_num_trusted_hops: 1, skip_xff_append: true }],
]
const trusting = KINDS.flatMap(([name, config]) =>
  VALUES.map(
    (values): Scenario => ({
      name: `X-Forwarded-For, ${name}: ${JSON.stringify(values)}`,
      hcm: { ...xff(config), ...internal },
      log,
      client: [get(...values.map((value) => `x-forwarded-for: ${value}`))],
      upstream: (head) => ok(/x-envoy-internal/i.test(head) ? `${head}x-forwarded-for: internal\r\n` : head),
    }),
  ),
)

const custom = extension('custom_header', 'CustomHeaderConfig', { header_name: 'x-real' })
const appending = { skip_xff_append: false }
const LISTS: readonly (readonly [string, object[]])[] = [
  ['a stranger, then a header', [extension('xff', 'XffConfig', cidrs('10.0.0.0/8')), custom]],
  ['a header, then a stranger', [custom, extension('xff', 'XffConfig', cidrs('10.0.0.0/8'))]],
  [
    'an appending one, then a header',
    [extension('xff', 'XffConfig', { xff_num_trusted_hops: 2, ...appending }), custom],
  ],
  [
    'a header, then an appending one',
    [custom, extension('xff', 'XffConfig', { xff_num_trusted_hops: 1, ...appending })],
  ],
  ['a header alone', [custom]],
  [
    'an appending one, then one that does not',
    [extension('xff', 'XffConfig', { xff_num_trusted_hops: 2, ...appending }), extension('xff', 'XffConfig', {})],
  ],
  [
    'two that append',
    [
      extension('xff', 'XffConfig', { xff_num_trusted_hops: 2, ...appending }),
      extension('xff', 'XffConfig', { xff_num_trusted_hops: 1, ...appending }),
    ],
  ],
]
const several = LISTS.flatMap(([name, original_ip_detection_extensions]) =>
  [[], ['x-real: 9.9.9.9'], ['x-forwarded-for: 1.1.1.1, 2.2.2.2']].map(
    (lines): Scenario => ({
      name: `${name}: ${JSON.stringify(lines)}`,
      hcm: { original_ip_detection_extensions, ...internal },
      log,
      client: [get(...lines)],
      upstream: ok,
    }),
  ),
)

const durations = [0, 50, 100].map(
  (value): Scenario => ({
    name: `a connection's duration with ${value} % of jitter`,
    hcm: {
      common_http_protocol_options: {
        max_connection_duration: '0.2s',
        max_connection_duration_jitter: { value },
      },
      drain_timeout: '0.1s',
    },
    client: [get()],
    upstream: ok,
    quietMs: 1500,
  }),
)

describeBeside('later options', [...ignored, ...trusting, ...several, ...durations], {
  counted: (i, { name }) => (name.startsWith('a connection') ? new RegExp(`^http\\.s${i}\\.downstream_cx_max`) : /^$/),
  // Whether a connection from here is shown by the machine's own address depends on the machine.
  logged: (line) => ({
    ...(line as object),
    from: String((line as { from: string }).from).replace(/^(127.*):\d+$/, '$1:PORT'),
  }),
})
