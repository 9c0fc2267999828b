import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serviceYaml, TestMesh } from '../testing.ts'

const sidecar = (hosts: string) => `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: [${hosts}]}]}`

const other = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext, namespace: other}
spec: {hosts: [ext.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC}`

/** Hosts that a proxy of namespace default sees, given the hosts of its Sidecar. */
function seen(hosts: string): string[] {
  const mesh = new TestMesh([serviceYaml('web'), other, sidecar(hosts)].join('\n---\n'))
  const push = mesh.push()
  assert.deepEqual(mesh.problems, [])
  const scope = push.sidecarScope({
    type: 'sidecar',
    namespace: 'default',
    labels: {},
    ips: [],
    podPorts: null,
    clusterId: '',
    name: '',
  })
  return scope.services.map((service) => service.hostname)
}

const WEB = 'web.default.svc.cluster.local'
const EXT = 'ext.example.com'

test('hosts after ~ are taken out of what the other hosts of a Sidecar bring in', () => {
  assert.deepEqual(seen("'*/*'").sort(), [EXT, WEB])
  assert.deepEqual(seen("'*/*', '~other/*'"), [WEB])
  assert.deepEqual(seen("'~./*', '*/*'"), [EXT])
  assert.deepEqual(seen("'*/*', '~*/ext.example.com'"), [WEB])
  assert.deepEqual(seen("'*/*', '~other/*.local'").sort(), [EXT, WEB], 'another host of that namespace')
})

test('a bare ~ stands for every namespace, beside other hosts too', () => {
  assert.deepEqual(seen("'~/*'"), [])
  assert.deepEqual(seen("'~/*', './*'"), [])
  assert.deepEqual(seen("'*/*', '~/web.default.svc.cluster.local'"), [EXT])
})
