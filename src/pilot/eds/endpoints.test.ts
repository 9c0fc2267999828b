import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterLoadAssignment } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { TestMesh, testProxy } from '../testing.ts'
import { generateEndpoints } from './generate.ts'

const NAME = 'outbound|80||ext.example.com'

const mesh = (policy = 'loadBalancer: {simple: RANDOM}', endpoints = PLACES) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec:
  hosts: [ext.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [${endpoints}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ext}
spec: {host: ext.example.com, trafficPolicy: {${policy}}, subsets: [{name: v1, labels: {version: v1}}]}
`
const PLACES = [
  '{address: 10.0.1.1, locality: r1/z1/s1, labels: {version: v1}}',
  '{address: 10.0.1.2, locality: r1/z1/s2}',
  '{address: 10.0.1.3, locality: r1/z2/s3}',
  '{address: 10.0.1.4, locality: r2/z3/s4}',
  '{address: 10.0.1.5, locality: r3/z4/s5, weight: 4}',
].join(', ')
const OUTLIER = 'outlierDetection: {consecutive5xxErrors: 5}'

function assignment(yaml: string, name = NAME, locality = 'r1/z1/s1', labels = {}): ClusterLoadAssignment {
  const [out] = generateEndpoints(testProxy({ locality, labels }), new TestMesh(yaml).push(), [name])
  return out!
}

/** `region/zone/subzone priority weight endpoints`, in the order sent. */
function groups(a: ClusterLoadAssignment): string[] {
  return a.endpoints.map((g) => {
    const { region, zone, subZone } = g.locality!
    return `${region}/${zone}/${subZone} p${g.priority} w${g.loadBalancingWeight} n${g.lbEndpoints.length}`
  })
}

test('groups by locality in order, weights summed, priorities only with outlier detection', () => {
  assert.deepEqual(groups(assignment(mesh())), [
    'r1/z1/s1 p0 w1 n1',
    'r1/z1/s2 p0 w1 n1',
    'r1/z2/s3 p0 w1 n1',
    'r2/z3/s4 p0 w1 n1',
    'r3/z4/s5 p0 w4 n1',
  ])
  assert.deepEqual(
    groups(assignment(mesh(OUTLIER))).map((g) => g.split(' ')[1]),
    ['p0', 'p1', 'p2', 'p3', 'p3'],
  )
})

test('a place is one group, however it is spelled', () => {
  const spellings = '{address: 10.0.1.1, locality: r1/z1}, {address: 10.0.1.2, locality: r1/z1/}'
  assert.deepEqual(groups(assignment(mesh('loadBalancer: {simple: RANDOM}', spellings))), ['r1/z1/ p0 w2 n2'])
})

test('failover names the next region; the rest comes after, numbered without gaps', () => {
  const policy = `${OUTLIER}, loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r2}]}}`
  assert.deepEqual(
    groups(assignment(mesh(policy))).map((g) => g.split(' ')[1]),
    ['p0', 'p1', 'p2', 'p3', 'p4'],
  )
  assert.deepEqual(
    groups(assignment(mesh(policy), NAME, 'r2/z3/s4')).map((g) => g.split(' ')[1]),
    ['p1', 'p1', 'p1', 'p0', 'p1'],
  )
})

test('failoverPriority splits a locality by how many labels match', () => {
  const policy = `${OUTLIER}, loadBalancer: {localityLbSetting: {failoverPriority: ["version=v1", "topology.kubernetes.io/region"]}}`
  const list = groups(assignment(mesh(policy)))
  assert.equal(list[0], 'r1/z1/s1 p0 w1 n1')
  assert.ok(list.slice(1).every((g) => g.includes(' p1 ')))
})

test('distribute shares by percent and leaves out what it does not name', () => {
  const policy = 'loadBalancer: {localityLbSetting: {distribute: [{from: "r1/*", to: {"r1/z1/*": 75, "r2/*": 25}}]}}'
  assert.deepEqual(groups(assignment(mesh(policy))), [
    'r1/z1/s1 p0 w38 n1',
    'r1/z1/s2 p0 w38 n1',
    'r1/z2/s3 p0 w1 n0',
    'r2/z3/s4 p0 w25 n1',
    'r3/z4/s5 p0 w4 n0',
  ])
})

test('subsets by labels; unknown names are empty, never absent', () => {
  assert.deepEqual(groups(assignment(mesh(), NAME.replace('||', '|v1|'))), ['r1/z1/s1 p0 w1 n1'])
  assert.deepEqual(groups(assignment(mesh(), NAME.replace('||', '|v9|'))), [])
  assert.deepEqual(assignment(mesh(), 'whatever'), assignment('', 'whatever'))
})

test('endpoints carry whether they speak mutual TLS', () => {
  const marked = (endpoint: string, policy?: string) =>
    assignment(mesh(policy, endpoint)).endpoints[0]!.lbEndpoints[0]!.metadata!.filterMetadata[
      'envoy.transport_socket_match'
    ]
  assert.deepEqual(marked('{address: 10.0.0.9, serviceAccount: a}'), { tlsMode: 'istio' })
  assert.equal(marked('{address: 10.0.0.9}'), undefined)
  assert.equal(marked('{address: 10.0.0.9, serviceAccount: a}', 'tls: {mode: SIMPLE}'), undefined)
})

test('a place without an endpoint that an SNI cluster may use has no weight', () => {
  const [group] = assignment(mesh(), 'outbound_.80_._.ext.example.com').endpoints
  assert.deepEqual([group?.lbEndpoints.length, group?.loadBalancingWeight], [0, undefined])
})
