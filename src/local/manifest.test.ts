import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pathSegments, readManifests } from './manifest.ts'

const lines = (text: string) => readManifests('x.yaml', text).problems.map((p) => `${p.level} ${p.line}: ${p.message}`)

test('objects carry file and line', () => {
  const { objects, problems } = readManifests(
    'x.yaml',
    'apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: b}\n',
  )
  assert.deepEqual(problems, [])
  assert.deepEqual(
    objects.map((o) => [o.object.kind, o.origin.line]),
    [
      ['Namespace', 1],
      ['ServiceAccount', 5],
    ],
  )
})

test('invalid YAML is one problem with its line', () => {
  assert.match(lines('apiVersion: v1\nkind: [Pod\nmetadata: {}\n')[0]!, /^error [23]: invalid YAML/)
})

test('an unknown kind names the kinds there are', () => {
  assert.match(
    lines('apiVersion: v1\nkind: Gadget\nmetadata: {name: a}\n')[0]!,
    /^error 2: Gadget a: kind: unknown kind "Gadget".*Deployment/,
  )
})

test('an unknown field of a Kubernetes kind points at its line', () => {
  const text =
    'apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n    - port: 80\n      targetport: 8080\n'
  assert.deepEqual(lines(text), [
    'error 8: Service a: spec.ports[0].targetport: unknown field (did you mean targetPort?)',
  ])
})

test('an unknown field of an Istio kind points at its line', () => {
  const text =
    'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: a\nspec:\n  hosts: [a]\n  http:\n    - rout: []\n'
  assert.match(lines(text)[0]!, /^error 8: VirtualService a: spec\.http\[0\]\.rout: unknown field/)
})

test('a List is its items', () => {
  const text = JSON.stringify({
    apiVersion: 'v1',
    kind: 'List',
    items: [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'a' } }],
  })
  assert.equal(readManifests('x.json', text).objects[0]!.object.metadata.name, 'a')
})

test('a document that is no object is an error, an empty one nothing', () => {
  assert.equal(lines('- 1\n- 2\n').length, 1)
  assert.deepEqual(lines('---\n---\n# nothing\n'), [])
})

test('field paths split at dots, indexes and quoted keys', () => {
  assert.deepEqual(pathSegments('spec.http[0].labels["a.b/c"].x'), ['spec', 'http', 0, 'labels', 'a.b/c', 'x'])
})

test('aliases that explode are an error, not an exception', () => {
  const levels = Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(', ')}]`)
  assert.match(lines(`a0: &a0 [x]\n${levels.join('\n')}\n`)[0]!, /^error \d+: invalid YAML/)
})
