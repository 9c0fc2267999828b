import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { type AnalysisItem, analyze } from './index.ts'

const options = {
  namespace: 'default',
  istioNamespace: 'istio-system',
  rootNamespace: 'istio-system',
  proxyMetadata: {},
}

function items(text: string): AnalysisItem[] {
  return parseAllDocuments(text).map((document) => {
    const object = document.toJS() as AnalysisItem['object']
    return { object, hasNamespace: object.metadata.namespace !== undefined, reference: (path) => `f:${path}` }
  })
}

const VIRTUAL_SERVICE = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: a, namespace: shop }
spec:
  hosts: [a]
  http:
  - route:
    - destination: { host: missing, subset: v1 }
`

test('a message names the object, the field and the place', () => {
  const messages = analyze(items(VIRTUAL_SERVICE), options)
  assert.deepEqual(
    messages.map(({ code, origin, namespace, reference }) => [code, origin, namespace, reference]),
    [
      ['IST0101', 'VirtualService shop/a', 'shop', 'f:spec.http[0].route[0].destination.host'],
      ['IST0101', 'VirtualService shop/a', 'shop', 'f:spec.http[0].route[0].destination.host'],
    ],
  )
  assert.equal(messages[0]!.message, 'Referenced host not found: "missing"')
})

test('a resource that validation refuses is reported and breaks no other analyzer', () => {
  const broken = `${VIRTUAL_SERVICE}\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: g }\nspec: { servers: [1, null, { hosts: 5, tls: x }], selector: [] }\n`
  const codes = new Set(analyze(items(broken), options).map((message) => message.code))
  assert.ok(codes.has('IST0106'))
  assert.ok(codes.has('IST0101'))
})

test('a host in another namespace is found by its full name only', () => {
  const service =
    'apiVersion: v1\nkind: Service\nmetadata: { name: missing, namespace: other }\nspec: { ports: [{ port: 80, name: http }] }\n'
  const hostMessages = (text: string) =>
    analyze(items(text), options).filter((message) => message.message.startsWith('Referenced host not'))
  assert.equal(hostMessages(`${VIRTUAL_SERVICE}---\n${service}`).length, 1)
  // A name with a dot is a full name to Istio.
  assert.equal(hostMessages(`${VIRTUAL_SERVICE.replace('missing', 'missing.other')}---\n${service}`).length, 1)
  const full = VIRTUAL_SERVICE.replace('missing', 'missing.other.svc.cluster.local')
  assert.equal(hostMessages(`${full}---\n${service}`).length, 0)
})
