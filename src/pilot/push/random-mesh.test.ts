import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { KubeObject } from '../../cluster/index.ts'
import { defaultMeshConfig, type MeshConfig, type MeshNetworks, parseMeshConfig } from '../../config/index.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../xds/type-urls.ts'
import type { Changes } from '../commit.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { extentOf } from './changes.ts'
import { ResourceGenerator } from './resources.ts'
import { meshArbitrary, settings } from './testing/random-resources.ts'

const BASE = `${serviceYaml('web')}\n---\n${serviceYaml('shop', { ip: '10.1.0.7', vip: '10.96.0.7', port: '{port: 9000, name: tcp}' })}`
/** The mode that only a mesh can have, and two networks. */
const MESH: MeshConfig = { ...defaultMeshConfig(), outboundTrafficPolicy: { mode: 'ALLOW_ANY_DYNAMIC_DNS' } }
const NETWORKS: MeshNetworks = {
  networks: {
    n1: { endpoints: [{ fromCidr: '10.0.0.0/8' }], gateways: [{ address: '192.0.2.1', port: 15443 }] },
    n2: {
      gateways: [
        { address: '192.0.2.2', port: 15443 },
        { address: '192.0.2.3', port: 15443 },
      ],
    },
  },
}
const PROXIES: ProxyNode[] = [
  testProxy({ labels: { app: 'client' }, locality: 'r1/z1' }),
  testProxy({ ip: '10.1.0.1', labels: { app: 'web' } }),
  testProxy({ ip: '10.0.0.4', namespace: 'other', labels: { app: 'none' } }),
  testProxy({
    ip: '10.0.0.5',
    labels: { app: 'client' },
    extensions: ['istio.stats', 'envoy.filters.http.wasm', 'envoy.filters.network.wasm', 'envoy.filters.http.lua'],
    metadata: { NETWORK: 'n1', INTERCEPTION_MODE: 'TPROXY' },
  }),
  testProxy({ ip: '10.1.0.1', labels: { app: 'web' }, metadata: { INTERCEPTION_MODE: 'NONE', NETWORK: 'n2' } }),
  testProxy({ labels: { app: 'x' }, metadata: { INSTANCE_IPS: '10.0.0.6,fd00::6', DNS_CAPTURE: 'true' } }),
  testProxy({ type: 'router', ip: '10.0.0.8', namespace: 'istio-system', labels: { istio: 'ingressgateway' } }),
]

/** Resources by proxy and type: `name version` each. */
type Held = ReadonlyMap<string, readonly string[]>

const TYPES = [CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE]
const ROUTES = ['80', '9000', 'http.80', 'http.8080']

function held(generator: ResourceGenerator, push: PushContext): Held {
  const out = new Map<string, readonly string[]>()
  for (const proxy of PROXIES) {
    const clusters = generator.generate(CDS_TYPE, proxy, push, null).map((c) => c.name)
    for (const type of TYPES) {
      const names = type === EDS_TYPE ? clusters : type === RDS_TYPE ? ROUTES : null
      out.set(
        `${proxy.id} ${type}`,
        generator.generate(type, proxy, push, names).map((r) => `${r.name} ${r.version}`),
      )
    }
  }
  return out
}

/** What a change is said not to concern, it must not change: proxies are not told of it. */
function checkExtents(before: Held, after: Held, push: PushContext, changes: Changes): void {
  for (const proxy of PROXIES) {
    for (const type of TYPES) {
      const key = `${proxy.id} ${type}`
      const extent = extentOf(type, changes, proxy, push)
      if (extent === 'all') continue
      // The names of clusters that came or went are asked for or dropped by the proxy itself.
      const known = new Map(before.get(key)!.map((text) => text.split(' ') as [string, string]))
      const named = extent === 'endpoints' ? [...changes.endpoints, ...changes.services] : []
      const concerned = (name: string) =>
        named.some(
          (service) =>
            /[|.]$/.test(name.slice(0, -service.slice(service.indexOf('/') + 1).length)) &&
            name.endsWith(service.slice(service.indexOf('/') + 1)),
        )
      for (const [name, version] of after.get(key)!.map((text) => text.split(' '))) {
        if (type === EDS_TYPE && (!known.has(name!) || concerned(name!))) continue
        assert.equal(known.get(name!), version, `${key} ${name}: not pushed (${[...changes.kinds]})`)
      }
    }
  }
}

function everything(generator: ResourceGenerator, push: PushContext): string[] {
  return PROXIES.flatMap((proxy) => {
    const clusters = generator.generate(CDS_TYPE, proxy, push, null)
    const lists = [
      clusters,
      generator.generate(
        EDS_TYPE,
        proxy,
        push,
        clusters.map((c) => c.name),
      ),
      generator.generate(LDS_TYPE, proxy, push, null),
      generator.generate(RDS_TYPE, proxy, push, ['80', '9000', 'http.80', 'http.8080']),
      generator.generate(
        ECDS_TYPE,
        proxy,
        push,
        push.extensions.map((e) => e.resourceName),
      ),
    ]
    // an extension's configuration holds its resource's version in the store, which the order of application decides
    const content = (type: number, version: string) => (type === 4 ? '' : version)
    return lists.flatMap((list, type) => list.map((r) => `${proxy.id} ${type} ${r.name} ${content(type, r.version)}`))
  })
}

function put(mesh: TestMesh, list: readonly KubeObject[]): void {
  mesh.store.put(list.map((object) => ({ object })))
}

/** One object a name: two of one name would make the order of application matter. */
function unique(list: readonly KubeObject[]): KubeObject[] {
  return [...new Map(list.map((o) => [`${o.kind}/${o.metadata.namespace}/${o.metadata.name}`, o])).values()]
}

test('random meshes: nothing throws, order does not matter, incremental equals rebuilt', () => {
  let resources = 0
  fc.assert(
    fc.property(meshArbitrary, fc.infiniteStream(fc.nat()), (list, picks) => {
      const wanted = unique(list)
      const whole = new TestMesh(BASE, MESH, NETWORKS)
      put(whole, wanted)
      const expected = everything(new ResourceGenerator(), whole.push())
      // The few that validation refuses count for nothing, here and below.
      resources += [...whole.state.accepted()].length

      // In another order, in steps, from a warm cache, with one resource that comes and goes.
      const stepwise = new TestMesh(BASE, MESH, NETWORKS)
      const generator = new ResourceGenerator()
      everything(generator, stepwise.push())
      const left = [...wanted]
      let before = held(generator, stepwise.push())
      const step = (): void => {
        const { push, changes } = stepwise.commit()
        const after = held(generator, push)
        checkExtents(before, after, push, changes)
        before = after
      }
      while (left.length > 0) {
        const [next] = left.splice(picks.next().value % left.length, 1)
        put(stepwise, [next!])
        if (picks.next().value % 4 === 0) step()
        if (picks.next().value % 4 === 0) {
          const { kind, metadata, apiVersion } = next!
          stepwise.store.remove([
            { kind: `${kind}.${apiVersion.split('/')[0]}`, namespace: metadata.namespace, name: metadata.name },
          ])
          step()
          put(stepwise, [next!])
        }
      }
      assert.deepEqual(everything(generator, stepwise.push()), expected)
    }),
    { numRuns: 60, seed: 20260101 },
  )
  assert.ok(resources >= 1000, `${resources} resources`)
})

const SPACES = `
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {mesh: "on"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {team: a, topology.istio.io/network: n2}}
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system, labels: {mesh: "on", topology.istio.io/network: n1}}`

test('a mesh whose settings change is one that began with them', () => {
  const parse = (input: unknown): MeshConfig => {
    const parsed = parseMeshConfig(input)
    assert.ok(parsed.ok, JSON.stringify(parsed))
    return parsed.value
  }
  fc.assert(
    fc.property(meshArbitrary, settings, settings, fc.boolean(), (list, first, second, networked) => {
      const wanted = unique(list)
      const networks = networked ? NETWORKS : {}
      const fresh = new TestMesh(`${BASE}\n---${SPACES}`, parse(second), networks)
      put(fresh, wanted)
      const expected = everything(new ResourceGenerator(), fresh.push())

      const changed = new TestMesh(`${BASE}\n---${SPACES}`, parse(first), networked ? {} : NETWORKS)
      const generator = new ResourceGenerator()
      put(changed, wanted)
      everything(generator, changed.push())
      changed.state.configure(parse(second), networks, changed.store)
      const { push, changes } = changed.commit()
      assert.ok(changes.all)
      assert.deepEqual(everything(generator, push), expected)
    }),
    { numRuns: 60, seed: 20260102 },
  )
})
