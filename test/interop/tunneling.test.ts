// tcp_proxy over HTTP side by side: CONNECT and POST, HTTP/1.1 and HTTP/2, answers that make no tunnel. What the upstream
// sees, what the client gets and what is logged must be equal.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createHttp2, type ServerHttp2Stream } from 'node:http2'
import { type AddressInfo, connect, type Server, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })

interface Case {
  readonly name: string
  readonly http2?: boolean
  readonly config: object
  /** Status of the upstream; 200 unless given. */
  readonly status?: number
}

const CASES: readonly Case[] = [
  { name: 'CONNECT over HTTP/1.1', config: { hostname: 'tunnel.example:443' } },
  { name: 'CONNECT over HTTP/2', http2: true, config: { hostname: 'tunnel.example:443' } },
  { name: 'POST over HTTP/1.1', config: { hostname: 'tunnel.example', use_post: true } },
  { name: 'POST over HTTP/2', http2: true, config: { hostname: 'tunnel.example', use_post: true, post_path: '/in' } },
  {
    name: 'headers to add and a formatted hostname',
    config: {
      hostname: '%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%:99',
      headers_to_add: [
        { header: { key: 'x-from', value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' } },
        { header: { key: 'x-fixed', value: 'one' } },
      ],
    },
  },
  {
    name: 'headers to add over HTTP/2',
    http2: true,
    config: { hostname: 'a', headers_to_add: [{ header: { key: 'x-a', value: 'b' } }] },
  },
  { name: '201 is none', http2: true, status: 201, config: { hostname: 'a' } },
  { name: '403 is none', status: 403, config: { hostname: 'a' } },
  { name: '403 over HTTP/2 is none', http2: true, status: 403, config: { hostname: 'a' } },
]

const FORMAT = '%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %CONNECTION_TERMINATION_DETAILS%\n'

function bootstrap(ports: Ports, listeners: readonly number[], upstreams: readonly number[]): object {
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: CASES.map((entry, i) => ({
        name: `l${i}`,
        address: address(listeners[i]!),
        filter_chains: [
          {
            filters: [
              {
                name: 'tcp',
                typed_config: {
                  '@type': type('filters.network.tcp_proxy.v3.TcpProxy'),
                  stat_prefix: `t${i}`,
                  cluster: `c${i}`,
                  tunneling_config: entry.config,
                  access_log: [
                    {
                      name: 'f',
                      typed_config: {
                        '@type': type('access_loggers.file.v3.FileAccessLog'),
                        path: ports.accessLog,
                        log_format: { text_format_source: { inline_string: FORMAT } },
                      },
                    },
                  ],
                },
              },
            ],
          },
        ],
      })),
      clusters: CASES.map((entry, i) => ({
        name: `c${i}`,
        type: 'STATIC',
        connect_timeout: '2s',
        ...(entry.http2
          ? {
              typed_extension_protocol_options: {
                'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
                  '@type': type('upstreams.http.v3.HttpProtocolOptions'),
                  explicit_http_config: { http2_protocol_options: {} },
                },
              },
            }
          : {}),
        load_assignment: {
          cluster_name: `c${i}`,
          endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstreams[i]!) } }] }],
        },
      })),
    },
  }
}

/** Sends back what comes through the tunnel, in capitals; keeps the requests it saw. */
class Upstream {
  readonly seen: string[] = []
  private readonly server: Server
  private readonly status: number

  constructor(entry: Case) {
    this.status = entry.status ?? 200
    this.server = entry.http2 ? this.http2() : this.http1()
  }

  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    return (this.server.address() as AddressInfo).port
  }

  close(): void {
    this.server.close()
  }

  private http1(): Server {
    const server = createServer((request, response) => {
      this.note(request)
      response.writeHead(this.status)
      response.flushHeaders()
      request.on('data', (chunk: Buffer) => response.write(chunk.toString().toUpperCase()))
      request.on('end', () => response.end())
      request.on('error', () => {})
    })
    server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      this.note(request)
      socket.on('error', () => {})
      socket.write(`HTTP/1.1 ${this.status} X\r\n${this.status === 200 ? '' : 'content-length: 0\r\n'}\r\n`)
      const take = (chunk: Buffer): void => void socket.write(chunk.toString().toUpperCase())
      if (head.length > 0) take(head)
      socket.on('data', take)
      socket.on('end', () => socket.end())
    })
    return server
  }

  private note(request: IncomingMessage): void {
    this.seen.push(`${request.method} ${request.url} ${JSON.stringify(request.rawHeaders)}`)
  }

  private http2(): Server {
    const server = createHttp2({ settings: { enableConnectProtocol: true } })
    server.on('session', (session) => session.on('error', () => {}))
    server.on('stream', (stream: ServerHttp2Stream, headers) => {
      this.seen.push(JSON.stringify(Object.entries(headers).sort()))
      stream.on('error', () => {})
      stream.respond({ ':status': this.status })
      stream.on('data', (chunk: Buffer) => void stream.write(chunk.toString().toUpperCase()))
      stream.on('end', () => stream.end())
    })
    return server as unknown as Server
  }
}

/** Writes, waits for the echo, writes again, ends; what came back. */
async function talk(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => {})
  let text = ''
  socket.on('data', (chunk) => (text += chunk))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write('early ')
  const echoed = async (wanted: string): Promise<void> => {
    for (let i = 0; i < 500 && !text.includes(wanted) && !socket.destroyed; i++)
      await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await echoed('EARLY ')
  socket.write('late')
  await echoed('LATE')
  socket.destroy()
  await closed
  return text
}

const skip = envoyBinary() === null ? 'real Envoy is not installed' : false

describe('tunneling', { skip }, () => {
  const sides: { proxy: RunningProxy; listeners: number[]; upstreams: Upstream[] }[] = []

  before(async () => {
    for (const name of ['envoy', 'outrigger'] as const) {
      const upstreams = CASES.map((entry) => new Upstream(entry))
      const upstreamPorts = await Promise.all(upstreams.map((upstream) => upstream.listen()))
      const listeners = await Promise.all(CASES.map(() => freePort()))
      const proxy = await startProxy(name, (ports) => bootstrap(ports, listeners, upstreamPorts))
      sides.push({ proxy, listeners, upstreams })
    }
  })

  after(async () => {
    await Promise.all(sides.map((side) => side.proxy.stop()))
    for (const side of sides) for (const upstream of side.upstreams) upstream.close()
  })

  for (const [i, entry] of CASES.entries()) {
    test(entry.name, async () => {
      const results = await Promise.all(
        sides.map(async ({ proxy, listeners, upstreams }) => {
          const got = await talk(listeners[i]!)
          const lines = (): string[] => proxy.logLines().filter((line) => line.includes(` c${i} `))
          for (let tries = 0; tries < 200 && lines().length === 0; tries++)
            await new Promise((resolve) => setTimeout(resolve, 10))
          return { got, log: lines(), seen: upstreams[i]!.seen }
        }),
      )
      const [envoy, ours] = results as [(typeof results)[0], (typeof results)[0]]
      assert.deepEqual(ours, envoy)
      if ((entry.status ?? 200) === 200) assert.equal(ours.got, 'EARLY LATE')
    })
  }
})
