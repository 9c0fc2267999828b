// How connections end when a listener goes, is replaced or is asked to drain. Real Envoy and ours do the same steps, each
// in its own time: the same answers, the same GOAWAYs, the same ends.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { renameSync, writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { after, describe, it } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { TestCa } from '../../src/proxy/network/testing.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'

const NAMES = ['envoy', 'outrigger'] as const
const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } })

const hcm = (accessLog: string, extra: object = {}): object => ({
  name: 'hcm',
  typed_config: {
    '@type': type('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
    stat_prefix: 'h',
    drain_timeout: '0.3s',
    route_config: {
      virtual_hosts: [
        { name: 'a', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'up', timeout: '0s' } }] },
      ],
    },
    http_filters: [{ name: 'router', typed_config: { '@type': type('extensions.filters.http.router.v3.Router') } }],
    ...extra,
    access_log: [
      {
        name: 'file',
        typed_config: {
          '@type': type('extensions.access_loggers.file.v3.FileAccessLog'),
          path: accessLog,
          log_format: {
            text_format_source: {
              inline_string:
                '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%\n',
            },
          },
        },
      },
    ],
  },
})
const tcp = (): object => ({
  name: 'tcp',
  typed_config: {
    '@type': type('extensions.filters.network.tcp_proxy.v3.TcpProxy'),
    stat_prefix: 't',
    cluster: 'up',
  },
})
const listener = (name: string, [port, accessLog]: Place, extra: object = {}): object => ({
  name,
  address: address(port),
  filter_chains: [{ filters: [hcm(accessLog)] }],
  ...extra,
})

/** A listener's port and its access log. */
type Place = readonly [port: number, accessLog: string]

/** Answers `/hold` when told to, everything else at once. */
class Upstream {
  readonly held: Socket[] = []
  readonly server: Server
  readonly port: number
  private constructor(server: Server) {
    this.server = server
    this.port = (server.address() as AddressInfo).port
  }
  static async start(): Promise<Upstream> {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (chunk) => {
        if (chunk.includes('/hold')) upstream.held.push(socket)
        else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const upstream = new Upstream(server)
    return upstream
  }
  async answerHeld(): Promise<void> {
    await until(() => this.held.length > 0)
    this.held.shift()!.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    if (i > 1000) throw new Error('it did not happen in 10 s')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** A client that keeps what it gets. */
class Client {
  readonly socket: Socket
  text = ''
  end = ''
  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => (this.text += chunk.toString('latin1')))
    socket.on('end', () => (this.end ||= 'closed'))
    socket.on('error', (error: NodeJS.ErrnoException) => (this.end ||= error.code ?? ''))
  }
  static to(port: number): Client {
    return new Client(connect({ port, host: '127.0.0.1' }))
  }
  /** The head and body of the next answer. */
  async ask(path: string): Promise<string> {
    const from = this.text.length
    this.socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`)
    await until(() => this.text.endsWith('ok') && this.text.length > from)
    return this.text
      .slice(from)
      .replace(/date: .*/, 'date')
      .replace(/time: \d+/, 'time')
  }
  async ended(): Promise<string> {
    await until(() => this.end !== '')
    return this.end
  }
}

interface Setting {
  readonly proxy: RunningProxy
  readonly upstream: Upstream
  readonly ports: readonly number[]
  readonly places: readonly Place[]
  /** Replaces the listeners, where they come from a file. */
  update(listeners: readonly object[]): void
  post(path: string): Promise<void>
}

async function start(
  name: (typeof NAMES)[number],
  count: number,
  listeners: (places: readonly Place[]) => readonly object[],
  flags: readonly string[],
): Promise<Setting> {
  const upstream = await Upstream.start()
  const ports = await Promise.all(Array.from({ length: count }, () => freePort()))
  let places: Place[] = []
  let file = ''
  let version = 0
  const update = (list: readonly object[]): void => {
    const resources = list.map((l) => ({ '@type': type('config.listener.v3.Listener'), ...l }))
    writeFileSync(`${file}.new`, JSON.stringify({ version_info: String(++version), resources }))
    renameSync(`${file}.new`, file)
  }
  const proxy = await startProxy(
    name,
    ({ admin, accessLog }) => {
      file = join(dirname(accessLog), 'lds.json')
      places = ports.map((port) => [port, accessLog])
      update(listeners(places))
      return {
        node: { id: 'n', cluster: 'c' },
        admin: { address: address(admin) },
        dynamic_resources: { lds_config: { path_config_source: { path: file } } },
        static_resources: {
          clusters: [
            {
              name: 'up',
              type: 'STATIC',
              load_assignment: {
                cluster_name: 'up',
                endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstream.port) } }] }],
              },
            },
          ],
        },
      }
    },
    { flags },
  )
  await until2(async () => (await proxy.admin('/listeners')).split('\n').length > listeners(places).length)
  return {
    proxy,
    upstream,
    ports,
    places,
    update,
    post: async (path) => {
      const response = await fetch(`http://127.0.0.1:${proxy.ports.admin}${path}`, { method: 'POST' })
      assert.equal(response.status, 200)
    },
  }
}

async function until2(condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; !(await condition()); i++) {
    if (i > 200) throw new Error('it did not happen in 10 s')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

describe('drain', { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
  const settings: Setting[] = []
  after(async () => {
    await Promise.all(settings.map(({ proxy }) => proxy.stop()))
    for (const { upstream } of settings) upstream.server.close()
  })

  /** Both proxies go through `steps`; what these return must be the same. */
  async function same(
    count: number,
    listeners: (places: readonly Place[]) => readonly object[],
    flags: readonly string[],
    steps: (setting: Setting) => Promise<unknown>,
  ): Promise<void> {
    const [theirs, ours] = await Promise.all(
      NAMES.map(async (name) => {
        const setting = await start(name, count, listeners, flags)
        settings.push(setting)
        return steps(setting)
      }),
    )
    assert.deepEqual(ours, theirs)
  }
  const modified = (proxy: RunningProxy, count: number): Promise<void> =>
    until2(async () => (await proxy.admin('/stats?filter=listener_modified')).includes(`: ${count}\n`))

  it('asked for by the operator: connections end with their next answer, idle ones stay, inbound alone if so said', () =>
    same(
      3,
      ([a, b, c]) => [
        listener('in', a!, { traffic_direction: 'INBOUND' }),
        listener('out', b!, { traffic_direction: 'OUTBOUND' }),
        listener('modify', c!, { traffic_direction: 'INBOUND', drain_type: 'MODIFY_ONLY' }),
      ],
      ['--drain-strategy', 'immediate'],
      async ({ ports, post }) => {
        const facts: unknown[] = []
        const clients = ports.map((port) => Client.to(port))
        for (const client of clients) facts.push(await client.ask('/'))
        await post('/drain_listeners?graceful&skip_exit&inboundonly')
        for (const client of clients) facts.push((await client.ask('/')).includes('connection: close'))
        for (const i of [0, 2]) facts.push(await clients[i]!.ended())
        facts.push(clients[1]!.end)
        await post('/drain_listeners?graceful&skip_exit')
        facts.push((await clients[1]!.ask('/')).includes('connection: close'))
        const fresh = Client.to(ports[0]!)
        facts.push((await fresh.ask('/')).includes('connection: close'), await fresh.ended())
        return facts
      },
    ))

  it('a failed health check ends connections but those of listeners that drain on changes only', () =>
    same(
      2,
      ([a, b]) => [listener('a', a!), listener('b', b!, { drain_type: 'MODIFY_ONLY' })],
      [],
      async ({ ports, post }) => {
        await post('/healthcheck/fail')
        const facts: unknown[] = []
        for (const port of ports) facts.push((await Client.to(port).ask('/')).includes('connection: close'))
        await post('/healthcheck/ok')
        for (const port of ports) facts.push((await Client.to(port).ask('/')).includes('connection: close'))
        return facts
      },
    ))

  it('HTTP/2: two GOAWAYs around the drain timeout, streams finish', () =>
    same(
      1,
      ([a]) => [listener('a', a!)],
      ['--drain-strategy', 'immediate'],
      async ({ ports, post, upstream, proxy }) => {
        const session = connectHttp2(`http://127.0.0.1:${ports[0]}`)
        session.on('error', () => {})
        const goaways: unknown[] = []
        session.on('goaway', (code, last) => goaways.push([code, last]))
        let closed = false
        session.on('close', () => (closed = true))
        const ask = (path: string): Promise<string> =>
          new Promise((resolve) => {
            const stream = session.request({ ':path': path, ':authority': 'a' })
            let text = ''
            stream.on('data', (chunk) => (text += chunk))
            stream.on('close', () => resolve(`${text} ${stream.rstCode}`))
          })
        const held = ask('/hold')
        const facts: unknown[] = [await ask('/')]
        await post('/drain_listeners?graceful&skip_exit')
        facts.push(await ask('/'))
        await until(() => goaways.length > 0)
        facts.push([...goaways])
        await until(() => goaways.length > 1)
        facts.push(closed)
        await upstream.answerHeld()
        facts.push(await held)
        await until(() => closed)
        facts.push(goaways)
        facts.push(
          (await proxy.admin('/stats?filter=goaway_sent|drain_close')).split('\n').filter((l) => !/admin/.test(l)),
        )
        return facts
      },
    ))

  it('a replaced listener: requests under way and connections without one live until the drain time ends', () =>
    same(
      3,
      ([a, b, c]) => [
        listener('a', a!),
        listener('b', b!, { filter_chains: [{ filters: [tcp()] }] }),
        listener('c', c!),
      ],
      ['--drain-strategy', 'immediate', '--drain-time-s', '2'],
      async ({ ports, places, update, upstream, proxy }) => {
        const facts: unknown[] = []
        const [held, idle, cut, tcpIdle] = [0, 0, 0, 1].map((i) => Client.to(ports[i]!))
        for (const client of [held, idle, cut, tcpIdle]) await client!.ask('/')
        const answer = held!.ask('/hold')
        await until(() => upstream.held.length === 1)
        void cut!.socket.write('GET /hold HTTP/1.1\r\nhost: a\r\n\r\n')
        await until(() => upstream.held.length === 2)
        const inPlace = Client.to(ports[2]!)
        inPlace.socket.write('GET /hold HTTP/1.1\r\nhost: a\r\n\r\n')
        await until(() => upstream.held.length === 3)
        update([
          listener('a', places[0]!, { per_connection_buffer_limit_bytes: 99999 }),
          listener('b', places[1]!, {
            filter_chains: [{ filters: [tcp()] }],
            per_connection_buffer_limit_bytes: 99999,
          }),
          // Nothing but its filter chain: the listener stays.
          listener('c', places[2]!, {
            filter_chains: [{ filters: [hcm(places[2]![1], { generate_request_id: false })] }],
          }),
        ])
        await modified(proxy, 3)
        facts.push(await tcpIdle!.ask('/'))
        await upstream.answerHeld()
        facts.push(await answer, await held!.ended())
        facts.push((await Client.to(ports[0]!).ask('/')).includes('connection: close'))
        facts.push(idle!.end, tcpIdle!.end)
        facts.push(
          await idle!.ended(),
          await tcpIdle!.ended(),
          await cut!.ended(),
          await inPlace.ended(),
          idle!.text.length,
        )
        const stats = await proxy.admin('/stats?filter=^http.h.downstream_(rq_rx_reset|cx_destroy)')
        facts.push(stats.split('\n').filter((line) => !line.endsWith(': 0')))
        await until(() => proxy.logLines().length >= 7)
        facts.push(proxy.logLines().sort())
        return facts
      },
    ))

  it('a client hello that an update finds half sent is served by the old listener', (t) => {
    const ca = new TestCa(t)
    const { cert, key } = ca.issue('DNS:a.example')
    const secure = (name: string, [port, accessLog]: Place, extra: object): object => ({
      name,
      address: address(port),
      listener_filters: [
        {
          name: 'tls',
          typed_config: { '@type': type('extensions.filters.listener.tls_inspector.v3.TlsInspector') },
        },
      ],
      ...extra,
      filter_chains: [
        {
          filters: [hcm(accessLog)],
          transport_socket: {
            name: 'tls',
            typed_config: {
              '@type': type('extensions.transport_sockets.tls.v3.DownstreamTlsContext'),
              common_tls_context: {
                tls_certificates: [{ certificate_chain: { inline_string: cert }, private_key: { inline_string: key } }],
              },
            },
          },
        },
      ],
    })
    return same(
      2,
      ([a, b]) => [secure('a', a!, {}), secure('b', b!, { listener_filters: [] })],
      ['--drain-strategy', 'immediate'],
      async ({ ports, places, update, proxy }) => {
        const facts: unknown[] = []
        const halves = await Promise.all(ports.map((port) => halfHello(port)))
        await until2(async () => (await proxy.admin('/stats?filter=downstream_pre_cx_active')).includes(': 1'))
        update([
          secure('a', places[0]!, { per_connection_buffer_limit_bytes: 99999 }),
          secure('b', places[1]!, { listener_filters: [], per_connection_buffer_limit_bytes: 99999 }),
        ])
        await modified(proxy, 2)
        for (const half of halves) {
          half.goOn()
          const client = new Client(half.tls)
          facts.push((await client.ask('/')).includes('connection: close'), await client.ended())
        }
        return facts
      },
    )
  })
})

/** A TLS client behind a relay that keeps all but the first hundred bytes back until told to go on. */
async function halfHello(port: number): Promise<{ tls: Socket; goOn: () => void }> {
  let goOn = (): void => {}
  const relay = createServer((client) => {
    const upstream = connect({ port, host: '127.0.0.1' })
    client.on('error', () => {})
    upstream.on('error', () => {})
    upstream.pipe(client)
    client.once('data', (chunk: Buffer) => {
      client.pause()
      upstream.write(chunk.subarray(0, 100))
      goOn = () => {
        upstream.write(chunk.subarray(100))
        client.pipe(upstream)
      }
      relay.emit('half')
    })
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  const half = once(relay, 'half')
  const tls = connectTls({
    port: (relay.address() as AddressInfo).port,
    host: '127.0.0.1',
    servername: 'a.example',
    rejectUnauthorized: false,
  })
  await half
  relay.close()
  return { tls, goOn: () => goOn() }
}
