import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { generateNameTable } from './generate.ts'

const MESH = `${serviceYaml('web')}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp, port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, labels: {app: db}}
spec: {hostname: db-0, subdomain: db, containers: [{name: db}]}
status: {phase: Running, podIP: 10.1.0.20}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: tcp, port: 5432}]
endpoints: [{addresses: [10.1.0.20], hostname: db-0, conditions: {ready: true}, targetRef: {kind: Pod, name: db-0}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec: {hosts: [ext.example.com], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named}
spec: {hosts: [named.example.com], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}
status: {addresses: [{value: 240.240.7.7, host: named.example.com}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec: {hosts: ["*.example.com"], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]}
`

const CAPTURED = { DNS_CAPTURE: 'true' }

test('names of services, headless services and their pods, ServiceEntries with allocated addresses', () => {
  const { table } = generateNameTable(testProxy({ metadata: CAPTURED }), new TestMesh(MESH).push())
  assert.deepEqual(table['web.default.svc.cluster.local']?.ips, ['10.96.0.1'])
  assert.equal(table['web.default.svc.cluster.local']?.shortname, 'web')
  assert.deepEqual(table['db.default.svc.cluster.local']?.ips, ['10.1.0.20'])
  assert.deepEqual(table['db-0.db.default.svc.cluster.local']?.ips, ['10.1.0.20'])
  assert.equal(table['db-0.db.default.svc.cluster.local']?.shortname, 'db-0.db')
  assert.match(table['ext.example.com']!.ips[0]!, /^240\.240\./)
  assert.deepEqual(table['named.example.com']?.ips, ['240.240.7.7'])
  assert.equal(Object.keys(table).length, 5, 'a wildcard is no name')
})

test('allocated addresses are for proxies that answer DNS; gateways have no names', () => {
  const push = new TestMesh(MESH).push()
  assert.equal(generateNameTable(testProxy(), push).table['named.example.com'], undefined)
  assert.deepEqual(generateNameTable(testProxy({ type: 'router', metadata: CAPTURED }), push).table, {})
})

test('a ServiceEntry of a headless host: its port of the same number, being younger, says who is there', () => {
  const entry = (creationTimestamp: string) =>
    generateNameTable(
      testProxy(),
      new TestMesh(`${MESH.replace('metadata: {name: db}\n', 'metadata: {name: db, creationTimestamp: 2026-01-02T00:00:00Z}\n')}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: squat, creationTimestamp: ${creationTimestamp}}
spec:
  hosts: [db.default.svc.cluster.local]
  addresses: [240.0.0.1]
  resolution: DNS
  ports: [{number: 5432, name: other, protocol: TCP}]
`).push(),
    ).table
  const older = entry('2026-01-01T00:00:00Z')
  assert.deepEqual(older['db.default.svc.cluster.local']?.ips, ['10.1.0.20'])
  const younger = entry('2026-01-03T00:00:00Z')
  assert.deepEqual(younger['db.default.svc.cluster.local']?.ips, ['240.0.0.1'])
  assert.equal(younger['db.default.svc.cluster.local']?.registry, 'External')
  assert.equal(younger['db-0.db.default.svc.cluster.local'], undefined)
})
