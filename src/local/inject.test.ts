import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../cluster/index.ts'
import { injectSidecar, iptablesArgs, wantsSidecar } from './inject.ts'
import { admitPod } from './pod-admission.ts'
import { podForTest } from './testing.ts'

const options = { proxy: 'outrigger', clusterId: 'Kubernetes' } as const
const namespace = (labels: Record<string, string>) => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'default', labels },
})
const enabled = namespace({ 'istio-injection': 'enabled' })

test('the namespace decides, the pod may object', () => {
  assert.equal(wantsSidecar(podForTest('p', {}), enabled), true)
  assert.equal(wantsSidecar(podForTest('p', {}), namespace({})), false)
  assert.equal(wantsSidecar(podForTest('p', { 'sidecar.istio.io/inject': 'false' }), enabled), false)
  assert.equal(wantsSidecar(podForTest('p', { 'sidecar.istio.io/inject': 'true' }), namespace({})), true)
  const opposed = podForTest('p', { 'sidecar.istio.io/inject': 'true' })
  assert.equal(wantsSidecar(opposed, namespace({ 'istio-injection': 'disabled' })), false)
  opposed.metadata.namespace = 'kube-system'
  assert.equal(wantsSidecar(opposed, enabled), false)
})

test('the label beats the annotation', () => {
  const pod = podForTest('p', { 'sidecar.istio.io/inject': 'true' })
  pod.metadata.annotations = { 'sidecar.istio.io/inject': 'false' }
  assert.equal(wantsSidecar(pod, enabled), true)
})

test('istio-init gets the arguments of an Istio installation', () => {
  assert.equal(
    iptablesArgs(podForTest('p', {})).join(' '),
    'iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020',
  )
})

test('annotations change what is captured', () => {
  const pod = podForTest('p', {})
  pod.metadata.annotations = {
    'traffic.sidecar.istio.io/excludeInboundPorts': '8081',
    'traffic.sidecar.istio.io/excludeOutboundPorts': '3306',
    'traffic.sidecar.istio.io/includeOutboundIPRanges': '10.96.0.0/16',
  }
  const line = iptablesArgs(pod).join(' ')
  assert.match(line, /-i 10\.96\.0\.0\/16 /)
  assert.match(line, /-d 8081,15090,15021,15020 -o 3306$/)
})

test('the pod gets proxy, labels, volumes and its probes through the agent', () => {
  const pod = podForTest('p', { app: 'shop', version: 'v2' })
  const container = pod.spec.containers[0]!
  container.ports = [{ name: 'web', containerPort: 8080 }]
  container.readinessProbe = { httpGet: { path: '/ready', port: 'web' }, periodSeconds: 3 }
  container.livenessProbe = { exec: { command: ['true'] } }
  const injected = injectSidecar(pod, options)
  assert.deepEqual(
    injected.spec.containers.map((c) => c.name),
    ['app', 'istio-proxy'],
  )
  assert.deepEqual(
    injected.spec.initContainers!.map((c) => c.name),
    ['istio-init'],
  )
  assert.equal(injected.metadata.labels!['service.istio.io/canonical-name'], 'shop')
  assert.equal(injected.metadata.labels!['service.istio.io/canonical-revision'], 'v2')
  const [app, proxy] = injected.spec.containers
  assert.deepEqual(app!.readinessProbe, { periodSeconds: 3, httpGet: { path: '/app-health/app/readyz', port: 15020 } })
  assert.deepEqual(app!.livenessProbe, { exec: { command: ['true'] } })
  const env = (name: string) => proxy!.env!.find((e) => e.name === name)?.value
  assert.deepEqual(JSON.parse(env('ISTIO_KUBE_APP_PROBERS')!), {
    '/app-health/app/readyz': { httpGet: { path: '/ready', port: 8080 } },
  })
  assert.equal(env('ISTIO_META_APP_CONTAINERS'), 'app')
  const volumes = new Set(injected.spec.volumes!.map((v) => v.name))
  assert.ok(proxy!.volumeMounts!.every((mount) => volumes.has(mount.name)))
})

test('an injected pod is not injected again', () => {
  const once = injectSidecar(podForTest('p', {}), options)
  assert.equal(injectSidecar(once, options), once)
})

test('with mixed proxies the annotation picks, and a wrong word is refused', () => {
  const args = (annotation?: string) => {
    const pod = podForTest('p', {})
    if (annotation) pod.metadata.annotations = { 'outrigger.io/proxy': annotation }
    return injectSidecar(pod, { ...options, proxy: 'mixed-by-annotation' }).spec.containers[1]!.args!
  }
  assert.ok(args().includes('--proxy=outrigger'))
  assert.ok(args('envoy').includes('--proxy=envoy'))
  assert.throws(() => args('nginx'), /must be outrigger or envoy/)
})

test('a pod of a missing service account is refused', () => {
  const pod = podForTest('p', {})
  pod.spec.serviceAccountName = 'ghost'
  assert.throws(() => admitPod(new MemoryStore(), pod, options), /serviceaccount "ghost" not found/)
})
