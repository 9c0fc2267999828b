import assert from 'node:assert/strict'
import { test } from 'node:test'
import { defaultMeshConfig, parseMeshConfig } from './mesh-config.ts'

test('the defaults are those of a plain Istio installation', () => {
  const mesh = defaultMeshConfig()
  assert.equal(mesh.proxyListenPort, 15001)
  assert.equal(mesh.proxyInboundListenPort, 15006)
  assert.equal(mesh.connectTimeout, 10_000)
  assert.equal(mesh.enableAutoMtls, true)
  assert.equal(mesh.outboundTrafficPolicy.mode, 'ALLOW_ANY')
  assert.equal(mesh.defaultConfig.statusPort, 15020)
  assert.deepEqual(
    mesh.extensionProviders.map((p) => p.name),
    ['prometheus', 'stackdriver', 'envoy'],
  )
})

test('messages merge with their defaults, lists replace them, providers merge by name', () => {
  const parsed = parseMeshConfig({
    outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
    localityLbSetting: { failoverPriority: ['a'] },
    defaultConfig: { tracing: { sampling: 50 } },
    extensionProviders: [{ name: 'envoy', envoyFileAccessLog: { path: '/tmp/log' } }],
  })
  assert.ok(parsed.ok)
  const mesh = parsed.value
  assert.equal(mesh.outboundTrafficPolicy.mode, 'REGISTRY_ONLY')
  assert.deepEqual(mesh.localityLbSetting, { enabled: true, failoverPriority: ['a'] })
  assert.equal(mesh.defaultConfig.tracing?.sampling, 50)
  assert.equal(mesh.defaultConfig.drainDuration, 45_000)
  assert.equal(mesh.extensionProviders.find((p) => p.name === 'envoy')?.envoyFileAccessLog?.path, '/tmp/log')
})

test('a mistake names its field', () => {
  const parsed = parseMeshConfig({ accesLogFile: '/dev/stdout', defaultConfig: { concurrency: -1 } })
  assert.ok(!parsed.ok)
  assert.deepEqual(
    parsed.problems.map((p) => [p.path, p.hint]),
    [
      ['accesLogFile', 'did you mean accessLogFile?'],
      ['defaultConfig.concurrency', undefined],
    ],
  )
})
