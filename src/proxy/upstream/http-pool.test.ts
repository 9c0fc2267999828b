import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Server, ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import { after, describe, test } from 'node:test'
import { StreamResetReason } from '../http/codec.ts'
import { ipAddress } from '../network/address.ts'
import { SocketConnectionInfo } from '../network/connection-info.ts'
import { setFaultReporter } from '../network/fault.ts'
import { PoolFailureReason } from './cluster-manager.ts'
import type { Host } from './host.ts'
import { httpServer, lbContext, staticCluster, TestClusters, TestRequest } from './testing.ts'

const servers: Server[] = []
after(() => {
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
})

async function serve(handle?: Parameters<typeof httpServer>[0]): Promise<number> {
  const { port, server } = await httpServer(handle)
  servers.push(server)
  return port
}

/** A server whose answers the test gives; `next()` is the next request's response. */
async function held(): Promise<{ port: number; next: () => Promise<ServerResponse> }> {
  const waiting: ServerResponse[] = []
  let wake: (() => void) | null = null
  const port = await serve((_, response) => {
    waiting.push(response)
    wake?.()
  })
  const next = async (): Promise<ServerResponse> => {
    while (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve))
    return waiting.shift()!
  }
  return { port, next }
}

describe('HTTP/1 pool', () => {
  test('a connection serves one request after the other', async () => {
    const test = new TestClusters()
    const cluster = test.add(staticCluster([await serve()]))
    const first = new TestRequest(cluster)
    await first.done
    const second = new TestRequest(cluster)
    await second.done
    assert.equal(first.status, 200)
    assert.equal(second.connectionId, first.connectionId)
    assert.equal(test.value('upstream_cx_total'), 1)
    assert.equal(test.value('upstream_rq_total'), 2)
    assert.equal(test.value('upstream_rq_active'), 0)
    test.clusters.close()
  })

  test('requests at the same time get connections of their own', async () => {
    const { port, next } = await held()
    const test = new TestClusters()
    const cluster = test.add(staticCluster([port]))
    const requests = [new TestRequest(cluster), new TestRequest(cluster)]
    assert.equal(test.value('upstream_rq_pending_active'), 2)
    for (const _ of requests) (await next()).end()
    await Promise.all(requests.map((request) => request.done))
    assert.equal(test.value('upstream_cx_total'), 2)
    assert.equal(test.value('upstream_rq_pending_active'), 0)
    test.clusters.close()
  })

  test('connection: close is not used again', async () => {
    const test = new TestClusters()
    const cluster = test.add(
      staticCluster([await serve((_, response) => response.setHeader('connection', 'close').end('x'))]),
    )
    const first = new TestRequest(cluster)
    await first.done
    const second = new TestRequest(cluster)
    await second.done
    assert.notEqual(first.connectionId, second.connectionId)
    test.clusters.close()
  })

  test('max_requests_per_connection ends a connection', async () => {
    const test = new TestClusters()
    const cluster = test.add(staticCluster([await serve()], { max_requests_per_connection: 1 }))
    await new TestRequest(cluster).done
    await new TestRequest(cluster).done
    assert.equal(test.value('upstream_cx_total'), 2)
    assert.equal(test.value('upstream_cx_max_requests'), 2)
    test.clusters.close()
  })

  test('a refused connection fails what waits, with the reason', async () => {
    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const { port } = closed.address() as { port: number }
    closed.close()
    const test = new TestClusters()
    const request = new TestRequest(test.add(staticCluster([port])))
    await request.done
    assert.equal(request.failure, PoolFailureReason.RemoteConnectionFailure)
    assert.equal(request.transportFailure, 'delayed connect error: Connection refused')
    assert.equal(test.value('upstream_cx_connect_fail'), 1)
    assert.equal(test.value('upstream_rq_pending_failure_eject'), 1)
    assert.equal(test.value('upstream_cx_active'), 0)
  })

  test('a socket option that the kernel refuses fails what waits, and leaves nothing waiting', async () => {
    const test = new TestClusters()
    const options = { socket_options: [{ level: 1, name: 9999, int_value: 1, state: 'STATE_PREBIND' }] }
    const upstream_bind_config = { source_address: { address: '127.0.0.1', port_value: 0 }, ...options }
    const faults: unknown[] = []
    const before = setFaultReporter((error) => faults.push(error))
    const request = new TestRequest(test.add(staticCluster([await serve()], { upstream_bind_config })))
    setFaultReporter(before)
    await request.done
    assert.match(String(faults), /setsockopt\(1, 9999\) failed/)
    assert.equal(request.failure, PoolFailureReason.LocalConnectionFailure)
    assert.equal(request.transportFailure, '')
    assert.equal(test.value('upstream_cx_connect_fail'), 1)
    assert.equal(test.value('upstream_rq_pending_active'), 0)
    assert.equal(test.value('upstream_cx_active'), 0)
    assert.equal(test.value('bind_errors'), 0)
    // The same for tcp_proxy.
    const failure = await new Promise((onPoolFailure) => {
      setFaultReporter(() => {})
      const pool = test.clusters.get('c')!.tcpPool('DEFAULT', lbContext())!
      pool.newConnection({ onPoolReady() {}, onPoolFailure })
      setFaultReporter(before)
    })
    assert.equal(failure, PoolFailureReason.LocalConnectionFailure)
    test.clusters.close()
  })

  test('a server that closes under a request resets it', async () => {
    const test = new TestClusters()
    const request = new TestRequest(test.add(staticCluster([await serve((message) => message.socket.destroy())])))
    await request.done
    assert.equal(request.reset, StreamResetReason.ConnectionTermination)
    assert.equal(test.value('upstream_cx_destroy_with_active_rq'), 1)
    assert.equal(test.value('upstream_rq_active'), 0)
  })

  test('garbage is a protocol error and closes only that connection', async () => {
    const server = createServer((socket) => socket.end('SMTP 220 hello\r\n\r\n')).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const test = new TestClusters()
    const request = new TestRequest(test.add(staticCluster([(server.address() as { port: number }).port])))
    await request.done
    assert.equal(request.reset, StreamResetReason.ProtocolError)
    assert.equal(test.value('upstream_cx_protocol_error'), 1)
    server.close()
  })

  test('a reset request takes its connection with it', async () => {
    const { port, next } = await held()
    const test = new TestClusters()
    const cluster = test.add(staticCluster([port]))
    const request = new TestRequest(cluster)
    const response = await next()
    request.encoder!.stream.resetStream(StreamResetReason.LocalReset)
    await once(response, 'close')
    assert.equal(test.value('upstream_cx_active'), 0)
    assert.equal(test.value('upstream_rq_active'), 0)
  })

  test('a replaced cluster lets its requests finish', async () => {
    const { port, next } = await held()
    const test = new TestClusters()
    const request = new TestRequest(test.add(staticCluster([port])))
    const response = await next()
    test.add(staticCluster([port], { connect_timeout: '1s' }))
    response.end('late')
    await request.done
    assert.equal(request.body, 'late')
    test.clusters.close()
  })
})

test('a cluster replaced while it connects serves what waits and leaves no connection behind', async () => {
  const { port, server } = await httpServer()
  servers.push(server)
  const closed = new Promise<void>((resolve) => {
    server.on('connection', (socket) => socket.on('close', () => resolve()))
  })
  const test = new TestClusters()
  const request = new TestRequest(test.add(staticCluster([port])))
  test.add(staticCluster([port], { connect_timeout: '1s' }))
  await request.done
  assert.equal(request.status, 200)
  await closed
  assert.equal(test.value('upstream_cx_active'), 0)
})

describe('circuit breakers', () => {
  const limits = (thresholds: object) => ({ circuit_breakers: { thresholds: [thresholds] } })

  test('max_connections queues, max_pending_requests refuses', async () => {
    const { port, next } = await held()
    const test = new TestClusters()
    const cluster = test.add(staticCluster([port], limits({ max_connections: 1, max_pending_requests: 1 })))
    const first = new TestRequest(cluster)
    await first.ready
    const second = new TestRequest(cluster)
    const third = new TestRequest(cluster)
    assert.equal(third.failure, PoolFailureReason.Overflow)
    assert.equal(test.value('upstream_rq_pending_overflow'), 1)
    assert.equal(test.value('circuit_breakers.default.cx_open'), 1)
    ;(await next()).end()
    ;(await next()).end()
    await Promise.all([first.done, second.done])
    assert.equal(second.connectionId, first.connectionId)
    assert.equal(test.value('upstream_cx_overflow') > 0, true)
    assert.equal(test.value('circuit_breakers.default.rq_pending_open'), 0)
    test.clusters.close()
  })

  test('pools of one downstream that serve nobody are forgotten', () => {
    const test = new TestClusters()
    const thresholds = [{ max_pending_requests: 0, track_remaining: true }]
    const cluster = test.add(
      staticCluster([9], {
        circuit_breakers: { thresholds },
        connection_pool_per_downstream_connection: true,
      }),
    )
    const downstream = new SocketConnectionInfo(ipAddress('10.0.0.9', 8000), ipAddress('10.0.0.1', 5000))
    const failures: PoolFailureReason[] = []
    const onPoolFailure = (reason: PoolFailureReason) => void failures.push(reason)
    const tcp = cluster.tcpPool('DEFAULT', lbContext({ downstream }))!
    assert.equal(tcp.newConnection({ onPoolReady() {}, onPoolFailure }), null)
    const http = cluster.httpPool('DEFAULT', '', lbContext({ downstream }))!
    assert.equal(http.newStream({} as never, { onPoolReady() {}, onPoolFailure }), null)
    assert.deepEqual(failures, [PoolFailureReason.Overflow, PoolFailureReason.Overflow])
    assert.deepEqual((http.host as Host).pools, [])
    assert.equal(cluster.resources('DEFAULT').connectionPools.count, 0)
    test.clusters.close()
  })

  test('max_connection_pools: one that serves nobody makes room, one that serves somebody does not', async () => {
    const { port, next } = await held()
    const test = new TestClusters()
    const thresholds = { max_connection_pools: 1, track_remaining: true }
    const cluster = test.add(staticCluster([port], limits(thresholds)))
    const of = (name: string) => new TestRequest(cluster, '/', 'c', { alpnOverride: [name] })
    const pools = () => (first.host as Host).pools.length
    const first = of('a')
    await first.ready
    assert.throws(() => of('b'), /no host/)
    assert.equal(test.value('upstream_cx_pool_overflow'), 1)
    ;(await next()).end()
    await first.done
    const second = of('b')
    ;(await next()).end()
    await second.done
    assert.equal(second.status, 200)
    assert.equal(pools(), 1)
    assert.equal(test.value('upstream_cx_destroy'), 1)
    assert.equal(test.value('upstream_cx_pool_overflow'), 1)
    assert.equal(cluster.resources('DEFAULT').connectionPools.count, 1)
    // TCP has none that are limited.
    assert.notEqual(cluster.tcpPool('DEFAULT', lbContext()), null)
    test.clusters.close()
  })

  test('max_requests is counted over all connections', async () => {
    const { port, next } = await held()
    const test = new TestClusters()
    const cluster = test.add(staticCluster([port], limits({ max_requests: 1, track_remaining: true })))
    const first = new TestRequest(cluster)
    await first.ready
    assert.equal(test.value('circuit_breakers.default.rq_open'), 1)
    assert.equal(test.value('circuit_breakers.default.remaining_rq'), 0)
    const second = new TestRequest(cluster)
    await second.done
    assert.equal(second.failure, PoolFailureReason.Overflow)
    ;(await next()).end()
    await first.done
    test.clusters.close()
  })

  test('workers that share a cluster share its limits', async () => {
    const { port, next } = await held()
    const data = staticCluster([port], limits({ max_requests: 1 }))
    const one = new TestClusters()
    const other = new TestClusters()
    const first = new TestRequest(one.add(data))
    await first.ready
    const second = new TestRequest(other.add(data))
    await second.done
    assert.equal(second.failure, PoolFailureReason.Overflow)
    ;(await next()).end()
    await first.done
    one.clusters.close()
    other.clusters.close()
  })

  test('a retry budget follows the requests under way', () => {
    const test = new TestClusters()
    const budget = { retry_budget: { budget_percent: { value: 50 }, min_retry_concurrency: 1 } }
    const resources = test.add(staticCluster([1], limits(budget))).resources('DEFAULT')
    resources.retries.inc()
    assert.equal(resources.canRetry(), false)
    for (let i = 0; i < 4; i++) resources.requests.inc()
    assert.equal(resources.canRetry(), true)
    resources.retries.inc()
    assert.equal(resources.canRetry(), false)
  })
})
