// The overload manager side by side: pressure comes from files, and answers, closes and counts must be equal.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { until } from '../system/mesh.ts'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })
const RESOURCES = ['requests', 'keepalive', 'reject', 'stop', 'shed-requests', 'shed-connections'] as const
const ACTIONS = {
  requests: 'envoy.overload_actions.stop_accepting_requests',
  keepalive: 'envoy.overload_actions.disable_http_keepalive',
  reject: 'envoy.overload_actions.reject_incoming_connections',
  stop: 'envoy.overload_actions.stop_accepting_connections',
} as const
const POINTS = {
  'shed-requests': 'envoy.load_shed_points.http_connection_manager_decode_headers',
  'shed-connections': 'envoy.load_shed_points.tcp_listener_accept',
} as const

function bootstrap(ports: Ports, folder: string): object {
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    overload_manager: {
      refresh_interval: '0.05s',
      resource_monitors: [
        ...RESOURCES.map((name) => ({
          name,
          typed_config: {
            '@type': type('resource_monitors.injected_resource.v3.InjectedResourceConfig'),
            filename: join(folder, name),
          },
        })),
        {
          name: 'envoy.resource_monitors.global_downstream_max_connections',
          typed_config: {
            '@type': type('resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig'),
            max_active_downstream_connections: 3,
          },
        },
      ],
      actions: Object.entries(ACTIONS).map(([resource, name]) => ({
        name,
        triggers: [{ name: resource, threshold: { value: 0.9 } }],
      })),
      loadshed_points: Object.entries(POINTS).map(([resource, name]) => ({
        name,
        triggers: [{ name: resource, threshold: { value: 0.9 } }],
      })),
    },
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: address(ports.listener),
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 't',
                    append_local_overload: true,
                    access_log: [
                      {
                        name: 'f',
                        typed_config: {
                          '@type': type('access_loggers.file.v3.FileAccessLog'),
                          path: ports.accessLog,
                          log_format: {
                            text_format_source: {
                              inline_string: '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%\n',
                            },
                          },
                        },
                      },
                    ],
                    route_config: {
                      virtual_hosts: [
                        {
                          name: 'v',
                          domains: ['*'],
                          routes: [
                            { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'ok' } } },
                          ],
                        },
                      ],
                    },
                    http_filters: [
                      { name: 'router', typed_config: { '@type': type('filters.http.router.v3.Router') } },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
    },
  }
}

class Side {
  readonly folder = mkdtempSync(join(tmpdir(), 'overload-interop-'))
  readonly agent = new Agent({ keepAlive: true, maxSockets: 1 })
  proxy!: RunningProxy

  /** Envoy reads a file that was moved into place. */
  write(name: (typeof RESOURCES)[number], value: number): void {
    const next = join(this.folder, 'next')
    writeFileSync(next, String(value))
    renameSync(next, join(this.folder, name))
  }

  async start(name: 'envoy' | 'outrigger'): Promise<void> {
    for (const resource of RESOURCES) this.write(resource, 0)
    this.proxy = await startProxy(name, (ports) => bootstrap(ports, this.folder))
  }

  async set(name: (typeof RESOURCES)[number], value: number): Promise<void> {
    this.write(name, value)
    const wanted =
      name === 'shed-requests' || name === 'shed-connections'
        ? `overload.${POINTS[name]}.scale_percent: ${value >= 0.9 ? 100 : 0}`
        : `overload.${ACTIONS[name]}.active: ${value >= 0.9 ? 1 : 0}`
    for (let i = 0; i < 400; i++) {
      if ((await this.proxy.admin('/stats?filter=overload')).includes(wanted)) return
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    throw new Error(`${wanted} was not reached`)
  }

  async get(path: string, headers: Record<string, string> = {}): Promise<string> {
    const sent = httpRequest({ host: '127.0.0.1', port: this.proxy.ports.listener, path, headers, agent: this.agent })
    sent.end()
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    let body = ''
    for await (const chunk of response) body += chunk
    const { date: _, ...fields } = response.headers
    return `${response.statusCode} ${body} ${JSON.stringify(fields)}`
  }

  /** How many of `count` connections stay open, with the agent's one beside them. */
  async open(count: number): Promise<number> {
    const sockets = Array.from({ length: count }, () => connect(this.proxy.ports.listener, '127.0.0.1'))
    for (const socket of sockets) socket.on('error', () => {}).resume()
    const closed = (): number => sockets.filter((socket) => socket.destroyed || socket.readableEnded).length
    for (let i = 0; i < 200 && closed() === 0; i++) await new Promise((resolve) => setTimeout(resolve, 10))
    await new Promise((resolve) => setTimeout(resolve, 100))
    const open = count - closed()
    for (const socket of sockets) socket.destroy()
    return open
  }

  /** What a connection gets that is made now: before `goOn`, and after. */
  async waits(goOn: () => Promise<void>): Promise<readonly [string, boolean]> {
    const socket = connect(this.proxy.ports.listener, '127.0.0.1')
    let text = ''
    socket.on('error', () => {}).on('data', (chunk) => (text += chunk))
    socket.write('GET /waits HTTP/1.1\r\nhost: a\r\n\r\n')
    await new Promise((resolve) => setTimeout(resolve, 300))
    const early = text
    await goOn()
    await until('an answer', () => text.endsWith('ok') || null)
    socket.destroy()
    return [early, text.startsWith('HTTP/1.1 200')]
  }

  async stop(): Promise<void> {
    this.agent.destroy()
    await this.proxy.stop()
    rmSync(this.folder, { recursive: true })
  }
}

const skip = envoyBinary() === null ? 'real Envoy is not installed' : false

describe('overload manager', { skip }, () => {
  const sides = [new Side(), new Side()] as const

  before(async () => {
    await sides[0].start('envoy')
    await sides[1].start('outrigger')
  })
  after(() => Promise.all(sides.map((side) => side.stop())))

  test('requests are refused, keep-alive ends, connections are rejected', async () => {
    const [envoy, ours] = await Promise.all(
      sides.map(async (side) => {
        const seen: unknown[] = [await side.get('/calm')]
        await side.set('requests', 0.95)
        seen.push(await side.get('/refused'), await side.get('/grpc', { 'content-type': 'application/grpc' }))
        await side.set('requests', 0.5)
        seen.push(await side.get('/calm-again'))
        await side.set('shed-requests', 0.95)
        seen.push(await side.get('/shed'), await side.get('/shed-grpc', { 'content-type': 'application/grpc' }))
        await side.set('shed-requests', 0.5)
        seen.push(await side.get('/not-shed'))
        await side.set('keepalive', 0.95)
        seen.push(await side.get('/closes'))
        await side.set('keepalive', 0)
        seen.push(await side.get('/keeps'), await side.open(4))
        await side.set('shed-connections', 1)
        seen.push(await side.open(2))
        await side.set('shed-connections', 0)
        await side.set('reject', 1)
        seen.push(await side.open(2))
        await side.set('reject', 0)
        await side.set('stop', 1)
        seen.push(await side.get('/the-connection-there-is'), await side.waits(() => side.set('stop', 0)))
        const counted = async (): Promise<string[]> => {
          const stats = await side.proxy.admin(
            '/stats?usedonly&filter=^(overload|listener|http.t).*(active|scale|overload|overflow|shed)',
          )
          return stats
            .split('\n')
            .filter(
              (line) => /: \d+$/.test(line) && !/worker|cx_active|rq_active|pre_cx|failed|upgrades|ssl/.test(line),
            )
            .map((line) => line.replace(/127\.0\.0\.1_\d+/, 'L'))
            .sort()
        }
        return { seen, counted, proxy: side.proxy }
      }),
    )
    assert.deepEqual(ours!.seen, envoy!.seen)
    // Connections that were told to close are gone some time later.
    await until('equal stats', async () => {
      assert.deepEqual(await ours!.counted(), await envoy!.counted())
      return true
    })
    // Lines are written some time after their requests.
    await until('equal log lines', () => isDeepStrictEqual(ours!.proxy.logLines(), envoy!.proxy.logLines()) || null)
  })
})
