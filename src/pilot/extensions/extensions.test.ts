import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromBinary } from '@bufbuild/protobuf'
import { WasmSchema } from '../../api/gen/envoy/extensions/filters/http/wasm/v3/wasm_pb.js'
import { generateExtensionConfigs } from '../envoy-filter/extensions.ts'
import { TestMesh, testProxy } from '../testing.ts'
import { extensionsFor } from './extension.ts'

const plugin = (name: string, spec: string, namespace = 'default') => `
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: ${name}, namespace: ${namespace}}
spec: {url: "oci://example.com/x", ${spec}}
`
const ENVOY = ['envoy.filters.http.wasm', 'envoy.filters.network.wasm', 'envoy.filters.http.lua']
const envoy = (labels: Record<string, string> = {}) => testProxy({ labels, extensions: ENVOY })

function names(mesh: TestMesh, kind: 'inbound' | 'outbound' = 'inbound', port = 80, proxy = envoy()): string[] {
  const byPhase = extensionsFor(mesh.push(), proxy, kind, port, 'http')
  return Object.entries(byPhase).flatMap(([phase, list]) =>
    list.map((extension) => `${phase} ${extension.resource.metadata.name}`),
  )
}

test('extensions stand in their phase, the higher priority first; one without priority last', () => {
  const mesh = new TestMesh(
    [plugin('none', ''), plugin('low', 'priority: 1'), plugin('high', 'priority: 9'), plugin('n', 'phase: AUTHN')].join(
      '---',
    ),
  )
  assert.deepEqual(names(mesh), ['AUTHN n', 'UNSPECIFIED high', 'UNSPECIFIED low', 'UNSPECIFIED none'])
})

test('mode and port choose listeners, the selector workloads, the namespace whose they are', () => {
  const mesh = new TestMesh(
    [
      plugin('server', 'match: [{mode: SERVER}]'),
      plugin('client', 'match: [{mode: CLIENT, ports: [{number: 90}]}]'),
      plugin('web', 'selector: {matchLabels: {app: web}}'),
      plugin('root', '', 'istio-system'),
      plugin('other', '', 'other'),
    ].join('---'),
  )
  assert.deepEqual(names(mesh), ['UNSPECIFIED server', 'UNSPECIFIED root'])
  assert.deepEqual(names(mesh, 'outbound', 90), ['UNSPECIFIED client', 'UNSPECIFIED root'])
  assert.deepEqual(names(mesh, 'outbound', 80), ['UNSPECIFIED root'])
  assert.ok(names(mesh, 'inbound', 80, envoy({ app: 'web' })).includes('UNSPECIFIED web'))
})

test('a proxy without the filters is sent no extension', () => {
  const mesh = new TestMesh(plugin('a', ''))
  assert.deepEqual(names(mesh, 'inbound', 80, testProxy({ extensions: ['envoy.filters.http.router'] })), [])
})

test("pull secrets go to proxies that proved who they are, and only of the extension's own namespace", () => {
  const mesh = new TestMesh(`${plugin('a', 'imagePullSecret: other/pull')}---
apiVersion: v1
kind: Secret
metadata: {name: pull, namespace: default}
data: {.dockerconfigjson: ${Buffer.from('{"auths":{}}').toString('base64')}}
`)
  const push = mesh.push()
  const name = push.extensions[0]!.resourceName
  const secretOf = (withSecrets: boolean) => {
    const [config] = generateExtensionConfigs(envoy(), push, [name], withSecrets)
    const { vm } = fromBinary(WasmSchema, config!.typedConfig!.value).config!
    return vm.case === 'vmConfig' && vm.value.environmentVariables!.keyValues.ISTIO_META_WASM_IMAGE_PULL_SECRET
  }
  assert.equal(secretOf(true), '{"auths":{}}')
  assert.equal(secretOf(false), '')
  assert.deepEqual(generateExtensionConfigs(testProxy({ namespace: 'other' }), push, [name], true), [])
})

test('a TrafficExtension has one of wasm and lua', () => {
  const mesh = new TestMesh(`
apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
metadata: {name: a}
spec: {phase: AUTHN}
`)
  assert.match(mesh.problems.join(), /one of wasm and lua/)
})
