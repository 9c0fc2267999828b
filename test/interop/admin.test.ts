// The admin pages of real Envoy and ours on one bootstrap, after the same requests: what operators and istioctl read there
// must be the same.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const TYPE = 'type.googleapis.com/envoy.'
const MATCHER = '(upstream_rq|membership|downstream_rq_(total|[1-5]xx|completed)|server\\.(live|state)|rq_total)'

function bootstrap(upstreamPort: number): (ports: Ports) => object {
  const address = (port: number) => ({ socket_address: { address: '127.0.0.1', port_value: port } })
  const cluster = (name: string, extra: object) => ({
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          locality: { region: 'r', zone: 'z', sub_zone: 's' },
          lb_endpoints: [{ endpoint: { hostname: 'h', address: address(upstreamPort) }, load_balancing_weight: 3 }],
        },
      ],
    },
    ...extra,
  })
  const hcm = {
    '@type': `${TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'hcm',
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': `${TYPE}extensions.filters.http.router.v3.Router` },
      },
    ],
    route_config: {
      name: 'rc',
      virtual_hosts: [
        {
          name: 'vh',
          domains: ['*'],
          routes: [
            { match: { prefix: '/local' }, direct_response: { status: 418, body: { inline_string: 'tea' } } },
            { match: { prefix: '/' }, route: { cluster: 'up:1' } },
          ],
        },
      ],
    },
  }
  return (ports) => ({
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    stats_config: { stats_tags: [{ tag_name: 'mesh', fixed_value: 'm1' }] },
    static_resources: {
      listeners: [
        {
          name: 'l1',
          address: address(ports.listener),
          filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: hcm }] }],
        },
      ],
      clusters: [
        cluster('up:1', {
          circuit_breakers: { thresholds: [{ max_connections: 7 }, { priority: 'HIGH', max_retries: 9 }] },
        }),
        cluster('spare', { alt_stat_name: 'other', outlier_detection: {} }),
      ],
    },
  })
}

type Json = { [key: string]: unknown }

/** Without what differs from run to run: times and ports. */
function withoutTimes(value: unknown, ports: Ports): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutTimes(item, ports))
  if (value === ports.listener || value === ports.admin) return 'PORT'
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== 'last_updated')
      .map(([key, inner]) => [key, withoutTimes(inner, ports)]),
  )
}

describe('admin', { skip: envoyBinary() === null ? 'no Envoy on the PATH' : false }, () => {
  let upstream: Server
  let proxies: RunningProxy[]

  before(async () => {
    upstream = createServer((_request, response) => response.end('ok')).listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const make = bootstrap((upstream.address() as AddressInfo).port)
    proxies = [await startProxy('envoy', make), await startProxy('outrigger', make)]
    for (const { ports } of proxies) {
      for (const path of ['/a', '/b', '/local']) await (await fetch(`http://127.0.0.1:${ports.listener}${path}`)).text()
    }
  })

  after(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stop()))
    upstream.close()
  })

  /** The page of both, as `read` makes it comparable. */
  async function same(path: string, read: (text: string, ports: Ports) => unknown): Promise<void> {
    const [envoy, ours] = await Promise.all(proxies.map(async (p) => read(await p.admin(path), p.ports)))
    assert.deepEqual(ours, envoy, path)
  }

  const json = (text: string, ports: Ports) => withoutTimes(JSON.parse(text), ports)

  it('shows the same clusters, as text and as JSON', async () => {
    const lines = (text: string) =>
      text
        .split('\n')
        .filter((line) => !line.includes('::cx_active::'))
        .sort()
    await same('/clusters', lines)
    const byName = (text: string) =>
      (JSON.parse(text) as { cluster_statuses: { name: string }[] }).cluster_statuses
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .map((cluster) => JSON.parse(JSON.stringify(cluster).replace(/\{[^{}]*"name":"cx_active"\}/, '{}')))
    await same('/clusters?format=json', byName)
  })

  it('shows the same listeners, readiness and runtime', async () => {
    await same('/listeners', (text, ports) => text.replaceAll(String(ports.listener), 'PORT'))
    await same('/listeners?format=json', json)
    await same('/ready', (text) => text)
    await same('/runtime', json)
    await same('/hot_restart_version', (text) => text)
    await same('/certs', json)
  })

  it('dumps the same configuration', async () => {
    const sections = (text: string, ports: Ports) =>
      (withoutTimes(JSON.parse(text), ports) as { configs: Json[] }).configs
        .filter((config) => !String(config['@type']).endsWith('BootstrapConfigDump'))
        .map((config) => sortLists(config))
        .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
    await same('/config_dump', sections)
    await same('/config_dump?include_eds', (text, ports) => sections(text, ports).map((config) => config['@type']))
    for (const query of [
      'resource=static_listeners',
      'resource=static_clusters&mask=cluster.name',
      'name_regex=up.*',
      'resource=nope',
      'resource=static_route_configs&name_regex=rc',
    ]) {
      await same(`/config_dump?${query}`, (text, ports) => (text.startsWith('{') ? sections(text, ports) : text))
    }
  })

  it('counts the same, in every form', async () => {
    await Promise.all(proxies.map((proxy) => waitForFlush(proxy)))
    const filter = `filter=${encodeURIComponent(MATCHER)}`
    const lines = (text: string, ports: Ports) =>
      text
        .replaceAll(String(ports.listener), 'PORT')
        .split('\n')
        .filter(
          (line) => /cluster\.(up_1|other)|http\.hcm|listener\.127|server/.test(line) && !/_time|_ms|admin/.test(line),
        )
    const [envoy, ours] = await Promise.all(
      proxies.map(async (p) => new Set(lines(await p.admin(`/stats?usedonly&${filter}`), p.ports))),
    )
    // Ours may leave out what it never counts; what it prints must be what Envoy prints.
    assert.deepEqual(
      [...ours!].filter((line) => !envoy!.has(line)),
      [],
    )
    assert.ok(
      ours!.has('cluster.up_1.upstream_rq_200: 2') && ours!.has('http.hcm.downstream_rq_4xx: 1'),
      [...ours!].join('\n'),
    )
    const series = (text: string, ports: Ports) =>
      new Set(
        text
          .replaceAll(String(ports.listener), 'PORT')
          .split('\n')
          .filter((line) => /upstream_rq\{|downstream_rq_xx\{/.test(line) && !/="admin"|listener_admin/.test(line)),
      )
    const [envoySeries, ourSeries] = await Promise.all(
      proxies.map(async (p) => series(await p.admin(`/stats/prometheus?usedonly&${filter}`), p.ports)),
    )
    assert.deepEqual(
      [...ourSeries!].filter((line) => !envoySeries!.has(line)),
      [],
    )
    assert.ok(ourSeries!.size >= 3, [...ourSeries!].join('\n'))
  })

  it('answers wrong requests alike', async () => {
    for (const path of [
      '/stats?filter=(',
      '/stats?type=x',
      '/stats?format=x',
      '/drain_listeners',
      '/config_dump?name_regex=(',
    ]) {
      const [envoy, ours] = await Promise.all(
        proxies.map(async ({ ports }) => {
          const response = await fetch(`http://127.0.0.1:${ports.admin}${path}`)
          await response.text()
          return [
            response.status,
            response.headers.get('content-type'),
            response.headers.get('cache-control'),
            response.headers.get('x-content-type-options'),
          ]
        }),
      )
      assert.deepEqual(ours, envoy, path)
    }
    const post = (path: string) =>
      Promise.all(
        proxies.map(
          async ({ ports }) => (await fetch(`http://127.0.0.1:${ports.admin}${path}`, { method: 'POST' })).status,
        ),
      )
    for (const path of [
      '/runtime_modify?a=b',
      '/logging?level=nope',
      '/nope',
      '/healthcheck/fail',
      '/healthcheck/ok',
      '/drain_listeners?skip_exit',
    ]) {
      const [envoy, ours] = await post(path)
      assert.equal(ours, envoy, path)
    }
  })
})

/** Lists of named things in one order. */
function sortLists(value: Json): Json {
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      Array.isArray(inner) ? [...inner].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)) : inner,
    ]),
  )
}

/** Histograms show up with the next flush; counters are there at once. */
async function waitForFlush(proxy: RunningProxy): Promise<void> {
  while (!(await proxy.admin('/stats?usedonly&filter=http.hcm.downstream_rq_time')).includes('P100')) {
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
