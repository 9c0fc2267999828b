import assert from 'node:assert/strict'
import * as http from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { ProbeLoop } from './probe-loop.ts'
import { type ProbeTarget, runProbe } from './probes.ts'

let status = 200
let seen: http.IncomingMessage | undefined
const server = http.createServer((request, response) => {
  seen = request
  if (request.url === '/hang') return
  response.writeHead(request.url === '/moved' ? 302 : status)
  response.end()
})
let target: ProbeTarget
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const exec = async (command: readonly string[]) => {
    if (command[0] !== 'true') throw new Error('exit code 1')
  }
  target = { podIp: '127.0.0.1', container: { name: 'c', ports: [{ name: 'web', containerPort: port }] }, exec }
})
after(() => {
  server.closeAllConnections()
  server.close()
})

test('HTTP success is 200 to 399, by port number or name', async () => {
  const { containerPort } = target.container.ports![0]!
  assert.deepEqual(
    await runProbe(
      { httpGet: { path: '/x', port: containerPort, httpHeaders: [{ name: 'X-A', value: '1' }] } },
      target,
    ),
    { ok: true },
  )
  assert.equal(seen!.headers['x-a'], '1')
  assert.match(seen!.headers['user-agent']!, /^kube-probe\//)
  assert.deepEqual(await runProbe({ httpGet: { path: '/moved', port: 'web' } }, target), { ok: true })
  status = 503
  assert.deepEqual(await runProbe({ httpGet: { port: 'web' } }, target), {
    ok: false,
    message: 'HTTP probe failed with statuscode: 503',
  })
  status = 200
})

test('silence, a closed port and an unknown port name are failures with a reason', async () => {
  const hang = await runProbe({ httpGet: { path: '/hang', port: 'web' }, timeoutSeconds: 0.05 }, target)
  assert.ok(!hang.ok && /no answer within/.test(hang.message))
  const closed = await runProbe({ tcpSocket: { port: 1 } }, target)
  assert.ok(!closed.ok && /ECONNREFUSED/.test(closed.message))
  const unknown = await runProbe({ tcpSocket: { port: 'nope' } }, target)
  assert.ok(!unknown.ok && /no port named nope/.test(unknown.message))
})

test('TCP and exec probes', async () => {
  assert.deepEqual(await runProbe({ tcpSocket: { port: 'web' } }, target), { ok: true })
  assert.deepEqual(await runProbe({ exec: { command: ['true'] } }, target), { ok: true })
  assert.deepEqual(await runProbe({ exec: { command: ['false'] } }, target), { ok: false, message: 'exit code 1' })
})

test('a loop reports when the verdict changes', async () => {
  const verdicts: boolean[] = []
  let resolve: () => void
  const next = () => new Promise<void>((done) => (resolve = done))
  let changed = next()
  const loop = new ProbeLoop({ httpGet: { port: 'web' }, periodSeconds: 0.01, failureThreshold: 2 }, target, (ok) => {
    verdicts.push(ok)
    resolve()
  })
  await changed
  changed = next()
  status = 500
  await changed
  changed = next()
  status = 200
  await changed
  loop.stop()
  assert.deepEqual(verdicts, [true, false, true])
})
