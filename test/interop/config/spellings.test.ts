// YAML and JSON as people write them: which spelling of a field Envoy's loader takes, ours takes, and the other way round.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { ConfigError } from '../../../src/base/errors.ts'
import { loadBootstrap, validateProxy } from '../../../src/proxy/index.ts'
import { envoyBinary } from '../harness/proxies.ts'

const TYPE = 'type.googleapis.com/envoy'
/** Places of the bootstrap that a case may fill in another way. */
const USUAL = {
  port: '19001',
  prefix: 's',
  manager: '{}',
  domains: '["*"]',
  match: '{prefix: "/"}',
  route: '{cluster: c}',
  router: `{"@type": ${TYPE}.extensions.filters.http.router.v3.Router}`,
  clusters: '[{name: c, type: STATIC}]',
  cluster: '{}',
} as const
type Place = keyof typeof USUAL

/** The bootstrap of a case, as YAML; `manager` and `cluster` are flow mappings of further fields. */
function bootstrap(place: Place, text: string): string {
  const at = { ...USUAL, [place]: text }
  const inner = (mapping: string): string => mapping.trim().slice(1, -1)
  return `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ${at.port}}}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 19002}}
    filter_chains:
    - filters:
      - name: m
        typed_config:
          "@type": ${TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ${at.prefix}
          route_config: {virtual_hosts: [{name: d, domains: ${at.domains}, routes: [{match: ${at.match}, route: ${at.route}}]}]}
          http_filters: [{name: envoy.filters.http.router, typed_config: ${at.router}}]
${inner(at.manager)
  .split(';')
  .map((line) => `          ${line.trim()}`)
  .join('\n')}
  clusters: ${place === 'cluster' ? `[{name: c, type: STATIC, ${inner(at.cluster)}}]` : at.clusters}
`
}

const TYPED_STRUCT = `"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: ${TYPE}.extensions.filters.http.router.v3.Router`

const CASES: readonly (readonly [Place, readonly string[]])[] = [
  [
    'port',
    ['"19001"', '19001.0', '1.9001e4', '0x4A39', '"0x4A39"', '045071', '019001', '"019001"', '+19001', '19_001'],
  ],
  ['port', ['-1', '-0', '1.5', '" 19001"', '99999999999', '.inf', '.nan', '{value: 19001}']],
  [
    'prefix',
    ['yes', 'y', 'Off', 'TRUE', 'tRue', '"yes"', 'null', '0x10', '1.0', '1e3', '010', '1_000', '1:30', '2001-01-01'],
  ],
  ['prefix', ['.inf', '""', '0b11', '+5', '1.2.3', 's#x', '[s]', '{}']],
  ...[
    'true',
    'True',
    '"true"',
    'yes',
    'YES',
    'y',
    'n',
    'on',
    'ON',
    'oFF',
    '"on"',
    't',
    '"f"',
    '1',
    '"1"',
    '{value: true}',
    '{}',
  ].map((text) => ['manager', [`{use_remote_address: ${text}}`]] as const),
  [
    'manager',
    ['{use_remote_address: ~}', '{server_name:}', '{useRemoteAddress: true}', '{xff_num_trusted_hops: {value: 1}}'],
  ],
  ['domains', ['"*"', '*', '{a: b}', '[["*"]]', '[5]', '[yes]', '~']],
  ['match', ['{prefix: 5}', '{prefix: true}', '{prefix: ~}', '{prefix: "/", path: "/a"}']],
  ['match', ['{prefix: "/", runtime_fraction: {default_value: {numerator: "5", denominator: 1}}}']],
  ['match', ['{prefix: "/", runtime_fraction: {default_value: {numerator: 5, denominator: hundred}}}']],
  ['match', ['{prefix: "/", runtime_fraction: {default_value: {numerator: 5, denominator: 9}}}']],
  ['match', ['{prefix: "/", headers: {name: a, string_match: {exact: b}}}', '{prefix: "/", headers: [{name: a}, ~]}']],
  ...[
    '5',
    '"5"',
    '500ms',
    '.5s',
    '5.s',
    '0.5s',
    '0.0000000015s',
    '-1s',
    '0s',
    '5S',
    '{seconds: 5}',
    '{nanos: 5}',
    '{secs: 1}',
  ].map((text) => ['route', [`{cluster: c, timeout: ${text}}`]] as const),
  [
    'route',
    [
      '{cluster: 5}',
      '{cluster: c, foo: 1}',
      '{cluster: c, priority: high}',
      '{cluster: c, priority: "1"}',
      '{cluster: c, priority: 7}',
    ],
  ],
  [
    'router',
    [
      '{}',
      `{"@type": foo.bar/envoy.extensions.filters.http.router.v3.Router}`,
      `{"@type": envoy.extensions.filters.http.router.v3.Router}`,
      `{"@type": ${TYPE}.config.filter.http.router.v2.Router}`,
      `{${TYPED_STRUCT}, value: {suppress_envoy_headers: true}}`,
      `{${TYPED_STRUCT}, value: {suppress_envoy_headers: "yes", strict_check_headers: x-envoy-max-retries}}`,
      `{${TYPED_STRUCT}, value: {suppress: true}}`,
    ],
  ],
  [
    'clusters',
    [
      '{name: c}',
      '[{name: c, type: static}]',
      '[{name: c, type: 0}]',
      '[{name: c, type: "0"}]',
      '[{name: c, type: 99}]',
    ],
  ],
  [
    'clusters',
    [
      '[&a {name: c}, {<<: *a, name: e}]',
      '[{name: c, load_assignment: &x {cluster_name: c}}, {name: e, load_assignment: *x}]',
    ],
  ],
  ['cluster', ['{metadata: {filter_metadata: {a: {b: 1, c: [1, x], d: ~}}}}', '{metadata: {filter_metadata: {a: 1}}}']],
  [
    'cluster',
    [
      '{http2_protocol_options: {max_concurrent_streams: 100}}',
      '{http_protocol_options: {}}',
      '{protocol_selection: USE_DOWNSTREAM_PROTOCOL}',
    ],
  ],
]

const ENVOY = envoyBinary()
const PARALLEL = 4

describe('spellings of configuration beside Envoy', { skip: ENVOY === null ? 'no envoy on PATH' : false }, () => {
  it('takes what Envoy takes', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'spellings-'))
    t.after(() => rmSync(dir, { recursive: true, force: true }))
    const open = CASES.flatMap(([place, texts]) => texts.map((text) => ({ place, text })))
    const differences: string[] = []
    const lane = async (): Promise<void> => {
      for (let next = open.pop(); next !== undefined; next = open.pop()) {
        const path = join(dir, `${open.length}.yaml`)
        writeFileSync(path, bootstrap(next.place, next.text))
        const [envoy, ours] = [await takenByEnvoy(path), refusalOf(path)]
        if (envoy !== (ours === null)) differences.push(`${next.place}: ${next.text}: ${ours ?? 'taken by us only'}`)
      }
    }
    await Promise.all(Array.from({ length: PARALLEL }, lane))
    assert.deepEqual(differences.sort(), [])
  })
})

async function takenByEnvoy(path: string): Promise<boolean> {
  const envoy = spawn('envoy', ['--mode', 'validate', '-l', 'off', '-c', path], { stdio: 'ignore' })
  const [code] = (await once(envoy, 'close')) as [number | null]
  return code === 0
}

/** null = taken. */
function refusalOf(path: string): string | null {
  try {
    validateProxy(loadBootstrap({ path, allowUnknownFields: false }))
    return null
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.message
  }
}
