import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../cluster/index.ts'
import { Admission } from './admission.ts'
import { applyManifests, FolderSource } from './folder-source.ts'
import { ImageCatalogue } from './images.ts'
import type { Service } from './pod-types.ts'

const namespace = 'apiVersion: v1\nkind: Namespace\nmetadata: { name: default }\n'
const service = (name: string, port: number) =>
  `apiVersion: v1\nkind: Service\nmetadata: { name: ${name} }\nspec: { selector: { app: a }, ports: [{ port: ${port} }] }\n`

function folder() {
  const store = new MemoryStore()
  const images = new ImageCatalogue()
  const admission = new Admission(store, (pod) => pod)
  const source = new FolderSource(store, admission, images)
  source.update([{ file: '/d/ns.yaml', text: namespace }])
  const names = () =>
    store
      .list('Service')
      .map((o) => o.metadata.name)
      .sort()
  const portOf = (name: string) => (store.get('Service', 'default', name) as Service).spec.ports![0]!.port
  return { store, images, admission, source, names, portOf }
}

test('an object its file no longer has is removed, and so are those of a removed file', () => {
  const { source, names } = folder()
  source.update([{ file: '/d/a.yaml', text: `${service('a', 80)}---\n${service('b', 80)}` }])
  source.update([{ file: '/d/a.yaml', text: service('a', 80) }])
  assert.deepEqual(names(), ['a'])
  source.update([{ file: '/d/a.yaml', text: undefined }])
  assert.deepEqual(names(), [])
})

test('an object that moves to another file stays', () => {
  const { source, store } = folder()
  source.update([{ file: '/d/a.yaml', text: service('a', 80) }])
  const { uid } = store.get('Service', 'default', 'a')!.metadata
  source.update([
    { file: '/d/a.yaml', text: undefined },
    { file: '/d/b.yaml', text: service('a', 80) },
  ])
  assert.equal(store.get('Service', 'default', 'a')!.metadata.uid, uid)
})

test('a broken file keeps its last good objects, and other files are applied', () => {
  const { source, names, portOf } = folder()
  source.update([{ file: '/d/a.yaml', text: service('a', 80) }])
  const report = source.update([
    { file: '/d/a.yaml', text: 'kind: [' },
    { file: '/d/b.yaml', text: service('b', 81) },
  ])
  assert.equal(report.problems[0]!.file, '/d/a.yaml')
  assert.deepEqual(names(), ['a', 'b'])
  assert.equal(portOf('a'), 80)
})

test('an unchanged file is not applied again unless asked for', () => {
  const { source, store, portOf } = folder()
  const files = [{ file: '/d/a.yaml', text: service('a', 80) }]
  source.update(files)
  const object = store.get('Service', 'default', 'a') as Service
  store.put([{ object: { ...object, spec: { ...object.spec, ports: [{ port: 99 }] } } }])
  source.update(files)
  assert.equal(portOf('a'), 99)
  source.update(files, true)
  assert.equal(portOf('a'), 80)
})

test('images.yaml is read as images, a broken one keeps the last', () => {
  const { source, images } = folder()
  source.update([{ file: '/d/images.yaml', text: 'images: { shop: { command: [a] } }\n' }])
  assert.deepEqual(images.find('shop:1')?.command, ['a'])
  const { problems } = source.update([{ file: '/d/images.yaml', text: 'images: { shop: {} }\n' }])
  assert.equal(problems[0]!.line, 1)
  assert.deepEqual(images.find('shop:1')?.command, ['a'])
})

test('apply takes all or nothing', () => {
  const { store, admission, names } = folder()
  const report = applyManifests(store, admission, [{ file: 'x', text: `${service('a', 80)}---\nkind: Nonsense\n` }])
  assert.equal(report.applied.length, 0)
  assert.equal(report.problems[0]!.level, 'error')
  assert.deepEqual(names(), [])
})

test('a destination nobody has is a warning, and the route is applied', () => {
  const { store, admission } = folder()
  const route = (host: string) =>
    `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: v }\nspec: { hosts: [a], http: [{ route: [{ destination: { host: ${host} } }] }] }\n`
  const text = `${service('a', 80)}---\n${route('a.default.svc.cluster.local')}`
  assert.deepEqual(applyManifests(store, admission, [{ file: 'x', text }]).problems, [])
  const report = applyManifests(store, admission, [{ file: 'x', text: route('missing') }])
  assert.deepEqual(
    report.problems.map((p) => p.level),
    ['warning'],
  )
  assert.match(report.problems[0]!.message, /destination host "missing"/)
  assert.equal(report.applied[0]!.action, 'configured')
})

test('a file the cluster refuses does not keep the others out', () => {
  const { source, names } = folder()
  const { problems } = source.update([
    { file: '/d/a.yaml', text: service('a', 80).replace('{ name: a }', '{ name: a, namespace: nowhere }') },
    { file: '/d/b.yaml', text: service('b', 80) },
  ])
  assert.match(problems[0]!.message, /namespaces "nowhere" not found/)
  assert.equal(problems[0]!.file, '/d/a.yaml')
  assert.deepEqual(names(), ['b'])
})
