// Cookies that a hash policy makes, beside real Envoy: which answers have them, and how often.

import { type AddressInfo, createServer, type Server } from 'node:net'
import { after } from 'node:test'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'
import { address } from './harness/situations.ts'

const get = (path = '/', headers = ''): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const answer = (status: number, headers = ''): string => `HTTP/1.1 ${status} X\r\n${headers}content-length: 0\r\n\r\n`
const attemptOf = (head: string): number => Number(/x-envoy-attempt-count: (\d+)/i.exec(head)?.[1] ?? 1)

const COUNTED = { include_request_attempt_count: true, include_attempt_count_in_response: true }
const made = (more: object = {}): object => ({ cookie: { name: 'made', ttl: '60s', path: '/p', ...more } })
const RING = { lb_policy: 'RING_HASH' }
const retries = (policy: object = {}): object => ({
  retry_policy: { retry_on: '5xx', num_retries: 3, retry_back_off: { base_interval: '0.001s' }, ...policy },
})
const servers: Server[] = []
after(() => servers.map((server) => server.close()))
/** A host that answers 503 always, and its port. */
async function failingHost(): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => socket.write(answer(503)))
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}
const bad = await failingHost()
const twoHosts = {
  load_assignment: {
    cluster_name: 'c',
    endpoints: [{ lb_endpoints: [bad, bad].map((port) => ({ endpoint: { address: address(port) } })) }],
  },
}

const policies: readonly (readonly [name: string, policy: object[], cluster: object])[] = [
  ['ring hash', [made()], RING],
  ['maglev', [made()], { lb_policy: 'MAGLEV' }],
  ['round robin, which asks nobody', [made()], {}],
  ['two cookies', [made(), made({ name: 'other', path: '' })], RING],
  ['a cookie behind one that ends it', [{ ...made(), terminal: true }, made({ name: 'other' })], RING],
  [
    'a session cookie with attributes',
    [made({ ttl: '0s', attributes: [{ name: 'SameSite', value: 'Strict' }] })],
    RING,
  ],
]

const SCENARIOS: Scenario[] = [
  ...policies.flatMap(([name, hash_policy, cluster]): Scenario[] => [
    {
      name: `${name}: the first answer`,
      route: { hash_policy },
      cluster,
      client: [get(), get('/', 'cookie: made=here\r\n')],
      upstream: () => answer(200),
    },
    {
      name: `${name}: the third attempt`,
      virtualHost: COUNTED,
      route: { hash_policy, ...retries() },
      cluster,
      client: [get(), get('/', 'cookie: made=here\r\n')],
      upstream: (head) => answer(attemptOf(head) > 2 ? 200 : 503),
    },
    {
      name: `${name}: retries used up`,
      virtualHost: COUNTED,
      route: { hash_policy, ...retries() },
      cluster,
      client: [get()],
      upstream: () => answer(503),
    },
  ]),
  {
    name: 'an upstream that says nothing',
    route: { hash_policy: [made()], timeout: '0.2s' },
    cluster: RING,
    client: [get()],
    upstream: () => null,
    quietMs: 500,
  },
  {
    name: 'an upstream that hangs up',
    virtualHost: COUNTED,
    route: { hash_policy: [made()], ...retries({ retry_on: 'reset', num_retries: 1 }) },
    cluster: RING,
    client: [get()],
    upstream: (_head, socket) => {
      socket.destroy()
      return null
    },
  },
  {
    name: 'no host',
    route: { hash_policy: [made()] },
    cluster: { ...RING, load_assignment: { cluster_name: 'c', endpoints: [] } },
    client: [get()],
  },
  {
    name: 'an overflow',
    route: { hash_policy: [made()] },
    cluster: { ...RING, circuit_breakers: { thresholds: [{ max_connections: 0, max_pending_requests: 0 }] } },
    client: [get()],
  },
  {
    name: 'hosts that are passed over',
    virtualHost: COUNTED,
    route: {
      hash_policy: [made()],
      ...retries({
        retry_host_predicate: [
          {
            name: 'envoy.retry_host_predicates.previous_hosts',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate',
            },
          },
        ],
        host_selection_retry_max_attempts: 4,
      }),
    },
    cluster: { ...RING, ...twoHosts },
    client: [get()],
  },
  ...[false, true].map(
    (use_hash_policy): Scenario => ({
      name: `weighted clusters${use_hash_policy ? ' by the hash' : ''}`,
      virtualHost: COUNTED,
      route: { hash_policy: [made()], ...retries() },
      cluster: RING,
      client: [get(), get('/', 'cookie: made=here\r\n')],
      upstream: (head) => answer(attemptOf(head) > 2 ? 200 : 503),
    }),
  ),
]

const weighted = (i: number, use_hash_policy: boolean): object => ({
  cluster: undefined,
  weighted_clusters: {
    clusters: [
      { name: `c${i}`, weight: 3 },
      { name: `c${i}`, weight: 5 },
    ],
    ...(use_hash_policy && { use_hash_policy }),
  },
})

const withWeights = SCENARIOS.map(
  (scenario, i): Scenario =>
    scenario.name.startsWith('weighted clusters')
      ? { ...scenario, route: { ...scenario.route, ...weighted(i, scenario.name.endsWith('hash')) } }
      : scenario,
)

describeBeside('cookies of hash policies', withWeights, {
  // Made of the connection's ports.
  told: (received) => received.replace(/(made|other)="\w+"/g, '$1="…"'),
})
