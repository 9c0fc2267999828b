import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serviceYaml, TestMesh } from '../testing.ts'
import { statName } from './stat-name.ts'

const TEMPLATE =
  '%SERVICE%|%SERVICE_NAME%|%SERVICE_FQDN%|%SUBSET_NAME%|%SERVICE_PORT%|%SERVICE_PORT_NAME%|%TARGET_PORT%'
const PORT = { port: 80, portName: 'http', targetPort: 0 }

test('a template is filled with the service, in short where it is one of Kubernetes', () => {
  const [service] = new TestMesh(serviceYaml('web')).push().services.all
  const parts = { name: 'outbound|80||web', subject: service!, subset: 'v1', ...PORT }
  assert.equal(statName(TEMPLATE, parts), 'web.default|web|web.default.svc.cluster.local|v1|80|http|0')
  assert.equal(statName('', parts), 'outbound|80||web')
})

test('a port without a service keeps its own name rather than none', () => {
  const nobody = { name: 'InboundPassthroughCluster', subject: { hostname: '' }, ...PORT, targetPort: null }
  assert.equal(statName('%SERVICE_FQDN%', nobody), 'InboundPassthroughCluster')
  assert.equal(statName('%SERVICE_FQDN%_%TARGET_PORT%', nobody), '_%TARGET_PORT%')
})
