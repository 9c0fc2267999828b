// tcp_proxy in a whole proxy, between real sockets; what it logs is what Envoy logs for the same event.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createHttp, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect as tlsConnect } from 'node:tls'
import { BootstrapSchema } from '../../../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { silentLog, until } from '../../../../xds/testing.ts'
import { parseJson } from '../../../config/json.ts'
import { TestCa, TYPE } from '../../../network/testing.ts'
import { startProxy } from '../../../server/start-proxy.ts'

async function upstream(t: TestContext, onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    t.after(() => socket.destroy())
    onSocket(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

const address = (port_value: number) => ({ socket_address: { address: '127.0.0.1', port_value } })
const cluster = (name: string, ...ports: number[]) => ({
  name,
  type: 'STATIC',
  connect_timeout: '1s',
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: ports.map((port) => ({ endpoint: { address: address(port) } })) }],
  },
})

async function freePort(): Promise<number> {
  const free = createServer().listen(0, '127.0.0.1')
  await once(free, 'listening')
  const { port } = free.address() as AddressInfo
  free.close()
  await once(free, 'close')
  return port
}

const FORMAT = '%RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %BYTES_RECEIVED% %BYTES_SENT% %CONNECTION_TERMINATION_DETAILS%\n'

interface Running {
  readonly port: number
  readonly plainPort: number
  /** The lines logged so far. */
  lines(): string[]
}

/** One listener in plain text and one, with `tls`, that adds it. */
async function proxy(
  t: TestContext,
  clusters: object[],
  config: object,
  extra: { listener_filters?: object[]; tls?: object } = {},
): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), 'outrigger-tcp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const log = join(folder, 'access.log')
  const [plainPort, tlsPort] = [await freePort(), await freePort()]
  const access_log = [
    {
      name: 'file',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
        path: log,
        log_format: { text_format_source: { inline_string: FORMAT } },
      },
    },
  ]
  const typed_config = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
    stat_prefix: 't',
    access_log,
    ...config,
  }
  const bootstrap = {
    static_resources: {
      clusters,
      listeners: [plainPort, tlsPort].map((port) => ({
        name: `l${port}`,
        address: address(port),
        listener_filters: extra.listener_filters ?? [],
        filter_chains: [
          {
            filters: [{ name: 'tcp', typed_config }],
            ...(port === tlsPort && extra.tls ? { transport_socket: extra.tls } : {}),
          },
        ],
      })),
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
  return {
    port: extra.tls ? tlsPort : plainPort,
    plainPort,
    lines: () => readFileSync(log, 'utf8').split('\n').slice(0, -1),
  }
}

async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(socket, 'close').catch(() => {})
  return Buffer.concat(chunks).toString()
}

async function logged(running: Running, line: string): Promise<void> {
  await until(() => running.lines().length > 0, 'a log line')
  assert.deepEqual(running.lines(), [line])
}

test('half closes pass both ways and every byte arrives', async (t) => {
  const port = await upstream(t, (socket) => {
    let got = 0
    socket.on('data', (chunk) => (got += chunk.length))
    socket.on('end', () => socket.end(`got ${got}`))
  })
  const running = await proxy(t, [cluster('a', port)], { cluster: 'a' })
  const client = connect({ port: running.port, host: '127.0.0.1', allowHalfOpen: true })
  client.end(Buffer.alloc(3_000_000))
  assert.equal(await readAll(client.on('end', () => client.end())), 'got 3000000')
  await logged(running, '- a 3000000 11 -')
})

test('an upstream reset resets the client', async (t) => {
  const port = await upstream(t, (socket) => socket.once('data', () => socket.resetAndDestroy()))
  const running = await proxy(t, [cluster('a', port)], { cluster: 'a' })
  const client = connect({ port: running.port, host: '127.0.0.1' })
  client.write('x')
  const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNRESET')
  await logged(running, 'UR a 1 0 -')
})

const CASES = [
  { name: 'no cluster', config: { cluster: 'missing' }, line: 'NC - 0 0 -' },
  { name: 'no host', config: { cluster: 'empty' }, line: 'UH empty 0 0 -' },
  {
    name: 'nobody listens, after every attempt',
    config: { cluster: 'dead', max_connect_attempts: 3 },
    line: 'UF,URX dead 0 0 -',
  },
] as const

for (const { name, config, line } of CASES) {
  test(`${name}: the client is closed and the log says why`, async (t) => {
    const dead = createServer().listen(0, '127.0.0.1')
    await once(dead, 'listening')
    const { port } = dead.address() as AddressInfo
    dead.close()
    const running = await proxy(t, [cluster('empty'), cluster('dead', port)], config)
    assert.equal(await readAll(connect({ port: running.port, host: '127.0.0.1' })), '')
    await logged(running, line)
  })
}

test('a dead host is left behind within max_connect_attempts', async (t) => {
  const dead = createServer().listen(0, '127.0.0.1')
  await once(dead, 'listening')
  const { port: deadPort } = dead.address() as AddressInfo
  dead.close()
  const port = await upstream(t, (socket) => socket.end('alive'))
  const running = await proxy(t, [cluster('a', deadPort, port)], { cluster: 'a', max_connect_attempts: 2 })
  for (let i = 0; i < 4; i++) assert.equal(await readAll(connect({ port: running.port, host: '127.0.0.1' })), 'alive')
})

test('idle and overlong connections are closed', async (t) => {
  const port = await upstream(t, (socket) => socket.resume())
  const idle = await proxy(t, [cluster('a', port)], { cluster: 'a', idle_timeout: '0.05s' })
  assert.equal(await readAll(connect({ port: idle.port, host: '127.0.0.1' })), '')
  await logged(idle, '- a 0 0 -')
  const long = await proxy(t, [cluster('a', port)], { cluster: 'a', max_downstream_connection_duration: '0.05s' })
  assert.equal(await readAll(connect({ port: long.port, host: '127.0.0.1' })), '')
  await logged(long, 'DT a 0 0 -')
})

test('weights choose the cluster', async (t) => {
  const never = await upstream(t, (socket) => socket.end('never'))
  const always = await upstream(t, (socket) => socket.end('always'))
  const weighted_clusters = {
    clusters: [
      { name: 'never', weight: 1 },
      { name: 'always', weight: 4_000_000_000 },
    ],
  }
  const running = await proxy(t, [cluster('never', never), cluster('always', always)], { weighted_clusters })
  assert.equal(await readAll(connect({ port: running.port, host: '127.0.0.1' })), 'always')
})

test('bytes that come with the end of a TLS handshake, or were peeked, reach the upstream', async (t) => {
  const port = await upstream(t, (socket) => socket.pipe(socket))
  const { cert, key } = new TestCa(t).issue('DNS:a.example')
  const certificates = [{ certificate_chain: { inline_string: cert }, private_key: { inline_string: key } }]
  const running = await proxy(
    t,
    [cluster('a', port)],
    { cluster: 'a' },
    {
      listener_filters: [{ name: 'tls', typed_config: { '@type': TYPE.tlsInspector } }],
      tls: {
        name: 'tls',
        typed_config: { '@type': TYPE.downstreamTls, common_tls_context: { tls_certificates: certificates } },
      },
    },
  )
  for (let i = 0; i < 20; i++) {
    const secure = tlsConnect({
      port: running.port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      servername: 'a.example',
    })
    secure.write('first bytes')
    assert.equal(String((await once(secure, 'data'))[0]), 'first bytes')
    secure.destroy()
    const plain = connect({ port: running.plainPort, host: '127.0.0.1' })
    plain.write('peeked')
    assert.equal(String((await once(plain, 'data'))[0]), 'peeked')
    plain.destroy()
  }
})

/** An HTTP server that answers CONNECT with `status` and sends back what comes through the tunnel. */
async function connectServer(t: TestContext, status: number): Promise<number> {
  const server = createHttp()
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => {})
    t.after(() => socket.destroy())
    socket.write(`HTTP/1.1 ${status} X\r\n${status === 200 ? '' : 'content-length: 0\r\n'}\r\n`)
    socket.on('data', (chunk) => socket.end(`${request.url} ${request.headers['x-from']} ${chunk}`))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

const TUNNEL = {
  cluster: 'a',
  tunneling_config: {
    hostname: 'inside.example:%DOWNSTREAM_LOCAL_PORT%',
    headers_to_add: [{ header: { key: 'x-from', value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' } }],
  },
}

test('a tunnel carries the bytes as the body of CONNECT', async (t) => {
  const running = await proxy(t, [cluster('a', await connectServer(t, 200))], TUNNEL)
  const client = connect({ port: running.port, host: '127.0.0.1' })
  client.write('ping')
  assert.equal(await readAll(client), `inside.example:${running.port} 127.0.0.1 ping`)
})

test('an answer other than 200 is no tunnel', async (t) => {
  const running = await proxy(t, [cluster('a', await connectServer(t, 502))], {
    ...TUNNEL,
    max_connect_attempts: 2,
    backoff_options: { base_interval: '0.001s' },
  })
  assert.equal(await readAll(connect({ port: running.port, host: '127.0.0.1' })), '')
  await logged(running, 'UF,URX a 0 0 -')
})

test('a post_path needs use_post', async (t) => {
  const tunneling_config = { hostname: 'a', post_path: '/x' }
  await assert.rejects(proxy(t, [cluster('a')], { cluster: 'a', tunneling_config }), /tunneling_config\.post_path/)
})
