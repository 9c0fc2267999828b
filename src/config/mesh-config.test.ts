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

test('a field replaces its default whole; ProxyConfig merges by field, providers by name', () => {
  const parsed = parseMeshConfig({
    outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
    localityLbSetting: { failoverPriority: ['a'] },
    defaultConfig: { tracing: { sampling: 50 } },
    extensionProviders: [{ name: 'envoy', envoyFileAccessLog: { path: '/tmp/log' } }],
  })
  assert.ok(parsed.ok)
  const mesh = parsed.value
  assert.equal(mesh.outboundTrafficPolicy.mode, 'REGISTRY_ONLY')
  assert.deepEqual(mesh.localityLbSetting, { failoverPriority: ['a'] })
  assert.equal(mesh.defaultConfig.tracing?.sampling, 50)
  assert.equal(mesh.defaultConfig.drainDuration, 45_000)
  assert.equal(mesh.extensionProviders.find((p) => p.name === 'envoy')?.envoyFileAccessLog?.path, '/tmp/log')
})

test('of two layers the second wins; variables of proxies, providers and aliases add up', () => {
  const user = parseMeshConfig({
    accessLogFile: '/user',
    rootNamespace: 'user',
    trustDomainAliases: ['z'],
    defaultConfig: { proxyMetadata: { A: 'user', B: 'user' }, tracing: { sampling: 1 } },
    extensionProviders: [{ name: 'mine', prometheus: {} }],
  })
  assert.ok(user.ok)
  const parsed = parseMeshConfig(
    { accessLogFile: '/own', trustDomainAliases: ['a'], defaultConfig: { proxyMetadata: { B: 'own' }, tracing: {} } },
    user.value,
  )
  assert.ok(parsed.ok)
  const { accessLogFile, rootNamespace, trustDomainAliases, defaultConfig, extensionProviders } = parsed.value
  assert.deepEqual([accessLogFile, rootNamespace, trustDomainAliases], ['/own', 'user', ['a', 'z']])
  assert.deepEqual(defaultConfig.proxyMetadata, { A: 'user', B: 'own' })
  assert.deepEqual(defaultConfig.tracing, {})
  assert.ok(extensionProviders.some(({ name }) => name === 'mine'))
})

test('a mistake names its field; a field that is not known is left out with a warning', () => {
  const parsed = parseMeshConfig({ accesLogFile: '/dev/stdout', defaultConfig: { concurrency: -1 } })
  assert.ok(!parsed.ok)
  assert.deepEqual(
    parsed.problems.map((p) => [p.path, p.level, p.hint]),
    [
      ['accesLogFile', 'warning', 'did you mean accessLogFile?'],
      ['defaultConfig.concurrency', 'error', undefined],
    ],
  )
})
