import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create } from '@bufbuild/protobuf'
import { NodeSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { createLogger } from '../../base/logger.ts'
import type { ResourceUpdate, WatchedResource, XdsConnection } from '../../xds/server-types.ts'
import { CDS_TYPE, comparePushOrder, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../xds/type-urls.ts'
import { serviceYaml, TestMesh } from '../testing.ts'
import { DiscoveryServer } from './discovery-server.ts'
import { PilotMetrics } from './metrics.ts'
import { ResourceGenerator } from './resources.ts'

const TYPES = [CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE]
const SHORT: Record<string, string> = { [CDS_TYPE]: 'CDS', [EDS_TYPE]: 'EDS', [LDS_TYPE]: 'LDS', [RDS_TYPE]: 'RDS' }

/** A delta client that keeps what it is sent, as a proxy would. */
class FakeConnection implements XdsConnection {
  readonly id: string
  readonly node
  readonly peer = { address: 'test', identities: [] as string[] }
  readonly delta = true
  readonly connectedMs = 0
  readonly held = new Map<string, Map<string, string>>(TYPES.map((type) => [type, new Map()]))
  readonly names = new Map<string, Set<string>>()
  /** One word for each response that held something. */
  log: string[] = []
  unacked = false

  constructor(id: string) {
    this.id = id
    this.node = create(NodeSchema, {
      id,
      metadata: { NAMESPACE: 'default', LABELS: { app: 'client' }, CLUSTER_ID: 'Kubernetes' },
    })
  }

  watchedTypes(): readonly string[] {
    return [...this.names.keys()].sort(comparePushOrder)
  }

  watched(typeUrl: string): WatchedResource | undefined {
    const names = this.names.get(typeUrl)
    if (!names) return undefined
    const versions = this.held.get(typeUrl)!
    return {
      typeUrl,
      wildcard: names.size === 0,
      names,
      versions,
      lastSentMs: Date.now(),
    } as unknown as WatchedResource
  }

  push(typeUrl: string, update: ResourceUpdate): number {
    const held = this.held.get(typeUrl)!
    const fresh = update.resources.filter((r) => update.force || held.get(r.name) !== r.version)
    const gone = update.full
      ? [...held.keys()].filter((n) => !update.resources.some((r) => r.name === n))
      : update.removed
    for (const { name, version } of fresh) held.set(name, version)
    for (const name of gone) held.delete(name)
    const words = [...fresh.map((r) => r.name), ...gone.map((name) => `-${name}`)]
    if (words.length > 0) this.log.push(`${SHORT[typeUrl]} ${words.join(' ')}`)
    return fresh.length + gone.length
  }

  busy(): boolean {
    return this.unacked
  }

  close(): void {}
}

function start(yaml: string, generator = new ResourceGenerator()) {
  const mesh = new TestMesh(yaml)
  const metrics = new PilotMetrics()
  const server = new DiscoveryServer({ generator, metrics, log: createLogger('test', 'off') })
  const publish = () => {
    const { push, changes } = mesh.commit()
    server.publish(push, changes, performance.now())
    return push
  }
  publish()
  const connection = new FakeConnection('sidecar~10.0.0.1~client.default~default.svc.cluster.local')
  server.onConnect(connection)
  const subscribe = (typeUrl: string, names: readonly string[]) => {
    connection.names.set(typeUrl, new Set(names))
    server.onSubscribe(connection, typeUrl, { added: names, removed: [], first: true, wildcard: names.length === 0 })
  }
  subscribe(CDS_TYPE, [])
  subscribe(
    EDS_TYPE,
    [...connection.held.get(CDS_TYPE)!.keys()].filter((n) => n.startsWith('outbound')),
  )
  subscribe(LDS_TYPE, [])
  subscribe(RDS_TYPE, ['80'])
  connection.log = []
  return { mesh, server, connection, publish, generator, metrics }
}

const settled = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)))

const VIRTUAL_SERVICE = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{timeout: 3s, route: [{destination: {host: web}}]}]}`

const STEPS: Record<string, { yaml: string; types: string[] }> = {
  'an endpoint': { yaml: serviceYaml('web', { ip: '10.1.0.9' }), types: ['EDS'] },
  'a VirtualService': { yaml: VIRTUAL_SERVICE, types: ['RDS'] },
  'a new service': { yaml: serviceYaml('shop', { ip: '10.1.0.7', vip: '10.96.0.7' }), types: ['CDS', 'RDS'] },
  'an endpoint that becomes the proxy itself': {
    yaml: serviceYaml('shop', { ip: '10.0.0.1', vip: '10.96.0.7' }),
    // Its labels are those of that pod from now on, and labels decide everything.
    types: ['CDS', 'EDS', 'LDS', 'RDS'],
  },
  'a changed identity': {
    yaml: serviceYaml('web', { ip: '10.1.0.9' }).replace('serviceAccountName: web', 'serviceAccountName: other'),
    types: ['CDS', 'EDS'],
  },
  'a PeerAuthentication': {
    yaml: 'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: STRICT}}',
    types: ['LDS'],
  },
  'a DestinationRule': {
    yaml: 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\nspec: {host: web, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}',
    types: ['CDS', 'EDS', 'RDS'],
  },
  'a Sidecar': {
    yaml: 'apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default}\nspec: {egress: [{hosts: ["./web.default.svc.cluster.local"]}]}',
    types: ['CDS', 'RDS'],
  },
}

test('each change sends what depends on it, and leaves the proxy as a full push would', async () => {
  const { mesh, server, connection, publish } = start(serviceYaml('web'))
  for (const [step, { yaml, types }] of Object.entries(STEPS)) {
    connection.log = []
    mesh.put(yaml)
    const push = publish()
    await settled()
    assert.deepEqual(
      [...new Set(connection.log.map((line) => line.split(' ')[0]))],
      types,
      `${step}: ${connection.log.join('; ')}`,
    )
    const fresh = new ResourceGenerator()
    const { proxy } = [...server.connected()][0]!
    for (const type of TYPES) {
      const names = connection.names.get(type)!
      const want = fresh.generate(type, proxy, push, names.size === 0 ? null : names)
      for (const { name, version } of want)
        assert.equal(connection.held.get(type)!.get(name), version, `${step}: ${name}`)
    }
  }
})

test('a proxy that has not acknowledged yet gets later changes as one', async () => {
  const { mesh, server, connection, publish } = start(serviceYaml('web'))
  connection.unacked = true
  mesh.put(serviceYaml('web', { ip: '10.1.0.5' }))
  publish()
  mesh.put(serviceYaml('web', { ip: '10.1.0.6' }))
  publish()
  mesh.put(VIRTUAL_SERVICE)
  publish()
  await settled()
  assert.deepEqual(connection.log, [])
  connection.unacked = false
  server.onAck(connection)
  await settled()
  assert.deepEqual(connection.log, ['EDS outbound|80||web.default.svc.cluster.local', 'RDS 80'])
})

test('a removed service leaves its cluster and keeps nobody waiting for its endpoints', async () => {
  const { mesh, connection, publish } = start(
    `${serviceYaml('web')}\n---\n${serviceYaml('shop', { ip: '10.1.0.7', vip: '10.96.0.7' })}`,
  )
  mesh.remove('Service', 'shop')
  publish()
  await settled()
  assert.ok(!connection.held.get(CDS_TYPE)!.has('outbound|80||shop.default.svc.cluster.local'))
})

/** Generates what the control plane does, but for what it is told to fail at. */
class FaultyGenerator extends ResourceGenerator {
  /** Types and names that are asked for. */
  readonly broken = new Set<string>()
  /** Names of clusters. */
  readonly brokenClusters = new Set<string>()

  constructor() {
    super({ isolate: true })
    const { clusters } = this
    const get = clusters.get.bind(clusters)
    clusters.get = (key, make) => {
      const made = get(key, make)
      if (made && this.brokenClusters.has(made.name)) throw new TypeError('a cluster of no use')
      return made
    }
  }

  override generate(...args: Parameters<ResourceGenerator['generate']>) {
    const [typeUrl, , , names] = args
    for (const name of [typeUrl, ...(names ?? [])]) if (this.broken.has(name)) throw new TypeError(`no ${name}`)
    return super.generate(...args)
  }
}

const internalErrors = async (metrics: PilotMetrics) => (await metrics.internalErrors.get()).values[0]?.value

test('what cannot be generated leaves the proxy with what it has, and everything else goes on', async () => {
  const generator = new FaultyGenerator()
  const { mesh, server, connection, publish, metrics } = start(serviceYaml('web'), generator)
  const listeners = new Map(connection.held.get(LDS_TYPE))
  generator.broken.add(LDS_TYPE)
  mesh.put(serviceYaml('shop', { ip: '10.1.0.7', vip: '10.96.0.7', port: '{port: 9000, name: tcp}' }))
  publish()
  await settled()
  assert.deepEqual(connection.log, ['CDS outbound|9000||shop.default.svc.cluster.local'])
  assert.deepEqual(connection.held.get(LDS_TYPE), listeners)
  assert.deepEqual(server.refusals(), [{ proxy: 'client.default', type: 'lds', reason: `no ${LDS_TYPE}` }])
  assert.equal(await internalErrors(metrics), 1)

  // The next push brings it, even one that does not concern listeners at all.
  generator.broken.clear()
  connection.log = []
  mesh.put(serviceYaml('web', { ip: '10.1.0.9' }))
  publish()
  await settled()
  assert.deepEqual(
    connection.log.map((line) => line.split(' ')[0]),
    ['EDS', 'LDS'],
  )
  assert.ok(connection.held.get(LDS_TYPE)!.has('10.96.0.7_9000'))
  assert.deepEqual(server.refusals(), [])
})

test('one resource that cannot be generated stays as it was; those beside it change', async () => {
  const generator = new FaultyGenerator()
  const yaml = `${serviceYaml('web')}\n---\n${serviceYaml('shop', { ip: '10.1.0.7', vip: '10.96.0.7' })}`
  const { mesh, server, connection, publish } = start(yaml, generator)
  const [web, shop] = ['web', 'shop'].map((name) => `outbound|80||${name}.default.svc.cluster.local`) as [
    string,
    string,
  ]
  const before = new Map(connection.held.get(CDS_TYPE))
  generator.brokenClusters.add(web)
  mesh.put(
    'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: all}\nspec: {host: "*.local", trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}}}',
  )
  publish()
  await settled()
  const after = connection.held.get(CDS_TYPE)!
  assert.equal(after.get(web), before.get(web))
  assert.notEqual(after.get(shop), before.get(shop))
  const [refusal, ...others] = server.refusals()
  assert.deepEqual([refusal?.type, refusal?.reason, others], ['cds', `${web}: a cluster of no use`, []])

  generator.brokenClusters.clear()
  publish()
  await settled()
  assert.notEqual(connection.held.get(CDS_TYPE)!.get(web), before.get(web))
  assert.deepEqual(server.refusals(), [])
})

test('a first answer holds what can be generated of the names that were asked for', () => {
  const generator = new FaultyGenerator()
  generator.broken.add('80')
  const { connection, server } = start(serviceYaml('web'), generator)
  assert.equal(connection.held.get(RDS_TYPE)!.size, 0)
  connection.names.set(RDS_TYPE, new Set(['80', '9080']))
  server.onSubscribe(connection, RDS_TYPE, { added: ['80', '9080'], removed: [], first: false, wildcard: false })
  assert.deepEqual([...connection.held.get(RDS_TYPE)!.keys()], ['9080'])
  assert.deepEqual(
    server.refusals().map(({ type, reason }) => `${type} ${reason}`),
    ['rds 80: no 80'],
  )
})

test('who proved an identity may not claim another', () => {
  const { server } = start(serviceYaml('web'))
  const connect = (identity: string) => {
    const connection = new FakeConnection('sidecar~10.0.0.9~other.default~default.svc.cluster.local')
    connection.peer.identities.push(identity)
    server.onConnect(connection)
  }
  connect('spiffe://cluster.local/ns/default/sa/web')
  assert.throws(() => connect('spiffe://cluster.local/ns/other/sa/web'), /does not belong to namespace default/)
})

test('a node that is no proxy is refused with the reason', () => {
  const { server } = start(serviceYaml('web'))
  assert.throws(() => server.onConnect(new FakeConnection('whoever')), /must have four parts/)
})
