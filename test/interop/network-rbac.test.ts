// RBAC of connections without TLS beside real Envoy: what gets through, what is counted, and what logs tell.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address } from './harness/situations.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const extension = (name: string, message: object): object => ({
  name,
  typed_config: { '@type': type(name), ...message },
})
const any = { any: true }
const metadata = (value: object, invert = false): object => ({ filter: 'f', path: [{ key: 'k' }], value, invert })
const range = (address_prefix: string, prefix_len?: number): object => ({ address_prefix, prefix_len })
const template = extension('extensions.path.match.uri_template.v3.UriTemplateMatchConfig', { path_template: '/a' })

/** Conditions that hold or do not, each as the only one of a policy and negated. */
const PERMISSIONS: readonly object[] = [
  { destination_ip: range('127.0.0.1', 32) },
  { destination_ip: range('127.0.0.1') },
  { destination_ip: range('10.0.0.0', 8) },
  { destination_ip: range('::', 0) },
  { destination_port: 1 },
  { destination_port_range: { start: 1, end: 65536 } },
  { requested_server_name: { exact: '' } },
  { requested_server_name: { prefix: 'a' } },
  { requested_server_name: { safe_regex: { regex: '.*' } } },
  { metadata: metadata({ present_match: true }) },
  { metadata: metadata({ null_match: {} }) },
  { metadata: metadata({ string_match: { exact: 'v' } }, true) },
  { url_path: { path: { exact: '' } } },
  { url_path: { path: { prefix: '/' } } },
  { uri_template: template },
  { and_rules: { rules: [any, { destination_port_range: { start: 0, end: 1 } }] } },
  { or_rules: { rules: [{ destination_port: 1 }, any] } },
]
const PRINCIPALS: readonly object[] = [
  { authenticated: {} },
  { authenticated: { principal_name: { exact: '' } } },
  { authenticated: { principal_name: { safe_regex: { regex: '.*' } } } },
  { source_ip: range('127.0.0.0', 8) },
  { direct_remote_ip: range('127.0.0.1', 32) },
  { remote_ip: range('127.0.0.1', 32) },
  { remote_ip: range('128.0.0.0', 1) },
  { metadata: metadata({ present_match: false }) },
  { filter_state: { key: 'k', string_match: { exact: '' } } },
  { url_path: { path: { exact: '' } } },
  { and_ids: { ids: [any, { authenticated: {} }] } },
  { or_ids: { ids: [{ authenticated: {} }, any] } },
]

const policy = (permission: object, principal: object, more: object = {}): object => ({
  permissions: [permission],
  principals: [principal],
  ...more,
})
const of = (action: string, policies: object): object => ({ action, policies })
const path = { select_expr: { operand: { ident_expr: { name: 'request' } }, field: 'path' } }
const text = (string_value: string): object => ({ const_expr: { string_value } })
const equals = (a: object, b: object): object => ({ call_expr: { function: '_==_', args: [a, b] } })

const SITUATIONS: Readonly<Record<string, object>> = {
  ...Object.fromEntries(
    PERMISSIONS.flatMap((permission) => [
      [JSON.stringify(permission), { rules: of('ALLOW', { p: policy(permission, any) }) }],
      [`not ${JSON.stringify(permission)}`, { rules: of('ALLOW', { p: policy({ not_rule: permission }, any) }) }],
    ]),
  ),
  ...Object.fromEntries(
    PRINCIPALS.flatMap((principal) => [
      [`by ${JSON.stringify(principal)}`, { rules: of('ALLOW', { p: policy(any, principal) }) }],
      [`not by ${JSON.stringify(principal)}`, { rules: of('ALLOW', { p: policy(any, { not_id: principal }) }) }],
    ]),
  ),
  'no rules': {},
  'no policies': { rules: of('ALLOW', {}) },
  'DENY without policies': { rules: of('DENY', {}) },
  DENY: { rules: of('DENY', { 'a b\tc': policy(any, any) }) },
  'LOG that matches': { rules: of('LOG', { p: policy(any, any) }) },
  'LOG that does not match': { rules: of('LOG', { p: policy({ destination_port: 1 }, any) }) },
  'the first by name': { rules: of('DENY', { b: policy(any, any), B: policy(any, any), a1: policy(any, any) }) },
  'shadow rules alone': { shadow_rules: of('DENY', { p: policy(any, any) }) },
  'shadow rules that allow beside rules that deny': {
    rules: of('DENY', { p: policy(any, any) }),
    shadow_rules: of('ALLOW', { q: policy(any, any) }),
    shadow_rules_stat_prefix: 'pre_',
  },
  'shadow rules without a match': { shadow_rules: of('ALLOW', {}), shadow_rules_stat_prefix: 'pre' },
  'shadow rules that log': { shadow_rules: of('LOG', { p: policy(any, any) }) },
  CONTINUOUS: { rules: of('ALLOW', { p: policy(any, any) }), enforcement_type: 'CONTINUOUS' },
  'CONTINUOUS, shadowed': {
    rules: of('LOG', { p: policy(any, any) }),
    shadow_rules: of('DENY', { q: policy(any, any) }),
    enforcement_type: 'CONTINUOUS',
  },
  'a condition about requests': { rules: of('ALLOW', { p: policy(any, any, { condition: equals(path, text('')) }) }) },
  'a condition that holds': {
    rules: of('ALLOW', { p: policy(any, any, { condition: equals(text('a'), text('a')) }) }),
  },
}
const NAMES = Object.keys(SITUATIONS)

function bootstrap(ports: Ports, listeners: readonly number[], upstream: number): object {
  const meta = (key: string): string => `%DYNAMIC_METADATA(envoy.filters.network.rbac:${key})%`
  const line = [
    '%CONNECTION_TERMINATION_DETAILS%',
    '%RESPONSE_FLAGS%',
    '%DYNAMIC_METADATA(envoy.common:access_log_hint)%',
    ...['', 'pre_', 'pre'].flatMap((p) => [meta(`${p}shadow_effective_policy_id`), meta(`${p}shadow_engine_result`)]),
    meta('enforced_engine_result'),
    meta('enforced_effective_policy_id'),
  ].join(' ')
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: NAMES.map((name, i) => ({
        name: `l${i}`,
        address: address(listeners[i]!),
        filter_chains: [
          {
            filters: [
              extension('extensions.filters.network.rbac.v3.RBAC', { stat_prefix: `s${i}.`, ...SITUATIONS[name] }),
              extension('extensions.filters.network.tcp_proxy.v3.TcpProxy', {
                stat_prefix: 't',
                cluster: 'c',
                access_log: [
                  extension('extensions.access_loggers.file.v3.FileAccessLog', {
                    path: ports.accessLog,
                    log_format: { text_format_source: { inline_string: `${i} ${line}\n` } },
                  }),
                ],
              }),
            ],
          },
        ],
      })),
      clusters: [
        {
          name: 'c',
          load_assignment: {
            cluster_name: 'c',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstream) } }] }],
          },
        },
      ],
    },
  }
}

/** What comes back of two writes, the second after the first's echo. */
async function echo(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let received = ''
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString()
    if (received === 'one') socket.write('two')
    else if (received === 'onetwo') socket.end()
  })
  socket.write('one')
  await once(socket, 'close')
  return received
}

describe('network RBAC', { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
  let upstream: Server
  const sides: { readonly proxy: RunningProxy; readonly listeners: readonly number[] }[] = []
  before(async () => {
    upstream = createServer((socket) => socket.on('error', () => {}).pipe(socket))
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const { port } = upstream.address() as AddressInfo
    for (const name of ['envoy', 'outrigger'] as const) {
      const listeners = await Promise.all(NAMES.map(() => freePort()))
      sides.push({ proxy: await startProxy(name, (ports) => bootstrap(ports, listeners, port)), listeners })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    upstream.close()
  })
  for (const [i, name] of NAMES.entries()) {
    test(name, async () => {
      const told: unknown[] = []
      for (const { proxy, listeners } of sides) {
        const received = await echo(listeners[i]!)
        const lines = (): string[] => proxy.logLines().filter((line) => line.startsWith(`${i} `))
        for (let tries = 0; tries < 80 && lines().length === 0; tries++)
          await new Promise((resolve) => setTimeout(resolve, 25))
        const stats = (await proxy.admin(`/stats?filter=^s${i}[.]`)).split('\n').sort()
        told.push({ received, lines: lines(), stats })
      }
      assert.deepEqual(told[1], told[0])
    })
  }
})
