import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import type { JsonValue } from '@bufbuild/protobuf'
import { parse } from 'yaml'
import { createLogger } from '../../base/logger.ts'
import { type KubeObject, MemoryStore } from '../../cluster/index.ts'
import { CertificateAuthority } from '../../security/index.ts'
import type { PilotOptions } from '../options.ts'
import { startPilot } from '../pilot.ts'
import { objects, serviceYaml } from '../testing.ts'

const POLICY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews, namespace: default}
spec: {selector: {matchLabels: {app: reviews}}, rules: [{to: [{operation: {methods: [GET]}}]}]}
`

async function start(
  t: TestContext,
  options: Partial<PilotOptions> = {},
  yaml = `${serviceYaml('web')}\n---${POLICY}`,
) {
  const store = new MemoryStore()
  store.put(objects(yaml).map((object) => ({ object })))
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

test('list names what istiod names', async (t) => {
  const listed = async (options: Partial<PilotOptions>) => JSON.parse(await (await start(t, options))('/debug/list'))
  const istiod =
    'adsz adsz?push=true ambientz authorizationz cachez cachez?clear=true cachez?sizes=true clusterz config_dump configz connections ecdsz edsz endpointShardz endpointz force_disconnect inject instancesz krtz mcsz mesh ndsz networkz push_status pushcontext registryz resourcesz sidecarz syncz telemetryz'
  assert.deepEqual(await listed({ unsafeAdmin: true }), istiod.split(' '))
  assert.deepEqual(
    await listed({}),
    istiod.split(' ').filter((name) => name !== 'force_disconnect'),
  )
})

/** Objects, and what istiod 1.32 shows of them. */
const recorded = JSON.parse(readFileSync(new URL('recorded.json.golden', import.meta.url), 'utf8')) as {
  readonly input: string
  readonly pages: Readonly<Record<string, JsonValue>>
}

test('services, endpoints and Telemetry are shown as by istiod', async (t) => {
  const get = await start(t, {}, recorded.input)
  const services = (list: JsonValue) =>
    (list as { hostname: string; Attributes: { Aliases: unknown } }[])
      .map(({ Attributes: { Aliases, ...attributes }, ...service }) => ({ ...service, attributes }))
      .sort((a, b) => (a.hostname < b.hostname ? -1 : 1))
  for (const [page, wanted] of Object.entries(recorded.pages)) {
    const shown = JSON.parse(await get(page)) as JsonValue
    // istiod's list is in the order of its registries, and says nothing of aliases.
    if (page === '/debug/registryz') assert.deepEqual(services(shown), services(wanted))
    else assert.deepEqual(shown, wanted)
  }
})

test('the state of everything is shown by kind, but no secrets', async (t) => {
  const get = await start(
    t,
    {},
    `apiVersion: v1
kind: Secret
metadata: {name: s, namespace: default}
data: {key: c2VjcmV0}
stringData: {other: secret}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: default}
data: {a: b}`,
  )
  const [map, secret] = JSON.parse(await get('/debug/krtz')) as {
    readonly name: string
    readonly uid: number
    readonly state: { readonly synced: boolean; readonly outputs: Readonly<Record<string, KubeObject>> }
  }[]
  assert.equal(map!.name, 'store/ConfigMap')
  assert.deepEqual(map!.state.outputs['default/c']!.data, { a: 'b' })
  assert.equal(secret!.name, 'store/Secret')
  assert.equal(secret!.state.synced, true)
  assert.deepEqual(Object.keys(secret!.state.outputs['default/s']!).sort(), ['apiVersion', 'kind', 'metadata'])
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
