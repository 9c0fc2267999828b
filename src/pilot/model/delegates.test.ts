import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VirtualService } from '../../config/index.ts'
import { TestMesh } from '../testing.ts'
import { MESH_GATEWAY } from './virtual-service.ts'

const root = (match: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec: {hosts: [shop.example.com], http: [{name: r, match: [${match}], delegate: {name: child, namespace: team}}, {route: [{destination: {host: rest.example.com}}]}]}
`
const child = (http: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: child, namespace: team}
spec: {http: [${http}]}
`

function merged(...yaml: string[]): VirtualService {
  const list = new TestMesh(yaml.join('---\n')).push().virtualServices.visible('default', MESH_GATEWAY)
  assert.equal(list.length, 1, 'the delegate itself is not served')
  return list[0]!
}

test("a delegate's routes take the place of the route that names it, its matches refined by the root's", () => {
  const vs = merged(
    root('{uri: {prefix: /a}}'),
    child(
      '{name: c, match: [{uri: {prefix: /a/b}}, {headers: {x: {exact: "1"}}}], route: [{destination: {host: web}}]}',
    ),
  )
  const [first, last] = vs.spec.http!
  assert.equal(first!.name, 'r-c')
  assert.deepEqual(
    first!.match!.map((m) => [m.uri?.prefix, m.headers?.x?.exact]),
    [
      ['/a/b', undefined],
      ['/a', '1'],
    ],
  )
  assert.equal(first!.route![0]!.destination.host, 'web.team.svc.cluster.local')
  assert.equal(last!.route![0]!.destination.host, 'rest.example.com')
})

test('a delegate route that reaches beyond the root is dropped', () => {
  const vs = merged(
    root('{uri: {prefix: /a}}'),
    child('{match: [{uri: {prefix: /z}}], route: [{destination: {host: web}}]}'),
  )
  assert.equal(vs.spec.http!.length, 1)
})

test('a delegate that does not exist leaves no route', () => {
  assert.equal(merged(root('{uri: {prefix: /a}}')).spec.http!.length, 1)
})
