import assert from 'node:assert/strict'
import { Resolver } from 'node:dns/promises'
import * as net from 'node:net'
import { after, before, test } from 'node:test'
import * as dnsPacket from 'dns-packet'
import { type KubeObject, MemoryStore } from '../cluster/index.ts'
import { answer, startDnsServer } from './dns-server.ts'
import { serviceForTest } from './testing.ts'

const store = new MemoryStore()
let server: { port: number; close(): void }
const resolver = new Resolver({ timeout: 2000, tries: 1 })

before(async () => {
  const slice = (name: string, ips: string[]): KubeObject => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-x`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [],
    endpoints: [...ips.map((ip) => ({ addresses: [ip] })), { addresses: ['10.244.9.9'], conditions: { ready: false } }],
  })
  const many = Array.from({ length: 60 }, (_, i) => `10.244.1.${i + 1}`)
  store.put(
    [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } },
      serviceForTest('reviews'),
      serviceForTest('db', { clusterIP: 'None' }),
      serviceForTest('crowd', { clusterIP: 'None' }),
      serviceForTest('outside', { type: 'ExternalName', externalName: 'www.example.org' }),
      slice('db', ['10.244.0.5', '10.244.0.6']),
      slice('crowd', many),
    ].map((object) => ({ object })),
  )
  server = await startDnsServer(store, '127.0.0.1', 0)
  resolver.setServers([`127.0.0.1:${server.port}`])
})
after(() => server.close())

test('a Service has its address', async () => {
  assert.deepEqual(await resolver.resolve4('reviews.default.svc.cluster.local'), ['10.96.0.30'])
})

test('a headless Service has its ready pods, each also by name', async () => {
  assert.deepEqual(await resolver.resolve4('db.default.svc.cluster.local'), ['10.244.0.5', '10.244.0.6'])
  assert.deepEqual(await resolver.resolve4('10-244-0-6.db.default.svc.cluster.local'), ['10.244.0.6'])
})

test('an answer too long for UDP comes over TCP', async () => {
  assert.equal((await resolver.resolve4('crowd.default.svc.cluster.local')).length, 60)
})

test('a Service port has an SRV record', async () => {
  const [record] = await resolver.resolveSrv('_http._tcp.reviews.default.svc.cluster.local')
  assert.equal(record!.port, 9080)
  assert.equal(record!.name, 'reviews.default.svc.cluster.local')
})

test('an ExternalName is an alias', async () => {
  assert.deepEqual(await resolver.resolveCname('outside.default.svc.cluster.local'), ['www.example.org'])
})

test('unknown names do not exist, names elsewhere are refused, IPv6 has no data', async () => {
  await assert.rejects(resolver.resolve4('nobody.default.svc.cluster.local'), { code: 'ENOTFOUND' })
  await assert.rejects(resolver.resolve4('www.example.org'), { code: 'EREFUSED' })
  await assert.rejects(resolver.resolve6('reviews.default.svc.cluster.local'), { code: 'ENODATA' })
})

test('names are compared without case', async () => {
  assert.deepEqual(await resolver.resolve4('Reviews.Default.SVC.cluster.local'), ['10.96.0.30'])
})

test('garbage has no answer and ends only its own TCP connection', async () => {
  assert.equal(answer(store, Buffer.from('no dns here')), undefined)
  assert.equal(answer(store, Buffer.alloc(0)), undefined)
  const socket = net.connect(server.port, '127.0.0.1')
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.on('error', () => {})
  socket.write(Buffer.from([0, 3, 1, 2, 3]))
  await closed
  assert.deepEqual(await resolver.resolve4('reviews.default.svc.cluster.local'), ['10.96.0.30'])
})

test('a response is not answered', () => {
  const questions = [{ type: 'A' as const, name: 'reviews.default.svc.cluster.local' }]
  assert.equal(answer(store, dnsPacket.encode({ type: 'response', id: 1, questions })), undefined)
})
