// h2spec, the conformance suite for HTTP/2 servers (github.com/summerwind/h2spec), against the whole proxy.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { type Ports, startProxy } from './harness/proxies.ts'

const MODULE = 'github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible'
const CASES = 145

/** The program's path: from PATH, or built by Go once; null where neither is there. */
function h2specBinary(): string | null {
  for (const dir of (process.env.PATH ?? '').split(':')) if (existsSync(join(dir, 'h2spec'))) return join(dir, 'h2spec')
  const built = join(tmpdir(), 'outrigger-h2spec')
  if (existsSync(join(built, 'h2spec'))) return join(built, 'h2spec')
  const env = { ...process.env, GOBIN: built }
  const run = spawnSync('go', ['install', MODULE], { env, encoding: 'utf8' })
  return run.status === 0 ? join(built, 'h2spec') : null
}

function bootstrap(ports: Ports, codecType: string, upstream: number): object {
  const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } })
  const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
  return {
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: [
        {
          name: 'h2',
          address: address(ports.listener),
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: {
                    '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 'h2spec',
                    codec_type: codecType,
                    route_config: {
                      virtual_hosts: [
                        { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'up' } }] },
                      ],
                    },
                    http_filters: [
                      {
                        name: 'envoy.filters.http.router',
                        typed_config: { '@type': type('filters.http.router.v3.Router') },
                      },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'up',
          type: 'STATIC',
          load_assignment: {
            cluster_name: 'up',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstream) } }] }],
          },
        },
      ],
    },
  }
}

test('h2spec passes on a listener that speaks HTTP/2', async (t) => {
  const h2spec = h2specBinary()
  if (h2spec === null) return t.skip('h2spec is not on PATH and Go is not there to build it')
  // The answer waits for the request's end: an earlier one could overtake the wrong trailers that a case sends.
  const upstream = createServer((request, response) => {
    request.on('end', () => response.end('hello')).resume()
  })
  upstream.listen(0, '127.0.0.1')
  t.after(() => upstream.close())
  for (const codecType of ['HTTP2', 'AUTO']) {
    const proxy = await startProxy('outrigger', (ports) =>
      bootstrap(ports, codecType, (upstream.address() as AddressInfo).port),
    )
    const args = ['-h', '127.0.0.1', '-p', String(proxy.ports.listener), '-P', '/', '-o', '5']
    const child = spawn(h2spec, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const [output] = await Promise.all([text(child.stdout), once(child, 'close')])
    await proxy.stop()
    // AUTO takes a wrong preface for HTTP/1 and answers 400 in HTTP/1, as Envoy does: one case less.
    const passed = codecType === 'AUTO' ? CASES - 1 : CASES
    assert.match(output, new RegExp(`${CASES} tests, ${passed} passed`), output.slice(-3000))
  }
})
