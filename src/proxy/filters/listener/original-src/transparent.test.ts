// TPROXY inbound and original_src, in a network namespace of its own: this file runs itself again inside `unshare --net`.
// A client reaches a service address that nobody has: TPROXY brings it to the proxy, which goes on to an upstream in the
// client's name.

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { BootstrapSchema } from '../../../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { silentLog } from '../../../../xds/testing.ts'
import { parseJson } from '../../../config/json.ts'
import { startProxy } from '../../../server/start-proxy.ts'

const INSIDE = 'OUTRIGGER_TEST_NETNS'
const LISTENER = 15006
const SERVICE = '10.96.0.7'
const CLIENT = '10.9.9.9'
const MARK = 1337

function run(command: string): void {
  const [program, ...args] = command.split(' ')
  execFileSync(program!, args)
}

function prepareNamespace(): void {
  run('ip link set lo up')
  run(`ip addr add ${CLIENT}/32 dev lo`)
  // Packets to services leave by loopback and come in again, where TPROXY meets them.
  run('ip route add 10.96.0.0/16 dev lo')
  run('ip rule add fwmark 1 lookup 100')
  run('ip route add local default dev lo table 100')
  run('iptables -t mangle -A OUTPUT -p tcp -d 10.96.0.0/16 -j MARK --set-mark 1')
  run(
    `iptables -t mangle -A PREROUTING -p tcp -d 10.96.0.0/16 -j TPROXY --tproxy-mark 1 --on-ip 127.0.0.1 --on-port ${LISTENER}`,
  )
}

async function upstream(t: TestContext): Promise<number> {
  const server = createServer((socket) => socket.end(`from ${socket.remoteAddress}:${socket.remotePort}`))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

async function proxy(t: TestContext, port: number, originalSrc: object | null): Promise<void> {
  const type = (name: string): string => `type.googleapis.com/envoy.extensions.filters.${name}`
  const listenerFilter = (name: string, config: object = {}): object => ({
    name,
    typed_config: {
      '@type': type(`listener.${name}.v3.${name === 'original_dst' ? 'OriginalDst' : 'OriginalSrc'}`),
      ...config,
    },
  })
  const bootstrap = {
    static_resources: {
      clusters: [
        {
          name: 'a',
          type: 'STATIC',
          load_assignment: {
            cluster_name: 'a',
            endpoints: [
              {
                lb_endpoints: [
                  { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } },
                ],
              },
            ],
          },
        },
      ],
      listeners: [
        {
          name: 'virtualInbound',
          address: { socket_address: { address: '0.0.0.0', port_value: LISTENER } },
          transparent: true,
          listener_filters: [
            listenerFilter('original_dst'),
            ...(originalSrc ? [listenerFilter('original_src', originalSrc)] : []),
          ],
          filter_chains: [
            {
              // Only the original destination has this port.
              filter_chain_match: {
                destination_port: 9080,
                prefix_ranges: [{ address_prefix: SERVICE, prefix_len: 32 }],
              },
              filters: [
                {
                  name: 'tcp',
                  typed_config: { '@type': type('network.tcp_proxy.v3.TcpProxy'), stat_prefix: 't', cluster: 'a' },
                },
              ],
            },
          ],
        },
      ],
    },
  }
  const running = await startProxy({
    bootstrap: parseJson(BootstrapSchema, bootstrap, { path: '' }),
    configPath: 'test',
    concurrency: 1,
    drainTimeS: 1,
    drainStrategy: 'immediate',
    fileFlushIntervalMs: 5,
    fileFlushMinSizeKb: 64,
    rejectUnknownDynamicFields: false,
    log: silentLog,
  })
  t.after(() => running.stop())
}

/** What the upstream says, and the client's own port. */
async function get(): Promise<{ text: string; port: number }> {
  const socket = connect({ host: SERVICE, port: 9080, localAddress: CLIENT })
  let text = ''
  socket.on('data', (chunk) => (text += chunk))
  await once(socket, 'connect')
  const port = socket.localPort ?? 0
  if (!socket.closed) await once(socket, 'close')
  return { text, port }
}

if (process.env[INSIDE] === undefined) {
  const able =
    process.getuid?.() === 0 &&
    spawnSync('unshare', [
      '--net',
      'iptables',
      '-t',
      'mangle',
      '-A',
      'PREROUTING',
      '-p',
      'tcp',
      '-j',
      'TPROXY',
      '--on-port',
      '1',
    ]).status === 0
  test('in a network namespace', { skip: able ? false : 'needs root, unshare and iptables with TPROXY' }, () => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env
    const inner = spawnSync(
      'unshare',
      ['--net', process.execPath, '--test-reporter=spec', '--test-timeout=20000', fileURLToPath(import.meta.url)],
      { env: { ...env, [INSIDE]: '1' }, encoding: 'utf8', timeout: 60_000 },
    )
    assert.equal(inner.status, 0, inner.stdout + inner.stderr)
  })
} else {
  prepareNamespace()

  test('TPROXY: the chain of the original destination serves', async (t) => {
    await proxy(t, await upstream(t), null)
    assert.match((await get()).text, /^from 127\.0\.0\.1:\d+$/)
  })

  test("original_src: the upstream sees the client's address", async (t) => {
    await proxy(t, await upstream(t), { mark: MARK })
    assert.match((await get()).text, new RegExp(`^from ${CLIENT}:\\d+$`))
  })

  test("original_src with bind_port: the client's port as well", async (t) => {
    await proxy(t, await upstream(t), { mark: MARK, bind_port: true })
    const { text, port } = await get()
    assert.equal(text, `from ${CLIENT}:${port}`)
  })

  test('original_src: upstream packets carry the mark', async (t) => {
    const port = await upstream(t)
    run(
      `iptables -A OUTPUT -p tcp -d 127.0.0.1 --dport ${port} --syn -m mark ! --mark ${MARK} -j REJECT --reject-with tcp-reset`,
    )
    await proxy(t, port, { mark: MARK })
    assert.match((await get()).text, new RegExp(`^from ${CLIENT}:\\d+$`))
  })
}
