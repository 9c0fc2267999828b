// hedge_on_per_try_timeout through a whole proxy: an attempt that is late is not given up, and the first answer counts.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { until } from '../../xds/testing.ts'
import { startProxy } from './start-proxy.ts'
import { endpoints, listener, testOptions } from './testing.ts'

interface Attempt {
  readonly response: ServerResponse
  /** The proxy has let go of it. */
  gone: boolean
}

/** A proxy with one retry after 40 ms; the attempts that its upstream gets, unanswered. */
async function hedging(t: TestContext, retries = 1): Promise<{ port: number; attempts: Attempt[] }> {
  const attempts: Attempt[] = []
  const upstream = createServer((_: IncomingMessage, response) => {
    const attempt = { response, gone: false }
    attempts.push(attempt)
    response.on('close', () => (attempt.gone = !response.writableFinished))
  }).listen(0, '127.0.0.1')
  const spare = createServer().listen(0, '127.0.0.1')
  await Promise.all([once(upstream, 'listening'), once(spare, 'listening')])
  const [to, port] = [upstream, spare].map((server) => (server.address() as AddressInfo).port) as [number, number]
  await new Promise((resolve) => spare.close(resolve))
  const route = {
    cluster: 'c',
    retry_policy: { retry_on: '5xx', num_retries: retries, per_try_timeout: '0.04s' },
    hedge_policy: { hedge_on_per_try_timeout: true },
  }
  const route_config = {
    name: 'r',
    virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route }] }],
  }
  const bootstrap = {
    static_resources: {
      listeners: [listener('l', port, { rds: undefined, route_config })],
      clusters: [{ name: 'c', type: 'STATIC', connect_timeout: '1s', load_assignment: endpoints('c', to) }],
    },
  }
  const proxy = await startProxy(testOptions(JSON.parse(JSON.stringify(bootstrap)) as object))
  t.after(async () => {
    await proxy.stop()
    upstream.closeAllConnections()
    upstream.close()
  })
  await until(() => proxy.state === 'LIVE', 'LIVE')
  return { port, attempts }
}

const ask = async (port: number): Promise<string> => {
  const response = await fetch(`http://127.0.0.1:${port}/`)
  return `${response.status} ${await response.text()}`
}

test('the late first attempt answers before the second one: the second is given up', async (t) => {
  const { port, attempts } = await hedging(t)
  const answer = ask(port)
  await until(() => attempts.length === 2, 'a second attempt')
  assert.equal(attempts[0]!.gone, false, 'the first one goes on')
  attempts[0]!.response.end('first')
  assert.equal(await answer, '200 first')
  await until(() => attempts[1]!.gone, 'the end of the second attempt')
})

test('the second attempt answers before the late first one', async (t) => {
  const { port, attempts } = await hedging(t)
  const answer = ask(port)
  await until(() => attempts.length === 2, 'a second attempt')
  attempts[1]!.response.end('second')
  assert.equal(await answer, '200 second')
  await until(() => attempts[0]!.gone, 'the end of the first attempt')
})

test('a bad answer of one attempt waits for the other', async (t) => {
  const { port, attempts } = await hedging(t)
  const answer = ask(port)
  await until(() => attempts.length === 2, 'a second attempt')
  attempts[0]!.response.writeHead(503).end('bad')
  await until(() => attempts[0]!.response.writableFinished, 'the bad answer')
  attempts[1]!.response.end('good')
  assert.equal(await answer, '200 good')
})

test('there are no more attempts than retries', async (t) => {
  const { port, attempts } = await hedging(t, 2)
  const answer = ask(port)
  await until(() => attempts.length === 3, 'a third attempt')
  attempts[1]!.response.end('middle')
  assert.equal(await answer, '200 middle')
  await until(() => attempts[0]!.gone && attempts[2]!.gone, 'the end of the others')
  assert.equal(attempts.length, 3)
})
