// Outlier detection beside real Envoy: who is ejected by which answers, and how it is counted.

import { type Ask, type BalancingCase, describeBalancing, hosts, plain } from './beside.ts'

const COUNTED = /outlier_detection|membership_healthy/
const LONG = { interval: '300s', base_ejection_time: '300s', max_ejection_percent: 100 }
/** By a hash each request has its host: 127.0.0.1 and on, by the label `n`. */
const to = (n: number, headers: Record<string, string>): Ask => ({
  headers: { ...headers, 'x-n': String(n) },
  settled: true,
})

/** `asks` go to the host whose number x-n names, through a subset of one. */
function outliers(
  name: string,
  detection: object,
  asks: readonly Ask[],
  more: Partial<BalancingCase> = {},
): BalancingCase {
  return {
    name,
    endpoints: [{ hosts: hosts(1, 5).map((host) => ({ ...host, labels: { n: String(host.n) } })) }],
    cluster: {
      common_lb_config: { healthy_panic_threshold: { value: 0 } },
      outlier_detection: { ...LONG, ...detection },
      lb_subset_config: { subset_selectors: [{ keys: ['n'] }] },
    },
    routes: [1, 2, 3, 4, 5].map((n) => ({
      match: { prefix: '/', headers: [{ name: 'x-n', string_match: { exact: String(n) } }] },
      route: { metadata_match: { filter_metadata: { 'envoy.lb': { n: String(n) } } } },
    })),
    asks,
    counted: COUNTED,
    ...more,
  }
}
const fails = (times: number, n: number, status = 500): Ask[] => plain(times, to(n, { 'x-fail': `${n}=${status}` }))
const drops = (times: number, n: number): Ask[] => plain(times, to(n, { 'x-drop': String(n) }))
const works = (times: number, n: number): Ask[] => plain(times, to(n, {}))
/** After which an interval of detectors that judge by rates has ended, and not two. */
const RATES = { interval: '3s', base_ejection_time: '300s', max_ejection_percent: 100 }
const SETTLED = { settleMs: 3500 }
const volume = { success_rate_request_volume: 10, failure_percentage_request_volume: 10 }

const CASES: readonly BalancingCase[] = [
  outliers('five failures in a row', {}, [...fails(5, 1), ...works(2, 1)]),
  outliers('four failures, a success, four failures', {}, [
    ...fails(4, 1),
    ...works(1, 1),
    ...fails(4, 1),
    ...works(1, 1),
  ]),
  outliers('gateway failures are not enforced by default', { consecutive_5xx: 9 }, [
    ...fails(5, 1, 503),
    ...works(1, 1),
  ]),
  outliers('gateway failures, enforced', { consecutive_5xx: 9, enforcing_consecutive_gateway_failure: 100 }, [
    ...fails(4, 1, 502),
    ...fails(1, 1, 500),
    ...fails(5, 1, 504),
    ...works(1, 1),
  ]),
  outliers('both at once, the gateway failure first', { enforcing_consecutive_gateway_failure: 100 }, [
    ...fails(5, 1, 503),
    ...works(1, 1),
  ]),
  outliers('not enforced, counted again and again', { consecutive_5xx: 2, enforcing_consecutive_5xx: 0 }, fails(7, 1)),
  outliers('a threshold of one', { consecutive_5xx: 1 }, [
    ...fails(1, 1),
    ...fails(1, 2),
    ...works(1, 1),
    ...works(1, 3),
  ]),
  outliers('no more than 20 percent', { consecutive_5xx: 1, max_ejection_percent: 20 }, [
    ...fails(1, 1),
    ...fails(1, 2),
    ...fails(1, 3),
  ]),
  outliers('10 percent of five is nobody', { consecutive_5xx: 1, max_ejection_percent: 10 }, [
    ...fails(2, 1),
    ...works(1, 1),
  ]),
  outliers(
    '10 percent of five, always_eject_one_host',
    { consecutive_5xx: 1, max_ejection_percent: 10, always_eject_one_host: true },
    [...fails(1, 1), ...fails(1, 2)],
  ),
  outliers(
    '0 percent, always_eject_one_host',
    { consecutive_5xx: 1, max_ejection_percent: 0, always_eject_one_host: true },
    fails(1, 1),
  ),
  outliers('connections that drop', { consecutive_5xx: 2 }, [...drops(2, 1), ...works(1, 1)]),
  outliers(
    'connections that drop, origins apart',
    { consecutive_local_origin_failure: 2, split_external_local_origin_errors: true },
    [...drops(4, 1), ...works(1, 1)],
  ),
  outliers('answers, origins apart', { consecutive_5xx: 2, split_external_local_origin_errors: true }, [
    ...fails(2, 1),
    ...works(1, 1),
  ]),
  outliers('refused connections', { consecutive_5xx: 2 }, [...works(3, 1)], {
    endpoints: [{ hosts: hosts(1, 5, { refuses: true }).map((host) => ({ ...host, labels: { n: String(host.n) } })) }],
  }),
  outliers(
    'refused connections, origins apart',
    { consecutive_local_origin_failure: 2, split_external_local_origin_errors: true },
    [...works(3, 1)],
    {
      endpoints: [
        { hosts: hosts(1, 5, { refuses: true }).map((host) => ({ ...host, labels: { n: String(host.n) } })) },
      ],
    },
  ),
  outliers('a status of 499', { consecutive_5xx: 1 }, fails(2, 1, 499)),
  outliers('a status of 599', { consecutive_5xx: 1 }, fails(1, 1, 599)),
  outliers(
    'success rate',
    { ...RATES, ...volume, consecutive_5xx: 1000 },
    [...[2, 3, 4, 5].flatMap((n) => works(10, n)), ...fails(6, 1), ...works(4, 1)],
    SETTLED,
  ),
  outliers(
    'success rate, too few hosts',
    { ...RATES, ...volume, success_rate_minimum_hosts: 6, consecutive_5xx: 1000 },
    [...[2, 3, 4, 5].flatMap((n) => works(10, n)), ...fails(10, 1)],
    SETTLED,
  ),
  outliers(
    'success rate, too few requests',
    { ...RATES, ...volume, consecutive_5xx: 1000 },
    [...[2, 3, 4, 5].flatMap((n) => works(10, n)), ...fails(9, 1)],
    SETTLED,
  ),
  outliers(
    'success rate, a wide band',
    { ...RATES, ...volume, success_rate_stdev_factor: 3000, consecutive_5xx: 1000 },
    [...[2, 3, 4, 5].flatMap((n) => works(10, n)), ...fails(10, 1)],
    SETTLED,
  ),
  outliers(
    'success rate, not enforced',
    { ...RATES, ...volume, enforcing_success_rate: 0, consecutive_5xx: 1000 },
    [...[2, 3, 4, 5].flatMap((n) => works(10, n)), ...fails(10, 1)],
    SETTLED,
  ),
  outliers(
    'failure percentage',
    { ...RATES, ...volume, enforcing_success_rate: 0, enforcing_failure_percentage: 100, consecutive_5xx: 1000 },
    [...[3, 4, 5].flatMap((n) => works(10, n)), ...fails(9, 1), ...works(1, 1), ...fails(8, 2), ...works(2, 2)],
    SETTLED,
  ),
  outliers(
    'failure percentage, not enforced',
    { ...RATES, ...volume, success_rate_minimum_hosts: 100, consecutive_5xx: 1000 },
    [...[2, 3, 4, 5].flatMap((n) => works(10, n)), ...fails(10, 1)],
    SETTLED,
  ),
  outliers(
    'success rate and failure percentage at once',
    { ...RATES, ...volume, consecutive_5xx: 1000 },
    [...[2, 3, 4, 5].flatMap((n) => works(10, n)), ...fails(10, 1)],
    SETTLED,
  ),
  outliers(
    'success rate of our own failures',
    {
      ...RATES,
      ...volume,
      split_external_local_origin_errors: true,
      consecutive_5xx: 1000,
      consecutive_local_origin_failure: 1000,
    },
    [...[2, 3, 4, 5].flatMap((n) => works(10, n)), ...drops(10, 1)],
    SETTLED,
  ),
  outliers('back after a while', { consecutive_5xx: 1, interval: '0.5s', base_ejection_time: '0.1s' }, fails(1, 1), {
    settleMs: 1500,
  }),
]

describeBalancing('outliers', CASES)
describeBalancing(
  'outliers, by runtime',
  [
    outliers('fewer failures', {}, [...fails(2, 1), ...works(1, 1)]),
    outliers('a share', { consecutive_5xx: 1, max_ejection_percent: 100 }, [
      ...fails(2, 1),
      ...fails(2, 2),
      ...fails(2, 3),
    ]),
    outliers('gateway failures', { consecutive_5xx: 1000 }, [...fails(3, 1, 503), ...works(1, 1)]),
  ],
  (made) => ({
    ...made,
    layered_runtime: {
      layers: [
        {
          name: 's',
          static_layer: {
            outlier_detection: {
              consecutive_5xx: 2,
              max_ejection_percent: 40,
              enforcing_consecutive_gateway_failure: 100,
              consecutive_gateway_failure: 3,
            },
          },
        },
      ],
    },
  }),
)
