// Redirected connections, in a network namespace of its own: this file runs itself again inside `unshare --net`.

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ipAddress } from './address.ts'
import { openConnection } from './connect.ts'
import { ConnectionEvent } from './connection.ts'
import { SO_MARK, SOL_SOCKET } from './socket-options.ts'
import { respond, testListeners } from './testing.ts'

const INSIDE = 'OUTRIGGER_TEST_NETNS'

function iptables(command: 'iptables' | 'ip6tables', rule: string): void {
  execFileSync(command, rule.split(' '))
}

function prepareNamespace(): void {
  execFileSync('ip', ['link', 'set', 'lo', 'up'])
  for (const address of ['10.9.9.9/32', 'fd00::9/128'])
    execFileSync('ip', ['addr', 'add', address, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : [])])
}

async function get(host: string, port: number): Promise<string> {
  const socket = connect({ host, port })
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(socket, 'close')
  return Buffer.concat(chunks).toString()
}

if (process.env[INSIDE] === undefined) {
  const able = process.getuid?.() === 0 && spawnSync('unshare', ['--net', 'iptables', '-t', 'nat', '-L']).status === 0
  test('in a network namespace', { skip: able ? false : 'needs root, unshare and iptables' }, () => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env
    const run = spawnSync(
      'unshare',
      ['--net', process.execPath, '--test-reporter=spec', fileURLToPath(import.meta.url)],
      {
        env: { ...env, [INSIDE]: '1' },
        encoding: 'utf8',
      },
    )
    assert.equal(run.status, 0, run.stdout + run.stderr)
  })
} else {
  prepareNamespace()

  test('use_original_dst hands redirected connections to the listener of their destination', async (t) => {
    const { apply } = testListeners(t)
    const { port } = await apply({
      name: 'virtualOutbound',
      address: { socket_address: { address: '::', port_value: 0, ipv4_compat: true } },
      use_original_dst: true,
      filter_chains: [
        { filter_chain_match: { destination_port: 4444 }, filters: [respond('by port')] },
        { filters: [respond('stayed')] },
      ],
    })
    const unbound = (name: string, address: string, answer: string) =>
      apply({
        name,
        address: { socket_address: { address, port_value: 9080 } },
        bind_to_port: false,
        filter_chains: [{ filters: [respond(answer)] }],
      })
    await unbound('any', '0.0.0.0', 'any v4')
    await unbound('any6', '::', 'any v6')
    await unbound('exact', '10.9.9.9', 'exact')
    for (const dport of [9080, 9081, 4444]) {
      iptables('iptables', `-t nat -A OUTPUT -p tcp --dport ${dport} -j REDIRECT --to-ports ${port}`)
      iptables('ip6tables', `-t nat -A OUTPUT -p tcp --dport ${dport} -j REDIRECT --to-ports ${port}`)
    }
    assert.equal(await get('10.9.9.9', 9080), 'exact')
    assert.equal(await get('127.0.0.1', 9080), 'any v4')
    assert.equal(await get('fd00::9', 9080), 'any v6')
    assert.equal(await get('10.9.9.9', 9081), 'stayed')
    assert.equal(await get('10.9.9.9', 4444), 'by port')
    assert.equal(await get('127.0.0.1', port), 'stayed', 'a connection that was not redirected')
  })

  test('SO_MARK is on the connection before its first packet', async (t) => {
    const { apply } = testListeners(t)
    const { port } = await apply({
      name: 'a',
      address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
      filter_chains: [{ filters: [respond('x')] }],
    })
    iptables('iptables', `-A OUTPUT -p tcp --dport ${port} --syn -m mark --mark 1337 -j ACCEPT`)
    iptables('iptables', `-A OUTPUT -p tcp --dport ${port} --syn -j REJECT --reject-with tcp-reset`)
    const options = {
      bindSource: null,
      tls: null,
      connectTimeoutMs: 0,
      keepalive: { timeS: 60, intervalS: 10, probes: 3 },
      bufferLimitBytes: 0,
    }
    const outcome = (mark: number): Promise<ConnectionEvent> =>
      new Promise((resolve) => {
        const connection = openConnection(ipAddress('127.0.0.1', port), {
          ...options,
          socketOptions: mark === 0 ? [] : [{ level: SOL_SOCKET, name: SO_MARK, value: mark }],
        })
        connection.callbacks = {
          onData() {},
          onEvent: resolve,
          onAboveWriteBufferHighWatermark() {},
          onBelowWriteBufferLowWatermark() {},
        }
      })
    assert.equal(await outcome(1337), ConnectionEvent.Connected)
    assert.equal(await outcome(0), ConnectionEvent.RemoteClose)
  })
}
