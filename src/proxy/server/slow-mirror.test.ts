// A mirror that does not read: the client waits for it, or the body would lie in the proxy's memory.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer, request } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { until } from '../../xds/testing.ts'
import { startProxy } from './start-proxy.ts'
import { endpoints, listener, testOptions } from './testing.ts'

const BODY = Buffer.alloc(64 * 1024 * 1024)

test('a mirror that reads nothing holds the client up, and its end lets it go on', async (t) => {
  let received = 0
  const upstream = createHttpServer((message, response) => {
    message.on('data', (chunk: Buffer) => (received += chunk.length))
    message.on('end', () => response.end('done'))
  }).listen(0, '127.0.0.1')
  let mirrored: Socket | null = null
  const mirror = createServer({ pauseOnConnect: true }, (socket) => {
    mirrored = socket
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  const spare = createServer().listen(0, '127.0.0.1')
  await Promise.all([upstream, mirror, spare].map((server) => once(server, 'listening')))
  const [to, copyTo, port] = [upstream, mirror, spare].map((server) => (server.address() as AddressInfo).port)
  await new Promise((resolve) => spare.close(resolve))
  const route = { cluster: 'c', request_mirror_policies: [{ cluster: 'm' }] }
  const route_config = {
    name: 'r',
    virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route }] }],
  }
  const cluster = (name: string, at: number) => ({
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: endpoints(name, at),
  })
  const bootstrap = {
    static_resources: {
      listeners: [listener('l', port!, { rds: undefined, route_config })],
      clusters: [cluster('c', to!), cluster('m', copyTo!)],
    },
  }
  const proxy = await startProxy(testOptions(JSON.parse(JSON.stringify(bootstrap)) as object))
  t.after(async () => {
    await proxy.stop()
    upstream.closeAllConnections()
    upstream.close()
    mirrored?.destroy()
    mirror.close()
  })
  await until(() => proxy.state === 'LIVE', 'LIVE')
  const client = request({ port, host: '127.0.0.1', method: 'POST', headers: { 'content-length': BODY.length } })
  const answered = once(client, 'response')
  client.end(BODY)
  await until(() => mirrored !== null && received > 0, 'the copy')
  // Nothing more comes once the sockets on the way are full.
  let before = -1
  while (received !== before) {
    before = received
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  assert.ok(received < BODY.length, 'the client waits')
  mirrored!.destroy()
  await answered
  assert.equal(received, BODY.length)
})
