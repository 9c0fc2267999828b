// Subset load balancing beside real Envoy: which hosts a request's labels lead to, what is done when they lead to none, and
// what is counted.

import { type BalancingCase, describeBalancing, hosts, type LocalityOf, plain, together } from './beside.ts'

/** Envoy counts the subsets that its main thread keeps, too; there is no such thread here. */
const COUNTED = /lb_subsets_(?!active|created|removed)|lb_healthy_panic|upstream_cx_none_healthy/

interface Subsets {
  readonly selectors: readonly object[]
  readonly endpoints?: readonly LocalityOf[]
  readonly match?: object
  readonly cluster?: object
  readonly more?: Partial<BalancingCase>
  readonly [option: string]: unknown
}

const VERSIONS: readonly LocalityOf[] = [
  {
    hosts: [
      ...hosts(1, 2, { labels: { version: 'v1', stage: 'prod' } }),
      ...hosts(3, 4, { labels: { version: 'v2', stage: 'prod' } }),
      ...hosts(5, 6, { labels: { version: 'v2', stage: 'dev' } }),
      ...hosts(7, 7, { labels: { version: 'v3', stage: 'dev' }, health: 'UNHEALTHY' }),
      ...hosts(8, 8),
    ],
  },
]

function subsets(name: string, { selectors, endpoints, match, cluster, more, ...options }: Subsets): BalancingCase {
  return {
    name,
    endpoints: endpoints ?? VERSIONS,
    cluster: { lb_subset_config: { subset_selectors: selectors, ...options }, ...cluster },
    ...(match && { route: { metadata_match: { filter_metadata: { 'envoy.lb': match } } } }),
    asks: plain(24),
    told: together,
    counted: COUNTED,
    ...more,
  }
}
const version = { keys: ['version'] }
const both = { keys: ['version', 'stage'] }
const ANY = { fallback_policy: 'ANY_ENDPOINT' }
const DEFAULT = { fallback_policy: 'DEFAULT_SUBSET', default_subset: { stage: 'dev' } }

const CASES: readonly BalancingCase[] = [
  subsets('one key', { selectors: [version], match: { version: 'v1' } }),
  subsets('two keys', { selectors: [version, both], match: { stage: 'dev', version: 'v2' } }),
  subsets('no criteria', { selectors: [version] }),
  subsets('no criteria, any endpoint', { selectors: [version], ...ANY }),
  subsets('no criteria, default subset', { selectors: [version], ...DEFAULT }),
  subsets('empty criteria, any endpoint', { selectors: [version], ...ANY, match: {} }),
  subsets('a value nobody has', { selectors: [version], match: { version: 'v9' } }),
  subsets('a value nobody has, any endpoint', { selectors: [version], ...ANY, match: { version: 'v9' } }),
  subsets('a value nobody has, default subset', { selectors: [version], ...DEFAULT, match: { version: 'v9' } }),
  subsets('keys no selector has', { selectors: [version], ...ANY, match: { version: 'v1', stage: 'prod' } }),
  subsets('a part of the keys', { selectors: [both], ...ANY, match: { version: 'v1' } }),
  subsets('a subset whose only host is ill, any endpoint', { selectors: [version], ...ANY, match: { version: 'v3' } }),
  subsets('a subset whose only host is ill, no panic', {
    selectors: [version],
    ...ANY,
    match: { version: 'v3' },
    cluster: { common_lb_config: { healthy_panic_threshold: { value: 0 } } },
  }),
  subsets('a default subset nobody is in', {
    selectors: [version],
    fallback_policy: 'DEFAULT_SUBSET',
    default_subset: { stage: 'none' },
    match: { version: 'v9' },
  }),
  subsets('a default subset nobody is in, panic_mode_any', {
    selectors: [version],
    fallback_policy: 'DEFAULT_SUBSET',
    default_subset: { stage: 'none' },
    panic_mode_any: true,
    match: { version: 'v9' },
  }),
  subsets('panic_mode_any without fallback', { selectors: [version], panic_mode_any: true, match: { version: 'v9' } }),
  subsets('an empty default subset', {
    selectors: [version],
    fallback_policy: 'DEFAULT_SUBSET',
    match: { version: 'v9' },
  }),
  ...['NO_FALLBACK', 'ANY_ENDPOINT', 'DEFAULT_SUBSET'].flatMap((fallback_policy) => [
    subsets(`selector's ${fallback_policy}`, {
      selectors: [{ ...version, fallback_policy }],
      ...DEFAULT,
      match: { version: 'v9' },
    }),
    subsets(`selector's ${fallback_policy}, nobody there, panic_mode_any`, {
      selectors: [{ ...version, fallback_policy }],
      fallback_policy: 'DEFAULT_SUBSET',
      default_subset: { stage: 'none' },
      panic_mode_any: true,
      match: { version: 'v9' },
    }),
  ]),
  subsets("selector's KEYS_SUBSET", {
    selectors: [version, { ...both, fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['version'] }],
    match: { version: 'v1', stage: 'none' },
  }),
  subsets("selector's KEYS_SUBSET, found nowhere", {
    selectors: [
      { ...version, fallback_policy: 'DEFAULT_SUBSET' },
      { ...both, fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['version'] },
    ],
    default_subset: { stage: 'dev' },
    match: { version: 'v9', stage: 'none' },
  }),
  subsets("selector's KEYS_SUBSET without a selector for them", {
    selectors: [{ ...both, fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['stage'] }],
    ...ANY,
    match: { version: 'v9', stage: 'dev' },
  }),
  subsets('two selectors for the same keys', {
    selectors: [
      { ...version, fallback_policy: 'NO_FALLBACK' },
      { ...version, fallback_policy: 'ANY_ENDPOINT' },
    ],
    match: { version: 'v9' },
  }),
  subsets('a list as any', {
    selectors: [version],
    list_as_any: true,
    endpoints: [
      {
        hosts: [
          { n: 1, labels: { version: ['v1', 'v2'] } },
          { n: 2, labels: { version: 'v2' } },
          { n: 3, labels: { version: ['v3'] } },
        ],
      },
    ],
    match: { version: 'v2' },
  }),
  subsets('a list as any in the default subset', {
    selectors: [version],
    list_as_any: true,
    fallback_policy: 'DEFAULT_SUBSET',
    default_subset: { version: 'v1' },
    endpoints: [
      {
        hosts: [
          { n: 1, labels: { version: ['v1', 'v2'] } },
          { n: 2, labels: { version: 'v2' } },
        ],
      },
    ],
  }),
  subsets('a list as a list', {
    selectors: [version],
    ...ANY,
    endpoints: [
      {
        hosts: [
          { n: 1, labels: { version: ['v1', 'v2'] } },
          { n: 2, labels: { version: 'v2' } },
        ],
      },
    ],
    match: { version: ['v1', 'v2'] },
  }),
  subsets('values that are numbers, booleans and objects', {
    selectors: [{ keys: ['a', 'b', 'c'] }],
    endpoints: [
      {
        hosts: [
          { n: 1, labels: { a: 1, b: true, c: { x: 1, y: [2] } } },
          { n: 2, labels: { a: 1, b: true, c: { y: [2], x: 1 } } },
          { n: 3, labels: { a: '1', b: true, c: { x: 1, y: [2] } } },
        ],
      },
    ],
    match: { a: 1, b: true, c: { y: [2], x: 1 } },
  }),
  subsets('one host in each subset', {
    selectors: [{ keys: ['id'], single_host_per_subset: true }],
    endpoints: [
      {
        hosts: [
          { n: 1, labels: { id: 'a' } },
          { n: 2, labels: { id: 'b' } },
        ],
      },
    ],
    match: { id: 'b' },
  }),
  subsets('one host in each subset, two have it', {
    selectors: [{ keys: ['id'], single_host_per_subset: true }],
    endpoints: [
      {
        hosts: [
          { n: 1, labels: { id: 'a' } },
          { n: 2, labels: { id: 'a' } },
          { n: 3, labels: { id: 'a' } },
        ],
      },
    ],
    match: { id: 'a' },
  }),
  subsets('one host in each subset, it is ill', {
    selectors: [{ keys: ['id'], single_host_per_subset: true }],
    endpoints: [
      {
        hosts: [
          { n: 1, labels: { id: 'a' }, health: 'UNHEALTHY' },
          { n: 2, labels: { id: 'a' } },
        ],
      },
    ],
    match: { id: 'a' },
  }),
  subsets('one host in each subset, two priorities', {
    selectors: [{ keys: ['id'], single_host_per_subset: true }],
    endpoints: [
      {
        priority: 0,
        hosts: [
          { n: 1, labels: { id: 'b' } },
          { n: 2, labels: { id: 'a' } },
        ],
      },
      {
        priority: 1,
        hosts: [
          { n: 3, labels: { id: 'a' } },
          { n: 4, labels: { id: 'c' } },
        ],
      },
    ],
    match: { id: 'a' },
  }),
  ...[
    ['the second of a list', [{ version: 'v9' }, { version: 'v2' }]],
    ['nothing of a list', [{ version: 'v9' }, { version: 'v8' }]],
    ['an empty list', []],
  ].map(([what, fallback_list]) =>
    subsets(`metadata_fallback_policy: ${what}`, {
      selectors: [version],
      metadata_fallback_policy: 'FALLBACK_LIST',
      match: { fallback_list },
    }),
  ),
  subsets('metadata_fallback_policy: the first leads to any endpoint', {
    selectors: [version],
    ...ANY,
    metadata_fallback_policy: 'FALLBACK_LIST',
    match: { fallback_list: [{ version: 'v9' }, { version: 'v2' }] },
  }),
  subsets('metadata_fallback_policy: nothing of a list, then the default subset', {
    selectors: [version],
    ...DEFAULT,
    metadata_fallback_policy: 'FALLBACK_LIST',
    match: { version: 'v1', fallback_list: [{ version: 'v9' }] },
  }),
  subsets('a list of criteria without the policy', {
    selectors: [version],
    ...ANY,
    match: { version: 'v1', fallback_list: [{ version: 'v2' }] },
  }),
  ...[{}, { locality_weight_aware: true }, { locality_weight_aware: true, scale_locality_weight: true }].map(
    (options) =>
      subsets(`weights of localities: ${JSON.stringify(options)}`, {
        selectors: [version],
        ...options,
        endpoints: [
          { zone: 'a', weight: 1, hosts: hosts(1, 2, { labels: { version: 'v1' } }) },
          { zone: 'b', hosts: hosts(3, 4, { labels: { version: 'v1' } }) },
          { zone: 'c', weight: 100, hosts: hosts(5, 6, { labels: { version: 'v2' } }) },
        ],
        match: { version: 'v1' },
        cluster: { common_lb_config: { locality_weighted_lb_config: {} } },
      }),
  ),
  ...[{ locality_weight_aware: true }, { locality_weight_aware: true, scale_locality_weight: true }].map((options) =>
    subsets(`weights of localities that are left with few hosts: ${JSON.stringify(options)}`, {
      selectors: [version],
      ...options,
      endpoints: [
        { zone: 'a', weight: 1, hosts: [...hosts(1, 1, { labels: { version: 'v1' } }), ...hosts(2, 9)] },
        { zone: 'b', weight: 1, hosts: hosts(10, 12, { labels: { version: 'v1' } }) },
      ],
      match: { version: 'v1' },
      cluster: { common_lb_config: { locality_weighted_lb_config: {} } },
    }),
  ),
  subsets('redundant keys', {
    selectors: [],
    match: { version: 'v1', stage: 'prod', other: 'x' },
    cluster: {
      lb_subset_config: undefined,
      load_balancing_policy: {
        policies: [
          {
            typed_extension_config: {
              name: 's',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset',
                allow_redundant_keys: true,
                subset_selectors: [{ keys: ['stage', 'none'] }, version, both],
                subset_lb_policy: {
                  policies: [
                    {
                      typed_extension_config: {
                        name: 'r',
                        typed_config: {
                          '@type':
                            'type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin',
                        },
                      },
                    },
                  ],
                },
              },
            },
          },
        ],
      },
    },
  }),
]

describeBalancing('subsets', CASES)
