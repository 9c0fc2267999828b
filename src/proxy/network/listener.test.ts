import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls'
import { SniClusterSchema as spySchema } from '../../api/gen/envoy/extensions/filters/network/sni_cluster/v3/sni_cluster_pb.js'
import type { NetworkFilterExtension } from '../config/extension.ts'
import { adsSecretKey } from '../config/secret-key.ts'
import type { ConnectionInfo } from './connection.ts'
import { setFaultReporter } from './fault.ts'
import { FilterStatus } from './filter.ts'
import { localAddress, respond, TestCa, TYPE, testListeners } from './testing.ts'

async function talk(t: TestContext, port: number, send: string | Buffer): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.after(() => socket.destroy())
  if (send.length > 0) socket.write(send)
  return text(socket)
}

async function text(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('end', () => socket.end())
  await once(socket, 'close').catch(() => {})
  return Buffer.concat(chunks).toString('latin1')
}

async function tlsTalk(
  t: TestContext,
  port: number,
  options: ConnectionOptions,
): Promise<{ socket: TLSSocket; got: string }> {
  const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
  t.after(() => socket.destroy())
  const got = await text(socket)
  return { socket, got }
}

const inspectors = [
  { name: 'tls', typed_config: { '@type': TYPE.tlsInspector } },
  { name: 'http', typed_config: { '@type': TYPE.httpInspector } },
]

test('inspectors choose the chain, byte by byte too', async (t) => {
  const { apply } = testListeners(t)
  const { port } = await apply({
    name: 'a',
    address: localAddress(),
    listener_filters: inspectors,
    filter_chains: [
      { filter_chain_match: { application_protocols: ['http/1.1'] }, filters: [respond('h1')] },
      { filter_chain_match: { application_protocols: ['h2c'] }, filters: [respond('h2')] },
      { filter_chain_match: { application_protocols: ['http/1.0'] }, filters: [respond('h0')] },
    ],
    default_filter_chain: { filters: [respond('other')] },
  })
  const cases = [
    ['GET / HTTP/1.1\r\n', 'h1'],
    ['GET / HTTP/1.0\r\n', 'h0'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'h2'],
    ['\r\nGET / HTTP/1.1\r\n', 'other'],
    ['SSH-2.0-x (not http)\r\n', 'other'],
    ['\x00\x01', 'other'],
  ] as const
  for (const [send, chain] of cases) {
    assert.equal(await talk(t, port, send), chain, JSON.stringify(send))
    const slow = connect({ port, host: '127.0.0.1', noDelay: true })
    t.after(() => slow.destroy())
    const answer = text(slow)
    for (const char of send)
      if (!slow.destroyed && slow.writable) await new Promise((resolve) => slow.write(char, resolve))
    assert.equal(await answer, chain, `slowly ${JSON.stringify(send)}`)
  }
})

test('of a listener that cannot bind all its addresses none is bound', async (t) => {
  const { listeners, parse, apply } = testListeners(t)
  const taken = createServer().listen(0, '127.0.0.1')
  t.after(() => taken.close())
  await once(taken, 'listening')
  const address = (port: number) => ({ socket_address: { address: '127.0.0.1', port_value: port } })
  const spare = createServer().listen(0, '127.0.0.1')
  await once(spare, 'listening')
  const { port } = spare.address() as AddressInfo
  await new Promise((resolve) => spare.close(resolve))
  const chains = { filter_chains: [{ filters: [respond('x')] }] }
  const both = parse({
    name: 'both',
    address: address(port),
    additional_addresses: [{ address: address((taken.address() as AddressInfo).port) }],
    ...chains,
  })
  await assert.rejects(listeners.apply(both), { code: 'EADDRINUSE' })
  // Without the refused listener's socket the address is free, even for one that does not share it.
  await apply({ name: 'alone', address: address(port), enable_reuse_port: false, ...chains })
  assert.equal(await talk(t, port, ''), 'x')
})

test('of a listener that cannot be bound nothing stays', async (t) => {
  const { listeners, parse, secrets } = testListeners(t)
  const taken = createServer().listen(0, '127.0.0.1')
  t.after(() => taken.close())
  await once(taken, 'listening')
  const sds_config = { ads: {}, resource_api_version: 'V3' }
  const refused = parse({
    name: 'tls',
    address: localAddress((taken.address() as AddressInfo).port),
    filter_chains: [
      {
        filters: [respond('x')],
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': TYPE.downstreamTls,
            common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'own', sds_config }] },
          },
        },
      },
    ],
  })
  const watched = Reflect.get(secrets, 'watchers') as ReadonlyMap<string, unknown>
  await assert.rejects(listeners.apply(refused), { code: 'EADDRINUSE' })
  assert.deepEqual([...watched.keys()], [])
})

test('a server-first protocol goes on after the timeout', async (t) => {
  const { apply, stats } = testListeners(t)
  const { port } = await apply({
    name: 'a',
    address: localAddress(),
    listener_filters: inspectors,
    listener_filters_timeout: '0.05s',
    continue_on_listener_filters_timeout: true,
    filter_chains: [{ filters: [respond('220 hello')] }],
  })
  assert.equal(await talk(t, port, ''), '220 hello')
  assert.equal(stats.counter(`listener.127.0.0.1_0.downstream_pre_cx_timeout`).value, 1)
})

test('no matching chain closes and is counted', async (t) => {
  const { apply, stats } = testListeners(t)
  const { port } = await apply({
    name: 'a',
    address: localAddress(),
    stat_prefix: 'a',
    filter_chains: [{ filter_chain_match: { destination_port: 1 }, filters: [respond('no')] }],
  })
  assert.equal(await talk(t, port, ''), '')
  assert.equal(stats.counter('listener.a.no_filter_chain_match').value, 1)
})

test('PROXY protocol 1 and 2 restore the addresses and hand the rest on', async (t) => {
  const seen: ConnectionInfo[] = []
  const spy: NetworkFilterExtension = {
    name: 'spy',
    desc: spySchema,
    parse: () => ({}),
    terminal: true,
    create: () => (callbacks) => ({
      onNewConnection: () => {
        seen.push(callbacks.connection.info)
        return FilterStatus.Continue
      },
      onData: (chunk, end) => {
        callbacks.connection.write(chunk, end)
        return FilterStatus.StopIteration
      },
      onEvent() {},
    }),
  }
  const { apply } = testListeners(t, { extra: [spy] })
  const { port } = await apply({
    name: 'a',
    address: localAddress(),
    listener_filters: [{ name: 'pp', typed_config: { '@type': TYPE.proxyProtocol } }],
    filter_chains: [
      { filters: [{ name: 'spy', typed_config: { '@type': `type.googleapis.com/${spySchema.typeName}` } }] },
    ],
  })
  const v2 = Buffer.concat([
    Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0, 12]),
    Buffer.from([10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0x00, 0x50]),
    Buffer.from('rest'),
  ])
  for (const bytes of [Buffer.from('PROXY TCP4 10.0.0.1 10.0.0.2 12345 80\r\nrest'), v2]) {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const answer = text(socket)
    socket.end(bytes)
    assert.equal(await answer, 'rest')
    const info = seen.pop()!
    assert.equal(info.remoteAddress.text, '10.0.0.1:12345')
    assert.equal(info.localAddress.text, '10.0.0.2:80')
    assert.equal(info.directRemoteAddress.ip, '127.0.0.1')
    assert.ok(info.localAddressRestored)
  }
  assert.equal(await talk(t, port, 'GET / HTTP/1.1\r\n\r\n'), '', 'a connection without header is closed')
})

test('TLS: certificate by SNI, server ALPN preference, no common ALPN goes on', async (t) => {
  const ca = new TestCa(t)
  const a = ca.issue('DNS:a.example')
  const b = ca.issue('DNS:*.b.example')
  const { apply } = testListeners(t)
  const certificates = [a, b].map(({ cert, key }) => ({
    certificate_chain: { inline_string: cert },
    private_key: { inline_string: key },
  }))
  const { port } = await apply({
    name: 'a',
    address: localAddress(),
    filter_chains: [
      {
        filters: [respond('secret')],
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': TYPE.downstreamTls,
            common_tls_context: { tls_certificates: certificates, alpn_protocols: ['h2', 'http/1.1'] },
          },
        },
      },
    ],
  })
  const options = { ca: ca.cert, rejectUnauthorized: true }
  const one = await tlsTalk(t, port, { ...options, servername: 'a.example', ALPNProtocols: ['http/1.1', 'h2'] })
  assert.equal(one.got, 'secret')
  assert.equal(one.socket.alpnProtocol, 'h2')
  const two = await tlsTalk(t, port, { ...options, servername: 'x.b.example', ALPNProtocols: ['istio-peer-exchange'] })
  assert.equal(two.got, 'secret')
  assert.equal(two.socket.alpnProtocol, false)
})

test('mutual TLS: SANs from secrets decide; a rotation takes effect for new connections', async (t) => {
  const ca = new TestCa(t)
  const server = ca.issue('URI:spiffe://cluster.local/ns/default/sa/reviews')
  const good = ca.issue('URI:spiffe://cluster.local/ns/default/sa/productpage')
  const bad = ca.issue('URI:spiffe://other/ns/default/sa/productpage')
  const { apply, secrets, stats } = testListeners(t)
  const sds = (name: string) => ({ name, sds_config: { ads: {}, resource_api_version: 'V3' } })
  const { port } = await apply({
    name: 'a',
    address: localAddress(),
    stat_prefix: 'a',
    listener_filters: inspectors.slice(0, 1),
    filter_chains: [
      {
        filters: [respond('secret')],
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': TYPE.downstreamTls,
            require_client_certificate: true,
            common_tls_context: {
              tls_certificate_sds_secret_configs: [sds('default')],
              combined_validation_context: {
                default_validation_context: { match_subject_alt_names: [{ prefix: 'spiffe://cluster.local/' }] },
                validation_context_sds_secret_config: sds('ROOTCA'),
              },
            },
          },
        },
      },
    ],
  })
  assert.equal((await tlsTalk(t, port, {})).got, '', 'closed while the secrets are missing')
  const validation = {
    trustedCa: ca.cert,
    trustedCaOrigin: '<inline>',
    crl: '',
    leafCrlOnly: false,
    sanMatchers: [],
    spki: [],
    hashes: [],
    allowExpired: false,
    acceptUntrusted: false,
    maxVerifyDepth: 100,
    trustDomains: null,
  }
  secrets.set({
    key: adsSecretKey('default'),
    certificate: {
      certificateChain: server.cert,
      privateKey: server.key,
      certificateOrigin: '<inline>',
      password: '',
      ocspStaple: null,
    },
    validation: null,
    ticketKeys: null,
  })
  secrets.set({ key: adsSecretKey('ROOTCA'), certificate: null, validation, ticketKeys: null })
  assert.equal((await tlsTalk(t, port, good)).got, 'secret')
  assert.equal((await tlsTalk(t, port, bad)).got, '')
  assert.equal((await tlsTalk(t, port, {})).got, '')
  assert.equal(stats.counter('listener.a.ssl.fail_verify_san').value, 1)
  assert.equal(stats.counter('listener.a.ssl.fail_verify_no_cert').value, 1)
  const otherCa = new TestCa(t)
  secrets.set({
    key: adsSecretKey('ROOTCA'),
    certificate: null,
    validation: { ...validation, trustedCa: otherCa.cert },
    ticketKeys: null,
  })
  assert.equal((await tlsTalk(t, port, good)).got, '')
  assert.equal(stats.counter('listener.a.ssl.fail_verify_error').value, 1)
})

test('an update of equal chains keeps connections; a new version takes the socket over', async (t) => {
  const { apply } = testListeners(t)
  const listener = (text: string, extra: object = {}) => ({
    name: 'a',
    address: localAddress(),
    ...extra,
    filter_chains: [
      { filter_chain_match: { source_ports: [1] }, filters: [respond(text)] },
      { name: 'echo', filters: [{ name: 'echo', typed_config: { '@type': TYPE.echo } }] },
    ],
  })
  const { port } = await apply(listener('one'))
  const socket = connect({ port, host: '127.0.0.1' })
  t.after(() => socket.destroy())
  socket.write('a')
  await once(socket, 'data')
  await apply(listener('two'))
  socket.write('b')
  assert.equal(String((await once(socket, 'data'))[0]), 'b')
  await apply(listener('two', { per_connection_buffer_limit_bytes: 1000 }))
  socket.write('c')
  assert.equal(String((await once(socket, 'data'))[0]), 'c')
  const fresh = connect({ port, host: '127.0.0.1' })
  t.after(() => fresh.destroy())
  fresh.write('d')
  assert.equal(String((await once(fresh, 'data'))[0]), 'd')
})

test('a listener that goes lets the connections through that its filters still look at', async (t) => {
  const { apply, listeners, stats } = testListeners(t)
  const { port } = await apply({
    name: 'a',
    address: localAddress(),
    stat_prefix: 'a',
    listener_filters: inspectors,
    filter_chains: [{ filters: [{ name: 'echo', typed_config: { '@type': TYPE.echo } }] }],
  })
  const early = connect({ port, host: '127.0.0.1' })
  const late = connect({ port, host: '127.0.0.1' })
  t.after(() => late.destroy())
  early.write('GET ')
  late.write('GET ')
  const pending = stats.gauge('listener.a.downstream_pre_cx_active')
  while (pending.value < 2) await new Promise((resolve) => setImmediate(resolve))
  listeners.remove('a')
  early.write('/ HTTP/1.1\r\n')
  assert.equal(String((await once(early, 'data'))[0]), 'GET / HTTP/1.1\r\n')
  early.destroy()
  while (listeners.connectionCount > 0) await new Promise((resolve) => setImmediate(resolve))
  late.write('/ HTTP/1.1\r\n')
  assert.equal(String((await once(late, 'data'))[0]), 'GET / HTTP/1.1\r\n', 'the chain has waited for it')
  assert.equal(pending.value, 0)
})

test('what is left after the drain time is closed', async (t) => {
  const { apply, listeners } = testListeners(t, { drainTimeMs: 20 })
  const { port } = await apply({
    name: 'a',
    address: localAddress(),
    filter_chains: [{ filters: [{ name: 'echo', typed_config: { '@type': TYPE.echo } }] }],
  })
  const socket = connect({ port, host: '127.0.0.1' })
  socket.write('a')
  await once(socket, 'data')
  listeners.remove('a')
  await once(socket, 'close')
  assert.equal(listeners.connectionCount, 0)
})

test('connection limits of process and listener close what is too much and are counted', async (t) => {
  const { apply, stats } = testListeners(t, {
    runtime: {
      'overload.global_downstream_max_connections': 2,
      'envoy.resource_limits.listener.a.connection_limit': 1,
    },
  })
  const echo = (name: string, extra: object = {}) => ({
    name,
    address: localAddress(),
    stat_prefix: name,
    filter_chains: [{ filters: [{ name: 'echo', typed_config: { '@type': TYPE.echo } }] }],
    ...extra,
  })
  const ports: Record<string, number> = {}
  for (const [name, extra] of [
    ['a', {}],
    ['b', {}],
    ['free', { ignore_global_conn_limit: true }],
  ] as const) {
    ports[name] = (await apply(echo(name, extra))).port
  }
  /** true = it answers. */
  const holds = async (name: string): Promise<boolean> => {
    const socket = connect({ port: ports[name]!, host: '127.0.0.1' })
    t.after(() => socket.destroy())
    socket.on('error', () => {})
    socket.write('x')
    return Promise.race([once(socket, 'data').then(() => true), once(socket, 'close').then(() => false)])
  }
  assert.equal(await holds('a'), true)
  assert.equal(await holds('a'), false, 'the limit of the listener')
  assert.equal(await holds('b'), true)
  assert.equal(await holds('b'), false, 'the limit of the process')
  assert.equal(await holds('free'), true)
  assert.equal(stats.counter('listener.a.downstream_cx_overflow').value, 1)
  assert.equal(stats.counter('listener.b.downstream_global_cx_overflow').value, 1)
})

/** A TCP relay that passes the client's first `slow` bytes on one at a time. */
async function dripRelay(t: TestContext, target: number, slow: number): Promise<number> {
  const server = createServer((client) => {
    const upstream = connect({ port: target, host: '127.0.0.1', noDelay: true })
    const end = (): void => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) socket.on('error', end).on('close', end)
    upstream.pipe(client)
    let passed = 0
    client.on('data', async (chunk: Buffer) => {
      client.pause()
      let at = 0
      for (; passed < slow && at < chunk.length; at++, passed++) {
        await new Promise((resolve) => upstream.write(chunk.subarray(at, at + 1), resolve))
      }
      if (at < chunk.length) upstream.write(chunk.subarray(at))
      client.resume()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

test('a client hello that comes byte by byte loses none, with and without the tls inspector', async (t) => {
  const ca = new TestCa(t)
  const { cert, key } = ca.issue('DNS:a.example')
  const certificates = [{ certificate_chain: { inline_string: cert }, private_key: { inline_string: key } }]
  for (const listener_filters of [inspectors, []]) {
    const { apply } = testListeners(t)
    const { port } = await apply({
      name: 'a',
      address: localAddress(),
      listener_filters,
      filter_chains: [
        {
          filters: [{ name: 'echo', typed_config: { '@type': TYPE.echo } }],
          transport_socket: {
            name: 'tls',
            typed_config: { '@type': TYPE.downstreamTls, common_tls_context: { tls_certificates: certificates } },
          },
        },
      ],
    })
    const socket = tlsConnect({
      port: await dripRelay(t, port, 5000),
      host: '127.0.0.1',
      servername: 'a.example',
      ca: ca.cert,
    })
    t.after(() => socket.destroy())
    socket.write('after the handshake')
    assert.equal(String((await once(socket, 'data'))[0]), 'after the handshake')
  }
})

test('a listener on a Unix socket serves, also where an earlier process left the file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'outrigger-pipe-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'listener.sock')
  // A socket file that nobody listens on: what a killed process leaves.
  spawnSync(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
  ])
  const { apply } = testListeners(t)
  await apply({ name: 'a', address: { pipe: { path } }, filter_chains: [{ filters: [respond('over a pipe')] }] })
  assert.equal(await text(connect({ path })), 'over a pipe')
})

test('a fault of a network filter ends its own connection, wherever it is', async (t) => {
  const told: string[] = []
  const before = setFaultReporter((error) => told.push((error as Error).message))
  t.after(() => setFaultReporter(before))
  let at = ''
  const fail = (where: string): void => {
    if (where === at) throw new Error(where)
  }
  const faulty: NetworkFilterExtension = {
    name: 'faulty',
    desc: spySchema,
    parse: () => ({}),
    terminal: true,
    create: () => (callbacks) => {
      fail('create')
      return {
        onNewConnection: () => {
          fail('connection')
          return FilterStatus.Continue
        },
        onData: (chunk, end) => {
          fail('data')
          callbacks.connection.write(chunk, end)
          return FilterStatus.StopIteration
        },
        onEvent: () => fail('event'),
      }
    },
  }
  const { apply, stats, listeners } = testListeners(t, { extra: [faulty] })
  const { port } = await apply({
    name: 'a',
    address: localAddress(),
    stat_prefix: 'a',
    listener_filters: inspectors,
    filter_chains: [
      { filters: [{ name: 'faulty', typed_config: { '@type': `type.googleapis.com/${spySchema.typeName}` } }] },
    ],
  })
  const steady = connect({ port, host: '127.0.0.1' })
  steady.write('GET / HTTP/1.1\r\n')
  await once(steady, 'data')
  for (at of ['create', 'connection', 'data']) assert.equal(await talk(t, port, 'GET / HTTP/1.1\r\n'), '', at)
  at = 'event'
  const last = connect({ port, host: '127.0.0.1' })
  last.resume().end('GET / HTTP/1.1\r\n')
  await once(last, 'close')
  steady.write('x')
  assert.equal(String((await once(steady, 'data'))[0]), 'x')
  at = ''
  steady.destroy()
  while (listeners.connectionCount > 0) await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(told, ['create', 'connection', 'data', 'event'])
  assert.equal(stats.gauge('listener.a.downstream_cx_active').value, 0)
  assert.equal(stats.gauge('listener.a.downstream_pre_cx_active').value, 0)
})
