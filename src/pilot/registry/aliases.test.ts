import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestMesh } from '../testing.ts'

const alias = (name: string, to: string, namespace = 'default') => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: {type: ExternalName, externalName: ${to}, ports: [{name: http, port: 80}]}`

const WEB = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}`

test('an alias of an alias is one of the service at the end, rings are none', () => {
  const push = new TestMesh(
    [
      WEB,
      alias('b', 'a.default.svc.cluster.local'),
      alias('a', 'web.default.svc.cluster.local'),
      alias('c', 'web.default.svc.cluster.local', 'before'),
      alias('ring', 'rong.default.svc.cluster.local'),
      alias('rong', 'ring.default.svc.cluster.local'),
      alias('self', 'self.default.svc.cluster.local'),
    ].join('\n---'),
  ).push()
  const aliases = (host: string) => push.services.byHost.get(host)![0]!.aliases
  assert.deepEqual(aliases('web.default.svc.cluster.local'), [
    'c.before.svc.cluster.local',
    'a.default.svc.cluster.local',
    'b.default.svc.cluster.local',
  ])
  assert.deepEqual(aliases('ring.default.svc.cluster.local'), [])
  assert.deepEqual(aliases('self.default.svc.cluster.local'), [])
})
