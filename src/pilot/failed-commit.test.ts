import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AnyResource, defaultMeshConfig } from '../config/index.ts'
import type { Service } from './model/service.ts'
import { serviceYaml, TestMesh } from './testing.ts'

const gateway = (name: string): string => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ${name}}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}`

test('after a push context that cannot be built, the next one has everything that came since the last good one', () => {
  const mesh = new TestMesh(serviceYaml('web'))
  mesh.commit()
  const settings = defaultMeshConfig()
  let broken = true
  const faulty = {
    ...settings,
    get defaultDestinationRuleExportTo(): readonly string[] {
      if (broken) throw new TypeError('no visibility today')
      return settings.defaultDestinationRuleExportTo
    },
  }
  mesh.state.configure(faulty, {}, mesh.store)
  mesh.put(`${serviceYaml('shop', { ip: '10.1.0.7', vip: '10.96.0.7' })}\n---${gateway('one')}`)
  assert.throws(() => mesh.commit(), /no visibility today/)
  mesh.put(gateway('two'))
  assert.throws(() => mesh.commit(), /no visibility today/)

  broken = false
  const { push, changes } = mesh.commit()
  assert.ok(changes.all)
  assert.deepEqual(push.services.all.map(({ hostname }) => hostname.split('.')[0]).sort(), ['shop', 'web'])
  assert.deepEqual(
    push.gateways.map(({ metadata }) => metadata.name),
    ['one', 'two'],
  )
})

const rule = (name: string, host: string): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${name}}
spec: {host: ${host}.default.svc.cluster.local}
---`

/** Reading the host of rules for \`bad\` ends with an error once the rule is taken in. */
function trap({ spec }: AnyResource): void {
  if (!('host' in spec) || !String(spec.host).startsWith('bad.')) return
  Object.defineProperty(spec, 'host', {
    get: () => {
      throw new TypeError('no such host today')
    },
  })
}

const hostsOf = (mesh: TestMesh): string[] => {
  const { destinationRules } = mesh.push()
  const attributes = { namespace: 'default' } as Service['attributes']
  return ['web', 'shop', 'late', 'bad'].filter((name) => {
    const service = { hostname: `${name}.default.svc.cluster.local`, attributes } as Service
    return destinationRules.lookup(service, 'default').length > 0
  })
}

test('a resource with which nothing can be built stays as it was; the others, and what comes later, take effect', () => {
  const mesh = new TestMesh(rule('a', 'web') + rule('b', 'shop'), undefined, undefined, trap)
  mesh.commit()
  mesh.put(rule('a', 'bad') + rule('c', 'late') + rule('d', 'bad'))
  const { changes, faults } = mesh.commit()
  assert.ok(changes.all)
  assert.deepEqual(
    faults.map(({ object }) => object.metadata.name),
    ['a', 'd'],
  )
  assert.match(mesh.problems.join('\n'), /DestinationRule a: .*no such host today\nDestinationRule d: /)
  assert.deepEqual(hostsOf(mesh), ['web', 'shop', 'late'])

  mesh.put(rule('b', 'late'))
  assert.deepEqual(mesh.commit().faults, [])
  assert.deepEqual(hostsOf(mesh), ['web', 'late'])

  mesh.put(rule('a', 'shop'))
  assert.deepEqual(hostsOf(mesh), ['shop', 'late'])
  mesh.remove('DestinationRule.networking.istio.io', 'd')
  assert.deepEqual(mesh.commit().faults, [])
})

test('a faulty object among those that a control plane begins with does not keep the others from being served', () => {
  const yaml = serviceYaml('web') + ['---', rule('a', 'web'), rule('b', 'bad'), rule('c', 'late')].join('')
  const mesh = new TestMesh(yaml, undefined, undefined, trap)
  const { faults, push } = mesh.commit()
  assert.equal(faults.length, 1)
  assert.equal(push.services.all.length, 1)
  assert.deepEqual(hostsOf(mesh), ['web', 'late'])
})
