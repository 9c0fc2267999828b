import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { parseMeshConfig, parseResource } from '../config/index.ts'
import { TestMesh } from './testing.ts'
import { untranslated, untranslatedMesh } from './untranslated.ts'

test('a setting that only Envoy keeps to says so; one without effect says that', () => {
  const mesh = new TestMesh(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d}
spec:
  host: web
  trafficPolicy:
    retryBudget: {budgetInterval: 5s}
    outlierDetection: {consecutive5xxErrors: 2}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: c}
spec: {concurrency: 2, image: {imageType: distroless}}`)
  const said = [...mesh.state.accepted()].flatMap((resource) => untranslated(resource))
  assert.deepEqual(
    said.map(({ path, level }) => [path, level]),
    [
      ['spec.trafficPolicy.retryBudget.budgetInterval', 'warning'],
      ['spec.image', 'warning'],
    ],
  )
  assert.match(said[0]!.message, /Envoy keeps to it/)
  assert.match(said[1]!.message, /no effect/)
})

test('credentials that only gateways read are told: sidecars would send plain text', () => {
  const rule = (more: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ext, namespace: default}
spec: {host: ext.example.com, ${more}trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE, credentialName: ca}}]}}`
  const said = (yaml: string) => {
    const parsed = parseResource(parse(yaml))
    assert.ok(parsed.ok)
    return untranslated(parsed.value).map(({ path, level }) => `${level} ${path}`)
  }
  assert.deepEqual(said(rule('')), ['warning spec.trafficPolicy.portLevelSettings[0].tls.credentialName'])
  assert.deepEqual(said(rule('workloadSelector: {matchLabels: {app: a}}, ')), [])
})

test('checks of client certificates where clients show none are told', () => {
  const parsed = parseResource(
    parse(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {a: b}, servers: [
  {port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.example], tls: {mode: SIMPLE, credentialName: a, subjectAltNames: [x]}},
  {port: {number: 443, name: b, protocol: HTTPS}, hosts: [b.example], tls: {mode: MUTUAL, credentialName: b, subjectAltNames: [x]}}]}`),
  )
  assert.ok(parsed.ok)
  assert.deepEqual(
    untranslated(parsed.value).map(({ path, level }) => `${level} ${path}`),
    ['warning spec.servers[0].tls.subjectAltNames'],
  )
})

test('mesh settings without effect, or that agents refuse, say so; the others say nothing', () => {
  const said = (input: unknown) => {
    const parsed = parseMeshConfig(input)
    assert.ok(parsed.ok)
    return untranslatedMesh(parsed.value).map(({ path }) => path)
  }
  assert.deepEqual(said({}), [])
  assert.deepEqual(
    said({ hboneIdleTimeout: '1h', verifyCertificateAtClient: true, defaultConfig: { tracing: { sampling: 5 } } }),
    [],
  )
  assert.deepEqual(
    said({
      configSources: [{ address: 'xds://a:1' }],
      defaultConfig: {
        envoyMetricsServiceAddress: 'a:15000',
        tracing: { zipkin: { address: 'z:9411' } },
        proxyBootstrapTemplatePath: 'a',
      },
      extensionProviders: [
        { name: 'light', lightstep: {} },
        { name: 'unused', opencensus: {} },
      ],
      defaultProviders: { tracing: ['light'] },
    }),
    [
      'configSources[0].address',
      'defaultConfig.proxyBootstrapTemplatePath',
      'defaultConfig.envoyMetricsServiceAddress',
      'defaultProviders light',
    ],
  )
})
