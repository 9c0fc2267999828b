import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMeshConfig } from '../../config/index.ts'
import { serviceYaml, TestMesh } from '../testing.ts'
import { NamespaceFilter, selectorMatches } from './namespace-filter.ts'

test('selectors as Kubernetes reads them', () => {
  const labels = { env: 'prod', team: 'a' }
  const matches = (expression: object) => selectorMatches({ matchExpressions: [expression as never] }, labels)
  assert.ok(selectorMatches({ matchLabels: { env: 'prod' } }, labels))
  assert.ok(!selectorMatches({ matchLabels: { env: 'prod', x: 'y' } }, labels))
  assert.ok(matches({ key: 'env', operator: 'In', values: ['prod', 'test'] }))
  assert.ok(!matches({ key: 'x', operator: 'In', values: ['y'] }))
  assert.ok(matches({ key: 'x', operator: 'NotIn', values: ['y'] }))
  assert.ok(!matches({ key: 'env', operator: 'NotIn', values: ['prod'] }))
  assert.ok(matches({ key: 'team', operator: 'Exists' }))
  assert.ok(matches({ key: 'x', operator: 'DoesNotExist' }))
})

const namespace = (labels: string) => `apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {${labels}}}`
const RULE = 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\nspec: {host: web}'

test('only selected namespaces are seen; a label brings a namespace in and out', () => {
  const config = parseMeshConfig({ discoverySelectors: [{ matchLabels: { mesh: 'on' } }] })
  assert.ok(config.ok)
  const mesh = new TestMesh([namespace(''), serviceYaml('web'), RULE].join('\n---\n'), config.value)
  const seen = () => {
    const push = mesh.push()
    return [push.services.all.length, push.endpoints.size, [...mesh.state.accepted()].length]
  }
  assert.deepEqual(seen(), [0, 0, 0])
  mesh.put(namespace('mesh: "on"'))
  assert.deepEqual(seen(), [1, 1, 1])
  mesh.put(serviceYaml('shop', { ip: '10.1.0.5' }))
  assert.deepEqual(seen(), [2, 2, 1])
  mesh.put(namespace('mesh: "off"'))
  assert.deepEqual(seen(), [0, 0, 0])
})

test('a namespace is known by its name, and by expressions over its labels', () => {
  const config = parseMeshConfig({
    discoverySelectors: [
      { matchLabels: { 'kubernetes.io/metadata.name': 'default' } },
      {
        matchExpressions: [
          { key: 'team', operator: 'In', values: ['a'] },
          { key: 'hidden', operator: 'DoesNotExist' },
        ],
      },
    ],
  })
  assert.ok(config.ok)
  const filter = new NamespaceFilter(config.value.discoverySelectors)
  assert.ok(filter.selected('default'))
  assert.ok(filter.set('one', { team: 'a' }) && filter.selected('one'))
  assert.ok(!filter.set('two', { team: 'a', hidden: '' }) && !filter.selected('two'))
  assert.ok(filter.set('one', null) && !filter.selected('one'))
  assert.ok(filter.with([]).selected('two'))
})
