// Situations for both proxies at once: for each scenario a listener, a cluster and an upstream of its own.

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { watchConnections } from './idle.ts'
import type { Ports, RunningProxy } from './proxies.ts'

/** How long a proxy waits for the client to close a connection that it is done with. */
export const DELAYED_CLOSE_MS = 100

/** What the configuration and the upstream of one situation are. */
export interface Situation {
  readonly name: string
  /** Added to the connection manager. */
  readonly hcm?: object
  /** Added to the route action. */
  readonly route?: object
  /** Added to the route itself, in place of its action where it has another. */
  readonly routeEntry?: object
  /** Added to the virtual host. */
  readonly virtualHost?: object
  /** Added to the route configuration. */
  readonly routeConfig?: object
  /** HTTP filters before the router, by their messages. */
  readonly filters?: readonly { readonly name: string; readonly typed_config?: object }[]
  /** Added to the router's message. */
  readonly router?: object
  /** Added to the fields of the access log line: name to format. */
  readonly log?: object
  /** Added to the listener. */
  readonly listener?: object
  /** Added to the cluster. */
  readonly cluster?: object
  /** The route matches CONNECT. */
  readonly connect?: boolean
  /** Added to the upstream's HTTP/1 options. */
  readonly upstreamHttp1?: object
  /** Answer of the upstream to each complete head; null = silence. */
  readonly upstream?: (head: string, socket: Socket) => string | null
  /** What must have come behind a head before the upstream answers it: the end of a body. */
  readonly answersAfter?: string
}

/** The upstream of one situation: HTTP/1.1, bodies of requests are not looked at. */
export function startUpstream(scenario: Situation): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    let pending = ''
    let upgraded = false
    socket.on('data', (chunk) => {
      if (upgraded) return
      pending += chunk.toString('latin1')
      for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
        const head = pending.slice(0, end + 4)
        if (scenario.answersAfter && !pending.includes(scenario.answersAfter, end + 4)) return
        pending = pending.slice(end + 4)
        // Bodies in these scenarios hold no empty line.
        const line = head.search(/PROXY |\0\r\nQUIT\n|(GET|POST|HEAD|PUT|CONNECT) /)
        if (line < 0) continue
        const answer = scenario.upstream?.(head.slice(line), socket) ?? null
        if (answer === null) continue
        upgraded = answer.includes(' 101 ') || head.startsWith('CONNECT')
        socket.write(answer, 'latin1')
      }
    })
  })
  watchConnections(server)
  server.listen(0, '127.0.0.1')
  return once(server, 'listening').then(() => server)
}

export const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } })
const type = (name: string): string => `type.googleapis.com/envoy.${name}`

export function situationBootstrap(
  situations: readonly Situation[],
  codecType: 'HTTP1' | 'HTTP2',
  ports: Ports,
  listeners: readonly number[],
  upstreams: readonly number[],
  /** Clusters that all situations may name. */
  clusters: readonly object[] = [],
): object {
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: situations.map((scenario, i) => ({
        name: `l${i}`,
        ...scenario.listener,
        address: address(listeners[i]!),
        filter_chains: [
          {
            filters: [
              {
                name: 'hcm',
                typed_config: {
                  '@type': type('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
                  stat_prefix: `s${i}`,
                  codec_type: codecType,
                  delayed_close_timeout: `${DELAYED_CLOSE_MS / 1000}s`,
                  access_log: [
                    {
                      name: 'file',
                      typed_config: {
                        '@type': type('extensions.access_loggers.file.v3.FileAccessLog'),
                        path: ports.accessLog,
                        log_format: {
                          json_format: {
                            scenario: String(i),
                            code: '%RESPONSE_CODE%',
                            details: '%RESPONSE_CODE_DETAILS%',
                            flags: '%RESPONSE_FLAGS%',
                            received: '%BYTES_RECEIVED%',
                            sent: '%BYTES_SENT%',
                            method: '%REQ(:METHOD)%',
                            path: '%REQ(:PATH)%',
                            scheme: '%REQ(:SCHEME)%',
                            type: '%ACCESS_LOG_TYPE%',
                            protocol: '%PROTOCOL%',
                            route: '%ROUTE_NAME%',
                            cluster: '%UPSTREAM_CLUSTER%',
                            ...scenario.log,
                          },
                        },
                      },
                    },
                  ],
                  route_config: {
                    ...scenario.routeConfig,
                    virtual_hosts: [
                      {
                        name: `a${i}`,
                        domains: ['a', 'a:443', 'default.example'],
                        routes: [
                          {
                            name: 'r',
                            match: scenario.connect ? { connect_matcher: {} } : { prefix: '/' },
                            ...(scenario.routeEntry && 'redirect' in scenario.routeEntry
                              ? {}
                              : { route: { cluster: `c${i}`, ...scenario.route } }),
                            ...scenario.routeEntry,
                          },
                        ],
                        ...scenario.virtualHost,
                      },
                    ],
                  },
                  http_filters: [
                    ...(scenario.filters ?? []),
                    {
                      name: 'router',
                      typed_config: { '@type': type('extensions.filters.http.router.v3.Router'), ...scenario.router },
                    },
                  ],
                  ...scenario.hcm,
                },
              },
            ],
          },
        ],
      })),
      clusters: clusters.concat(
        situations.map((scenario, i) => ({
          name: `c${i}`,
          type: 'STATIC',
          connect_timeout: '1s',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': type('extensions.upstreams.http.v3.HttpProtocolOptions'),
              explicit_http_config: { http_protocol_options: scenario.upstreamHttp1 ?? {} },
            },
          },
          load_assignment: {
            cluster_name: `c${i}`,
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstreams[i]!) } }] }],
          },
          ...scenario.cluster,
        })),
      ),
    },
  }
}

/** Log lines of situation `i`, once there are `count` or no more come. */
export async function linesOf(proxy: RunningProxy, i: number, count: number): Promise<unknown[]> {
  const lines = (): unknown[] =>
    proxy
      .logLines()
      .map((line) => JSON.parse(line) as { scenario: string })
      .filter((line) => line.scenario === String(i))
  for (let tries = 0; tries < 80 && lines().length < count; tries++)
    await new Promise((resolve) => setTimeout(resolve, 25))
  return lines()
}

/** Stats whose name matches, without those of value 0 and of histograms. `among`: a simpler pattern that the proxy applies. */
export async function statsOf(proxy: RunningProxy, filter: RegExp, among = ''): Promise<Record<string, string>> {
  const text = await proxy.admin(`/stats?usedonly&filter=${encodeURIComponent(among)}`)
  const entries = text
    .split('\n')
    .map((line) => line.split(': ') as [string, string])
    .filter(([name, value]) => filter.test(name) && value !== undefined && /^[1-9]\d*$/.test(value))
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
}
