// Active health checks beside Envoy: what is asked, how and where, the events that are logged, and the counts.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createHttp2, type Http2Server } from 'node:http2'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net'
import { after, before, describe, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { Pki } from './harness/pki.ts'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })
const LONG = '3600s'

interface Upstreams {
  readonly good: number
  readonly bad: number
  readonly degraded: number
  readonly silent: number
  readonly closed: number
  readonly tls: number
  readonly grpc: number
}

const TLS = {
  name: 'tls',
  typed_config: { '@type': type('transport_sockets.tls.v3.UpstreamTlsContext'), common_tls_context: {} },
}

function bootstrap(ports: Ports, to: Upstreams): object {
  const check = (more: object): object => ({
    timeout: '0.5s',
    interval: LONG,
    no_traffic_interval: LONG,
    unhealthy_threshold: 2,
    healthy_threshold: 2,
    event_logger: [
      {
        name: 'envoy.health_check.event_sink.file',
        typed_config: {
          '@type': type('health_check.event_sinks.file.v3.HealthCheckEventFileSink'),
          event_log_path: ports.accessLog,
        },
      },
    ],
    ...more,
  })
  const cluster = (name: string, endpoints: readonly object[], checks: object, more: object = {}): object => ({
    name,
    type: 'STATIC',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ locality: { region: 'r', zone: 'z', sub_zone: name }, lb_endpoints: endpoints }],
    },
    health_checks: [check(checks)],
    ...more,
  })
  const at = (port: number, more: object = {}): object => ({ endpoint: { address: address(port), ...more } })
  const http = { http_health_check: { path: '/check' } }
  const all = [to.good, to.bad, to.degraded, to.silent, to.closed].map((port) => at(port))
  return {
    admin: { address: address(ports.admin) },
    static_resources: {
      clusters: [
        cluster('plain', all, http),
        cluster('told', all, {
          ...http,
          always_log_health_check_failures: true,
          always_log_health_check_success: true,
        }),
        cluster('other-port', [at(to.closed, { health_check_config: { port_value: to.good } })], http),
        cluster('again', [at(to.good), at(to.bad), at(to.degraded)], {
          ...http,
          no_traffic_interval: '0.05s',
          always_log_health_check_failures: true,
          always_log_health_check_success: true,
        }),
        cluster(
          'alpn',
          [at(to.tls)],
          { ...http, tls_options: { alpn_protocols: ['hc', 'http/1.1'] } },
          { transport_socket: TLS },
        ),
        cluster(
          'matched',
          [at(to.good)],
          { ...http, transport_socket_match_criteria: { plain: true } },
          {
            transport_socket: TLS,
            transport_socket_matches: [
              {
                name: 'plain',
                match: { plain: true },
                transport_socket: {
                  name: 'raw',
                  typed_config: { '@type': type('transport_sockets.raw_buffer.v3.RawBuffer') },
                },
              },
            ],
          },
        ),
        cluster(
          'grpc',
          [at(to.grpc)],
          {
            grpc_health_check: {
              service_name: 's',
              authority: 'a',
              initial_metadata: [{ header: { key: 'x-from', value: 'check' } }],
            },
          },
          {
            typed_extension_protocol_options: {
              'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
                '@type': type('upstreams.http.v3.HttpProtocolOptions'),
                explicit_http_config: { http2_protocol_options: {} },
              },
            },
          },
        ),
      ],
    },
  }
}

const skip = envoyBinary() === null ? 'no envoy on PATH' : false

describe('health checks beside Envoy', { skip }, () => {
  const servers: (Server | Http2Server)[] = []
  const proxies: RunningProxy[] = []
  const pki = new Pki()
  let asked: string[] = []
  let to: Upstreams

  async function listen(server: Server | Http2Server): Promise<number> {
    servers.push(server)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  const seen =
    (name: string, answer: RequestListener): RequestListener =>
    (message, response) => {
      const { method, url, headers } = message
      asked.push(
        `${name} ${method} ${url} ${JSON.stringify(headers)} ${(message.socket as TLSSocket).alpnProtocol ?? ''}`,
      )
      answer(message, response)
    }

  before(async () => {
    const { cert, key } = pki.authority(null, 'root').issue('DNS:a.example')
    const grpc = createHttp2()
    grpc.on('stream', (stream, headers) => {
      asked.push(`grpc ${headers[':path']} ${headers[':authority']} ${headers['x-from']} ${headers['user-agent']}`)
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.end(Buffer.from([0, 0, 0, 0, 2, 8, 1]))
    })
    to = {
      good: await listen(createServer(seen('good', (_, response) => response.end('ok')))),
      bad: await listen(createServer(seen('bad', (_, response) => response.writeHead(503).end()))),
      degraded: await listen(
        createServer(seen('degraded', (_, response) => response.writeHead(200, { 'x-envoy-degraded': '1' }).end())),
      ),
      silent: await listen(createTcp((socket) => socket.on('error', () => {}).resume())),
      closed: await freePort(),
      tls: await listen(
        createHttps(
          { cert, key, ALPNProtocols: ['hc'] },
          seen('tls', (_, response) => response.end()),
        ),
      ),
      grpc: await listen(grpc),
    }
  })

  after(async () => {
    for (const proxy of proxies) await proxy.stop()
    for (const server of servers) server.close()
    pki.remove()
  })

  async function stats(proxy: RunningProxy): Promise<string[]> {
    const text = await proxy.admin('/stats?filter=health_check|membership|total_match_count|lb_healthy_panic')
    return text
      .split('\n')
      .filter((line) => line !== '' && !/^cluster.again.health_check.(attempt|success|failure)/.test(line))
      .sort()
  }

  async function observe(name: 'envoy' | 'outrigger'): Promise<object> {
    asked = []
    const proxy = await startProxy(name, (ports) => bootstrap(ports, to))
    proxies.push(proxy)
    const done = (lines: readonly string[]): boolean =>
      lines.includes('cluster.plain.health_check.network_failure: 2') &&
      lines.includes('cluster.told.health_check.network_failure: 2') &&
      lines.filter((line) => /health_check\.(success: [1-9])/.test(line)).length >= 6
    let lines = await stats(proxy)
    for (let i = 0; i < 200 && !done(lines); i++) {
      await new Promise((resolve) => setTimeout(resolve, 25))
      lines = await stats(proxy)
    }
    // Checked again and again: each of its events has come.
    const logged = (...words: string[]): number =>
      proxy.logLines().filter((line) => words.every((word) => line.includes(word))).length
    while (logged('"again"', 'health_check_failure_event') < 4 || logged('NETWORK_TIMEOUT') < 2)
      await new Promise((resolve) => setTimeout(resolve, 25))
    const text = (value: string): string => {
      let plain = value
      for (const [what, port] of Object.entries(to)) plain = plain.replaceAll(String(port), what)
      return plain
    }
    return {
      asked: [...new Set(asked.map(text))].sort(),
      stats: lines,
      events: [
        ...new Set(
          proxy.logLines().map((line) => {
            const { timestamp, ...event } = JSON.parse(line) as Record<string, unknown>
            assert.match(String(timestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
            return text(JSON.stringify(event, (_, one: unknown) => (isObject(one) ? sorted(one) : one)))
          }),
        ),
      ].sort(),
      clusters: (await proxy.admin('/clusters'))
        .split('\n')
        .filter((line) => line.includes('health_flags'))
        .sort(),
    }
  }

  test('requests, events, counts and flags agree', async () => {
    const envoy = await observe('envoy')
    const ours = await observe('outrigger')
    assert.deepEqual(ours, envoy)
  })
})

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function sorted(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
