import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type MeshConfig, parseMeshConfig } from '../../config/index.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { buildAccessLogs } from './access-log.ts'
import { effectiveTelemetry } from './telemetry.ts'
import { buildTracing } from './tracing.ts'

function meshOf(config: object): MeshConfig {
  const parsed = parseMeshConfig(config)
  assert.ok(parsed.ok)
  return parsed.value
}

const telemetry = (name: string, spec: string, namespace = 'default'): string => `
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: ${name}, namespace: ${namespace}}
spec: ${spec}
---`

test('no Telemetry: MeshConfig decides about access logs and metrics', () => {
  const plain = effectiveTelemetry(new TestMesh().push(), testProxy())
  assert.equal(plain.client.accessLogs, null)
  assert.equal(plain.client.metrics, null)
  const mesh = meshOf({ defaultProviders: { metrics: ['prometheus'], accessLogging: ['envoy'] } })
  const helmPush = new TestMesh('', mesh).push()
  const helm = effectiveTelemetry(helmPush, testProxy())
  assert.deepEqual(helm.client.metrics, { overrides: [], reportingInterval: undefined })
  assert.equal(buildAccessLogs(helmPush, testProxy(), helm.server, 'http').length, 1)
})

test('the more specific level replaces the less specific one, for its side only', () => {
  const push = new TestMesh(
    telemetry('mesh', '{accessLogging: [{providers: [{name: envoy}]}]}', 'istio-system') +
      telemetry(
        'quiet',
        '{selector: {matchLabels: {app: a}}, accessLogging: [{match: {mode: SERVER}, disabled: true}]}',
      ),
  ).push()
  const logs = (app: string, side: 'client' | 'server'): number | undefined =>
    effectiveTelemetry(push, testProxy({ labels: { app } }))[side].accessLogs?.filter(({ disabled }) => !disabled)
      .length
  assert.equal(logs('b', 'server'), 1)
  assert.equal(logs('a', 'server'), 0)
  assert.equal(logs('a', 'client'), 1)
})

test('a CEL filter of a log goes to the log; of a listener beside its own condition', () => {
  const push = new TestMesh(
    telemetry(
      'errors',
      '{accessLogging: [{providers: [{name: envoy}], filter: {expression: "response.code >= 400"}}]}',
    ),
  ).push()
  const { server } = effectiveTelemetry(push, testProxy())
  const kind = (place: 'http' | 'listener') =>
    buildAccessLogs(push, testProxy(), server, place)[0]?.filter?.filterSpecifier.case
  assert.equal(kind('http'), 'extensionFilter')
  assert.equal(kind('listener'), 'andFilter')
})

test('tracing: one in a hundred unless told otherwise, and off when told so', () => {
  const mesh = meshOf({
    extensionProviders: [{ name: 'z', zipkin: { service: 'web.default.svc.cluster.local', port: 80 } }],
  })
  const sampling = (spec: string): number | undefined => {
    const push = new TestMesh(`${spec ? telemetry('t', spec) : ''}\n---\n${serviceYaml('web')}`, mesh).push()
    const proxy = testProxy()
    return buildTracing(push, proxy, effectiveTelemetry(push, proxy).server.tracing)?.randomSampling?.value
  }
  assert.equal(sampling(''), 1)
  assert.equal(sampling('{tracing: [{randomSamplingPercentage: 50}]}'), undefined, 'nobody to send spans to')
  assert.equal(sampling('{tracing: [{providers: [{name: z}], randomSamplingPercentage: 50}]}'), 50)
  assert.equal(sampling('{tracing: [{disableSpanReporting: true}]}'), undefined)
})

test('spans go to the provider whose service exists', () => {
  const mesh = meshOf({
    defaultProviders: { tracing: ['z'] },
    extensionProviders: [{ name: 'z', zipkin: { service: 'zipkin.example', port: 9411 } }],
  })
  const entry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: zipkin}
spec: {hosts: [zipkin.example], ports: [{number: 9411, name: http, protocol: HTTP}], resolution: DNS}
`
  const provider = (yaml: string): string | undefined => {
    const push = new TestMesh(yaml, mesh).push()
    const proxy = testProxy()
    return buildTracing(push, proxy, effectiveTelemetry(push, proxy).client.tracing)?.provider?.name
  }
  assert.equal(provider(entry), 'envoy.tracers.zipkin')
  assert.equal(provider(''), undefined)
})

test('a Telemetry of a Gateway is for the pods of that Gateway', () => {
  const target = '{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]'
  const push = new TestMesh(telemetry('own', `${target}, accessLogging: [{providers: [{name: envoy}]}]}`)).push()
  const of = (gateway: string) => {
    const labels = { 'gateway.networking.k8s.io/gateway-name': gateway }
    return effectiveTelemetry(push, testProxy({ type: 'router', labels })).server.accessLogs
  }
  assert.equal(of('gw')?.length, 1)
  assert.equal(of('other'), null)
})
