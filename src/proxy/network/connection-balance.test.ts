import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { ConfigError } from '../../base/errors.ts'
import { ExactBalance, type MovedConnection, sharedBalance, WorkerPorts } from './connection-balance.ts'
import { testListeners } from './testing.ts'

test('a connection goes to the worker with the fewest, to this one when it is among them', () => {
  const shared = sharedBalance()
  const [first, second] = [0, 1].map((worker) => new ExactBalance(shared, worker, 3))
  assert.deepEqual([second!.pick(true), second!.pick(true), second!.pick(true)], [1, 0, 2])
  assert.deepEqual([first!.pick(true), second!.pick(true)], [0, 1])
  first!.release(2)
  assert.equal(first!.pick(true), 2)
  assert.equal(first!.pick(false), 0)
})

test('a moved connection comes with what was read of it', async () => {
  const { port1, port2 } = new MessageChannel()
  const moved: MovedConnection = { listener: 'l', fd: 7, bytes: Buffer.from('abc'), restored: null }
  const arrived = new Promise<MovedConnection>((resolve) => new WorkerPorts([null, port2]).listen(resolve))
  port2.ref()
  new WorkerPorts([null, port1]).move(moved, 1)
  const { bytes, ...rest } = await arrived
  assert.deepEqual([Buffer.from(bytes).toString(), rest], ['abc', { listener: 'l', fd: 7, restored: null }])
  port1.close()
})

test('other ways to balance are refused with the path', (t) => {
  const { parse } = testListeners(t)
  const listener = (balance: object): object => ({
    address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
    filter_chains: [{}],
    connection_balance_config: balance,
  })
  assert.notEqual(parse(listener({ exact_balance: {} })).balance, null)
  assert.throws(
    () => parse(listener({ extend_balance: { name: 'dlb' } })),
    (error) => error instanceof ConfigError && /connection_balance_config: only exact_balance/.test(error.message),
  )
})
