import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from '../base/logger.ts'
import { AutoRegistration } from './auto-registration.ts'
import { generateEndpoints } from './eds/generate.ts'
import type { ProxyNode } from './model/node.ts'
import { TestMesh, testProxy } from './testing.ts'

const MESH = `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms}
spec:
  metadata: {labels: {app: db, tier: group}, annotations: {note: x}}
  template: {serviceAccount: db, ports: {tcp: 3307}, labels: {tier: template}}
  probe: {tcpSocket: {port: 3307}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec: {hosts: [db.example.com], resolution: STATIC, location: MESH_INTERNAL, ports: [{number: 3306, name: tcp, protocol: TCP}], workloadSelector: {labels: {app: db}}}
`
const ENTRY = 'WorkloadEntry.networking.istio.io'
const vm = (metadata: Record<string, string> = {}): ProxyNode =>
  testProxy({
    ip: '10.5.0.1',
    labels: { version: 'v1' },
    locality: 'r1/z1',
    metadata: { AUTO_REGISTER_GROUP: 'vms', ...metadata },
  })

function start(graceMs?: number): { mesh: TestMesh; registration: AutoRegistration } {
  const mesh = new TestMesh(MESH)
  const log = createLogger('test', 'off')
  return { mesh, registration: new AutoRegistration({ store: mesh.store, log, controller: 'here', graceMs }) }
}

/** Address and health of the service's endpoints. */
function endpoints(mesh: TestMesh): string[] {
  const [assignment] = generateEndpoints(testProxy(), mesh.push(), ['outbound|3306||db.example.com'])
  return assignment!.endpoints.flatMap((group) => group.lbEndpoints.map((e) => `${e.healthStatus}`))
}

test('a connecting proxy gets an entry of its group, with its own labels and place', () => {
  const { mesh, registration } = start()
  registration.connected(vm({ NETWORK: 'n1' }))
  const entry = mesh.store.get(ENTRY, 'default', 'vms-10.5.0.1-n1')!
  assert.deepEqual(entry.spec, {
    serviceAccount: 'db',
    ports: { tcp: 3307 },
    address: '10.5.0.1',
    labels: { tier: 'group', app: 'db', version: 'v1' },
    network: 'n1',
    locality: 'r1/z1',
  })
  assert.equal(entry.metadata.annotations!['istio.io/autoRegistrationGroup'], 'vms')
  registration.close()
})

test('a health-checked workload is used once its agent says it is well, and no longer when it is not', () => {
  const { mesh, registration } = start()
  registration.connected(vm())
  const HEALTHY = '1'
  assert.deepEqual(endpoints(mesh), [])
  registration.health(vm(), true, '')
  assert.deepEqual(endpoints(mesh), [HEALTHY])
  registration.health(vm(), false, 'refused')
  assert.deepEqual(endpoints(mesh), [])
  registration.close()
})

test('the entry goes some time after the last stream; one that comes back keeps it', async () => {
  const { mesh, registration } = start(1)
  registration.connected(vm())
  registration.connected(vm())
  registration.disconnected(vm())
  assert.equal(
    mesh.store.get(ENTRY, 'default', 'vms-10.5.0.1')!.metadata.annotations!['istio.io/disconnectedAt'],
    undefined,
  )
  const gone = new Promise<void>((resolve) => {
    mesh.store.watch((events) => {
      if (events.some((e) => e.type === 'deleted' && e.kind === ENTRY)) resolve()
    })
  })
  registration.disconnected(vm())
  registration.connected(vm())
  assert.ok(mesh.store.get(ENTRY, 'default', 'vms-10.5.0.1'))
  registration.disconnected(vm())
  // Timers that nobody waits for do not keep a process alive: this one does.
  const alive = setInterval(() => {}, 1000)
  await gone
  clearInterval(alive)
  assert.equal(mesh.store.get(ENTRY, 'default', 'vms-10.5.0.1'), undefined)
})

test('a group that does not exist refuses the stream', () => {
  const { registration } = start()
  assert.throws(
    () => registration.connected(vm({ AUTO_REGISTER_GROUP: 'none' })),
    /WorkloadGroup default\/none does not exist/,
  )
})
