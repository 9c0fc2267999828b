import assert from 'node:assert/strict'
import { test } from 'node:test'
import { defaultMeshConfig } from '../config/index.ts'
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
