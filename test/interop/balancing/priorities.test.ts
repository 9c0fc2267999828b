// Priorities, panic and hashing balancers beside real Envoy: a hash names the priority and the host, so that each request
// shows what the percentages are.

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

const RING = { lb_policy: 'RING_HASH' }
const LB = /lb_|membership_(healthy|degraded|excluded|total)|ring_hash|maglev|upstream_cx_none_healthy/

/** A priority of `total` hosts of which `healthy` are well and `degraded` are not quite; the rest is out. */
let next = 1
function priority(number: number, total: number, healthy: number, degraded = 0): LocalityOf {
  const first = next
  next += total
  return {
    priority: number,
    hosts: [
      ...hosts(first, first + healthy - 1),
      ...hosts(first + healthy, first + healthy + degraded - 1, { health: 'DEGRADED' }),
      ...hosts(first + healthy + degraded, first + total - 1, { health: 'UNHEALTHY' }),
    ],
  }
}
const fresh = (...of: readonly (readonly [number, number, number?])[]): LocalityOf[] => {
  next = 1
  return of.map(([total, healthy, degraded], i) => priority(i, total, healthy, degraded))
}

const loads = (name: string, endpoints: readonly LocalityOf[], more: Partial<BalancingCase> = {}): BalancingCase => ({
  name: `priorities: ${name}`,
  endpoints,
  cluster: RING,
  route: HASH_KEY,
  asks: keyed(150),
  counted: LB,
  ...more,
})
const panic = (value: number): object => ({ common_lb_config: { healthy_panic_threshold: { value } } })

const CASES: readonly BalancingCase[] = [
  loads('all healthy', fresh([4, 4], [4, 4])),
  loads('half of the first', fresh([4, 2], [4, 4])),
  loads('a quarter of the first', fresh([4, 1], [4, 4])),
  loads('none of the first', fresh([4, 0], [4, 4])),
  loads('a quarter of both', fresh([4, 1], [4, 1])),
  loads('a quarter of both, no panic', fresh([4, 1], [4, 1]), { cluster: { ...RING, ...panic(0) } }),
  loads('25, 25 and 20 %, no panic', fresh([4, 1], [4, 1], [5, 1]), { cluster: { ...RING, ...panic(0) } }),
  loads('25, 25 and 20 %', fresh([4, 1], [4, 1], [5, 1])),
  loads('panic in one of two', fresh([4, 1], [4, 2])),
  loads('total panic by numbers of hosts', fresh([2, 0], [6, 0])),
  loads('total panic, the first empty', [
    { priority: 0, hosts: [] },
    ...fresh([3, 0]).map((l) => ({ ...l, priority: 1 })),
  ]),
  loads('nobody, no panic', fresh([2, 0], [6, 0]), { cluster: { ...RING, ...panic(0) } }),
  loads('degraded hosts after healthy ones', fresh([4, 1, 3], [4, 4])),
  loads('degraded hosts only', fresh([4, 0, 4])),
  loads('degraded hosts only, round robin', fresh([4, 0, 4]), { cluster: {}, told: together }),
  loads('degraded before the next priority, round robin', fresh([4, 1, 3], [4, 4]), { cluster: {}, told: together }),
  loads('overprovisioning of 100 %', fresh([4, 3], [4, 4]), { policy: { overprovisioning_factor: 100 } }),
  loads('total panic by numbers of hosts, round robin', fresh([2, 0], [6, 0]), {
    cluster: {},
    asks: plain(60),
    told: together,
  }),
  loads(
    'health by weight',
    [
      { priority: 0, hosts: [...hosts(1, 2, { weight: 8 }), ...hosts(3, 4, { health: 'UNHEALTHY', weight: 2 })] },
      { priority: 1, hosts: hosts(5, 8) },
    ],
    { policy: { weighted_priority_health: true } },
  ),
  loads('maglev', fresh([4, 2], [4, 4]), { cluster: { lb_policy: 'MAGLEV' } }),
  loads('maglev, weights', [{ hosts: [...hosts(1, 3, { weight: 5 }), ...hosts(4, 6)] }], {
    cluster: { lb_policy: 'MAGLEV' },
  }),
  loads('ring, weights', [{ hosts: [...hosts(1, 3, { weight: 5 }), ...hosts(4, 6)] }]),
  loads('ring, few entries', [{ hosts: hosts(1, 7) }], {
    cluster: { ...RING, ring_hash_lb_config: { minimum_ring_size: 3, maximum_ring_size: 9 } },
  }),
  loads('ring, fewer entries than hosts', [{ hosts: hosts(1, 7) }], {
    cluster: { ...RING, ring_hash_lb_config: { minimum_ring_size: 1, maximum_ring_size: 2 } },
  }),
  loads('ring, MurmurHash', [{ hosts: hosts(1, 7) }], {
    cluster: { ...RING, ring_hash_lb_config: { hash_function: 'MURMUR_HASH_2' } },
  }),
  loads('ring, keys of metadata', [{ hosts: hosts(1, 3).map((h) => ({ ...h, labels: { hash_key: `k${h.n}` } })) }]),
  loads('ring, keys of metadata that are numbers', [
    { hosts: hosts(1, 3).map((h) => ({ ...h, labels: { hash_key: h.n } })) },
  ]),
  loads('maglev, small table', [{ hosts: hosts(1, 7) }], {
    cluster: { lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 11 } },
  }),
  loads('maglev, fewer entries than hosts', [{ hosts: hosts(1, 7) }], {
    cluster: { lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 5 } },
  }),
  ...['RING_HASH', 'MAGLEV'].flatMap((lb_policy) => [
    loads(
      `${lb_policy}: weights of localities`,
      [
        { zone: 'a', weight: 1, hosts: hosts(1, 2) },
        { zone: 'b', weight: 9, hosts: hosts(3, 6) },
        { zone: 'd', hosts: hosts(9, 9) },
      ],
      { cluster: { lb_policy, common_lb_config: { locality_weighted_lb_config: {} } } },
    ),
    loads(
      `${lb_policy}: weights of localities, one half ill`,
      [
        { zone: 'a', weight: 1, hosts: [...hosts(1, 2), ...hosts(3, 4, { health: 'UNHEALTHY' })] },
        { zone: 'b', weight: 2, hosts: hosts(5, 8) },
      ],
      { cluster: { lb_policy, common_lb_config: { locality_weighted_lb_config: {} } } },
    ),
    loads(
      `${lb_policy}: weights of localities, one ill altogether`,
      [
        { zone: 'a', weight: 3, hosts: hosts(3, 4, { health: 'UNHEALTHY' }) },
        { zone: 'b', weight: 2, hosts: hosts(5, 8) },
      ],
      { cluster: { lb_policy, common_lb_config: { locality_weighted_lb_config: {} } } },
    ),
    loads(
      `${lb_policy}: weights of localities in panic`,
      [
        { zone: 'a', weight: 1, hosts: hosts(1, 4, { health: 'UNHEALTHY' }) },
        { zone: 'b', weight: 7, hosts: [...hosts(5, 5), ...hosts(6, 8, { health: 'UNHEALTHY' })] },
      ],
      { cluster: { lb_policy, common_lb_config: { locality_weighted_lb_config: {} } } },
    ),
    loads(
      `${lb_policy}: localities of no weight`,
      [
        { zone: 'a', hosts: hosts(1, 4) },
        { zone: 'b', hosts: hosts(5, 8) },
      ],
      { cluster: { lb_policy, common_lb_config: { locality_weighted_lb_config: {} } } },
    ),
    loads(`${lb_policy}: bounded load`, [{ hosts: hosts(1, 5) }], {
      cluster: { lb_policy, common_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: 120 } } },
      asks: [
        ...plain(14, { headers: { 'x-key': 'one' }, held: true }),
        ...plain(6, { headers: { 'x-key': 'two' }, held: true }),
        ...keyed(20).map((ask) => ({ ...ask, held: true })),
      ],
    }),
    loads(`${lb_policy}: bounded load, weights`, [{ hosts: [...hosts(1, 2, { weight: 5 }), ...hosts(3, 5)] }], {
      cluster: { lb_policy, common_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: 100 } } },
      asks: [
        ...plain(14, { headers: { 'x-key': 'one' }, held: true }),
        ...keyed(20).map((ask) => ({ ...ask, held: true })),
      ],
    }),
    loads(`${lb_policy}: retries elsewhere`, [{ hosts: hosts(1, 5) }], {
      cluster: { lb_policy },
      route: {
        ...HASH_KEY,
        retry_policy: {
          retry_on: '5xx',
          num_retries: 3,
          retry_back_off: { base_interval: '0.001s' },
          retry_host_predicate: [
            {
              name: 'envoy.retry_host_predicates.previous_hosts',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate',
              },
            },
          ],
          host_selection_retry_max_attempts: 3,
        },
      },
      asks: keyed(40, { 'x-fail': '1,2,3,4' }),
    }),
  ]),
]

describeBalancing('priorities and hashes', CASES)
