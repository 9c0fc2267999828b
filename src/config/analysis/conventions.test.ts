import assert from 'node:assert/strict'
import { test } from 'node:test'
import { conventionProblems } from './conventions.ts'

const service = (ports: unknown, namespace?: string) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 's', ...(namespace && { namespace }) },
  spec: { ports },
})
const shown = (object: Parameters<typeof conventionProblems>[0]) =>
  conventionProblems(object, 'istio-system').map(({ level, path }) => `${level} ${path}`)

// What `istioctl validate` says of the same objects.
test('ports of Services tell their protocol, by name or appProtocol, but for UDP and the control plane’s own', () => {
  const good = [{ name: 'http-a' }, { name: 'HTTP' }, { name: 'grpc-web' }, { name: 'x', protocol: 'udp' }]
  assert.deepEqual(shown(service([...good, { name: 'x', appProtocol: 'tcp' }])), [])
  assert.deepEqual(shown(service([{ name: 'web' }, {}, { name: 'http', appProtocol: 'foo' }])), [
    'error spec.ports[0].name',
    'error spec.ports[1]',
    'error spec.ports[2].appProtocol',
  ])
  assert.deepEqual(shown(service([{ name: 'web' }], 'istio-system')), [])
  assert.deepEqual(shown(service(undefined)), [])
})

test('pods of Deployments have a name and a version for metrics', () => {
  const deployment = (labels?: Record<string, string>) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd' },
    spec: { template: { metadata: { labels } } },
  })
  assert.deepEqual(shown(deployment({ app: 'a', 'app.kubernetes.io/version': '1' })), [])
  assert.deepEqual(shown(deployment({ app: 'a' })), ['warning spec.template.metadata.labels'])
  assert.deepEqual(shown(deployment()), ['warning spec.template.metadata.labels'])
})
