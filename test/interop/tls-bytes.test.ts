// What a TLS port makes of bytes: a handshake that comes byte by byte, no handshake at all, records that cannot be, the ends
// of connections in each direction. Beside Envoy: answers, alerts, closes, logs and `ssl.` stats.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import { TestCa } from '../../src/proxy/network/testing.ts'
import { assertAgree } from './harness/agree.ts'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const T = 'type.googleapis.com/envoy.'
const SETTLE_MS = 1000
const OPEN_MS = 3000
const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } })
const inline = (text: string): object => ({ inline_string: text })
const log = (path: string, format: string): object => ({
  name: 'file',
  typed_config: {
    '@type': `${T}extensions.access_loggers.file.v3.FileAccessLog`,
    path,
    log_format: { text_format_source: inline(`${format}\n`) },
  },
})

function bootstrap(
  ports: Ports,
  inspected: number,
  tunnel: number,
  upstream: number,
  pair: { cert: string; key: string },
): object {
  const transport_socket = {
    name: 'tls',
    typed_config: {
      '@type': `${T}extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
      common_tls_context: {
        tls_certificates: [{ certificate_chain: inline(pair.cert), private_key: inline(pair.key) }],
      },
    },
  }
  const access_log = [
    log(
      ports.accessLog,
      '%DOWNSTREAM_REMOTE_PORT%|C|%REQUESTED_SERVER_NAME%|%DOWNSTREAM_TRANSPORT_FAILURE_REASON%|%DOWNSTREAM_TLS_VERSION%|%RESPONSE_FLAGS%|%BYTES_RECEIVED%|%BYTES_SENT%',
    ),
  ]
  const manager = {
    name: 'hcm',
    typed_config: {
      '@type': `${T}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: 'm',
      delayed_close_timeout: '0.2s',
      access_log: [
        log(ports.accessLog, '%DOWNSTREAM_REMOTE_PORT%|R|%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%'),
      ],
      route_config: {
        virtual_hosts: [
          {
            name: 'v',
            domains: ['*'],
            routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: inline('ok') } }],
          },
        ],
      },
      http_filters: [{ name: 'router', typed_config: { '@type': `${T}extensions.filters.http.router.v3.Router` } }],
    },
  }
  const tcp = {
    name: 'tcp',
    typed_config: {
      '@type': `${T}extensions.filters.network.tcp_proxy.v3.TcpProxy`,
      stat_prefix: 't',
      cluster: 'c',
      access_log: [log(ports.accessLog, '%DOWNSTREAM_REMOTE_PORT%|T|%RESPONSE_FLAGS%|%BYTES_RECEIVED%|%BYTES_SENT%')],
    },
  }
  const listener = (name: string, port: number, filter: object, more: object = {}): object => ({
    name,
    stat_prefix: name,
    address: address(port),
    access_log,
    filter_chains: [{ filters: [filter], transport_socket, transport_socket_connect_timeout: '2s' }],
    ...more,
  })
  return {
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: [
        listener('plain', ports.listener, manager),
        listener('inspected', inspected, manager, {
          listener_filters: [
            { name: 'i', typed_config: { '@type': `${T}extensions.filters.listener.tls_inspector.v3.TlsInspector` } },
          ],
        }),
        listener('tunnel', tunnel, tcp),
      ],
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

/** Writes each byte, or each piece of `size`, on its own. */
class Pieces extends Duplex {
  readonly #socket: Socket
  readonly #size: number
  constructor(socket: Socket, size: number) {
    super({ allowHalfOpen: true })
    this.#socket = socket
    this.#size = size
    socket.setNoDelay(true)
    socket.on('data', (chunk) => this.push(chunk))
    socket.on('end', () => this.push(null))
    socket.on('error', (error) => this.destroy(error))
    socket.on('close', () => this.destroy())
  }
  override _read(): void {}
  override _write(chunk: Buffer, _: string, done: (error?: Error | null) => void): void {
    const send = (at: number): void => {
      if (at >= chunk.length) done()
      else this.#socket.write(chunk.subarray(at, at + this.#size), () => setImmediate(send, at + this.#size))
    }
    send(0)
  }
  override _final(done: () => void): void {
    this.#socket.end(done)
  }
}

interface Side {
  readonly proxy: RunningProxy
  readonly ports: readonly [plain: number, inspected: number, tunnel: number]
}
interface Told {
  readonly localPort: number
  readonly told: unknown
}

describe('bytes at a TLS port', {
  skip: envoyBinary() === null ? 'no envoy on PATH' : false,
  concurrency: false,
}, () => {
  const closing: (() => void)[] = []
  const sides: Side[] = []
  /** Bytes and ends that the server behind the tunnel has seen. */
  const upstream = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      if (chunk.includes('bye')) socket.end('bye yourself')
      else socket.write(chunk)
    })
    socket.on('end', () => socket.end('end seen'))
  })

  before(async () => {
    const ca = new TestCa({ after: (close) => void closing.push(close) })
    const pair = ca.issue('DNS:server.example')
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const { port } = upstream.address() as { port: number }
    for (const name of ['envoy', 'outrigger'] as const) {
      const [inspected, tunnel] = [await freePort(), await freePort()]
      const proxy = await startProxy(name, (ports) => bootstrap(ports, inspected, tunnel, port, pair))
      sides.push({ proxy, ports: [proxy.ports.listener, inspected, tunnel] })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    upstream.close()
    for (const close of closing) close()
  })

  const lines = ({ proxy }: Side, port: number): string[] =>
    proxy
      .logLines()
      .filter((line) => line.startsWith(`${port}|`))
      .map((line) => line.slice(line.indexOf('|')))
      .sort()

  /** The same at both, and the same lines of the log. */
  async function both(play: (side: Side) => Promise<Told>): Promise<void> {
    const [theirs, ours] = [await play(sides[0]!), await play(sides[1]!)]
    const until = Date.now() + SETTLE_MS
    for (;;) {
      const [a, b] = [lines(sides[0]!, theirs.localPort), lines(sides[1]!, ours.localPort)]
      if ((a.length > 0 && isDeepStrictEqual(a, b)) || Date.now() > until) {
        assert.deepEqual([ours.told, b], [theirs.told, a])
        return
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Reads until the end. */
  async function finish(socket: Socket): Promise<Told> {
    let bytes = ''
    let error = ''
    socket.on('data', (chunk: Buffer) => (bytes += chunk.toString('latin1')))
    socket.on('error', (e: NodeJS.ErrnoException) => (error ||= e.code ?? e.message))
    const { localPort } = socket
    if (!socket.closed) {
      const timer = setTimeout(() => socket.destroy(new Error('left open')), OPEN_MS)
      await once(socket, 'close').catch(() => {})
      clearTimeout(timer)
    }
    return { localPort: localPort!, told: [bytes.replace(/date: .*/, 'date: NOW'), error] }
  }

  const GET = 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const size of [1, 2, 7, 100]) {
      for (const at of [0, 1] as const) {
        test(`${maxVersion} in pieces of ${size}, listener ${at}`, async () => {
          await both(async ({ ports }) => {
            const raw = connect(ports[at], '127.0.0.1')
            await once(raw, 'connect')
            const { localPort } = raw
            const socket = connectTls({
              socket: new Pieces(raw, size),
              rejectUnauthorized: false,
              servername: 'server.example',
              minVersion: maxVersion,
              maxVersion,
            })
            socket.write(GET)
            const { told } = await finish(socket)
            return { localPort: localPort!, told }
          })
        })
      }
    }
  }

  const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
  const GARBAGE: Readonly<Record<string, Buffer>> = {
    'an HTTP request': Buffer.from(GET),
    'a CONNECT': Buffer.from('CONNECT a:1 HTTP/1.1\r\n\r\n'),
    'an HTTP/2 preface': Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    zeros: Buffer.alloc(64),
    noise: Buffer.from(Array.from({ length: 200 }, (_, i) => (i * 73 + 11) & 255)),
    'a PROXY header': Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n'),
    'a fatal alert': hex('15 0303 0002 0228'),
    'application data': hex('17 0303 0003 616263'),
    'a record of an old version': hex('16 0200 0003 010203'),
    'a record that is too long': Buffer.concat([hex('16 0301 ffff'), Buffer.alloc(2000)]),
  }
  for (const [name, bytes] of Object.entries(GARBAGE)) {
    test(name, async () => {
      await both(async ({ ports }) => {
        const socket = connect({ port: ports[0], host: '127.0.0.1', allowHalfOpen: true })
        await once(socket, 'connect')
        socket.write(bytes)
        socket.on('end', () => socket.end())
        const { localPort } = await finish(socket)
        // The alert, where there is one, is OpenSSL's (docs/differences.md).
        return { localPort, told: null }
      })
    })
  }

  const tunnelled = async (side: Side, version: 'TLSv1.2' | 'TLSv1.3'): Promise<TLSSocket> => {
    const socket = connectTls({
      port: side.ports[2],
      host: '127.0.0.1',
      rejectUnauthorized: false,
      minVersion: version,
      maxVersion: version,
      allowHalfOpen: true,
    } as ConnectionOptions)
    await once(socket, 'secureConnect')
    return socket
  }
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`${version}: the client half-closes a tunnel`, async () => {
      await both(async (side) => {
        const socket = await tunnelled(side, version)
        socket.end('hello')
        return finish(socket)
      })
    })
    test(`${version}: the server half-closes a tunnel`, async () => {
      await both(async (side) => {
        const socket = await tunnelled(side, version)
        socket.write('bye')
        socket.on('end', () => socket.end())
        return finish(socket)
      })
    })
    test(`${version}: the client leaves without close_notify`, async () => {
      await both(async (side) => {
        const raw = connect(side.ports[2], '127.0.0.1')
        await once(raw, 'connect')
        const { localPort } = raw
        const socket = connectTls({ socket: raw, rejectUnauthorized: false, minVersion: version, maxVersion: version })
        socket.on('error', () => {})
        await once(socket, 'secureConnect')
        socket.write('hello')
        await once(socket, 'data')
        raw.end()
        await once(raw, 'close')
        return { localPort: localPort!, told: null }
      })
    })
  }
  test('ssl stats agree', async () => {
    const stats = async ({ proxy }: Side): Promise<string[]> =>
      (await proxy.admin('/stats?usedonly&filter=%5C.ssl%5C.|downstream_cx_(destroy|transport|total)|tls_inspector'))
        .split('\n')
        .filter((line) => /: \d+$/.test(line) && !/: 0$|certificate\./.test(line))
        .sort()
    await assertAgree(async () => [await stats(sides[0]!), await stats(sides[1]!)], SETTLE_MS)
  })
})
