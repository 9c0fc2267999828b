// Localities beside real Envoy: zone-aware routing as its counters tell it, weights of localities, priorities that retries
// leave alone, hosts that retries pass over.

import {
  type BalancingCase,
  describeBalancing,
  HASH_KEY,
  hosts,
  keyed,
  type LocalityOf,
  plain,
  together,
} from './beside.ts'

/** How often zones are looked at again is the proxy's own affair: here when the first request after a change comes. */
const ZONES = /\.lb_zone_(routing|no_cap)|lb_healthy|lb_subsets_selected|upstream_cx_none_healthy/

const zone = (name: string, first: number, last: number, health?: 'UNHEALTHY' | 'DEGRADED'): LocalityOf => ({
  zone: name,
  hosts: hosts(first, last, health ? { health } : {}),
})

/** This proxy is in zone a; of its kind there are `counts` in the zones a, b, c. */
const local =
  (counts: readonly number[], ill: readonly number[] = [], more: object = {}) =>
  (made: object): object => {
    const {
      node,
      static_resources: resources,
      ...rest
    } = made as {
      node: object
      static_resources: { clusters: object[] }
    }
    const endpoints = counts.map((count, i) => ({
      locality: { zone: 'abc'[i] },
      lb_endpoints: hosts(1, count).map(({ n }) => ({
        ...(n <= (ill[i] ?? 0) && { health_status: 'UNHEALTHY' }),
        endpoint: { address: { socket_address: { address: `127.0.${i + 1}.${n}`, port_value: 9 } } },
      })),
    }))
    const own = {
      name: 'own',
      type: 'STATIC',
      load_assignment: {
        cluster_name: 'own',
        endpoints: endpoints.filter(({ lb_endpoints: list }) => list.length > 0),
      },
    }
    return {
      ...rest,
      node: { ...node, locality: { zone: 'a' } },
      cluster_manager: { local_cluster_name: 'own' },
      static_resources: { ...resources, clusters: [own, ...resources.clusters] },
      ...more,
    }
  }

const aware = (name: string, endpoints: readonly LocalityOf[], more: Partial<BalancingCase> = {}): BalancingCase => ({
  name,
  endpoints,
  asks: plain(60),
  told: together,
  counted: ZONES,
  ...more,
})
const common = (zone_aware_lb_config: object, more: object = {}): object => ({
  common_lb_config: { zone_aware_lb_config, ...more },
})
const typed = (name: string, more: object = {}): object => ({
  load_balancing_policy: {
    policies: [
      {
        typed_extension_config: {
          name,
          typed_config: { '@type': `type.googleapis.com/envoy.extensions.load_balancing_policies.${name}`, ...more },
        },
      },
    ],
  },
})
const EVEN = [zone('a', 1, 2), zone('b', 3, 4), zone('c', 5, 6)]

describeBalancing(
  'zones, as many callers in each',
  [
    aware('as many hosts in each', EVEN),
    aware('more hosts here', [zone('a', 1, 4), zone('b', 5, 6)]),
    aware('all hosts here', [zone('a', 1, 6), zone('b', 7, 7, 'UNHEALTHY')]),
    aware('one zone', [zone('a', 1, 6)]),
    aware('none here', [zone('b', 1, 3), zone('c', 4, 6)], { counted: /lb_zone_(no_cap|routing)/ }),
    aware('nobody well here', [zone('a', 1, 2, 'UNHEALTHY'), zone('b', 3, 5), zone('c', 6, 9)]),
    aware('five hosts', [zone('a', 1, 2), zone('b', 3, 4), zone('c', 5, 5)]),
    aware('five hosts are enough', [zone('a', 1, 2), zone('b', 3, 4), zone('c', 5, 5)], {
      cluster: common({ min_cluster_size: 5 }),
    }),
    aware('not enabled', EVEN, { cluster: common({ routing_enabled: { value: 0 } }) }),
    aware('panic of the upstream', [zone('a', 1, 2), zone('b', 3, 8, 'UNHEALTHY')], {
      cluster: common({ min_cluster_size: 1 }),
    }),
    aware('panic of the upstream, fail_traffic_on_panic', [zone('a', 1, 2), zone('b', 3, 8, 'UNHEALTHY')], {
      cluster: common({ min_cluster_size: 1, fail_traffic_on_panic: true }),
    }),
    aware('degraded hosts', [zone('a', 1, 2, 'DEGRADED'), zone('b', 3, 4, 'DEGRADED'), zone('c', 5, 6)], {
      cluster: common({ min_cluster_size: 1 }, { healthy_panic_threshold: { value: 0 } }),
      counted: /lb_zone_routing_all|lb_healthy/,
      told: (met) => [...new Set(met.map(([status]) => status))].sort(),
    }),
    aware('the second priority knows no zones', [
      { ...zone('a', 1, 6, 'UNHEALTHY'), priority: 0 },
      ...EVEN.map((locality, i) => ({ ...locality, priority: 1, hosts: hosts(7 + 2 * i, 8 + 2 * i) })),
    ]),
    aware('least request', EVEN, { cluster: { lb_policy: 'LEAST_REQUEST' } }),
    aware('random', EVEN, { cluster: { lb_policy: 'RANDOM' } }),
    aware('ring hash knows no zones', EVEN, { cluster: { lb_policy: 'RING_HASH' }, route: HASH_KEY, asks: keyed(40) }),
    aware('a policy by extension without settings', EVEN, { cluster: typed('round_robin.v3.RoundRobin') }),
    aware('a policy by extension with settings', EVEN, {
      cluster: typed('least_request.v3.LeastRequest', {
        locality_lb_config: { zone_aware_lb_config: { min_cluster_size: 7 } },
      }),
    }),
    aware(
      'weights of localities',
      [
        { ...zone('a', 1, 3), weight: 1 },
        { ...zone('b', 4, 6), weight: 1 },
      ],
      { cluster: { common_lb_config: { locality_weighted_lb_config: {} } } },
    ),
    aware('localities of no weight', [zone('a', 1, 3), zone('b', 4, 6)], {
      cluster: { common_lb_config: { locality_weighted_lb_config: {} } },
    }),
    aware(
      'a subset',
      [
        { zone: 'a', hosts: [...hosts(1, 3, { labels: { v: 1 } }), ...hosts(4, 6, { labels: { v: 2 } })] },
        { zone: 'b', hosts: [...hosts(7, 9, { labels: { v: 1 } }), ...hosts(10, 12, { labels: { v: 2 } })] },
      ],
      {
        cluster: { lb_subset_config: { subset_selectors: [{ keys: ['v'] }] } },
        route: { metadata_match: { filter_metadata: { 'envoy.lb': { v: 1 } } } },
      },
    ),
  ],
  local([3, 3, 3]),
)

describeBalancing(
  'zones, all callers here',
  [aware('as many hosts in each', EVEN, { counted: /lb_zone_no_cap/ })],
  local([6]),
)
describeBalancing('zones, no callers here', [aware('as many hosts in each', EVEN)], local([0, 3, 3]))
describeBalancing(
  'zones, callers in panic',
  [
    aware('as many hosts in each', EVEN, { counted: /lb_zone|lb_local/ }),
    aware('fail_traffic_on_panic', EVEN, {
      cluster: common({ fail_traffic_on_panic: true }),
      counted: /lb_zone|lb_local/,
    }),
    aware('a lower threshold', EVEN, {
      cluster: common({}, { healthy_panic_threshold: { value: 10 } }),
      counted: /lb_zone_(no_cap|routing_all)|lb_local/,
    }),
  ],
  local([4, 4, 4], [2, 3, 3]),
)

const RETRY = { retry_on: '5xx', retry_back_off: { base_interval: '0.001s' } }
const priorities = (update_frequency: number): object => ({
  retry_priority: {
    name: 'p',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
      update_frequency,
    },
  },
})
const THREE = [0, 1, 2].map((priority) => ({ priority, hosts: hosts(1 + priority, 1 + priority) }))
const predicate = (name: string, type: string, more: object = {}): object => ({
  retry_host_predicate: [
    { name, typed_config: { '@type': `type.googleapis.com/envoy.extensions.retry.host.${type}`, ...more } },
  ],
  host_selection_retry_max_attempts: 40,
})
const retrying = (
  name: string,
  endpoints: readonly LocalityOf[],
  retry: object,
  more: Partial<BalancingCase> = {},
): BalancingCase => ({
  name,
  endpoints,
  route: { retry_policy: { ...RETRY, num_retries: 5, ...retry } },
  asks: plain(8, { headers: { 'x-fail': '1,2,3,4,5,6' } }),
  counted: /upstream_rq_retry|lb_healthy/,
  ...more,
})

describeBalancing('where retries go', [
  retrying('every priority once', THREE, priorities(1)),
  retrying('every priority twice', THREE, priorities(2)),
  retrying('every priority three times', THREE, priorities(3), {
    route: { retry_policy: { ...RETRY, num_retries: 9, ...priorities(3) } },
  }),
  retrying(
    'an ill priority is left out',
    [
      { priority: 0, hosts: hosts(1, 1) },
      { priority: 1, hosts: hosts(2, 2, { health: 'UNHEALTHY' }) },
      { priority: 2, hosts: hosts(3, 3) },
    ],
    priorities(1),
  ),
  retrying(
    'all priorities ill',
    [
      { priority: 0, hosts: hosts(1, 1, { health: 'UNHEALTHY' }) },
      { priority: 1, hosts: hosts(2, 2, { health: 'UNHEALTHY' }) },
    ],
    priorities(1),
    { told: (met) => [...new Set(met.flatMap(([, where]) => where.split('>')))].sort() },
  ),
  retrying(
    'panic in all priorities',
    [
      { priority: 0, hosts: [...hosts(1, 1), ...hosts(2, 4, { health: 'UNHEALTHY' })] },
      { priority: 1, hosts: hosts(5, 5, { health: 'UNHEALTHY' }) },
    ],
    priorities(1),
    { told: (met) => met.map(([status, where]) => [status, where.split('>').length]) },
  ),
  retrying('priorities mean nothing to ring hash', THREE, priorities(1), {
    cluster: { lb_policy: 'RING_HASH' },
    route: { ...HASH_KEY, retry_policy: { ...RETRY, num_retries: 3, ...priorities(1) } },
    asks: keyed(10, { 'x-fail': '1,2,3' }),
  }),
  retrying(
    'degraded hosts of a priority',
    [
      { priority: 0, hosts: hosts(1, 2, { health: 'DEGRADED' }) },
      { priority: 1, hosts: hosts(3, 3) },
    ],
    priorities(1),
    {
      told: (met) => met.map(([status, where]) => [status, where.replaceAll('1', 'd').replaceAll('2', 'd')]),
    },
  ),
  retrying(
    'hosts tried before',
    [{ hosts: hosts(1, 3) }],
    {
      num_retries: 2,
      ...predicate('p', 'previous_hosts.v3.PreviousHostsPredicate'),
    },
    { told: (met) => met.map(([status, where]) => [status, where.split('>').sort()]) },
  ),
  retrying(
    'canary hosts',
    [{ hosts: [...hosts(1, 2), ...hosts(3, 6, { labels: { canary: true } })] }],
    {
      num_retries: 2,
      ...predicate('p', 'omit_canary_hosts.v3.OmitCanaryHostsPredicate'),
    },
    {
      asks: plain(12, { headers: { 'x-fail': '3,4,5,6' } }),
      counted: /lb_healthy/,
      told: (met) => met.map(([status, where]) => [status, /[12]$/.test(where)]),
    },
  ),
  ...[
    ['labels', { v: 1 }],
    ['labels that are one of a list', { list: 'x' }],
    ['an object', { o: { a: 1, b: 2 } }],
  ].map(([what, labels]) =>
    retrying(
      `hosts by ${what}`,
      [{ hosts: [...hosts(1, 1), ...hosts(2, 5, { labels: { v: 1, list: ['x', 'y'], o: { b: 2, a: 1 } } })] }],
      {
        num_retries: 2,
        ...predicate('p', 'omit_host_metadata.v3.OmitHostMetadataConfig', {
          metadata_match: { filter_metadata: { 'envoy.lb': labels } },
        }),
      },
      {
        asks: plain(12, { headers: { 'x-fail': '2,3,4,5' } }),
        counted: /lb_healthy/,
        told: (met) => met.map(([status, where]) => [status, where.endsWith('1')]),
      },
    ),
  ),
  retrying(
    'hosts by no labels at all',
    [{ hosts: hosts(1, 3) }],
    {
      num_retries: 1,
      ...predicate('p', 'omit_host_metadata.v3.OmitHostMetadataConfig'),
    },
    { told: (met) => met.map(([status, where]) => [status, where.split('>').length]) },
  ),
])
