// Istio's telemetry tasks: metrics with tags of one's own, access logs with a filter, traces.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Tasks, until } from './fixture.ts'

const URL = 'http://httpbin:8000'

const telemetry = (name: string, spec: string) => `---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: ${name}}
spec: ${spec}
`

export function telemetryTasks(get: () => Tasks): void {
  const metrics = () =>
    get().mesh.run('exec', 'client', '-c', 'istio-proxy', '--', 'curl', '-s', '127.0.0.1:15020/stats/prometheus').stdout
  const requests = (pattern: RegExp) =>
    metrics()
      .split('\n')
      .filter((line) => line.startsWith('istio_requests_total{') && pattern.test(line))

  test('metrics: both ends of a call, TCP too; tags can be changed and metrics left out', async () => {
    const tasks = get()
    tasks.curl('client', URL)
    await until('counted', () => requests(/destination_service="httpbin\.default\.svc\.cluster\.local"/).length > 0)
    const [line] = requests(/destination_service="httpbin\./)
    for (const tag of [
      'reporter="source"',
      'source_principal="spiffe://cluster.local/ns/default/sa/client"',
      'connection_security_policy="unknown"',
      'response_code="',
      'destination_workload_namespace="default"',
    ])
      assert.ok(line!.includes(tag), `${tag} in ${line}`)
    tasks.tcp('client', 'tcp-echo:9000')
    await until('TCP', () => {
      const line = metrics().match(/^istio_tcp_connections_opened_total\{.*destination_service_name="tcp-echo".*/m)?.[0]
      return line?.includes('destination_app="httpbin"') && /destination_principal="spiffe:\S*\/sa\/httpbin"/.test(line)
    })
    const overrides = (spec: string) =>
      telemetry('metrics', `{metrics: [{providers: [{name: prometheus}], overrides: [${spec}]}]}`)
    const tag =
      '{match: {metric: REQUEST_COUNT}, tagOverrides: {request_method: {value: request.method}, source_app: {operation: REMOVE}}}'
    await tasks.with(overrides(tag), async () => {
      await until('own tag', () => {
        tasks.curl('client', '-X', 'PUT', URL)
        return requests(/request_method="PUT"/).length > 0
      })
      assert.doesNotMatch(requests(/request_method="PUT"/)[0]!, /source_app="/)
    })
    await tasks.with(overrides('{match: {metric: ALL_METRICS}, disabled: true}'), async () => {
      const count = () => Number(/ (\d+)$/.exec(requests(/response_code="418"/)[0] ?? ' 0')![1])
      await until('silent', async () => {
        const before = count()
        assert.equal(tasks.curl('client', `${URL}/status/418`).status, 418)
        return count() === before
      })
    })
  })

  test('access logs: only what the filter says', async () => {
    const tasks = get()
    const spec = '{accessLogging: [{providers: [{name: envoy}], filter: {expression: "response.code >= 400"}}]}'
    await tasks.with(telemetry('logs', spec), async () => {
      const logged = (path: string) => tasks.logs('client', 'istio-proxy').includes(path)
      let i = 0
      await until('filtered', async () => {
        i++
        tasks.curl('client', `${URL}/status/200/quiet-${i}`)
        tasks.curl('client', `${URL}/status/404/loud-${i}`)
        await until('line', () => logged(`/loud-${i}`))
        return !logged(`/quiet-${i}`)
      })
    })
  })

  test('traces: spans of both ends reach the collector, with tags of one’s own', async () => {
    const tasks = get()
    const mesh =
      'extensionProviders: [{name: zipkin, zipkin: {service: external.legacy.svc.cluster.local, port: 9411}}]'
    const spec =
      '{tracing: [{providers: [{name: zipkin}], randomSamplingPercentage: 100, customTags: {mine: {literal: {value: yes-mine}}}}]}'
    await tasks.withMesh(mesh, () =>
      tasks.with(telemetry('traces', spec), async () => {
        const spans = () => tasks.logs('legacy/external', 'app')
        await until('spans', () => {
          tasks.curl('client', `${URL}/traced`)
          return /"kind":"CLIENT".*httpbin/.test(spans()) && /"kind":"SERVER"/.test(spans())
        })
        assert.match(spans(), /"mine":"yes-mine"/)
      }),
    )
  })
}
