import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { parse } from 'yaml'
import { createLogger } from '../../base/logger.ts'
import { type KubeObject, MemoryStore } from '../../cluster/index.ts'
import { CertificateAuthority } from '../../security/index.ts'
import { type PilotOptions, startPilot } from '../pilot.ts'
import { objects, serviceYaml } from '../testing.ts'

const POLICY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews, namespace: default}
spec: {selector: {matchLabels: {app: reviews}}, rules: [{to: [{operation: {methods: [GET]}}]}]}
`

async function start(t: TestContext, options: Partial<PilotOptions> = {}) {
  const store = new MemoryStore()
  store.put(
    objects(`${serviceYaml('web')}
---${POLICY}`).map((object) => ({ object })),
  )
  const log = createLogger('test', 'off')
  const pilot = await startPilot({ store, log, grpcAddr: '127.0.0.1:0', httpAddr: '127.0.0.1:0', ...options })
  t.after(() => pilot.stop())
  return async (path: string) => (await fetch(`http://${pilot.addresses.http}${path}`)).text()
}

// The answers of istiod 1.32 to the same policy.
test('pushcontext, clusterz, mcsz and ambientz have the shapes of istiod', async (t) => {
  const get = await start(t)
  assert.equal(
    await get('/debug/pushcontext'),
    '{"AuthorizationPolicies":{"namespace_to_policies":{"default":[{"name":"reviews","namespace":"default","annotations":null,"spec":{"selector":{"matchLabels":{"app":"reviews"}},"rules":[{"to":[{"operation":{"methods":["GET"]}}]}]}}]},"root_namespace":"istio-system"},"NetworkGateways":null,"UnresolvedGateways":null}\n',
  )
  assert.equal(await get('/debug/clusterz'), '[{"id":"Kubernetes","secretName":"","syncStatus":"synced"}]\n')
  assert.equal(await get('/debug/mcsz'), 'null\n')
  assert.equal(await get('/debug/ambientz'), '{"workloads":null,"services":null,"policies":null}\n')
  assert.equal(await get('//debug/networkz'), 'null\n')
  assert.match(await get('/debug/clusterz?pretty'), /^\[\n {4}\{\n {8}"id": "Kubernetes",/)
})

test('list names what istiod names, but for the state of its own library', async (t) => {
  const get = await start(t)
  const istiod =
    'adsz adsz?push=true ambientz authorizationz cachez cachez?clear=true cachez?sizes=true clusterz config_dump configz connections ecdsz edsz endpointShardz endpointz inject instancesz krtz mcsz mesh ndsz networkz push_status pushcontext registryz resourcesz sidecarz syncz telemetryz'
  const without = new Set(['krtz', 'cachez?sizes=true'])
  assert.deepEqual(
    JSON.parse(await get('/debug/list')),
    istiod.split(' ').filter((name) => !without.has(name)),
  )
  assert.equal(await get('/debug/cachez?clear=true'), 'Cache cleared\n')
})

test('inject shows what injection adds, and null where nothing is injected', async (t) => {
  const inject = (pod: KubeObject) =>
    pod.metadata.labels?.['sidecar.istio.io/inject'] ? { ...pod, spec: { injected: true } } : undefined
  assert.equal(await (await start(t))('/debug/inject'), 'null\n')
  const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local', keyType: 'ECDSA' })
  const certificate = await ca.issueServerCertificate(['istiod.istio-system.svc'], undefined, 'ECDSA')
  const get = await start(t, { webhooks: { address: '127.0.0.1:0', certificate, inject } })
  const shown = JSON.parse(await get('/debug/inject')) as Record<string, string>
  assert.deepEqual(Object.keys(shown), ['sidecar'])
  assert.deepEqual(parse(shown.sidecar!).spec, { injected: true })
})
