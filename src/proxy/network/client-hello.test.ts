import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect } from 'node:tls'
import { parseClientHello } from './client-hello.ts'

/** The first flight of a real OpenSSL client. */
async function clientHello(t: TestContext, options: ConnectionOptions): Promise<Buffer> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', ...options })
  client.on('error', () => {})
  const [socket] = await once(server, 'connection')
  const [bytes] = await once(socket, 'data')
  t.after(() => {
    client.destroy()
    socket.destroy()
    server.close()
  })
  return bytes as Buffer
}

const OFFER = {
  servername: 'outbound_.9080_._.Reviews.default.svc.cluster.local',
  ALPNProtocols: ['istio-peer-exchange', 'istio'],
}

test('server name (lower case) and ALPN of an OpenSSL client, at every split', async (t) => {
  const bytes = await clientHello(t, OFFER)
  const whole = parseClientHello(bytes, 16384)
  assert.ok(whole.kind === 'hello')
  assert.equal(whole.hello.serverName, 'outbound_.9080_._.reviews.default.svc.cluster.local')
  assert.deepEqual(whole.hello.alpn, ['istio-peer-exchange', 'istio'])
  assert.ok(whole.hello.ecdsaSuite && whole.hello.ecdsaSignature)
  for (let i = 0; i < whole.hello.length; i++) {
    assert.equal(parseClientHello(bytes.subarray(0, i), 16384).kind, 'need-more', `first ${i} bytes`)
  }
})

test('a hello in many small records reads the same', async (t) => {
  const bytes = await clientHello(t, { ...OFFER, maxVersion: 'TLSv1.2' })
  const body = bytes.subarray(5)
  const records: Buffer[] = []
  for (let i = 0; i < body.length; i += 7) {
    const part = body.subarray(i, i + 7)
    records.push(Buffer.from([22, 3, 1, 0, part.length]), part)
  }
  const split = Buffer.concat(records)
  const result = parseClientHello(split, 16384)
  assert.ok(result.kind === 'hello')
  assert.deepEqual(result.hello.alpn, OFFER.ALPNProtocols)
  for (let i = 0; i < split.length; i++) assert.equal(parseClientHello(split.subarray(0, i), 16384).kind, 'need-more')
})

test('plain text is told by its first byte, other records by the next', () => {
  assert.equal(parseClientHello(Buffer.from('G'), 16384).kind, 'not-tls')
  assert.equal(parseClientHello(Buffer.from([22, 2]), 16384).kind, 'not-tls')
  assert.equal(parseClientHello(Buffer.from([22, 3, 1, 0, 10, 2]), 16384).kind, 'not-tls')
})

test('a hello beyond the limit is too large as soon as its length is known', () => {
  assert.equal(parseClientHello(Buffer.from([22, 3, 1, 0x20, 0, 1, 0, 0x40, 0]), 16384 - 1).kind, 'too-large')
})

test('random mutations never throw', async (t) => {
  const bytes = await clientHello(t, OFFER)
  let seed = 1
  const next = (n: number): number => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return seed % n
  }
  for (let round = 0; round < 5000; round++) {
    const copy = Buffer.from(bytes)
    for (let i = 0; i < 4; i++) copy[next(copy.length)] = next(256)
    parseClientHello(copy.subarray(0, next(copy.length + 1)), 16384)
  }
})
