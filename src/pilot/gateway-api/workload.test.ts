import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestMesh } from '../testing.ts'
import { overlaid } from './overlay.ts'

const gateway = (metadata: string, spec: string): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, ${metadata}}
spec: {gatewayClassName: istio, ${spec}}
---`
const HTTP =
  'listeners: [{name: http.public, port: 80, protocol: HTTP}, {name: other, port: 80, protocol: HTTP, hostname: a}]'

const workloads = (yaml: string) => new TestMesh(yaml).commit().workloads ?? []

test('a Gateway without addresses is given a ServiceAccount, a Deployment and a Service', () => {
  const [workload] = workloads(gateway('uid: u1', HTTP))
  assert.deepEqual(
    workload?.objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`),
    ['ServiceAccount default/web-istio', 'Deployment default/web-istio', 'Service default/web-istio'],
  )
  const service = workload?.objects[2]
  assert.deepEqual(service?.metadata.labels, {
    'gateway.istio.io/managed': 'istio.io-gateway-controller',
    'gateway.networking.k8s.io/gateway-class-name': 'istio',
    'gateway.networking.k8s.io/gateway-name': 'web',
    'istio.io/dataplane-mode': 'none',
  })
  assert.deepEqual(service?.spec, {
    type: 'LoadBalancer',
    ipFamilyPolicy: 'PreferDualStack',
    selector: { 'gateway.networking.k8s.io/gateway-name': 'web' },
    ports: [
      { name: 'status-port', port: 15021, protocol: 'TCP', appProtocol: 'tcp' },
      { name: 'http-public', port: 80, protocol: 'TCP', appProtocol: 'http' },
    ],
  })
  assert.equal(service?.metadata.ownerReferences?.[0]?.kind, 'Gateway')
})

test('infrastructure labels replace those of the Gateway, and annotations name its parts', () => {
  const annotations = 'annotations: {gateway.istio.io/name-override: edge, gateway.istio.io/service-account: me, a: b}'
  const infrastructure = 'infrastructure: {labels: {team: web}}'
  const [workload] = workloads(gateway(`labels: {own: "1"}, ${annotations}`, `${HTTP}, ${infrastructure}`))
  const [account, deployment] = workload!.objects
  assert.equal(account?.metadata.name, 'me')
  assert.equal(deployment?.metadata.name, 'edge')
  assert.equal(deployment?.metadata.labels?.team, 'web')
  assert.equal(deployment?.metadata.labels?.own, undefined)
  assert.deepEqual(deployment?.metadata.annotations, { a: 'b' })
})

test('parametersRef lays an overlay over each object; one that renames it is refused and reported', () => {
  const parameters = (deployment: string): string => `
apiVersion: v1
kind: ConfigMap
metadata: {name: options}
data:
  deployment: ${JSON.stringify(deployment)}
---`
  const spec = `${HTTP}, infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: options}}`
  const overlay = `
spec:
  replicas: 3
  template: {spec: {containers: [{name: istio-proxy, resources: {requests: {cpu: 100m}}}]}}`
  const [good] = workloads(gateway('', spec) + parameters(overlay))
  const deployed = good?.objects[1]?.spec as {
    replicas: number
    template: { spec: { containers: { image: string; resources: unknown }[] } }
  }
  assert.equal(deployed.replicas, 3)
  assert.equal(deployed.template.spec.containers.length, 1)
  assert.equal(deployed.template.spec.containers[0]?.image, 'auto')
  assert.deepEqual(deployed.template.spec.containers[0]?.resources, { requests: { cpu: '100m' } })
  const [bad] = workloads(gateway('', spec) + parameters('metadata: {name: other}'))
  assert.deepEqual(bad?.problems, ['deployment: metadata.name cannot be changed'])
  assert.deepEqual(bad?.objects, [])
  const [lost] = workloads(gateway('', spec))
  assert.deepEqual(lost?.problems, ['parametersRef ConfigMap default/options does not exist'])
  assert.deepEqual(lost?.objects, [])
})

test('a Gateway may change labels of its pods, annotations that Istio gives stay', () => {
  const given =
    'labels: {service.istio.io/canonical-name: edge}, annotations: {istio.io/rev: mine, prometheus.io/port: "1", a: b}'
  const [workload] = workloads(gateway('', `${HTTP}, infrastructure: {${given}}`))
  const { template } = workload!.objects[1]!.spec as { template: { metadata: Record<string, Record<string, string>> } }
  const { metadata } = template
  assert.equal(metadata.labels?.['service.istio.io/canonical-name'], 'edge')
  assert.deepEqual(metadata.annotations, {
    a: 'b',
    'istio.io/rev': 'default',
    'prometheus.io/path': '/stats/prometheus',
    'prometheus.io/port': '15020',
    'prometheus.io/scrape': 'true',
  })
})

test('an address is asked of a load balancer alone', () => {
  const [balanced, inside] = ['', 'annotations: {networking.istio.io/service-type: ClusterIP}'].map(
    (metadata) =>
      workloads(gateway(metadata, `${HTTP}, addresses: [{value: 192.0.2.7}]`))[0]?.objects[2]?.spec as Record<
        string,
        unknown
      >,
  )
  assert.equal(balanced?.loadBalancerIP, '192.0.2.7')
  assert.deepEqual([inside?.type, inside?.loadBalancerIP], ['ClusterIP', undefined])
})

test('an autoscaler and a disruption budget come with their parameters; other keys are refused and reported', () => {
  const spec = `${HTTP}, infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: options}}`
  const [workload] = workloads(`${gateway('', spec)}
apiVersion: v1
kind: ConfigMap
metadata: {name: options}
data:
  horizontalPodAutoscaler: "spec: {minReplicas: 2, maxReplicas: 5}"
  podDisruptionBudget: "spec: {minAvailable: 1}"
`)
  const [, , , scaler, budget] = workload!.objects
  assert.deepEqual(workload?.problems, [])
  assert.equal(scaler?.apiVersion, 'autoscaling/v2')
  assert.deepEqual(scaler?.spec, {
    scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web-istio' },
    minReplicas: 2,
    maxReplicas: 5,
  })
  assert.equal(`${budget?.kind} ${budget?.metadata.name}`, 'PodDisruptionBudget web-istio')
  assert.deepEqual(budget?.spec, {
    selector: { matchLabels: { 'gateway.networking.k8s.io/gateway-name': 'web' } },
    minAvailable: 1,
  })
  const [other] = workloads(`${gateway('', spec)}
apiVersion: v1
kind: ConfigMap
metadata: {name: options}
data: {daemonSet: "spec: {}"}
`)
  const [problem = ''] = other!.problems
  assert.match(problem, /^unsupported overlay "daemonSet" \(supported: deployment, horizontalPodAutoscaler, /)
})

test('an overlay merges lists by the key of their items and obeys its directives', () => {
  const base = {
    ports: [
      { port: 80, name: 'a' },
      { port: 81, name: 'b' },
    ],
    args: ['x'],
    env: [{ name: 'A', value: '1' }],
    selector: { app: 'a', tier: 'b' },
  }
  const overlay = {
    ports: [
      { port: 80, $patch: 'delete' },
      { port: 82, name: 'c' },
    ],
    args: ['y'],
    env: [{ $patch: 'replace' }, { name: 'B', value: '2' }],
    selector: { $patch: 'replace', own: 'c' },
  }
  assert.deepEqual(overlaid(base, overlay), {
    ports: [
      { port: 81, name: 'b' },
      { port: 82, name: 'c' },
    ],
    args: ['y'],
    env: [{ name: 'B', value: '2' }],
    selector: { own: 'c' },
  })
})

test('a Gateway that names Services, and one of another class, is given nothing', () => {
  assert.deepEqual(workloads(gateway('', `${HTTP}, addresses: [{type: Hostname, value: mine}]`)), [])
  assert.deepEqual(workloads(gateway('', HTTP).replace('gatewayClassName: istio', 'gatewayClassName: nginx')), [])
})

test('defaults of a class hold for its Gateways of every namespace, below their own parameters, and may change', () => {
  const defaults = (deployment: string, created = '2026-01-01T00:00:00Z', name = 'defaults'): string => `
apiVersion: v1
kind: ConfigMap
metadata:
  name: ${name}
  namespace: istio-system
  creationTimestamp: ${created}
  labels: {gateway.istio.io/defaults-for-class: istio}
data:
  deployment: ${JSON.stringify(deployment)}
  horizontalPodAutoscaler: "spec: {maxReplicas: 5}"
---`
  const own = `
apiVersion: v1
kind: ConfigMap
metadata: {name: options}
data: {deployment: "spec: {replicas: 3}", horizontalPodAutoscaler: "spec: {minReplicas: 2}"}
---`
  const spec = `${HTTP}, infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: options}}`
  const mesh = new TestMesh(
    gateway('', spec) +
      own +
      defaults('spec: {replicas: 9}', '2026-02-01T00:00:00Z', 'younger') +
      defaults('spec: {replicas: 2, minReadySeconds: 7}'),
  )
  const specs = () => mesh.commit().workloads?.[0]?.objects.map(({ spec }) => spec as Record<string, unknown>)
  const [, deployment, , autoscaler] = specs()!
  assert.equal(deployment?.replicas, 3)
  assert.equal(deployment?.minReadySeconds, 7)
  assert.equal(autoscaler?.maxReplicas, 5)
  assert.equal(autoscaler?.minReplicas, 2)
  mesh.put(defaults('spec: {minReadySeconds: 8}'))
  assert.equal(specs()?.[1]?.minReadySeconds, 8)
})

test('a label that Gateways give stays, but for those of the Gateway API', () => {
  const labels = 'labels: {istio.io/dataplane-mode: ambient, gateway.networking.k8s.io/gateway-name: other}'
  const [workload] = workloads(gateway('', `${HTTP}, infrastructure: {${labels}}`))
  const given = workload?.objects[1]?.metadata.labels
  assert.equal(given?.['istio.io/dataplane-mode'], 'ambient')
  assert.equal(given?.['gateway.networking.k8s.io/gateway-name'], 'web')
})
