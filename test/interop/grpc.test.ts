// gRPC through the proxy, HTTP/2 on both sides: calls of every kind with grpc-js as client and server.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type StatusObject,
  type sendUnaryData,
} from '@grpc/grpc-js'
import { freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const raw = {
  requestSerialize: (bytes: Buffer) => bytes,
  requestDeserialize: (bytes: Buffer) => bytes,
  responseSerialize: (bytes: Buffer) => bytes,
  responseDeserialize: (bytes: Buffer) => bytes,
}
const method = (path: string, requestStream: boolean, responseStream: boolean): object => ({
  path,
  requestStream,
  responseStream,
  ...raw,
})
const SERVICE = {
  echo: method('/test/echo', false, false),
  fail: method('/test/fail', false, false),
  both: method('/test/both', true, true),
  many: method('/test/many', false, true),
  nowhere: method('/nowhere/call', false, false),
}
const MESSAGES = 500

type Unary = (request: Buffer, done: (error: ServiceError | null, answer?: Buffer) => void) => void
interface Client {
  echo: Unary
  fail: Unary
  nowhere: Unary
  both(): ClientDuplexStream<Buffer, Buffer>
  many(request: Buffer): ClientReadableStream<Buffer>
  close(): void
}

function bootstrap(ports: Ports, upstream: number): object {
  const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } })
  const any = (name: string, fields: object = {}): object => ({
    '@type': `type.googleapis.com/envoy.extensions.${name}`,
    ...fields,
  })
  const router = { name: 'router', typed_config: any('filters.http.router.v3.Router') }
  const routes = [
    { match: { prefix: '/nowhere' }, route: { cluster: 'nowhere' } },
    { match: { prefix: '/' }, route: { cluster: 'up', timeout: '0s' } },
  ]
  const http2 = any('upstreams.http.v3.HttpProtocolOptions', { explicit_http_config: { http2_protocol_options: {} } })
  return {
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: [
        {
          name: 'grpc',
          address: address(ports.listener),
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: any('filters.network.http_connection_manager.v3.HttpConnectionManager', {
                    stat_prefix: 'grpc',
                    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
                    http_filters: [router],
                  }),
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        { name: 'nowhere', type: 'STATIC', load_assignment: { cluster_name: 'nowhere' } },
        {
          name: 'up',
          type: 'STATIC',
          typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': http2 },
          load_assignment: {
            cluster_name: 'up',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstream) } }] }],
          },
        },
      ],
    },
  }
}

describe('gRPC through the proxy', () => {
  const server = new Server()
  let proxy: RunningProxy
  let client: Client
  before(async () => {
    const { nowhere: _, ...served } = SERVICE
    server.addService(served as never, {
      echo: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => done(null, call.request),
      fail: (_call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) =>
        done({ code: 5, details: 'not here' }),
      both: (call: ServerDuplexStream<Buffer, Buffer>) => {
        call.on('data', (message: Buffer) => call.write(message))
        call.on('end', () => call.end())
      },
      many: (call: ServerWritableStream<Buffer, Buffer>) => {
        for (let i = 0; i < MESSAGES; i++) call.write(Buffer.alloc(5000, i & 255))
        call.end()
      },
    })
    const port = await freePort()
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      )
    })
    proxy = await startProxy('outrigger', (ports) => bootstrap(ports, port))
    const Constructor = makeGenericClientConstructor(SERVICE as never, 'test')
    client = new Constructor(`127.0.0.1:${proxy.ports.listener}`, credentials.createInsecure()) as unknown as Client
  })
  after(async () => {
    client.close()
    server.forceShutdown()
    await proxy.stop()
  })

  const call = (name: 'echo' | 'fail' | 'nowhere', text: string): Promise<string> =>
    new Promise((resolve) =>
      client[name](Buffer.from(text), (error, answer) =>
        resolve(error ? `${error.code} ${error.details}` : String(answer)),
      ),
    )

  it('unary calls, one after another and many at once', async () => {
    assert.equal(await call('echo', 'one'), 'one')
    const texts = Array.from({ length: 300 }, (_, i) => `call ${i}`)
    assert.deepEqual(await Promise.all(texts.map((text) => call('echo', text))), texts)
  })

  it('the status of the server arrives', async () => {
    assert.equal(await call('fail', ''), '5 not here')
  })

  it('a local reply is a gRPC status', async () => {
    assert.equal(await call('nowhere', ''), '14 no healthy upstream')
  })

  it('a stream of messages larger than the windows', async () => {
    const stream = client.many(Buffer.from(''))
    let bytes = 0
    stream.on('data', (message: Buffer) => (bytes += message.length))
    const status = await new Promise<StatusObject>((resolve) => stream.on('status', resolve))
    assert.deepEqual([status.code, bytes], [0, MESSAGES * 5000])
  })

  it('messages both ways, larger than the windows', async () => {
    const stream = client.both()
    const message = Buffer.alloc(2_000_000, 7)
    let bytes = 0
    stream.on('data', (echo: Buffer) => (bytes += echo.length))
    for (let i = 0; i < 10; i++) stream.write(message)
    stream.end()
    const status = await new Promise<StatusObject>((resolve) => stream.on('status', resolve))
    assert.deepEqual([status.code, bytes], [0, 10 * message.length])
  })

  it('a cancelled call resets both sides', async () => {
    const stream = client.both()
    stream.on('error', () => {})
    stream.write(Buffer.from('a'))
    await new Promise((resolve) => stream.once('data', resolve))
    stream.cancel()
    for (;;) {
      const stats = await proxy.admin('/stats?filter=http2.*(rx_reset|tx_reset)')
      if (/^http2\.rx_reset: 1$/m.test(stats) && /^cluster\.up\.http2\.tx_reset: 1$/m.test(stats)) return
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })
})
