import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestMesh } from '../testing.ts'

const policy = (name: string, namespace: string, body: string, created = '2026-01-02T00:00:00Z') => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: "${created}"}
spec: {${body}}
`

const index = (...policies: string[]) => new TestMesh(policies.join('---\n')).push().peerAuthentications

test('port before workload before namespace before mesh; unset inherits', () => {
  const modes = index(
    policy('mesh', 'istio-system', 'mtls: {mode: STRICT}'),
    policy('ns', 'shop', 'mtls: {mode: DISABLE}'),
    policy(
      'w',
      'shop',
      'selector: {matchLabels: {app: web}}, mtls: {mode: UNSET}, portLevelMtls: {8080: {mode: PERMISSIVE}}',
    ),
  )
  assert.equal(modes.forPort('else', {}, 80), 'STRICT')
  assert.equal(modes.forPort('shop', {}, 80), 'DISABLE')
  assert.equal(modes.forPort('shop', { app: 'web' }, 80), 'DISABLE')
  assert.equal(modes.forPort('shop', { app: 'web' }, 8080), 'PERMISSIVE')
  assert.equal(modes.namespaceMode('shop'), 'DISABLE')
})

test('without any policy a mesh is permissive; the oldest of equals wins', () => {
  assert.equal(index().forPort('a', {}, 1), 'PERMISSIVE')
  const modes = index(
    policy('young', 'a', 'mtls: {mode: DISABLE}', '2026-02-01T00:00:00Z'),
    policy('old', 'a', 'mtls: {mode: STRICT}', '2026-01-01T00:00:00Z'),
  )
  assert.equal(modes.namespaceMode('a'), 'STRICT')
})
