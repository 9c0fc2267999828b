import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { ipAddress } from './address.ts'
import type { Address } from './connection.ts'
import { ConnectRace, interleaved } from './happy-eyeballs.ts'

async function server(t: TestContext): Promise<Address> {
  const made = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(made, 'listening')
  t.after(() => made.close())
  return ipAddress('127.0.0.1', (made.address() as AddressInfo).port)
}

async function closedPort(): Promise<Address> {
  const made = createServer().listen(0, '127.0.0.1')
  await once(made, 'listening')
  const { port } = made.address() as AddressInfo
  made.close()
  await once(made, 'close')
  return ipAddress('127.0.0.1', port)
}

function race(addresses: readonly Address[]): Promise<string> {
  return new Promise((resolve) => {
    const run = new ConnectRace(addresses, (address) => connect(address.port, address.ip), {
      onSocket(socket, address) {
        socket.destroy()
        resolve(address.text)
      },
      onFailure: (error, address) => resolve(`${error.code} ${address.text}`),
    })
    run.start()
  })
}

test('families take turns, the first address stays first', () => {
  const addresses = ['::1', '::2', '10.0.0.1', '10.0.0.2'].map((ip) => ipAddress(ip, 80))
  assert.deepEqual(
    interleaved(addresses).map((address) => address.ip),
    ['::1', '10.0.0.1', '::2', '10.0.0.2'],
  )
})

test('the family that is asked for is first, with as many addresses as are asked for', () => {
  const addresses = ['10.0.0.1', '::1', '10.0.0.2', '::2', '::3'].map((ip) => ipAddress(ip, 80))
  const order = (first: 0 | 4 | 6, count: number) => interleaved(addresses, { first, count }).map(({ ip }) => ip)
  assert.deepEqual(order(0, 1), ['10.0.0.1', '::1', '10.0.0.2', '::2', '::3'])
  assert.deepEqual(order(6, 1), ['::1', '10.0.0.1', '::2', '10.0.0.2', '::3'])
  assert.deepEqual(order(6, 2), ['::1', '::2', '10.0.0.1', '::3', '10.0.0.2'])
  assert.deepEqual(order(4, 9), ['10.0.0.1', '10.0.0.2', '::1', '::2', '::3'])
})

test('the first that stands wins', async (t) => {
  const [first, second] = [await server(t), await server(t)]
  assert.equal(await race([first, second]), first.text)
  assert.equal(await race([await closedPort(), second]), second.text)
})

test('an address that does not answer is overtaken', async (t) => {
  const live = await server(t)
  const silent = ipAddress('192.0.2.1', 9)
  const winner = await new Promise<string>((resolve) => {
    // Nothing is sent to the silent address: a socket that never begins is as silent.
    const open = (to: Address): Socket => (to === silent ? new Socket() : connect(to.port, to.ip))
    const run = new ConnectRace([silent, live], open, {
      onSocket(socket, address) {
        socket.destroy()
        resolve(address.text)
      },
      onFailure: (error) => resolve(String(error)),
    })
    run.start()
  })
  assert.equal(winner, live.text)
})

test('when all fail, the last reason is told', async () => {
  const [first, last] = [await closedPort(), await closedPort()]
  assert.equal(await race([first, last]), `ECONNREFUSED ${last.text}`)
})
