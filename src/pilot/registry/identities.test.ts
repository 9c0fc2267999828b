import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestMesh } from '../testing.ts'

const pod = (name: string, ip: string, labels: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: db${labels}}}
spec: {serviceAccountName: db, nodeName: n, containers: [{name: app}]}
status: {phase: Running, podIP: ${ip}, conditions: [{type: Ready, status: "True"}]}
---`
const slice = (port: string, pods: readonly string[]): string => `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-${port}, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: ${port}, port: 9000}]
endpoints: [${pods.map((name) => `{addresses: [10.1.0.${name.length}], targetRef: {kind: Pod, name: ${name}}}`)}]
---`

test('a port whose endpoints no longer all speak mutual TLS changes what clusters are made from', () => {
  const mesh = new TestMesh(`
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, ports: [{name: a, port: 9000}, {name: b, port: 9001}]}
---
${pod('tls', '10.1.0.3', ', security.istio.io/tlsMode: istio')}
${pod('plain', '10.1.0.5', '')}
${slice('a', ['tls'])}
${slice('b', ['plain'])}`)
  mesh.commit()
  mesh.put(slice('b', ['plain', 'tls']))
  assert.equal(mesh.commit().changes.identities.size, 0)
  mesh.put(slice('a', ['plain', 'tls']))
  assert.deepEqual([...mesh.commit().changes.identities], ['default/db.default.svc.cluster.local'])
})
