import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer as createTcpServer, connect as tcpConnect } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect, createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { adsSecretKey } from '../config/secret-key.ts'
import { StatsStore } from '../observe/stats-store.ts'
import { ipAddress } from './address.ts'
import { openConnection } from './connect.ts'
import { CloseType, type Connection, ConnectionEvent } from './connection.ts'
import { setFaultReporter } from './fault.ts'
import { localAddress, respond, TestCa, type TestCertificate, TYPE, testListeners } from './testing.ts'
import { UpstreamTlsFactory } from './tls/client-context.ts'
import { SecretStore } from './tls/secret-store.ts'
import { createClientContext } from './tls/secure-context.ts'
import { DownstreamTlsFactory } from './tls/server-context.ts'
import { PLAIN_BUFFER, SslSocket, SslState } from './tls/ssl-socket.ts'
import type { CommonTlsConfig } from './tls/tls-config.ts'

function inline({ cert, key }: TestCertificate): object {
  return { certificate_chain: { inline_string: cert }, private_key: { inline_string: key } }
}

/** A listener that terminates TLS. */
async function tlsListener(t: TestContext, context: object, filter: object) {
  const worker = testListeners(t)
  const { port } = await worker.apply({
    name: 'a',
    stat_prefix: 'a',
    address: localAddress(),
    filter_chains: [
      {
        filters: [filter],
        transport_socket: { name: 'tls', typed_config: { '@type': TYPE.downstreamTls, ...context } },
      },
    ],
  })
  return { ...worker, port }
}

const CLIENT: CommonTlsConfig = {
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256',
  curves: '',
  signatureAlgorithms: '',
  certificates: [],
  certificateSecrets: [],
  validation: null,
  validationSecret: '',
  alpnProtocols: [],
}

const ECHO = { name: 'echo', typed_config: { '@type': TYPE.echo } }

/** Reads an answer and, with TLS 1.3, the tickets that come with it. */
async function session(
  t: TestContext,
  port: number,
  options: ConnectionOptions,
): Promise<{ resumed: boolean; ticket: Buffer | undefined }> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
  t.after(() => socket.destroy())
  let ticket: Buffer | undefined
  let resumed = false
  socket.on('session', (s: Buffer) => (ticket = s))
  socket.on('secureConnect', () => (resumed = socket.isSessionReused()))
  // OpenSSL's client tells of no session when TLS 1.2 resumes one with a new ticket.
  if (options.maxVersion === 'TLSv1.2') socket.on('end', () => (ticket = socket.getSession()))
  socket.resume()
  await once(socket, 'close')
  return { resumed, ticket }
}

describe('resumption of a client’s session', () => {
  const key = (fill: number) => ({ inline_bytes: Buffer.alloc(80, fill).toString('base64') })
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const only: ConnectionOptions = { minVersion: version, maxVersion: version }

    test(`${version}: every worker of the process, and every proxy with the same keys, takes it`, async (t) => {
      const certificate = new TestCa(t).issue('DNS:a.example')
      const common = { common_tls_context: { tls_certificates: [inline(certificate)] } }
      const withKeys = (keys: object[]) => ({ ...common, session_ticket_keys: { keys } })
      const workers = [await tlsListener(t, common, respond('x')), await tlsListener(t, common, respond('x'))]
      const first = await session(t, workers[0]!.port, only)
      assert.equal(first.resumed, false)
      assert.equal((await session(t, workers[1]!.port, { ...only, session: first.ticket! })).resumed, true)
      assert.equal(workers[1]!.stats.counter('listener.a.ssl.session_reused').value, 1)
      const one = await tlsListener(t, withKeys([key(1)]), respond('x'))
      const rotated = await tlsListener(t, withKeys([key(2), key(1)]), respond('x'))
      const other = await tlsListener(t, withKeys([key(3)]), respond('x'))
      const { ticket } = await session(t, one.port, only)
      const again = await session(t, rotated.port, { ...only, session: ticket! })
      assert.equal(again.resumed, true, 'the older key of a rotation')
      assert.equal((await session(t, rotated.port, { ...only, session: again.ticket! })).resumed, true, 'renewed')
      assert.equal(
        (await session(t, one.port, { ...only, session: again.ticket! })).resumed,
        false,
        'under the new key',
      )
      assert.equal((await session(t, other.port, { ...only, session: ticket! })).resumed, false)
    })

    test(`${version}: not where peers are judged otherwise, nor without tickets`, async (t) => {
      const ca = new TestCa(t)
      const certificate = ca.issue('DNS:a.example')
      const tls_certificates = [inline(certificate)]
      const ticketKeys = { session_ticket_keys: { keys: [key(1)] } }
      const open = await tlsListener(t, { common_tls_context: { tls_certificates }, ...ticketKeys }, respond('x'))
      const strict = await tlsListener(
        t,
        {
          common_tls_context: { tls_certificates, validation_context: { trusted_ca: { inline_string: ca.cert } } },
          ...ticketKeys,
        },
        respond('x'),
      )
      const { ticket } = await session(t, open.port, { ...only, ...certificate })
      assert.equal((await session(t, strict.port, { ...only, ...certificate, session: ticket! })).resumed, false)
      const none = await tlsListener(
        t,
        {
          common_tls_context: { tls_certificates },
          disable_stateless_session_resumption: true,
          disable_stateful_session_resumption: true,
        },
        respond('x'),
      )
      const first = await session(t, none.port, only)
      const second = await session(t, none.port, first.ticket ? { ...only, session: first.ticket } : only)
      assert.equal(second.resumed, false)
    })
  }

  test('TLS 1.2 without tickets resumes by session id unless that is disabled', async (t) => {
    const tls_certificates = [inline(new TestCa(t).issue('DNS:a.example'))]
    for (const disabled of [false, true]) {
      const { port } = await tlsListener(
        t,
        {
          common_tls_context: { tls_certificates },
          disable_stateless_session_resumption: true,
          disable_stateful_session_resumption: disabled,
        },
        respond('x'),
      )
      const only: ConnectionOptions = { maxVersion: 'TLSv1.2' }
      const first = await session(t, port, only)
      assert.equal((await session(t, port, { ...only, session: first.ticket! })).resumed, !disabled)
    }
  })
})

test('16 MB echoed to a client that reads late arrive whole, on the way through a full kernel buffer', async (t) => {
  const certificate = new TestCa(t).issue('DNS:a.example')
  const { port } = await tlsListener(t, { common_tls_context: { tls_certificates: [inline(certificate)] } }, ECHO)
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  t.after(() => socket.destroy())
  const sent = Buffer.alloc(16 << 20)
  for (let i = 0; i < sent.length; i += 4) sent.writeUInt32LE(i, i)
  // The echo's answers fill the way back before anybody reads.
  socket.write(sent.subarray(0, 8 << 20))
  socket.write(sent.subarray(8 << 20))
  await once(socket, 'secureConnect')
  await new Promise((resolve) => setImmediate(resolve))
  const got: Buffer[] = []
  let bytes = 0
  for await (const chunk of socket) {
    got.push(chunk as Buffer)
    bytes += (chunk as Buffer).length
    if (bytes === sent.length) break
  }
  assert.ok(Buffer.concat(got).equals(sent))
})

test('an idle handshake ends with transport_socket_connect_timeout', async (t) => {
  const certificate = new TestCa(t).issue('DNS:a.example')
  const worker = testListeners(t)
  const { port } = await worker.apply({
    name: 'a',
    stat_prefix: 'a',
    address: localAddress(),
    filter_chains: [
      {
        filters: [ECHO],
        transport_socket_connect_timeout: '0.05s',
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': TYPE.downstreamTls,
            common_tls_context: { tls_certificates: [inline(certificate)] },
          },
        },
      },
    ],
  })
  const socket = tcpConnect({ port, host: '127.0.0.1' })
  socket.resume()
  await once(socket, 'close')
  assert.equal(worker.stats.counter('listener.a.downstream_cx_transport_socket_connect_timeout').value, 1)
})

test('renegotiation is refused', async (t) => {
  const certificate = new TestCa(t).issue('DNS:a.example')
  const { port } = await tlsListener(t, { common_tls_context: { tls_certificates: [inline(certificate)] } }, ECHO)
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, maxVersion: 'TLSv1.2' })
  t.after(() => socket.destroy())
  await once(socket, 'secureConnect')
  const ended = Promise.race([once(socket, 'error'), once(socket, 'close')])
  socket.renegotiate({ rejectUnauthorized: false }, () => {})
  await ended
})

test('a rotation drops no connection; new ones get the new certificate; a bad one changes nothing', async (t) => {
  const ca = new TestCa(t)
  const worker = await tlsListener(
    t,
    {
      common_tls_context: {
        tls_certificate_sds_secret_configs: [{ name: 'own', sds_config: { ads: {}, resource_api_version: 'V3' } }],
      },
    },
    ECHO,
  )
  const rotate = (certificateChain: string, privateKey: string): void => {
    const certificate = { certificateChain, privateKey, certificateOrigin: '<inline>', password: '', ocspStaple: null }
    worker.secrets.set({ key: adsSecretKey('own'), certificate, validation: null, ticketKeys: null })
  }
  const open = async (): Promise<TLSSocket> => {
    const socket = connect({ port: worker.port, host: '127.0.0.1', rejectUnauthorized: false })
    t.after(() => socket.destroy())
    await once(socket, 'secureConnect')
    return socket
  }
  const says = async (socket: TLSSocket, text: string): Promise<string> => {
    socket.write(text)
    return String((await once(socket, 'data'))[0])
  }
  const [first, second] = [ca.issue('DNS:first.example'), ca.issue('DNS:second.example')]
  rotate(first.cert, first.key)
  const lasting = await open()
  assert.equal(await says(lasting, 'before'), 'before')
  for (let i = 0; i < 50; i++) rotate(second.cert, second.key)
  assert.throws(() => rotate(second.cert, first.key), /key values mismatch/)
  assert.equal(await says(lasting, 'after'), 'after')
  assert.equal((await open()).getPeerCertificate().subjectaltname, 'DNS:second.example')
  worker.secrets.delete(adsSecretKey('own'))
  assert.equal(await says(lasting, 'without'), 'without')
})

describe('a client hello through the tls inspector', () => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`${version}: cut at every byte, the first data in one segment with the end of the handshake`, async (t) => {
      const certificate = new TestCa(t).issue('DNS:a.example')
      const { apply } = testListeners(t)
      const { port } = await apply({
        name: 'a',
        address: localAddress(),
        listener_filters: [{ name: 'tls', typed_config: { '@type': TYPE.tlsInspector } }],
        filter_chains: [
          {
            filter_chain_match: { server_names: ['a.example'], transport_protocol: 'tls' },
            filters: [ECHO],
            transport_socket: {
              name: 'tls',
              typed_config: {
                '@type': TYPE.downstreamTls,
                common_tls_context: { tls_certificates: [inline(certificate)] },
              },
            },
          },
        ],
      })
      const common = { ...CLIENT, maxVersion: version, curves: 'X25519:P-256' }
      const context = createClientContext(common, { certificates: [], validation: null }, false)
      t.after(() => context.free())
      let length = 2
      for (let at = 1; at < length; at++) {
        const ssl = SslSocket.client({
          context,
          verifier: null,
          alpnProtocols: ['istio'],
          serverName: 'a.example',
          session: null,
          keepSession: null,
        })
        const socket = tcpConnect({ port, host: '127.0.0.1', noDelay: true })
        ssl.startHandshake(false)
        const hello = ssl.takeOutput()!
        length = hello.length
        await new Promise<void>((resolve) => socket.write(hello.subarray(0, at), () => resolve()))
        socket.write(hello.subarray(at))
        let text = ''
        for await (const chunk of socket) {
          const before = ssl.state
          ssl.receive(chunk as Buffer, 0, (chunk as Buffer).length, false)
          if (before === SslState.Handshake && ssl.state === SslState.Established)
            ssl.write(Buffer.from('early'), 0, 5, false)
          const output = ssl.takeOutput()
          if (output !== null) socket.write(output)
          text += PLAIN_BUFFER.toString('latin1', 0, ssl.plainLength)
          if (text.length >= 5) break
        }
        assert.equal(text, 'early', `cut at ${at}`)
        ssl.free()
      }
    })
  }
})

/** What an upstream connection tells its owner. */
class Owner {
  text = ''
  ended = false
  readonly events: ConnectionEvent[] = []
  private wake: () => void = () => {}
  onData(chunk: Buffer, endStream: boolean): void {
    this.text += chunk.toString('latin1')
    this.ended ||= endStream
    this.wake()
  }
  onEvent(event: ConnectionEvent): void {
    this.events.push(event)
    this.wake()
  }
  onAboveWriteBufferHighWatermark(): void {}
  onBelowWriteBufferLowWatermark(): void {}
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (this.wake = resolve))
  }
}

async function tlsServer(t: TestContext, options: TlsOptions, onSocket: (socket: TLSSocket) => void): Promise<number> {
  const server = createServer(options, onSocket)
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

function upstream(t: TestContext, maxSessionKeys: number, maxVersion: 'TLSv1.2' | 'TLSv1.3') {
  const stats = new StatsStore()
  const factory = new UpstreamTlsFactory(
    {
      common: { ...CLIENT, maxVersion },
      sni: 'a.example',
      maxSessionKeys,
    },
    new SecretStore(),
    stats.scope('cluster.a'),
  )
  t.after(() => factory.close())
  const open = (port: number): { connection: Connection; owner: Owner } => {
    const connection = openConnection(ipAddress('127.0.0.1', port), {
      bindSource: null,
      tls: factory.clientTls(null, null, []),
      connectTimeoutMs: 0,
      keepalive: null,
      socketOptions: [],
      bufferLimitBytes: 0,
    })
    const owner = new Owner()
    connection.callbacks = owner
    t.after(() => connection.close(CloseType.NoFlush))
    return { connection, owner }
  }
  return { factory, stats, open }
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${version}: an upstream session is resumed, the peer still known; max_session_keys 0 never resumes`, async (t) => {
    const certificate = new TestCa(t).issue('DNS:a.example,URI:spiffe://a')
    const port = await tlsServer(t, certificate, (socket) => void socket.on('error', () => {}).end('hello'))
    for (const keys of [1, 0]) {
      const { open, stats } = upstream(t, keys, version)
      for (let i = 0; i < 2; i++) {
        const { connection, owner } = open(port)
        await owner.until(() => owner.ended)
        assert.equal(owner.text, 'hello')
        assert.deepEqual(connection.info.ssl()?.uriSanPeer, ['spiffe://a'])
        connection.close(CloseType.NoFlush)
        assert.equal(connection.info.ssl()?.version, version, 'known after the end too')
      }
      assert.equal(stats.counter('cluster.a.ssl.session_reused').value, keys === 0 ? 0 : 1)
    }
  })
}

test('an upstream half-closes and still reads; what was written before the connection stood arrives', async (t) => {
  const port = await tlsServer(
    t,
    { ...new TestCa(t).issue('DNS:a.example'), allowHalfOpen: true } as TlsOptions,
    (socket) => {
      let got = ''
      socket.on('data', (chunk) => (got += chunk))
      socket.on('end', () => socket.end(`got ${got}`))
    },
  )
  const { connection, owner } = upstream(t, 0, 'TLSv1.3').open(port)
  connection.write(Buffer.from('early '), false)
  connection.write(Buffer.from('end'), true)
  await owner.until(() => owner.ended)
  assert.equal(owner.text, 'got early end')
  await owner.until(() => owner.events.length === 2)
  assert.equal(owner.events[0], ConnectionEvent.Connected)
})

test('reading pauses: nothing is handed on until it resumes, in order', async (t) => {
  const sent = Promise.withResolvers<void>()
  const port = await tlsServer(t, new TestCa(t).issue('DNS:a.example'), (socket) => {
    socket.write('x'.repeat(500_000))
    socket.end('last', () => sent.resolve())
  })
  const { connection, owner } = upstream(t, 0, 'TLSv1.3').open(port)
  connection.readDisable(true)
  await owner.until(() => owner.events.length === 1)
  await sent.promise
  assert.equal(owner.text, '')
  connection.readDisable(false)
  await owner.until(() => owner.ended)
  assert.equal(owner.text.length, 500_004)
  assert.equal(owner.text.slice(-4), 'last')
})

test('a peer that resets in the middle of its record ends that connection only', async (t) => {
  const server = createTcpServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write(Buffer.from([22, 3, 3, 1, 0, 2]))
      socket.resetAndDestroy()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { connection, owner } = upstream(t, 0, 'TLSv1.3').open((server.address() as AddressInfo).port)
  await owner.until(() => owner.events.length > 0)
  assert.deepEqual(owner.events, [ConnectionEvent.RemoteClose])
  assert.match(connection.transportFailureReason, /^$|system library:OPENSSL_internal:Connection reset by peer/)
})

test('a handshake that cannot begin ends its socket, which its chain does not wait for', async (t) => {
  const certificate = new TestCa(t).issue('DNS:a.example')
  const faults: unknown[] = []
  const before = setFaultReporter((error) => faults.push(error))
  t.after(() => setFaultReporter(before))
  const tls = { common_tls_context: { tls_certificates: [inline(certificate)] } }
  const { port, listeners, stats } = await tlsListener(t, tls, ECHO)
  const broken = t.mock.method(DownstreamTlsFactory.prototype, 'createSocket', () => {
    throw new Error('no memory')
  })
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  await assert.rejects(once(socket, 'secureConnect'))
  assert.equal(broken.mock.callCount(), 1)
  assert.match(String(faults), /no memory/)
  listeners.remove('a')
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(stats.gauge('listener_manager.total_listeners_draining').value, 0)
})
