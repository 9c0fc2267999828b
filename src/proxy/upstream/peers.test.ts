import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { NO_RUNTIME } from '../route/testing.ts'
import type { ClusterData } from './config.ts'
import { startNameServer } from './dns/testing.ts'
import { createPeers } from './peers.ts'
import { chosen, clusterData, endpoint, endpointsData, TestClusters } from './testing.ts'

/** Two workers of one process, without threads. */
class Process {
  readonly leader: TestClusters
  readonly other: TestClusters
  private readonly channel = new MessageChannel()

  constructor(t: TestContext) {
    const { port1, port2 } = this.channel
    this.leader = new TestClusters(NO_RUNTIME, createPeers({ leads: true, ports: [port1] }))
    this.other = new TestClusters(NO_RUNTIME, createPeers({ leads: false, ports: [port2] }))
    // The test waits for messages, which otherwise keep nothing alive.
    for (const port of [port1, port2]) port.ref()
    t.after(() => {
      for (const { clusters } of [this.leader, this.other]) clusters.close()
      port1.close()
      port2.close()
    })
  }

  /** As the main thread does: the leader first. */
  add(data: ClusterData, endpoints: Parameters<TestClusters['add']>[1] = null) {
    return [this.leader.add(data, endpoints), this.other.add(data, endpoints)] as const
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

const FAST = {
  timeout: '1s',
  interval: '0.01s',
  no_traffic_interval: '0.01s',
  unhealthy_threshold: 1,
  healthy_threshold: 1,
}
const NO_PANIC = { common_lb_config: { healthy_panic_threshold: {} } }

describe('workers of one process', () => {
  test('one checks, all know; a host that its checks kept goes everywhere once they fail', async (t) => {
    let status = 200
    let checks = 0
    const server = createServer((_, response) => {
      checks++
      response.writeHead(status, { connection: 'close' }).end()
    })
    t.after(() => server.close())
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const workers = new Process(t)
    const data: ClusterData = {
      ...clusterData({
        name: 'c',
        type: 'EDS',
        eds_cluster_config: { eds_config: { ads: {} } },
        health_checks: [{ ...FAST, http_health_check: { path: '/' } }],
        ...NO_PANIC,
      }),
      id: 1,
    }
    const assignment = endpointsData({ cluster_name: 'c', endpoints: [{ lb_endpoints: [endpoint(port)] }] })
    const clusters = workers.add(data, assignment)
    await until(() => clusters.every((cluster) => chosen(cluster) === `127.0.0.1:${port}`))
    assert.ok(checks > 0)
    assert.equal(workers.leader.value('health_check.attempt') > 0, true)
    assert.equal(workers.other.value('health_check.attempt'), 0)

    const nobody = endpointsData({ cluster_name: 'c', endpoints: [] })
    for (const { clusters: worker } of [workers.leader, workers.other]) worker.applyEndpoints('c', 'c', nobody)
    assert.equal(workers.other.value('membership_total'), 1)
    status = 503
    await until(() => clusters.every((cluster) => chosen(cluster) === null))
    assert.equal(workers.other.value('membership_total'), 0)
    assert.equal(workers.leader.value('membership_total'), 0)
  })

  test('failures add up over workers, an ejection is told to all', async (t) => {
    const workers = new Process(t)
    const data: ClusterData = {
      ...clusterData({
        name: 'c',
        type: 'STATIC',
        load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [endpoint(1)] }] },
        outlier_detection: { consecutive_5xx: 4, max_ejection_percent: 100 },
        ...NO_PANIC,
      }),
      id: 1,
    }
    const [leader, other] = workers.add(data)
    const hostOf = (clusters: TestClusters) => clusters.clusters.find('c')!.hosts.sets[0]!.hosts[0]!
    await until(() => hostOf(workers.other).monitor !== null)
    leader.onResponse(hostOf(workers.leader), 500)
    for (let i = 0; i < 3; i++) other.onResponse(hostOf(workers.other), 500)
    await until(() => chosen(leader) === null && chosen(other) === null)
    assert.equal(workers.leader.value('outlier_detection.ejections_enforced_consecutive_5xx'), 1)
  })

  test('one resolves, all have the addresses, whoever begins first', async (t) => {
    const names = await startNameServer({ 'a.example': ['192.0.2.1'] })
    t.after(() => names.close())
    const workers = new Process(t)
    const data: ClusterData = {
      ...clusterData({
        name: 'c',
        type: 'STRICT_DNS',
        dns_lookup_family: 'V4_ONLY',
        dns_refresh_rate: '3600s',
        load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [endpoint(80, {}, 'a.example')] }] },
        typed_dns_resolver_config: {
          name: 'envoy.network.dns_resolver.cares',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig',
            resolvers: [{ socket_address: { address: '127.0.0.1', port_value: names.port } }],
          },
        },
      }),
      id: 1,
    }
    workers.leader.clusters.applyCluster(data, null)
    await workers.leader.clusters.whenWarm('c')
    workers.other.clusters.applyCluster(data, null)
    await workers.other.clusters.whenWarm('c')
    assert.equal(chosen(workers.other.clusters.get('c')!), '192.0.2.1:80')
    assert.equal(names.queries, 1)
    assert.equal(workers.other.value('update_attempt'), 0)
  })
})
