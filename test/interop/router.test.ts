// What the router does beyond one attempt and one answer: retries, hedging, timeouts told upstream, stats by route and
// virtual cluster. Real Envoy and ours get the same bytes: the same answer, the same log line, the same counters.

import type { Socket } from 'node:net'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'
const answer = (status: number, body = '', more = ''): string =>
  `HTTP/1.1 ${status} X\r\n${more}content-length: ${body.length}\r\n\r\n${body}`

type Reply = { readonly afterMs?: number; readonly text: string } | 'close' | null

/** Answers the first request with the first entry, and so on; the last entry stands for all that follow. */
function inTurn(...replies: Reply[]): NonNullable<Scenario['upstream']> {
  let count = 0
  return (_head, socket: Socket) => {
    const reply = replies[Math.min(count++ % 100, replies.length - 1)] ?? null
    if (reply === 'close') socket.destroy()
    else if (reply?.afterMs) setTimeout(() => socket.writable && socket.write(reply.text), reply.afterMs)
    else if (reply) return reply.text
    return null
  }
}
/** The attempt's number comes from x-envoy-attempt-count, so that both proxies meet the same upstream. */
function byAttempt(...replies: Reply[]): NonNullable<Scenario['upstream']> {
  return (head, socket) => {
    const attempt = Number(/x-envoy-attempt-count: (\d+)/i.exec(head)?.[1] ?? 1)
    const reply = replies[Math.min(attempt, replies.length) - 1] ?? null
    return inTurn(reply)(head, socket)
  }
}
const COUNT_ATTEMPTS = { include_request_attempt_count: true, include_attempt_count_in_response: true }
const VIRTUAL_CLUSTERS = {
  virtual_clusters: [{ name: 'gets', headers: [{ name: ':method', string_match: { exact: 'GET' } }] }],
}
const hedge = (retry: object = {}): object => ({
  timeout: '3s',
  hedge_policy: { hedge_on_per_try_timeout: true },
  retry_policy: { retry_on: '5xx', num_retries: 1, per_try_timeout: '0.2s', ...retry },
})
/** Shows the upstream's view of the request. */
const echo = (head: string): string => answer(200, head.replace(/x-request-id: .*\r\n/, ''))
const WAIT = 1500
/** The body looks like a request, so that the upstream sees whether it came. */
const BODY = 'GET /body HTTP/1.1\r\n\r\n'
const POST_LINE = `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`
/** Redirects `/` to `/next`; answers that at once where it is a GET, else with its body. */
function redirectOnce(status: number): NonNullable<Scenario['upstream']> {
  let next = false
  return (head) => {
    if (head.startsWith('GET /body')) return next ? answer(200, 'with body') : null
    next = head.includes(' /next ')
    if (!next) return answer(status, '', 'location: http://a/next\r\n')
    return head.startsWith('GET') ? echo(head) : null
  }
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'per_try_idle_timeout while the client is still sending',
    hcm: { stream_idle_timeout: '0.6s' },
    route: { retry_policy: { retry_on: '5xx', num_retries: 0, per_try_idle_timeout: '0.2s' } },
    client: ['POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhello'],
    upstream: () => null,
    quietMs: 1000,
  },
  {
    name: 'hedging: the second attempt answers first',
    route: hedge(),
    virtualHost: { ...COUNT_ATTEMPTS, ...VIRTUAL_CLUSTERS },
    routeEntry: { stat_prefix: 'hedged' },
    client: [GET],
    upstream: byAttempt(null, { text: answer(200, 'two') }),
    quietMs: WAIT,
  },
  {
    name: 'hedging: the first attempt answers after all',
    route: hedge(),
    virtualHost: { ...COUNT_ATTEMPTS, ...VIRTUAL_CLUSTERS },
    client: [GET],
    upstream: byAttempt({ afterMs: 500, text: answer(200, 'one') }, null),
    quietMs: WAIT,
  },
  {
    name: 'hedging: a bad answer waits for the other attempt',
    route: hedge(),
    virtualHost: { ...COUNT_ATTEMPTS, ...VIRTUAL_CLUSTERS },
    client: [GET],
    upstream: byAttempt({ afterMs: 700, text: answer(200, 'one') }, { text: answer(503, 'two') }),
    quietMs: WAIT,
  },
  {
    name: 'hedging: a bad answer of the late attempt waits for the other',
    route: hedge(),
    virtualHost: COUNT_ATTEMPTS,
    client: [GET],
    upstream: byAttempt({ afterMs: 500, text: answer(500, 'one') }, { afterMs: 600, text: answer(200, 'two') }),
    quietMs: WAIT,
  },
  {
    name: 'hedging: a reset waits for the other attempt',
    route: hedge(),
    virtualHost: { ...COUNT_ATTEMPTS, ...VIRTUAL_CLUSTERS },
    client: [GET],
    upstream: byAttempt({ afterMs: 600, text: answer(200, 'one') }, 'close'),
    quietMs: WAIT,
  },
  {
    name: 'hedging: nobody answers in time',
    route: { ...hedge(), timeout: '0.8s' },
    virtualHost: { ...COUNT_ATTEMPTS, ...VIRTUAL_CLUSTERS },
    client: [GET],
    upstream: () => null,
    quietMs: WAIT,
  },
  {
    name: 'hedging: three attempts, all bad',
    route: hedge({ num_retries: 2 }),
    virtualHost: COUNT_ATTEMPTS,
    client: [GET],
    upstream: byAttempt(null, { afterMs: 500, text: answer(502, 'two') }, { afterMs: 600, text: answer(503, 'three') }),
    quietMs: 3500,
  },
  {
    name: 'hedging asked for by a header',
    route: { timeout: '3s' },
    virtualHost: COUNT_ATTEMPTS,
    hcm: { internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] } },
    client: [
      'GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 127.0.0.1\r\nx-envoy-retry-on: 5xx\r\nx-envoy-upstream-rq-per-try-timeout-ms: 200\r\nx-envoy-hedge-on-per-try-timeout: true\r\n\r\n',
    ],
    upstream: byAttempt(null, { text: answer(200, 'two') }),
    quietMs: WAIT,
  },
  {
    name: 'hedging without retries does nothing',
    route: { ...hedge({ num_retries: 0 }), timeout: '0.6s' },
    client: [GET],
    upstream: () => null,
    quietMs: WAIT,
  },
  {
    name: 'expected timeout upstream: hedged',
    route: hedge(),
    client: [GET],
    upstream: (head) => echo(head),
  },
  {
    name: 'expected timeout upstream: per try',
    route: { timeout: '3s', retry_policy: { retry_on: '5xx', per_try_timeout: '1s' } },
    client: [GET],
    upstream: (head) => echo(head),
  },
  {
    name: 'max_stream_duration without values switches the route timeout off',
    route: { timeout: '0.3s', max_stream_duration: {} },
    client: [GET],
    upstream: inTurn({ afterMs: 700, text: answer(200, 'late') }),
    quietMs: WAIT,
  },
  {
    name: 'max stream duration is retried',
    route: {
      max_stream_duration: { max_stream_duration: '0.3s' },
      retry_policy: { retry_on: 'reset', num_retries: 1 },
    },
    virtualHost: COUNT_ATTEMPTS,
    client: [GET],
    upstream: byAttempt(null, { text: answer(200, 'two') }),
    quietMs: WAIT,
  },
  {
    name: 'max stream duration of the cluster is retried',
    route: { retry_policy: { retry_on: 'reset', num_retries: 1 } },
    virtualHost: COUNT_ATTEMPTS,
    cluster: {
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
          explicit_http_config: { http_protocol_options: {} },
          common_http_protocol_options: { max_stream_duration: '0.3s' },
        },
      },
    },
    client: [GET],
    upstream: byAttempt(null, { text: answer(200, 'two') }),
    quietMs: WAIT,
  },
  {
    name: 'max stream duration of the cluster',
    cluster: {
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
          explicit_http_config: { http_protocol_options: {} },
          common_http_protocol_options: { max_stream_duration: '0.3s' },
        },
      },
    },
    client: [GET],
    upstream: () => null,
    quietMs: WAIT,
  },
  {
    name: 'grpc-timeout within grpc_timeout_header_max',
    route: { max_stream_duration: { grpc_timeout_header_max: '10s', grpc_timeout_header_offset: '0.1s' } },
    client: ['GET / HTTP/1.1\r\nhost: a\r\ngrpc-timeout: 2S\r\n\r\n'],
    upstream: echo,
  },
  {
    name: 'grpc-timeout above grpc_timeout_header_max',
    route: { max_stream_duration: { grpc_timeout_header_max: '1s', grpc_timeout_header_offset: '0.1s' } },
    client: ['GET / HTTP/1.1\r\nhost: a\r\ngrpc-timeout: 2S\r\n\r\n'],
    upstream: echo,
  },
  {
    name: 'grpc-timeout runs out',
    route: { max_stream_duration: { grpc_timeout_header_max: '0.3s' } },
    client: ['GET / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ngrpc-timeout: 9S\r\n\r\n'],
    upstream: () => null,
    quietMs: 900,
  },
  {
    name: 'a route without limit lifts that of the connection manager',
    hcm: { common_http_protocol_options: { max_stream_duration: '0.3s' } },
    route: { max_stream_duration: { max_stream_duration: '0s' } },
    client: [GET],
    upstream: inTurn({ afterMs: 700, text: answer(200, 'late') }),
    quietMs: WAIT,
  },
  {
    name: 'max_grpc_timeout is told upstream',
    route: { timeout: '3s', max_grpc_timeout: '5s' },
    client: ['GET / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ngrpc-timeout: 9S\r\n\r\n'],
    upstream: echo,
  },
  {
    name: 'max stream duration',
    route: { max_stream_duration: { max_stream_duration: '0.3s' } },
    virtualHost: VIRTUAL_CLUSTERS,
    client: [GET],
    upstream: () => null,
    quietMs: WAIT,
  },
  {
    name: 'retry: second attempt succeeds',
    route: { retry_policy: { retry_on: '5xx', num_retries: 2 } },
    virtualHost: { ...COUNT_ATTEMPTS, ...VIRTUAL_CLUSTERS },
    routeEntry: { stat_prefix: 'retried' },
    client: [GET],
    upstream: byAttempt({ text: answer(503) }, { text: answer(200, 'two') }),
  },
  {
    name: 'retry: limit exceeded',
    route: { retry_policy: { retry_on: '5xx', num_retries: 2 } },
    virtualHost: { ...COUNT_ATTEMPTS, ...VIRTUAL_CLUSTERS },
    routeEntry: { stat_prefix: 'exhausted' },
    client: [GET],
    upstream: () => answer(503, 'no'),
  },
  {
    name: 'retry: overflow',
    route: { retry_policy: { retry_on: '5xx' } },
    virtualHost: { ...COUNT_ATTEMPTS, ...VIRTUAL_CLUSTERS },
    routeEntry: { stat_prefix: 'overflown' },
    cluster: { circuit_breakers: { thresholds: [{ max_retries: 0 }] } },
    client: [GET],
    upstream: () => answer(503, 'no'),
  },
  {
    name: 'retry: an answer that is not asked for ends it',
    route: { retry_policy: { retry_on: '5xx' } },
    virtualHost: COUNT_ATTEMPTS,
    client: [GET],
    upstream: byAttempt({ text: answer(503) }, { text: answer(404, 'two') }),
  },
  {
    name: 'route timeout, counted by route and virtual cluster',
    route: { timeout: '0.3s' },
    virtualHost: VIRTUAL_CLUSTERS,
    routeEntry: { stat_prefix: 'slow' },
    client: [GET],
    upstream: () => null,
    quietMs: 900,
  },
  {
    name: 'catch-all virtual cluster',
    virtualHost: VIRTUAL_CLUSTERS,
    client: ['POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n', GET],
    upstream: () => answer(200),
  },
  {
    name: 'internal redirect: the body goes along',
    route: { internal_redirect_policy: { redirect_response_codes: [307] } },
    client: [POST_LINE],
    upstream: redirectOnce(307),
  },
  {
    name: 'internal redirect: one and no more',
    route: { internal_redirect_policy: {} },
    client: [GET],
    upstream: () => answer(302, 'again', 'location: http://a/next\r\n'),
  },
  {
    name: 'internal redirect: 303 makes a GET without body',
    route: { internal_redirect_policy: { redirect_response_codes: [303] } },
    client: [POST_LINE],
    upstream: redirectOnce(303),
  },
  {
    name: '100 from upstream ends retries',
    hcm: { proxy_100_continue: true },
    route: { retry_policy: { retry_on: '5xx,reset' } },
    virtualHost: COUNT_ATTEMPTS,
    client: ['POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n', 'hi'],
    upstream: (_head, socket) => {
      socket.write('HTTP/1.1 100 Continue\r\n\r\n')
      setTimeout(() => socket.destroy(), 300)
      return null
    },
    quietMs: 200,
  },
]

describeBeside('router', SCENARIOS, {
  counted: (i) => new RegExp(`^(cluster\\.c${i}\\.(upstream_rq|.*retry)|vhost\\.a${i}\\.|http\\.s${i}\\.rq_)`),
})
