// What a management server changes while requests run, beside real Envoy: clusters replaced or removed under a retry and
// under health checks, endpoints that are checked otherwise, secrets that nobody names any more.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import { ADS, ControlPlane, endpoints, ROUTER } from '../../src/proxy/server/testing.ts'
import { serve } from '../../src/xds/testing.ts'
import { CDS_TYPE, EDS_TYPE, SDS_TYPE } from '../../src/xds/type-urls.ts'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address } from './harness/situations.ts'

const skip = envoyBinary() ? false : 'real Envoy is not installed'
const EXTENSION = 'type.googleapis.com/envoy.extensions'

const HTTP2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': `${EXTENSION}.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
}

/** One listener that sends everything to cluster `c`, which comes by CDS. */
function bootstrap(ports: Ports, xds: number): object {
  const route = {
    match: { prefix: '/' },
    route: { cluster: 'c', retry_policy: { retry_on: '5xx', num_retries: 1 } },
  }
  const manager = {
    '@type': `${EXTENSION}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'in',
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [route] }], validate_clusters: false },
    http_filters: [ROUTER],
  }
  const grpc_services = [{ envoy_grpc: { cluster_name: 'xds' } }]
  return {
    node: { id: 'one', cluster: 'a' },
    admin: { address: address(ports.admin) },
    dynamic_resources: {
      cds_config: ADS,
      ads_config: { api_type: 'GRPC', transport_api_version: 'V3', grpc_services },
    },
    static_resources: {
      clusters: [
        {
          name: 'xds',
          type: 'STATIC',
          load_assignment: endpoints('xds', xds),
          ...HTTP2,
        },
      ],
      listeners: [
        {
          name: 'l',
          address: address(ports.listener),
          filter_chains: [{ filters: [{ name: 'hcm', typed_config: manager }] }],
        },
      ],
    },
  }
}

interface Situation {
  readonly plane: ControlPlane
  readonly proxy: RunningProxy
  /** An upstream; closed with the test. */
  upstream(handler: RequestListener): Promise<number>
  get(): Promise<string>
}

async function situation(t: TestContext, name: RunningProxy['name'], concurrency: number): Promise<Situation> {
  const plane = new ControlPlane()
  const { port, close } = await serve(plane)
  t.after(close)
  const proxy = await startProxy(name, (ports) => bootstrap(ports, port), { concurrency })
  t.after(() => proxy.stop())
  return {
    plane,
    proxy,
    async upstream(handler) {
      const server = createServer(handler).listen(0, '127.0.0.1')
      t.after(() => {
        server.closeAllConnections()
        server.close()
      })
      await once(server, 'listening')
      return (server.address() as AddressInfo).port
    },
    async get() {
      const response = await fetch(`http://127.0.0.1:${proxy.ports.listener}/`)
      return `${response.status} ${await response.text()}`
    },
  }
}

/** Runs it with real Envoy and with our proxy, which must fulfil the same assertions. */
function both(title: string, run: (at: Situation, t: TestContext) => Promise<void>): void {
  for (const [name, concurrency] of [
    ['envoy', 1],
    ['outrigger', 1],
    ['outrigger', 2],
  ] as const)
    test(`${name}, ${concurrency} worker(s): ${title}`, { skip }, async (t) =>
      run(await situation(t, name, concurrency), t),
    )
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`timed out waiting until ${condition}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const fixed = (port: number, more: object = {}): object => ({
  name: 'c',
  type: 'STATIC',
  load_assignment: endpoints('c', port),
  ...more,
})

describe('a cluster that changes under a retry', () => {
  for (const how of ['replaced', 'removed'] as const)
    both(how, async ({ plane, get, upstream, proxy }) => {
      const held: ServerResponse[] = []
      const first = await upstream((_, response) => void held.push(response))
      const second = await upstream((_, response) => response.end('second'))
      plane.push(CDS_TYPE, 'c', fixed(first))
      const known = async (what: string): Promise<boolean> => (await proxy.admin('/clusters')).includes(what)
      await until(() => known(`c::127.0.0.1:${first}::`))
      const answer = get()
      await until(() => held.length === 1)
      if (how === 'replaced') {
        plane.push(CDS_TYPE, 'c', fixed(second))
        await until(() => known(`c::127.0.0.1:${second}::`))
      } else {
        plane.drop(CDS_TYPE, 'c')
        await until(async () => !(await known('c::')))
      }
      held[0]!.writeHead(503).end('first')
      assert.equal(await answer, how === 'replaced' ? '200 second' : '503 no healthy upstream')
    })
})

describe('active health checks', () => {
  const CHECK = {
    timeout: '60s',
    interval: '0.05s',
    no_traffic_interval: '0.05s',
    no_traffic_healthy_interval: '0.05s',
    unhealthy_threshold: 1,
    healthy_threshold: 1,
    http_health_check: { path: '/check' },
  }
  const checked = (more: object = {}): object => ({
    name: 'c',
    type: 'EDS',
    eds_cluster_config: { eds_config: ADS },
    health_checks: [CHECK],
    common_lb_config: { healthy_panic_threshold: {} },
    ...more,
  })
  const assigned = (port: number, health_check_config: object = {}, more: object = {}): object => ({
    cluster_name: 'c',
    endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port), health_check_config }, ...more }] }],
  })

  both('a new version serves after its first round; the old one until then', async ({ plane, get, upstream }) => {
    const held: ServerResponse[] = []
    let hold = true
    const port = await upstream((request, response) => {
      if (request.url !== '/check') response.end('served')
      else if (hold) held.push(response)
      else response.end()
    })
    const release = (status: number): void => {
      hold = false
      for (const response of held.splice(0)) response.writeHead(status).end()
    }
    plane.put(EDS_TYPE, 'c', assigned(port))
    plane.push(CDS_TYPE, 'c', checked())
    await until(() => held.length > 0)
    // Not known: this is not the answer of a cluster without healthy hosts.
    assert.equal(await get(), '503 ')
    release(200)
    await until(async () => (await get()) === '200 served')

    hold = true
    await until(() => held.length > 0)
    // One check of the old version, which is held for good; then that of the new one.
    plane.push(CDS_TYPE, 'c', checked({ connect_timeout: '7s' }))
    await until(() => held.length > 1)
    for (let i = 0; i < 5; i++) assert.equal(await get(), '200 served')
    release(503)
    hold = true
    await until(async () => (await get()) === '503 no healthy upstream')
    await until(() => held.length > 0)
    release(200)
    await until(async () => (await get()) === '200 served')
  })

  both('an endpoint may be checked no more, again, elsewhere', async ({ plane, get, upstream, proxy }) => {
    let checks = 0
    let status = 200
    const port = await upstream((request, response) => {
      if (request.url === '/check') {
        checks++
        response.writeHead(status)
      }
      response.end('served')
    })
    let elsewhere = 0
    const other = await upstream((_, response) => {
      elsewhere++
      response.end()
    })
    const healthy = async (): Promise<string> =>
      /health_check\.healthy: (\d)/.exec(await proxy.admin('/stats?filter=cluster.c.health_check'))?.[1] ?? ''
    plane.put(EDS_TYPE, 'c', assigned(port))
    plane.push(CDS_TYPE, 'c', checked())
    await until(async () => (await get()) === '200 served')
    assert.equal(await healthy(), '1')

    status = 503
    await until(async () => (await get()) === '503 no healthy upstream')
    plane.push(EDS_TYPE, 'c', assigned(port, { disable_active_health_check: true }))
    await until(async () => (await get()) === '200 served')
    assert.equal(await healthy(), '0')
    plane.push(EDS_TYPE, 'c', assigned(port))
    await until(async () => (await get()) === '503 no healthy upstream')
    const before = checks
    await until(() => checks > before)

    // Its own port fails, the one that is to be asked does not.
    plane.push(EDS_TYPE, 'c', assigned(port, { port_value: other }))
    await until(async () => (await get()) === '200 served')
    assert.ok(elsewhere > 0)
  })

  both('a host that leaves stays while its checks pass, not where it is not checked', async (at) => {
    const { plane, get, upstream, proxy } = at
    const port = await upstream((_, response) => response.end('served'))
    const flags = async (): Promise<string> =>
      /c::127\.0\.0\.1:\d+::health_flags::(.*)/.exec(await proxy.admin('/clusters'))?.[1] ?? 'gone'
    const nobody = { cluster_name: 'c', endpoints: [] }
    plane.put(EDS_TYPE, 'c', assigned(port))
    plane.push(CDS_TYPE, 'c', checked())
    await until(async () => (await get()) === '200 served')
    plane.push(EDS_TYPE, 'c', nobody)
    await until(async () => (await flags()) === '/pending_dynamic_removal')
    assert.equal(await get(), '200 served')
    plane.push(EDS_TYPE, 'c', assigned(port))
    await until(async () => (await flags()) === 'healthy')
    plane.push(EDS_TYPE, 'c', assigned(port, { disable_active_health_check: true }))
    await until(async () => /healthy: 0/.test(await proxy.admin('/stats?filter=cluster.c.health_check.healthy')))
    plane.push(EDS_TYPE, 'c', nobody)
    await until(async () => (await flags()) === 'gone')
    plane.push(EDS_TYPE, 'c', assigned(port, {}, { health_status: 'UNHEALTHY' }))
    await until(async () => (await flags()) === '/failed_eds_health')
    plane.push(EDS_TYPE, 'c', nobody)
    await until(async () => (await flags()) === 'gone')
  })
})

describe('endpoints', () => {
  both('of one address are several hosts, except by EDS; weights alone change no membership', async (at) => {
    const { plane, proxy } = at
    const one = (weight = 1): object => ({ endpoint: { address: address(1) }, load_balancing_weight: weight })
    const all = (cluster_name: string, weight: number): object => ({
      cluster_name,
      endpoints: [
        { locality: { zone: 'y' }, lb_endpoints: [one(weight), one(2)] },
        { locality: { zone: 'z' }, lb_endpoints: [one(3)] },
        { priority: 1, locality: { zone: 'p' }, lb_endpoints: [one(4)] },
      ],
    })
    const hosts = async (): Promise<string[]> => {
      const found = (await proxy.admin('/clusters')).matchAll(
        /^(\w+)::127\.0\.0\.1:1::(weight|zone|priority)::(\w+)$/gm,
      )
      const values = [...found].map(([, cluster, , value]) => ({ cluster, value }))
      const lines: string[] = []
      for (let i = 0; i < values.length; i += 3)
        lines.push(
          `${values[i]!.cluster} ${values
            .slice(i, i + 3)
            .map(({ value }) => value)
            .join(' ')}`,
        )
      return lines.sort()
    }
    plane.put(EDS_TYPE, 'e', all('e', 1))
    plane.push(CDS_TYPE, 'e', { name: 'e', type: 'EDS', eds_cluster_config: { eds_config: ADS } })
    plane.push(CDS_TYPE, 's', { name: 's', type: 'STATIC', load_assignment: all('s', 1) })
    await until(async () => (await hosts()).length === 5)
    assert.deepEqual(await hosts(), ['e 1 y 0', 's 1 y 0', 's 2 y 0', 's 3 z 0', 's 4 p 1'])
    plane.push(EDS_TYPE, 'e', all('e', 7))
    await until(async () => (await hosts())[0] === 'e 7 y 0')
    const stats = await proxy.admin('/stats?filter=cluster.e.(membership_change|update_no_rebuild)')
    assert.match(stats, /membership_change: 1\n.*update_no_rebuild: 0/)
  })
})

describe('secrets', () => {
  both('are asked for while a cluster names them', async ({ plane, proxy }) => {
    const names = (): string[] => [...(plane.connection?.watched(SDS_TYPE)?.names ?? [])]
    const common_tls_context = (name: string): object => ({
      validation_context_sds_secret_config: { name, sds_config: ADS },
    })
    const secured = (name: string): object =>
      fixed(1, {
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': `${EXTENSION}.transport_sockets.tls.v3.UpstreamTlsContext`,
            common_tls_context: common_tls_context(name),
          },
        },
      })
    plane.push(CDS_TYPE, 'c', secured('one'))
    await until(() => names().join() === 'one')
    plane.push(CDS_TYPE, 'c', secured('two'))
    await until(() => names().join() === 'two')
    assert.doesNotMatch(await proxy.admin('/config_dump'), /"name": "one"/)
    plane.drop(CDS_TYPE, 'c')
    await until(() => names().length === 0)
    assert.doesNotMatch(await proxy.admin('/config_dump'), /"name": "two"/)
    plane.push(CDS_TYPE, 'c', secured('one'))
    await until(() => names().join() === 'one')
  })

  both('come from servers behind a cluster of EDS, one that is not known yet, one that moves', async (at, t) => {
    const { plane, proxy } = at
    const server = async (): Promise<{ port: number; secrets: ControlPlane }> => {
      const secrets = new ControlPlane()
      const { port, close } = await serve(secrets, 0, 'sds')
      t.after(close)
      secrets.put(SDS_TYPE, 'ca', { name: 'ca', generic_secret: { secret: { inline_string: 'x' } } })
      return { port, secrets }
    }
    const [first, second] = [await server(), await server()]
    const askedAt = (cluster_name: string): object => ({
      api_config_source: {
        api_type: 'GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name } }],
      },
      resource_api_version: 'V3',
    })
    const secured = (sds_config: object): object =>
      fixed(1, {
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': `${EXTENSION}.transport_sockets.tls.v3.UpstreamTlsContext`,
            common_tls_context: { validation_context_sds_secret_config: { name: 'ca', sds_config } },
          },
        },
      })
    const got = ({ secrets }: { secrets: ControlPlane }, times: number) =>
      until(() => secrets.events.filter((event) => event === 'ack Secret').length === times)

    const eds = { type: 'EDS', eds_cluster_config: { eds_config: ADS }, ...HTTP2 }
    plane.put(EDS_TYPE, 'sds', endpoints('sds', first.port))
    plane.push(CDS_TYPE, 'sds', { name: 'sds', ...eds })
    plane.push(CDS_TYPE, 'c', secured(askedAt('sds')))
    await got(first, 1)
    await until(async () => (await proxy.admin('/clusters')).includes('c::127.0.0.1:1::'))
    plane.drop(CDS_TYPE, 'c')
    await until(() => first.secrets.events.includes('disconnect'))

    const behind = (port: number): object => ({ name: 'later', load_assignment: endpoints('later', port), ...HTTP2 })
    plane.push(CDS_TYPE, 'c', secured(askedAt('later')))
    plane.push(CDS_TYPE, 'later', behind(first.port))
    await got(first, 2)
    plane.push(CDS_TYPE, 'later', behind(second.port))
    await got(second, 1)
    assert.deepEqual(
      plane.events.filter((event) => event.startsWith('nack')),
      [],
    )
  })
})
