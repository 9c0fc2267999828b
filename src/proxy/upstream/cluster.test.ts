import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { ipAddress } from '../network/address.ts'
import { SocketConnectionInfo } from '../network/connection-info.ts'
import { request } from '../route/testing.ts'
import {
  chosen,
  clusterData,
  endpoint,
  endpointsData,
  httpServer,
  staticCluster,
  TestClusters,
  TestRequest,
} from './testing.ts'

const EDS = { name: 'c', type: 'EDS', eds_cluster_config: { eds_config: { ads: {} } } }

function tally(count: number, choose: () => string | null): Record<string, number> {
  const result: Record<string, number> = {}
  for (let i = 0; i < count; i++) {
    const key = choose() ?? 'none'
    result[key] = (result[key] ?? 0) + 1
  }
  return result
}

describe('hosts', () => {
  test('an update keeps the connections of hosts that stay', async () => {
    const { port, server } = await httpServer()
    after(() => void server.close())
    const test = new TestClusters()
    const of = (ports: readonly number[]) =>
      endpointsData({ cluster_name: 'c', endpoints: [{ lb_endpoints: ports.map((p) => endpoint(p)) }] })
    const cluster = test.add(clusterData(EDS), of([port]))
    const first = new TestRequest(cluster)
    await first.done
    test.clusters.applyEndpoints('c', 'c', of([port, 1]))
    test.clusters.applyEndpoints('c', 'c', of([port]))
    const second = new TestRequest(cluster)
    await second.done
    assert.equal(second.connectionId, first.connectionId)
    assert.equal(test.value('membership_total'), 1)
    test.clusters.close()
  })

  test('no endpoints: no host', () => {
    const test = new TestClusters()
    const cluster = test.add(clusterData(EDS), null)
    assert.equal(chosen(cluster), null)
    assert.equal(test.value('upstream_cx_none_healthy'), 1)
  })

  test('unhealthy and draining hosts get nothing', () => {
    const test = new TestClusters()
    const cluster = test.add(
      clusterData(EDS),
      endpointsData({
        cluster_name: 'c',
        endpoints: [
          {
            lb_endpoints: [
              endpoint(1),
              endpoint(2),
              endpoint(3, { health_status: 'UNHEALTHY' }),
              endpoint(4, { health_status: 'DRAINING' }),
            ],
          },
        ],
      }),
    )
    assert.deepEqual(
      tally(10, () => chosen(cluster)),
      { '127.0.0.1:1': 5, '127.0.0.1:2': 5 },
    )
    assert.equal(test.value('membership_healthy'), 2)
  })

  test('below the panic threshold health no longer counts; 0 turns that off', () => {
    const one = endpointsData({
      cluster_name: 'c',
      endpoints: [
        { lb_endpoints: [endpoint(1), ...[2, 3, 4].map((p) => endpoint(p, { health_status: 'UNHEALTHY' }))] },
      ],
    })
    const panicking = new TestClusters()
    const cluster = panicking.add(clusterData(EDS), one)
    assert.equal(Object.keys(tally(8, () => chosen(cluster))).length, 4)
    assert.equal(panicking.value('lb_healthy_panic'), 8)
    const calm = new TestClusters().add(clusterData({ ...EDS, common_lb_config: { healthy_panic_threshold: {} } }), one)
    assert.deepEqual(
      tally(8, () => chosen(calm)),
      { '127.0.0.1:1': 8 },
    )
  })

  test('traffic spills to the next priority as health falls', () => {
    const cluster = new TestClusters().add(
      clusterData(EDS),
      endpointsData({
        cluster_name: 'c',
        endpoints: [
          { lb_endpoints: [endpoint(1), endpoint(2, { health_status: 'UNHEALTHY' })] },
          { priority: 1, lb_endpoints: [endpoint(3)] },
        ],
      }),
    )
    const counts = tally(4000, () => chosen(cluster))
    assert.equal(counts['127.0.0.1:2'], undefined)
    assert.ok(Math.abs(counts['127.0.0.1:1']! / 4000 - 0.7) < 0.05, JSON.stringify(counts))
  })

  test('locality weights share the traffic', () => {
    const cluster = new TestClusters().add(
      clusterData({ ...EDS, common_lb_config: { locality_weighted_lb_config: {} } }),
      endpointsData({
        cluster_name: 'c',
        endpoints: [
          { locality: { zone: 'a' }, load_balancing_weight: 1, lb_endpoints: [endpoint(1), endpoint(2)] },
          { locality: { zone: 'b' }, load_balancing_weight: 3, lb_endpoints: [endpoint(3)] },
        ],
      }),
    )
    assert.equal(tally(400, () => chosen(cluster))['127.0.0.1:3'], 300)
  })

  test('an assignment with a gap in its priorities is refused', () => {
    const gap = { cluster_name: 'c', endpoints: [{ priority: 1, lb_endpoints: [endpoint(1)] }] }
    assert.throws(() => endpointsData(gap), /priorities must be contiguous/)
  })
})

describe('balancers', () => {
  const weighted = (lb: object) =>
    new TestClusters().add(
      clusterData({ ...EDS, ...lb }),
      endpointsData({
        cluster_name: 'c',
        endpoints: [
          { lb_endpoints: [endpoint(1, { load_balancing_weight: 1 }), endpoint(2, { load_balancing_weight: 3 })] },
        ],
      }),
    )

  test('round robin follows weights exactly', () => {
    const cluster = weighted({ lb_policy: 'ROUND_ROBIN' })
    assert.deepEqual(
      tally(400, () => chosen(cluster)),
      { '127.0.0.1:1': 100, '127.0.0.1:2': 300 },
    )
  })

  test('least request with weights follows them while nothing is under way', () => {
    const cluster = weighted({ lb_policy: 'LEAST_REQUEST' })
    assert.deepEqual(
      tally(400, () => chosen(cluster)),
      { '127.0.0.1:1': 100, '127.0.0.1:2': 300 },
    )
  })

  test('a hash finds the same host again', () => {
    for (const lb_policy of ['RING_HASH', 'MAGLEV']) {
      const cluster = new TestClusters().add(staticCluster([1, 2, 3, 4, 5], { lb_policy }))
      const first = chosen(cluster, { hash: 42n })
      assert.deepEqual(
        tally(20, () => chosen(cluster, { hash: 42n })),
        { [first!]: 20 },
      )
      assert.ok(Object.keys(tally(200, () => chosen(cluster))).length > 1, 'without a hash hosts are drawn at random')
    }
  })

  test('a retry predicate is asked, and given up after its attempts', () => {
    const cluster = new TestClusters().add(staticCluster([1, 2]))
    const not1 = {
      shouldSelectAnotherHost: (host: { address: { port: number } }) => host.address.port === 1,
      hostSelectionRetryCount: 3,
    }
    assert.deepEqual(
      tally(20, () => chosen(cluster, not1)),
      { '127.0.0.1:2': 20 },
    )
    const nobody = { shouldSelectAnotherHost: () => true, hostSelectionRetryCount: 3 }
    assert.notEqual(chosen(cluster, nobody), null)
  })

  test('subsets choose by metadata and fall back as configured', () => {
    const version = (v: string) => ({ metadata: { filter_metadata: { 'envoy.lb': { version: v } } } })
    const make = (fallback_policy: string) =>
      new TestClusters().add(
        clusterData({
          ...EDS,
          lb_subset_config: {
            fallback_policy,
            default_subset: { version: 'v1' },
            subset_selectors: [{ keys: ['version'] }],
          },
        }),
        endpointsData({
          cluster_name: 'c',
          endpoints: [{ lb_endpoints: [endpoint(1, version('v1')), endpoint(2, version('v2'))] }],
        }),
      )
    const strict = make('NO_FALLBACK')
    assert.deepEqual(
      tally(6, () => chosen(strict, { metadataMatch: { version: 'v2' } })),
      { '127.0.0.1:2': 6 },
    )
    assert.equal(chosen(strict, { metadataMatch: { version: 'v9' } }), null)
    assert.equal(chosen(strict, { metadataMatch: { other: 'x' } }), null)
    assert.equal(chosen(make('DEFAULT_SUBSET'), { metadataMatch: { version: 'v9' } }), '127.0.0.1:1')
    const any = make('ANY_ENDPOINT')
    assert.equal(Object.keys(tally(20, () => chosen(any))).length, 2)
  })
})

describe('original destination', () => {
  const original = (more: object = {}) =>
    clusterData({ name: 'c', type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED', ...more })

  test('goes where the connection was meant to go, and only there', () => {
    const cluster = new TestClusters().add(original())
    const downstream = new SocketConnectionInfo(ipAddress('10.0.0.9', 8000), ipAddress('10.0.0.1', 5000))
    assert.equal(chosen(cluster, { downstream }), null)
    downstream.localAddressRestored = true
    assert.equal(chosen(cluster, { downstream }), '10.0.0.9:8000')
  })

  test('a header may say where, and a port may be forced', () => {
    const test = new TestClusters()
    const cluster = test.add(
      original({ original_dst_lb_config: { use_http_header: true, upstream_port_override: 9000 } }),
    )
    const headers = request('/', { 'x-envoy-original-dst-host': '10.1.1.1:80' })
    assert.equal(chosen(cluster, { headers }), '10.1.1.1:9000')
    assert.equal(chosen(cluster, { headers: request('/', { 'x-envoy-original-dst-host': 'a.example:80' }) }), null)
    assert.equal(test.value('original_dst_host_invalid'), 1)
  })
})

test('an aggregate uses its next cluster when the first has nobody', () => {
  const test = new TestClusters()
  const of = (name: string, ports: readonly number[], health: string) =>
    test.add(
      clusterData({ ...EDS, name }),
      endpointsData({
        cluster_name: name,
        endpoints: [{ lb_endpoints: ports.map((p) => endpoint(p, { health_status: health })) }],
      }),
    )
  of('first', [1], 'UNHEALTHY')
  of('second', [2], 'HEALTHY')
  const cluster = test.add(
    clusterData({
      name: 'c',
      lb_policy: 'CLUSTER_PROVIDED',
      cluster_type: {
        name: 'envoy.clusters.aggregate',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig',
          clusters: ['first', 'second'],
        },
      },
    }),
  )
  assert.equal(chosen(cluster), '127.0.0.1:2')
  of('first', [1], 'HEALTHY')
  assert.equal(chosen(cluster), '127.0.0.1:1')
})

describe('refused clusters', () => {
  test('leave nothing behind: a DNS cache of other settings', () => {
    const clusters = new TestClusters()
    const dynamic = (name: string, max_hosts: number) =>
      clusterData({
        name,
        lb_policy: 'CLUSTER_PROVIDED',
        cluster_type: {
          name: 'envoy.clusters.dynamic_forward_proxy',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig',
            dns_cache_config: { name: 'names', max_hosts },
          },
        },
      })
    clusters.add(dynamic('c', 1))
    clusters.stats.takeDelta()
    assert.throws(() => clusters.add(dynamic('d', 2)), /'names' with different settings/)
    assert.deepEqual(
      clusters.stats.takeDelta().defined.map(({ name }) => name),
      [],
    )
    assert.equal(clusters.clusters.newest('d'), undefined)
    clusters.clusters.close()
  })

  const refused: readonly (readonly [what: string, config: object, message: RegExp])[] = [
    [
      'a name in a static endpoint',
      {
        type: 'STATIC',
        load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [endpoint(1, {}, 'a.example')] }] },
      },
      /malformed IP address: a\.example/,
    ],
    ['CLUSTER_PROVIDED on a plain cluster', { type: 'STATIC', lb_policy: 'CLUSTER_PROVIDED' }, /lb_policy/],
    [
      'a maglev table that is not prime',
      { type: 'STATIC', lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 10 } },
      /prime/,
    ],
    [
      'an unknown transport socket',
      {
        type: 'STATIC',
        transport_socket: { name: 'x', typed_config: { '@type': 'type.googleapis.com/google.protobuf.Empty' } },
      },
      /no transport socket extension "x"/,
    ],
    [
      'a field this proxy lacks',
      { type: 'STATIC', lrs_report_endpoint_metrics: ['a'] },
      /lrs_report_endpoint_metrics: not supported/,
    ],
  ]
  for (const [what, config, message] of refused) {
    test(what, () => assert.throws(() => clusterData({ name: 'c', ...config }), message))
  }
})
