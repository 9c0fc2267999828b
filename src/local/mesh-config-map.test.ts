import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readManifests } from './manifest.ts'

const configMap = (mesh: string, namespace = 'istio-system') =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: ${namespace}}\ndata:\n  mesh: ${JSON.stringify(mesh)}\n`

const said = (text: string) =>
  readManifests('mesh.yaml', text).problems.map(({ line, level, message }) => `${line} ${level} ${message}`)

test('mesh settings are checked as MeshConfig, at the line of their text', () => {
  assert.deepEqual(said(configMap('accessLogFile: /dev/stdout')), [])
  assert.deepEqual(said(configMap('acessLogFile: x')), [
    '5 warning ConfigMap istio: data.mesh: acessLogFile unknown field, it has no effect (did you mean accessLogFile?)',
  ])
  assert.match(said(configMap('a: [')).join(), /^5 error ConfigMap istio: data\.mesh: is not YAML: /)
  assert.match(said(configMap('trustDomain: a_b')).join(), /^5 error .*trustDomain "a_b" is not a trust domain/)
})

test('what of them has no effect is said', () => {
  assert.match(said(configMap('configSources: [{address: "xds://a:1"}]')).join(), /5 warning .*configSources/)
})

test('other ConfigMaps of that name are anything', () => {
  assert.deepEqual(said(configMap('anything', 'default')), [])
})
