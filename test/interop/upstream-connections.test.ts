// How connections to upstreams are made, side by side: PROXY protocol headers, several addresses of one host, pools of one
// downstream connection. Real Envoy and ours on the same configuration; what the upstream sees must be equal.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { parseProxyHeader } from '../../src/proxy/filters/listener/proxy-protocol/header.ts'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const address = (port_value: number, ip = '127.0.0.1'): object => ({ socket_address: { address: ip, port_value } })

interface Case {
  readonly name: string
  readonly http: boolean
  /** Added to the cluster. */
  readonly cluster?: object
  /** Added to the endpoint; `closed` is a port where nobody listens. */
  readonly endpoint?: (upstream: number, closed: number) => object
  readonly listenerFilters?: object[]
  /** Ahead of the client's bytes. */
  readonly prefix?: Buffer
  /** Requests or connections that the client makes. */
  readonly times?: number
}

const proxyProtocol = (config: object): object => ({
  transport_socket: {
    name: 'pp',
    typed_config: {
      '@type': type('transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'),
      config,
      transport_socket: {
        name: 'raw',
        typed_config: { '@type': type('transport_sockets.raw_buffer.v3.RawBuffer') },
      },
    },
  },
})

/** Version 2, 192.0.2.7:1234 → 192.0.2.8:80, TLVs 0xE1 `one` and 0xE2 `two`. */
const HEADER = Buffer.from('0d0a0d0a000d0a515549540a21110018c0000207c000020804d20050e100036f6e65e2000374776f', 'hex')

/** An address of TEST-NET-2 (RFC 5737), which no machine has. */
const NOT_OURS = { upstream_bind_config: { source_address: { address: '198.51.100.7', port_value: 0 } } }

const CASES: readonly Case[] = [
  { name: 'PROXY version 1, TCP', http: false, cluster: proxyProtocol({ version: 'V1' }) },
  { name: 'PROXY version 2, TCP', http: false, cluster: proxyProtocol({ version: 'V2' }) },
  { name: 'PROXY version 1, HTTP', http: true, cluster: proxyProtocol({ version: 'V1' }) },
  { name: 'PROXY version 2, HTTP', http: true, cluster: proxyProtocol({ version: 'V2' }), times: 2 },
  {
    name: 'PROXY header and one TLV passed on, one added',
    http: false,
    cluster: proxyProtocol({
      version: 'V2',
      pass_through_tlvs: { match_type: 'INCLUDE', tlv_type: [0xe1] },
      added_tlvs: [{ type: 0xe5, value: Buffer.from('added').toString('base64') }],
    }),
    listenerFilters: [
      {
        name: 'pp',
        typed_config: {
          '@type': type('filters.listener.proxy_protocol.v3.ProxyProtocol'),
          pass_through_tlvs: { match_type: 'INCLUDE_ALL' },
        },
      },
    ],
    prefix: HEADER,
  },
  {
    name: 'PROXY header passed on over HTTP',
    http: true,
    cluster: proxyProtocol({ version: 'V2', pass_through_tlvs: { match_type: 'INCLUDE_ALL' } }),
    listenerFilters: [
      {
        name: 'pp',
        typed_config: {
          '@type': type('filters.listener.proxy_protocol.v3.ProxyProtocol'),
          pass_through_tlvs: { match_type: 'INCLUDE_ALL' },
        },
      },
    ],
    prefix: HEADER,
  },
  {
    name: 'an additional address takes over',
    http: false,
    endpoint: (upstream, closed) => ({
      address: address(closed),
      additional_addresses: [{ address: address(upstream) }],
    }),
  },
  {
    name: 'an additional address takes over, HTTP',
    http: true,
    endpoint: (upstream, closed) => ({
      address: address(closed),
      additional_addresses: [{ address: address(upstream) }],
    }),
  },
  {
    name: 'no address answers',
    http: true,
    endpoint: (_, closed) => ({
      address: address(closed),
      additional_addresses: [{ address: address(closed, '127.0.0.2') }],
    }),
  },
  { name: 'the local address cannot be had', http: false, cluster: NOT_OURS },
  { name: 'the local address cannot be had, HTTP', http: true, cluster: NOT_OURS },
  { name: 'connections shared', http: true, times: 3 },
  {
    name: 'connections of one downstream',
    http: true,
    cluster: { connection_pool_per_downstream_connection: true },
    times: 3,
  },
]

function bootstrap(ports: Ports, listeners: readonly number[], upstreams: readonly number[], closed: number): object {
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: CASES.map((entry, i) => ({
        name: `l${i}`,
        address: address(listeners[i]!),
        listener_filters: entry.listenerFilters ?? [],
        filter_chains: [{ filters: [entry.http ? http(i) : tcp(i)] }],
      })),
      clusters: CASES.map((entry, i) => ({
        name: `c${i}`,
        type: 'STATIC',
        connect_timeout: '2s',
        load_assignment: {
          cluster_name: `c${i}`,
          endpoints: [
            {
              lb_endpoints: [
                { endpoint: entry.endpoint?.(upstreams[i]!, closed) ?? { address: address(upstreams[i]!) } },
              ],
            },
          ],
        },
        ...entry.cluster,
      })),
    },
  }
}

function tcp(i: number): object {
  return {
    name: 'tcp',
    typed_config: { '@type': type('filters.network.tcp_proxy.v3.TcpProxy'), stat_prefix: `t${i}`, cluster: `c${i}` },
  }
}

function http(i: number): object {
  return {
    name: 'hcm',
    typed_config: {
      '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
      stat_prefix: `h${i}`,
      route_config: {
        name: 'r',
        virtual_hosts: [
          { name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: `c${i}` } }] },
        ],
      },
      http_filters: [{ name: 'router', typed_config: { '@type': type('filters.http.router.v3.Router') } }],
    },
  }
}

/** An upstream that keeps what stood ahead of the request on each connection, and answers every request. */
class Upstream {
  readonly heads: Buffer[] = []
  readonly server: Server

  constructor() {
    this.server = createServer((socket) => {
      socket.on('error', () => {})
      let seen = Buffer.alloc(0)
      let began = false
      socket.on('data', (chunk) => {
        seen = Buffer.concat([seen, chunk])
        for (let at = seen.indexOf('GET '); at >= 0 && seen.includes('\r\n\r\n', at); at = seen.indexOf('GET ')) {
          if (!began) this.heads.push(Buffer.from(seen.subarray(0, at)))
          began = true
          seen = seen.subarray(seen.indexOf('\r\n\r\n', at) + 4)
          socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
        }
      })
    })
  }

  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    return (this.server.address() as AddressInfo).port
  }

  /** Headers with addresses, where the client's port is only said to be right. */
  described(clientPorts: readonly number[], listener: number): string[] {
    return this.heads.map((head) => {
      if (head.length === 0) return 'no header'
      const result = parseProxyHeader(head)
      if (result.kind !== 'header' || result.header.length !== head.length)
        return `${result.kind} ${head.toString('hex')}`
      const { addresses, tlvs, version } = result.header
      const port = (value: number): string =>
        clientPorts.includes(value) ? 'client' : value === listener ? 'listener' : String(value)
      const text = addresses
        ? `${addresses.source.ip}:${port(addresses.source.port)} ${addresses.destination.ip}:${port(addresses.destination.port)}`
        : 'local'
      return `v${version} ${text} ${tlvs.map((tlv) => `${tlv.type}=${tlv.value}`).join()}`
    })
  }
}

/** One connection, one request; the answer, and the port it came from. */
async function ask(port: number, prefix: Buffer | undefined): Promise<{ answer: string; port: number }> {
  const socket: Socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  if (prefix) socket.write(prefix)
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  let text = ''
  socket.on('data', (chunk) => (text += chunk))
  for (let i = 0; i < 500 && !text.includes('\r\n\r\n') && !socket.closed; i++)
    await new Promise((resolve) => setTimeout(resolve, 10))
  const own = socket.localPort ?? 0
  socket.destroy()
  return { answer: text.split('\r\n')[0] ?? '', port: own }
}

const skip = envoyBinary() === null ? 'real Envoy is not installed' : false

describe('upstream connections', { skip }, () => {
  const sides: { proxy: RunningProxy; listeners: number[]; upstreams: Upstream[] }[] = []

  before(async () => {
    const closed = await freePort()
    for (const name of ['envoy', 'outrigger'] as const) {
      const upstreams = CASES.map(() => new Upstream())
      const upstreamPorts = await Promise.all(upstreams.map((upstream) => upstream.listen()))
      const listeners = await Promise.all(CASES.map(() => freePort()))
      const proxy = await startProxy(name, (ports) => bootstrap(ports, listeners, upstreamPorts, closed))
      sides.push({ proxy, listeners, upstreams })
    }
  })

  after(async () => {
    await Promise.all(sides.map((side) => side.proxy.stop()))
    for (const side of sides) for (const upstream of side.upstreams) upstream.server.close()
  })

  for (const [i, entry] of CASES.entries()) {
    test(entry.name, async () => {
      const results = await Promise.all(
        sides.map(async ({ proxy, listeners, upstreams }) => {
          const answers: string[] = []
          const ports: number[] = []
          for (let time = 0; time < (entry.times ?? 1); time++) {
            const { answer, port } = await ask(listeners[i]!, entry.prefix)
            answers.push(answer)
            ports.push(port)
          }
          const failures = await proxy.admin(`/stats?filter=^cluster.c${i}.(bind_errors|upstream_cx_connect_fail)$`)
          return { answers, failures, seen: upstreams[i]!.described(ports, listeners[i]!) }
        }),
      )
      const [envoy, ours] = results as [(typeof results)[0], (typeof results)[0]]
      assert.deepEqual(ours, envoy)
    })
  }
})
