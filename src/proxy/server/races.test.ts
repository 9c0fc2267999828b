// What comes while the workers take something: they have been told of it already, the main thread must not forget the rest.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type DescMessage, toBinary } from '@bufbuild/protobuf'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { silentLog } from '../../xds/testing.ts'
import { parseJson } from '../config/json.ts'
import { registerExtensions } from '../filters/register.ts'
import { StatsStore } from '../observe/stats-store.ts'
import { ClusterResources } from './clusters.ts'
import type { FileSources } from './file-source.ts'
import { ListenerResources } from './listeners.ts'
import type { WorkerUpdate } from './messages.ts'
import type { UnknownFields } from './resource.ts'
import { cluster, endpoints, listener } from './testing.ts'
import { Warming } from './warming.ts'
import type { Workers } from './workers.ts'

/** Workers that take each update when the test says so, in order. */
class SlowWorkers {
  readonly count = 1
  readonly taken: WorkerUpdate[] = []
  private readonly waiting: { update: WorkerUpdate; done: () => void }[] = []

  apply(update: WorkerUpdate): Promise<null> {
    return new Promise((resolve) => this.waiting.push({ update, done: () => resolve(null) }))
  }

  async take(): Promise<void> {
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      this.taken.push(next.update)
      next.done()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

const unknown = { check: () => true } as unknown as UnknownFields

function resource(schema: DescMessage, name: string, version: string, json: object) {
  return { name, version, body: toBinary(schema, parseJson(schema, json, { path: '' })) }
}

function clusterResources(workers: SlowWorkers): ClusterResources {
  return new ClusterResources(
    registerExtensions(),
    workers as unknown as Workers,
    new Warming(),
    { use() {}, has: () => true, release() {} } as never,
    {} as FileSources,
    unknown,
    silentLog,
    new StatsStore(),
  )
}

test('endpoints that come while workers take their cluster reach it', async () => {
  const workers = new SlowWorkers()
  const clusters = clusterResources(workers)
  clusters.eds = { add() {}, remove() {} }
  const assignment = (version: string, port: number) =>
    resource(ClusterLoadAssignmentSchema, 'a', version, endpoints('a', port))
  assert.equal(await clusters.update([resource(ClusterSchema, 'a', '1', cluster('a'))], [], '1'), null)
  assert.equal(await clusters.updateEndpoints([assignment('1', 1001)]), null)
  // The cluster is on its way to the workers.
  assert.equal(await clusters.updateEndpoints([assignment('2', 1002)]), null)
  await workers.take()
  const last = workers.taken.at(-1)!
  assert.deepEqual(
    workers.taken.map((update) => update.kind),
    ['cluster', 'endpoints'],
  )
  assert.ok(last.kind === 'endpoints' && last.endpoints.localities[0]!.endpoints[0]!.address.port === 1002)
  assert.equal(clusters.dump().active.length, 1)
})

test('an assignment that the new version of a cluster does not name is asked for no more', async () => {
  const workers = new SlowWorkers()
  const clusters = clusterResources(workers)
  const asked = new Set<string>()
  clusters.eds = {
    add: (names) => [...names].forEach((name) => void asked.add(name)),
    remove: (names) => [...names].forEach((name) => void asked.delete(name)),
  }
  for (const service_name of ['x', 'y', 'z']) {
    const eds_cluster_config = { ...cluster('a').eds_cluster_config, service_name }
    const version = resource(ClusterSchema, 'a', service_name, { ...cluster('a'), eds_cluster_config })
    assert.equal(await clusters.update([version], [], service_name), null)
    // `y` is replaced before it has come.
    if (service_name === 'y') continue
    const came = resource(ClusterLoadAssignmentSchema, service_name, '1', endpoints(service_name, 1001))
    assert.equal(await clusters.updateEndpoints([came]), null)
    await workers.take()
  }
  assert.deepEqual([...asked], ['z'])
  assert.equal(clusters.dumpEndpoints().dynamic.length, 1)
  const removed = clusters.update([], ['a'], '4')
  await new Promise((resolve) => setImmediate(resolve))
  await workers.take()
  await removed
  assert.deepEqual([...asked], [])
  assert.equal(clusters.dumpEndpoints().dynamic.length, 0)
})

/** `users` are the versions of listeners that have a say in what is subscribed. */
function listenerResources(workers: SlowWorkers, warming: Warming, users: Set<object>): ListenerResources {
  const use = (user: object, names: { readonly size: number }) =>
    names.size === 0 ? users.delete(user) : users.add(user)
  return new ListenerResources(
    registerExtensions(),
    workers as unknown as Workers,
    warming,
    { use() {}, has: () => true, release() {} } as never,
    { ensure() {}, has: () => false, use } as never,
    { use() {} } as never,
    () => true,
    unknown,
    silentLog,
    new StatsStore(),
  )
}

/** A listener that was told of by LDS, whose routes have come, and that the workers have not taken yet. */
async function listenerOnItsWay() {
  const workers = new SlowWorkers()
  const warming = new Warming()
  const users = new Set<object>()
  const listeners = listenerResources(workers, warming, users)
  assert.equal(await listeners.update([resource(ListenerSchema, 'l', '1', listener('l', 1001))], [], '1'), null)
  warming.satisfied('route:r')
  return { workers, warming, users, listeners }
}

test('a listener that is removed while workers take it goes', async () => {
  const { workers, users, listeners } = await listenerOnItsWay()
  const removed = listeners.update([], ['l'], '2')
  await workers.take()
  assert.equal(await removed, null)
  assert.deepEqual(
    workers.taken.map((update) => update.kind),
    ['listener', 'remove-listener'],
  )
  assert.deepEqual(listeners.status(), [])
  assert.deepEqual(listeners.dump().dynamic, [])
  assert.equal(users.size, 0)
})

test('a listener that is replaced while workers take it keeps what it names until the next one serves', async () => {
  const { workers, warming, users, listeners } = await listenerOnItsWay()
  assert.equal(await listeners.update([resource(ListenerSchema, 'l', '2', listener('l', 1002))], [], '2'), null)
  await workers.take()
  assert.equal(listeners.status()[0]!.address.port, 1001)
  assert.equal(users.size, 2)
  warming.satisfied('route:r')
  await workers.take()
  assert.equal(listeners.status()[0]!.address.port, 1002)
  assert.equal(users.size, 1)
})
