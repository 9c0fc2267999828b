import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAppProbes } from './app-probes.ts'
import { activeConnections } from './drain.ts'
import { notReadyReason, parseStats } from './readiness.ts'

const READY =
  'cluster_manager.cds.update_success: 2\nlistener_manager.lds.update_success: 1\nlistener_manager.workers_started: 1\nserver.state: 0\n'

test('ready means configured, started and live', () => {
  const reason = (text: string) => notReadyReason(parseStats(text))
  assert.equal(reason(READY), null)
  assert.match(reason('')!, /cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected/)
  assert.match(
    reason(`${READY}listener_manager.lds.update_success: 0\nlistener_manager.lds.update_rejected: 3`)!,
    /lds updates: 0 successful, 3 rejected/,
  )
  assert.match(reason(`${READY}listener_manager.workers_started: 0`)!, /workers/)
  assert.match(reason(`${READY}server.state: 1`)!, /DRAINING/)
})

test('only connections of clients keep a draining proxy alive', () => {
  const stats = parseStats(
    [
      'listener.0.0.0.0_15006.downstream_cx_active: 2',
      'listener.0.0.0.0_15006.worker_0.downstream_cx_active: 2',
      'listener.0.0.0.0_15021.downstream_cx_active: 1',
      'listener.0.0.0.0_15090.downstream_cx_active: 1',
      'listener.admin.downstream_cx_active: 1',
      'http.inbound_0.0.0.0_9080;.downstream_cx_active: 2',
    ].join('\n'),
  )
  assert.equal(activeConnections(stats), 2)
})

test('application probes are read as Kubernetes writes them', () => {
  const probes = parseAppProbes({
    '/app-health/web/readyz': {
      httpGet: { path: 'ok', port: 80, httpHeaders: [{ name: 'X', value: '1' }] },
      timeoutSeconds: 3,
    },
    '/app-health/web/livez': { tcpSocket: { port: 81 } },
    '/app-health/web/startupz': { grpc: { port: 82, service: 's' } },
  })
  assert.deepEqual(probes.get('/app-health/web/readyz'), {
    timeoutMs: 3000,
    httpGet: { port: 80, path: '/ok', host: undefined, scheme: 'HTTP', headers: [['X', '1']] },
  })
  assert.equal(probes.get('/app-health/web/livez')?.tcpSocket?.port, 81)
  assert.deepEqual(probes.get('/app-health/web/startupz')?.grpc, { port: 82, service: 's' })
  assert.throws(() => parseAppProbes({ '/healthz': { tcpSocket: { port: 81 } } }), /not a path of the form/)
  assert.throws(
    () => parseAppProbes({ '/app-health/web/livez': { tcpSocket: { port: 'http' } } }),
    /port "http" is not a port number/,
  )
  assert.throws(() => parseAppProbes({ '/app-health/web/livez': {} }), /none of httpGet, tcpSocket, grpc/)
})
