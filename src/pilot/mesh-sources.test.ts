import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { MemoryStore } from '../cluster/index.ts'
import { until } from '../xds/testing.ts'
import { type MeshSourceOptions, MeshSources } from './mesh-sources.ts'

function start(t: TestContext, options: Partial<MeshSourceOptions> = {}, store = new MemoryStore()) {
  const problems = new Map<string, string[]>()
  const changes: string[] = []
  const sources = new MeshSources({
    store,
    report: (source, list) =>
      problems.set(
        source,
        list.map(({ path, message, level }) => `${level} ${path} ${message}`),
      ),
    changed: (what) => changes.push(what),
    ...options,
  })
  store.watch((events) => sources.stored(events))
  t.after(() => sources.close())
  const put = (name: string, data: Record<string, string>): void => {
    const metadata = { name, namespace: 'istio-system' }
    store.put([{ object: { apiVersion: 'v1', kind: 'ConfigMap', metadata, data } as never }])
  }
  const complaints = (): string[] => [...problems.values()].flat()
  return { store, sources, changes, put, complaints }
}

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'mesh-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return dir
}

test('the ConfigMap istio is followed; what is wrong with it is said, and the last good settings stay', (t) => {
  const { store, sources, changes, put, complaints } = start(t)
  assert.equal(sources.mesh.accessLogFile, '')
  put('other', { mesh: 'accessLogFile: /other' })
  put('istio', { mesh: 'accessLogFile: /a', meshNetworks: 'networks: {n: {endpoints: [{fromCidr: 10.0.0.0/8}]}}' })
  assert.deepEqual(changes, ['mesh', 'networks'])
  assert.equal(sources.mesh.accessLogFile, '/a')
  assert.deepEqual(Object.keys(sources.networks.networks ?? {}), ['n'])

  put('istio', {
    mesh: 'accessLogFile: /b\nproxyListenPort: 0',
    meshNetworks: 'networks: {n: {gateways: [{port: 0}]}}',
  })
  assert.equal(sources.mesh.accessLogFile, '/a')
  assert.deepEqual(
    complaints().map((line) => line.split(' ').slice(0, 2).join(' ')),
    ['error proxyListenPort', 'error networks["n"].gateways[0].port'],
  )
  put('istio', { mesh: 'accessLogFile: [' })
  assert.match(complaints()[0]!, /^error {2}is not YAML/)
  put('istio', { mesh: 'accessLogFile: /c\nwrong: 1' })
  assert.equal(sources.mesh.accessLogFile, '/c')
  assert.deepEqual(sources.networks, {})
  assert.deepEqual(complaints(), ['warning wrong unknown field, it has no effect'])

  store.remove([{ kind: 'ConfigMap', namespace: 'istio-system', name: 'istio' }])
  assert.equal(sources.mesh.accessLogFile, '')
  assert.deepEqual(complaints(), [])
})

test('a revision has its own ConfigMap; that of the users comes below it', (t) => {
  const { sources, put } = start(t, { revision: 'canary', sharedMeshConfig: 'istio-user' })
  put('istio', { mesh: 'rootNamespace: not-ours' })
  put('istio-user', {
    mesh: 'accessLogFile: /user\ntrustDomain: user.example',
    meshNetworks: 'networks: {user: {}}',
  })
  put('istio-canary', { mesh: 'accessLogFile: /canary', meshNetworks: 'networks: {canary: {}}' })
  const { accessLogFile, trustDomain, rootNamespace } = sources.mesh
  assert.deepEqual([accessLogFile, trustDomain, rootNamespace], ['/canary', 'user.example', 'istio-system'])
  assert.deepEqual(sources.networks, { networks: { user: {} } })
})

test('files come before the ConfigMap and are followed, written or replaced', async (t) => {
  const dir = folder(t)
  const meshConfigFile = join(dir, 'mesh.yaml')
  const networksConfigFile = join(dir, 'networks.yaml')
  writeFileSync(meshConfigFile, 'accessLogFile: /first')
  writeFileSync(networksConfigFile, 'networks: {}')
  const { sources, put, complaints } = start(t, { meshConfigFile, networksConfigFile })
  put('istio', { mesh: 'accessLogFile: /configmap' })
  assert.equal(sources.mesh.accessLogFile, '/first')

  writeFileSync(meshConfigFile, 'accessLogFile: /second')
  await until(() => sources.mesh.accessLogFile === '/second', 'the file written')
  writeFileSync(`${meshConfigFile}.new`, 'accessLogFile: /third')
  renameSync(`${meshConfigFile}.new`, meshConfigFile)
  await until(() => sources.mesh.accessLogFile === '/third', 'the file replaced')

  writeFileSync(meshConfigFile, 'connectTimeout: soon')
  await until(() => complaints().length > 0, 'a complaint')
  assert.equal(sources.mesh.accessLogFile, '/third')
  rmSync(meshConfigFile)
  await until(() => /no such file/.test(complaints()[0] ?? ''), 'the end of the file')
  writeFileSync(networksConfigFile, 'networks: {n: {endpoints: [{fromRegistry: other}]}}')
  await until(() => sources.networks.networks?.n !== undefined, 'networks')
  assert.equal(sources.mesh.accessLogFile, '/third')
})
