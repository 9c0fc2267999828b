import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttp2 } from 'node:http2'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import type { ThreadLocalCluster } from './cluster-manager.ts'
import { chosen, clusterData, endpoint, endpointsData, httpServer, staticCluster, TestClusters } from './testing.ts'

const FAST = {
  timeout: '5s',
  interval: '0.01s',
  no_traffic_interval: '0.01s',
  no_traffic_healthy_interval: '0.01s',
  healthy_threshold: 2,
  unhealthy_threshold: 2,
}

/** Panic off: an unhealthy host gets nothing. */
function checked(port: number, check: object, more: object = {}) {
  const clusters = new TestClusters()
  const cluster = clusters.add(
    staticCluster([port], {
      health_checks: [{ ...FAST, ...check }],
      common_lb_config: { healthy_panic_threshold: {} },
      ...more,
    }),
  )
  return { clusters, cluster }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

const serving = (cluster: ThreadLocalCluster) => chosen(cluster) !== null

describe('active health checks', () => {
  test('HTTP: unhealthy until the first success, again after a bad status, back after the threshold', async () => {
    let status = 200
    const hosts = new Set<string | undefined>()
    const { port, server } = await httpServer((message, response) => {
      hosts.add(message.headers.host)
      response.writeHead(status).end()
    })
    const { clusters, cluster } = checked(port, { http_health_check: { path: '/healthz' } })
    assert.equal(serving(cluster), false)
    await until(() => serving(cluster))
    status = 503
    await until(() => !serving(cluster))
    status = 200
    await until(() => serving(cluster))
    assert.deepEqual([...hosts], ['c'])
    assert.ok(clusters.value('health_check.success') >= 3)
    assert.ok(clusters.value('health_check.failure') >= 1)
    clusters.clusters.close()
    server.close()
  })

  test('TCP: a reply must hold what is expected', async () => {
    const sockets: Socket[] = []
    const server = createServer((socket) => {
      sockets.push(socket)
      socket.on('data', () => socket.write('PONG'))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const hex = (text: string) => Buffer.from(text).toString('hex')
    const { clusters, cluster } = checked(port, {
      tcp_health_check: { send: { text: hex('PING') }, receive: [{ text: hex('PONG') }] },
    })
    await until(() => serving(cluster))
    for (const socket of sockets) socket.destroy()
    server.close()
    await until(() => !serving(cluster))
    assert.ok(clusters.value('health_check.network_failure') >= 1)
    clusters.clusters.close()
  })

  test('a host that has left and fails is checked no more', async () => {
    let status = 200
    const { port, server } = await httpServer((_, response) => response.writeHead(status).end())
    const clusters = new TestClusters()
    const data = clusterData({
      name: 'c',
      type: 'EDS',
      eds_cluster_config: { eds_config: { ads: {} } },
      health_checks: [{ ...FAST, http_health_check: { path: '/healthz' } }],
    })
    const assignment = (endpoints: object[]) =>
      endpointsData({ cluster_name: 'c', endpoints: [{ lb_endpoints: endpoints }] })
    clusters.add(data, assignment([endpoint(port)]))
    await until(() => clusters.value('membership_healthy') === 1)
    clusters.clusters.applyEndpoints('c', 'c', assignment([]))
    assert.equal(clusters.value('membership_total'), 1)
    status = 503
    await until(() => clusters.value('membership_total') === 0)
    const attempts = clusters.value('health_check.attempt')
    // Another check would have begun by the time another host has had several.
    const witness = new TestClusters()
    witness.add(staticCluster([port], { health_checks: [{ ...FAST, http_health_check: { path: '/healthz' } }] }))
    await until(() => witness.value('health_check.attempt') >= 4)
    assert.equal(clusters.value('health_check.attempt'), attempts)
    clusters.clusters.close()
    witness.clusters.close()
    server.close()
  })

  test('gRPC: SERVING is healthy', async () => {
    let answer = 1
    const asked: Buffer[] = []
    const service = 's'.repeat(200)
    const server = createHttp2()
    server.on('stream', (stream) => {
      stream.on('data', (chunk: Buffer) => asked.push(chunk))
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.end(Buffer.from([0, 0, 0, 0, 2, 8, answer]))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const { clusters, cluster } = checked(
      port,
      { grpc_health_check: { service_name: service } },
      {
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
            explicit_http_config: { http2_protocol_options: {} },
          },
        },
      },
    )
    await until(() => serving(cluster))
    // One message of one field: 0x0a, a length of two bytes, the name.
    assert.deepEqual(asked[0], Buffer.concat([Buffer.from([0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]), Buffer.from(service)]))
    answer = 2
    await until(() => !serving(cluster))
    clusters.clusters.close()
    server.close()
  })
})
