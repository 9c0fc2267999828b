import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serviceYaml, TestMesh } from '../testing.ts'

const rule = (name: string, namespace: string, body: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${name}, namespace: ${namespace}}
spec: {${body}}
`
const WEB = 'web.default.svc.cluster.local'

/** The rule that a client sees for the service `web` of namespace default. */
function ruleFor(rules: readonly string[], namespace: string, labels: Record<string, string> = {}) {
  const push = new TestMesh([serviceYaml('web'), ...rules].join('---\n')).push()
  const scope = push.sidecarScope({
    type: 'sidecar',
    namespace,
    labels,
    ips: [],
    podPorts: null,
    name: '',
    clusterId: '',
  })
  return scope.destinationRule(push.services.byHost.get(WEB)![0]!, labels)
}

test("the client's namespace comes before the service's, and that before the root namespace", () => {
  const root = rule('root', 'istio-system', `host: ${WEB}`)
  const server = rule('server', 'default', 'host: web')
  const client = rule('client', 'other', `host: ${WEB}`)
  const name = (rules: string[], namespace: string) => ruleFor(rules, namespace)?.rule.metadata.name
  assert.equal(name([root, server, client], 'other'), 'client')
  assert.equal(name([root, server], 'other'), 'server')
  assert.equal(name([root], 'other'), 'root')
  assert.equal(name([client], 'third'), undefined, 'a namespace that is neither')
})

test('a private rule is for its own namespace', () => {
  const server = rule('server', 'default', 'host: web, exportTo: ["."]')
  assert.equal(ruleFor([server], 'other'), null)
  assert.equal(ruleFor([server], 'default')?.rule.metadata.name, 'server')
})

test('the most specific host wins; wildcards count', () => {
  const wide = rule('wide', 'default', 'host: "*.local"')
  const near = rule('near', 'default', 'host: "*.default.svc.cluster.local"')
  assert.equal(ruleFor([wide, near], 'default')?.rule.metadata.name, 'near')
})

test('rules of one host merge: subsets add up, the first traffic policy stays', () => {
  const first = rule(
    'a',
    'default',
    'host: web, subsets: [{name: v1, labels: {v: "1"}}], trafficPolicy: {loadBalancer: {simple: RANDOM}}',
  )
  const second = rule(
    'b',
    'default',
    'host: web, subsets: [{name: v1, labels: {v: x}}, {name: v2, labels: {v: "2"}}], trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}',
  )
  const merged = ruleFor([first, second], 'default')!
  assert.deepEqual(
    merged.rule.spec.subsets?.map((s) => `${s.name}=${s.labels?.v}`),
    ['v1=1', 'v2=2'],
  )
  assert.equal(merged.rule.spec.trafficPolicy?.loadBalancer?.simple, 'RANDOM')
  assert.deepEqual(
    merged.sources.map((s) => s.metadata.name),
    ['a', 'b'],
  )
})

test('a rule that selects workloads is for those clients only', () => {
  const general = rule('general', 'default', 'host: web')
  const chosen = rule('chosen', 'default', 'host: web, workloadSelector: {matchLabels: {app: client}}')
  assert.equal(ruleFor([general, chosen], 'default', { app: 'client' })?.rule.metadata.name, 'chosen')
  assert.equal(ruleFor([general, chosen], 'default', { app: 'x' })?.rule.metadata.name, 'general')
  assert.equal(ruleFor([chosen], 'default', { app: 'x' }), null)
})
