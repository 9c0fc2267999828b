import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { create } from '@bufbuild/protobuf'
import { NodeSchema } from '../api/gen/envoy/config/core/v3/base_pb.js'
import { AdsClient } from '../xds/client.ts'
import { connectTo, RecordingHandler, serve, silentLog, until } from '../xds/testing.ts'
import { CDS_TYPE } from '../xds/type-urls.ts'
import { HealthReports } from './health-reports.ts'
import { parseReadinessProbe, WorkloadHealth } from './workload-health.ts'

test('a probe has Istio’s defaults; what cannot be run is named', () => {
  assert.deepEqual(parseReadinessProbe({ tcpSocket: { port: 3306 }, periodSeconds: 2 }), {
    initialDelayMs: 0,
    periodMs: 2000,
    successThreshold: 1,
    failureThreshold: 3,
    check: { timeoutMs: 1000, tcpSocket: { port: 3306, host: undefined } },
  })
  assert.equal(parseReadinessProbe(undefined), null)
  assert.throws(() => parseReadinessProbe({}), /readinessProbe: has none of httpGet, tcpSocket, grpc/)
  assert.throws(() => parseReadinessProbe({ exec: { command: [] } }), /readinessProbe\.exec\.command/)
  assert.throws(() => parseReadinessProbe({ exec: { command: ['a'] }, periodSeconds: -1 }), /periodSeconds/)
})

test('verdicts are told when they change, after as many answers as the thresholds say', async (t) => {
  const server = createServer((socket) => socket.destroy())
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as { port: number }
  const told: (string | null)[] = []
  const parsed = parseReadinessProbe({ tcpSocket: { port }, failureThreshold: 2 })!
  const health = new WorkloadHealth({ ...parsed, periodMs: 5 }, '127.0.0.1', (problem) => told.push(problem))
  // Its timers keep no process alive.
  const alive = setInterval(() => {}, 1000)
  t.after(() => {
    clearInterval(alive)
    health.stop()
    server.close()
  })
  await until(() => told.length === 1, 'health')
  await new Promise((resolve) => server.close(resolve))
  await until(() => told.length === 2, 'sickness')
  await listen(port)
  await until(() => told.length === 3, 'health again')
  assert.equal(told[0], null)
  assert.match(told[1]!, /ECONNREFUSED/)
  assert.equal(told[2], null)
})

test('a command that fails is a sick workload', async (t) => {
  const told: (string | null)[] = []
  const probe = parseReadinessProbe({ exec: { command: ['sh', '-c', 'exit 3'] }, failureThreshold: 1 })!
  const health = new WorkloadHealth(probe, '127.0.0.1', (problem) => told.push(problem))
  const alive = setInterval(() => {}, 1000)
  t.after(() => {
    clearInterval(alive)
    health.stop()
  })
  await until(() => told.length === 1, 'a verdict')
  assert.match(told[0]!, /Command failed/)
})

for (const mode of ['delta', 'sotw'] as const) {
  test(`reports go with the ${mode} stream of the proxy, and again with the next one`, async (t) => {
    const reported: string[] = []
    const handler = new (class extends RecordingHandler {
      onReport(_connection: unknown, typeUrl: string, error: string | null): boolean {
        if (!typeUrl.endsWith('HealthInformation')) return false
        reported.push(error ?? 'well')
        return true
      }
    })()
    const server = await serve(handler)
    const transport = connectTo(server.port)
    const reports = new HealthReports()
    const client = new AdsClient({
      mode,
      log: silentLog,
      node: create(NodeSchema, { id: 'sidecar~10.0.0.1~vm.default~default.svc.cluster.local' }),
      transport: { connect: () => reports.wrap(transport.connect()) },
    })
    t.after(() => {
      client.close()
      server.close()
    })
    reports.report('starting')
    client.subscribe(CDS_TYPE, { wildcard: true }, { onUpdate: () => null })
    client.start()
    await until(() => reported.length === 1, 'what was known before the stream')
    reports.report(null)
    await until(() => reported.length === 2, 'a change')
    handler.connection!.close(14, 'again')
    await until(() => reported.length === 3, 'the next stream')
    assert.deepEqual(reported, ['starting', 'well', 'well'])
  })
}
