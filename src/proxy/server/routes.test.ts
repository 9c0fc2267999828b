import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toBinary } from '@bufbuild/protobuf'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { ExtensionRegistry } from '../config/extension-registry.ts'
import { parseJson } from '../config/json.ts'
import { StatsStore } from '../observe/stats-store.ts'
import type { FileSources } from './file-source.ts'
import type { WorkerUpdate } from './messages.ts'
import type { UnknownFields } from './resource.ts'
import { RouteResources } from './routes.ts'
import type { Warming } from './warming.ts'
import type { Workers } from './workers.ts'

const table = (cluster: string) => {
  const virtual_hosts = ['a', 'b'].map((name) => ({
    name,
    domains: [name],
    routes: [{ match: { prefix: '/' }, route: { cluster: name === 'a' ? cluster : name } }],
  }))
  const message = parseJson(RouteConfigurationSchema, { name: 'r', virtual_hosts }, { path: '' })
  return { name: 'r', version: cluster, body: toBinary(RouteConfigurationSchema, message) }
}

test('a table that is dropped while workers take a change of it is sent whole when it is wanted again', async () => {
  const updates: WorkerUpdate[] = []
  let whileApplying = () => {}
  const workers = {
    apply: async (update: WorkerUpdate) => {
      updates.push(update)
      whileApplying()
      return null
    },
  } as unknown as Workers
  const warming = { satisfied: () => {} } as unknown as Warming
  const unknown = { check: () => true } as unknown as UnknownFields
  const routes = new RouteResources(
    new ExtensionRegistry(),
    workers,
    warming,
    {} as FileSources,
    unknown,
    new StatsStore(),
  )
  const user = {}
  routes.use(user, new Set(['r']))
  assert.equal(await routes.update([table('x')]), null)
  whileApplying = () => {
    whileApplying = () => {}
    routes.use(user, new Set())
  }
  assert.equal(await routes.update([table('y')]), null)
  assert.equal(routes.has('r'), false)
  routes.use(user, new Set(['r']))
  assert.equal(await routes.update([table('z')]), null)
  assert.equal(await routes.update([table('w')]), null)
  assert.deepEqual(
    updates.map((update) => update.kind),
    ['routes', 'change-routes', 'remove-routes', 'routes', 'change-routes'],
  )
})
