import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import type { ThreadLocalCluster } from './cluster-manager.ts'
import { NXDOMAIN, SERVFAIL, startNameServer } from './dns/testing.ts'
import { chosen, clusterData, endpoint, httpServer, TestClusters, TestRequest } from './testing.ts'

function dnsCluster(type: string, server: number, more: object = {}) {
  return clusterData({
    name: 'c',
    type,
    dns_lookup_family: 'V4_ONLY',
    dns_refresh_rate: '0.02s',
    dns_resolvers: [{ socket_address: { address: '127.0.0.1', port_value: server } }],
    load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [endpoint(80, {}, 'hosts.example')] }] },
    ...more,
  })
}

function hostsOf(cluster: ThreadLocalCluster): string[] {
  const found = new Set<string>()
  for (let i = 0; i < 20; i++) {
    const host = chosen(cluster)
    if (host !== null) found.add(host)
  }
  return [...found].sort()
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('DNS clusters', () => {
  test('STRICT_DNS: every address is a host, and follows the name', async () => {
    const server = await startNameServer({ 'hosts.example': ['127.0.0.1'] })
    const test = new TestClusters()
    const cluster = test.add(dnsCluster('STRICT_DNS', server.port, { wait_for_warm_on_init: false }))
    assert.equal(chosen(cluster), null)
    await until(() => hostsOf(cluster).length === 1)
    server.names.set('hosts.example', ['127.0.0.1', '127.0.0.2'])
    await until(() => hostsOf(cluster).length === 2)
    assert.deepEqual(hostsOf(cluster), ['127.0.0.1:80', '127.0.0.2:80'])
    test.clusters.removeCluster('c')
    server.close()
  })

  test('LOGICAL_DNS: the first address is the host', async () => {
    const server = await startNameServer({ 'hosts.example': ['127.0.0.1'] })
    server.names.set('hosts.example', ['127.0.0.1', '127.0.0.2'])
    const test = new TestClusters()
    const cluster = test.add(dnsCluster('LOGICAL_DNS', server.port, { wait_for_warm_on_init: false }))
    await until(() => hostsOf(cluster).length > 0)
    assert.equal(hostsOf(cluster).length, 1)
    test.clusters.removeCluster('c')
    server.close()
  })

  test('hosts stay when the name server goes away', async () => {
    const server = await startNameServer({ 'hosts.example': ['127.0.0.1'] })
    const test = new TestClusters()
    const cluster = test.add(dnsCluster('STRICT_DNS', server.port, { wait_for_warm_on_init: false }))
    await until(() => hostsOf(cluster).length === 1)
    server.rcode = SERVFAIL
    await until(() => test.value('update_failure') > 0)
    assert.deepEqual(hostsOf(cluster), ['127.0.0.1:80'])
    test.clusters.removeCluster('c')
    server.close()
  })

  test('hosts go when the name goes: that is an answer', async () => {
    const server = await startNameServer({ 'hosts.example': ['127.0.0.1'] })
    const test = new TestClusters()
    const cluster = test.add(dnsCluster('STRICT_DNS', server.port, { wait_for_warm_on_init: false }))
    await until(() => hostsOf(cluster).length === 1)
    server.rcode = NXDOMAIN
    await until(() => hostsOf(cluster).length === 0)
    assert.equal(test.value('update_failure'), 0)
    test.clusters.removeCluster('c')
    server.close()
  })

  test('LOGICAL_DNS: connections to an address that the name no longer has stay in use', async () => {
    const server = await startNameServer({ 'hosts.example': ['127.0.0.1'] })
    const upstream = await httpServer()
    const load_assignment = {
      cluster_name: 'c',
      endpoints: [{ lb_endpoints: [endpoint(upstream.port, {}, 'hosts.example')] }],
    }
    const test = new TestClusters()
    test.add(dnsCluster('LOGICAL_DNS', server.port, { load_assignment }))
    await test.clusters.whenWarm('c')
    const cluster = test.clusters.get('c')!
    const first = new TestRequest(cluster)
    await first.done
    // Nobody listens there: a new connection would fail.
    server.names.set('hosts.example', ['127.0.0.9'])
    await until(() => chosen(cluster)?.startsWith('127.0.0.9') ?? false)
    const second = new TestRequest(cluster)
    await second.done
    assert.equal(second.status, 200)
    assert.equal(second.connectionId, first.connectionId)
    test.clusters.close()
    server.close()
    upstream.server.close()
  })

  test('a cluster is not there before its first answer, unless wait_for_warm_on_init is false', async () => {
    const server = await startNameServer({ 'hosts.example': ['127.0.0.1'] })
    const test = new TestClusters()
    test.clusters.applyCluster(dnsCluster('STRICT_DNS', server.port), null)
    assert.equal(test.clusters.get('c'), undefined)
    await test.clusters.whenWarm('c')
    assert.equal(chosen(test.clusters.get('c')!), '127.0.0.1:80')
    test.clusters.applyCluster(dnsCluster('STRICT_DNS', server.port, { wait_for_warm_on_init: false }), null)
    assert.equal(chosen(test.clusters.get('c')!), null)
    test.clusters.removeCluster('c')
    server.close()
  })

  test("a version that is replaced before its first answer takes nobody's place", async () => {
    const server = await startNameServer({ 'hosts.example': ['127.0.0.1'] })
    const test = new TestClusters()
    test.clusters.applyCluster(dnsCluster('STRICT_DNS', server.port), null)
    await test.clusters.whenWarm('c')
    const serving = test.clusters.get('c')!
    // Nobody answers at the port of these: they never become warm.
    const silent = createSocket('udp4').bind(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address()
    test.clusters.applyCluster(dnsCluster('STRICT_DNS', port), null)
    test.clusters.applyCluster(dnsCluster('STRICT_DNS', port, { connect_timeout: '3s' }), null)
    assert.equal(test.clusters.get('c'), serving)
    assert.equal(chosen(serving), '127.0.0.1:80')
    test.clusters.removeCluster('c')
    assert.equal(test.clusters.get('c'), undefined)
    server.close()
    silent.close()
  })

  test('an address in place of a name needs no resolution', () => {
    const test = new TestClusters()
    const endpoints = { cluster_name: 'c', endpoints: [{ lb_endpoints: [endpoint(80, {}, '192.0.2.1')] }] }
    const cluster = test.add(clusterData({ name: 'c', type: 'STRICT_DNS', load_assignment: endpoints }))
    assert.equal(chosen(cluster), '192.0.2.1:80')
    test.clusters.removeCluster('c')
  })
})
