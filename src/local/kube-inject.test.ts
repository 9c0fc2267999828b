import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { injectDocuments } from './kube-inject.ts'

interface Template {
  readonly metadata: { readonly name?: string; readonly labels: Record<string, string> }
  readonly spec: { readonly containers: { name: string; env?: { name: string; value?: string }[] }[] }
}

const inject = (text: string) =>
  parseAllDocuments(injectDocuments('app.yaml', text, undefined)).map((document) => document.toJS())
const names = ({ spec }: Template) => spec.containers.map(({ name }) => name)

const POD = '{labels: {app: web}}, spec: {containers: [{name: web, image: web}]}'

test('the pods of workloads get a sidecar; the workload names them', () => {
  const [deployment, cron] = inject(`
kind: Deployment
metadata: {name: web}
spec: {template: {metadata: ${POD}}}
---
kind: CronJob
metadata: {name: nightly}
spec: {jobTemplate: {spec: {template: {metadata: ${POD}}}}}
`)
  const template: Template = deployment.spec.template
  assert.deepEqual(names(template), ['web', 'istio-proxy'])
  assert.deepEqual(Object.keys(template.metadata).includes('name'), false)
  assert.equal(template.metadata.labels['security.istio.io/tlsMode'], 'istio')
  assert.equal(template.metadata.labels['pod-template-hash'], undefined)
  const env = template.spec.containers[1]!.env!
  assert.equal(env.find(({ name }) => name === 'ISTIO_META_WORKLOAD_NAME')?.value, 'web')
  assert.deepEqual(names(cron.spec.jobTemplate.spec.template), ['web', 'istio-proxy'])
})

test('a pod keeps its name; one that wants none, and other objects, stay as they are', () => {
  const text = `kind: Service # of the shop
metadata: { name: web }
---
kind: Pod
metadata: { name: off, labels: { sidecar.istio.io/inject: "false" } }
spec: { containers: [ { name: a, image: a } ] }
`
  assert.equal(injectDocuments('app.yaml', text, undefined), text)
  const [pod] = inject('kind: Pod\nmetadata: {name: one}\nspec: {containers: [{name: a, image: a}]}')
  assert.equal(pod.metadata.name, 'one')
  assert.deepEqual(names(pod), ['a', 'istio-proxy'])
})

test('faults are named with file and line', () => {
  assert.throws(() => inject('kind: Pod\nmetadata: [\n'), /app\.yaml:\d+: invalid YAML/)
  assert.throws(() => inject('kind: Pod\nmetadata: {name: a}\nspec: {}'), /app\.yaml: Pod a has no containers/)
})
