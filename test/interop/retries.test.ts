// Retries beside real Envoy: each word of retry_on and each way in which an attempt can fail, where the next attempt goes,
// when, and what else of the route it meets: copies, redirects, weighted clusters, headers, limits.

import { createServer as createHttp2, constants as http2, type ServerHttp2Stream } from 'node:http2'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { after } from 'node:test'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'
import { address } from './harness/situations.ts'

const get = (path = '/', headers = ''): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const answer = (status: number, headers = '', body = ''): string =>
  `HTTP/1.1 ${status} X\r\n${headers}content-length: ${body.length}\r\n\r\n${body}`
const attemptOf = (head: string): number => Number(/x-envoy-attempt-count: (\d+)/i.exec(head)?.[1] ?? 1)
const pathOf = (head: string): string => head.split(' ')[1] ?? ''

const COUNTED = { include_request_attempt_count: true, include_attempt_count_in_response: true }
const LOG = { attempts: '%UPSTREAM_REQUEST_ATTEMPT_COUNT%' }
const INTERNAL = {
  hcm: { internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] } },
}
const CALLER = 'x-forwarded-for: 127.0.0.1\r\n'
const FAST = { retry_back_off: { base_interval: '0.001s' } }
const retry = (policy: object): Partial<Scenario> => ({
  route: { timeout: '5s', retry_policy: { ...FAST, ...policy } },
  virtualHost: COUNTED,
  log: LOG,
})

// ---- each word, each failure

const WORDS = [
  '5xx',
  'gateway-error',
  'reset',
  'reset-before-request',
  'connect-failure',
  'refused-stream',
  'retriable-4xx',
  'retriable-status-codes',
  'retriable-headers',
  'envoy-ratelimited',
  'http3-post-connect-failure',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
  '5xx, envoy-ratelimited ,unknown',
]
const GRPC = 'content-type: application/grpc\r\n'
/** What the first attempt gets, by path; null = silence until the per-try timeout. */
const FAILURES: Readonly<Record<string, string | null | ((socket: Socket) => void)>> = {
  '/200': answer(200),
  '/409': answer(409),
  '/418': answer(418),
  '/429': answer(429),
  '/500': answer(500),
  '/502': answer(502),
  '/503': answer(503),
  '/599': answer(599),
  '/header': answer(200, 'x-retry: 1\r\n'),
  '/limited': answer(503, 'x-envoy-ratelimited: true\r\n'),
  '/limited-200': answer(200, 'x-envoy-ratelimited: true\r\n'),
  '/overloaded': answer(503, 'x-envoy-overloaded: true\r\n'),
  ...Object.fromEntries(
    [0, 1, 4, 8, 13, 14, 2].map((code) => [`/grpc-${code}`, answer(200, `${GRPC}grpc-status: ${code}\r\n`)]),
  ),
  '/silence': null,
  '/close': (socket) => socket.destroy(),
  '/end': (socket) => socket.end(),
  '/rst': (socket) => socket.resetAndDestroy(),
  '/half': (socket) => socket.end('HTTP/1.1 200'),
  '/garbage': (socket) => socket.write('garbage\r\n\r\n'),
  '/cut': (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc'),
}
const failFirst: Scenario['upstream'] = (head, socket) => {
  if (attemptOf(head) > 1) return answer(200, '', 'two')
  const failure = FAILURES[pathOf(head)] ?? null
  if (typeof failure !== 'function') return failure
  failure(socket)
  return null
}
/** Long enough that no answer of a busy machine comes later, and a silence that outlasts it. */
const PER_TRY = '1s'
const SILENCE_MS = 1400
const policyOf = (retry_on: string): Partial<Scenario> =>
  retry({
    retry_on,
    per_try_timeout: PER_TRY,
    retriable_status_codes: [418],
    retriable_headers: [{ name: 'x-retry' }],
  })

const byWord = WORDS.map(
  (word): Scenario => ({
    name: `retry_on ${word}`,
    ...policyOf(word),
    client: [
      Object.keys(FAILURES)
        .map((path) => get(path))
        .join(''),
    ],
    upstream: failFirst,
    quietMs: SILENCE_MS,
  }),
)
const byHeader = WORDS.map(
  (word): Scenario => ({
    name: `x-envoy-retry-on ${word}`,
    ...INTERNAL,
    virtualHost: COUNTED,
    log: LOG,
    client: [
      Object.keys(FAILURES)
        .filter((path) => path !== '/silence')
        .map((path) =>
          get(
            path,
            `${CALLER}x-envoy-retry-on: ${word}\r\nx-envoy-retry-grpc-on: ${word}\r\nx-envoy-retriable-status-codes: 418,x\r\nx-envoy-retriable-header-names: X-Retry\r\n`,
          ),
        )
        .join(''),
    ],
    upstream: failFirst,
  }),
)

const NOBODY = (i: number): object => ({
  load_assignment: { cluster_name: `c${i}`, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(1) } }] }] },
})
const refused = WORDS.slice(0, 8).map(
  (word): Scenario => ({ name: `refused, retry_on ${word}`, ...policyOf(word), cluster: NOBODY(0), client: [get()] }),
)

// ---- HTTP/2 upstreams

const servers: { close(): unknown }[] = []
after(() => servers.map((server) => server.close()))

const H2_FAILURES: Record<string, (stream: ServerHttp2Stream) => void> = {
  '/refused-stream': (stream) => stream.close(http2.NGHTTP2_REFUSED_STREAM),
  '/rst-cancel': (stream) => stream.close(http2.NGHTTP2_CANCEL),
  '/rst-internal': (stream) => stream.close(http2.NGHTTP2_INTERNAL_ERROR),
  '/rst-no-error': (stream) => stream.close(http2.NGHTTP2_NO_ERROR),
  '/connect-error': (stream) => stream.close(http2.NGHTTP2_CONNECT_ERROR),
  '/calm': (stream) => stream.close(http2.NGHTTP2_ENHANCE_YOUR_CALM),
  '/destroy': (stream) => stream.session?.destroy(),
  '/503': (stream) => stream.respond({ ':status': 503 }, { endStream: true }),
}
for (const code of [0, 1, 2, 4, 8, 13, 14]) {
  H2_FAILURES[`/only-${code}`] = (stream) =>
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(code) },
      { endStream: true },
    )
  H2_FAILURES[`/trailers-${code}`] = (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(code) }))
    stream.end()
  }
}
async function http2Upstream(): Promise<number> {
  const server = createHttp2()
  server.on('session', (session) => session.on('error', () => {}))
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    if (Number(headers['x-envoy-attempt-count'] ?? 1) > 1) stream.respond({ ':status': 200 }, { endStream: true })
    else H2_FAILURES[String(headers[':path'])]?.(stream)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}
const http2Port = await http2Upstream()
const HTTP2_CLUSTER = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
  load_assignment: {
    cluster_name: 'c',
    endpoints: [{ lb_endpoints: [{ endpoint: { address: address(http2Port) } }] }],
  },
}
const overHttp2 = [...WORDS.slice(0, 7), ...WORDS.slice(11)].map(
  (word): Scenario => ({
    name: `HTTP/2, retry_on ${word}`,
    ...policyOf(word),
    cluster: HTTP2_CLUSTER,
    client: [
      Object.keys(H2_FAILURES)
        .map((path) => get(path, GRPC))
        .join(''),
    ],
    quietMs: SILENCE_MS,
  }),
)

// ---- when

const limitedBy = (headers: string, more: object = {}): Scenario => ({
  name: `rate limited until ${headers.trim()}${JSON.stringify(more)}`,
  ...retry({
    retry_on: '5xx,envoy-ratelimited',
    rate_limited_retry_back_off: {
      reset_headers: [
        { name: 'Retry-After', format: 'SECONDS' },
        { name: 'x-reset', format: 'UNIX_TIMESTAMP' },
      ],
      max_interval: '10s',
      ...more,
    },
  }),
  client: [get()],
  upstream: (head) => (attemptOf(head) > 1 ? answer(200) : answer(503, headers)),
  quietMs: 2200,
})
const backOff = [
  limitedBy('retry-after: 1\r\n'),
  limitedBy('retry-after: 0\r\n'),
  limitedBy('retry-after: 11\r\n'),
  limitedBy('retry-after: soon\r\n'),
  limitedBy('retry-after: 1.5\r\n'),
  limitedBy('retry-after: -1\r\n'),
  limitedBy('retry-after: 1 \r\nx-reset: 5\r\n'),
  limitedBy('x-reset: 5\r\n'),
  limitedBy('x-reset: 99999999999\r\n'),
  limitedBy('x-envoy-ratelimited: true\r\nretry-after: 1\r\n'),
  limitedBy('retry-after: 1\r\nretry-after: 0\r\n'),
  {
    name: 'the route timeout ends within a long back-off',
    ...retry({}),
    route: {
      timeout: '0.4s',
      retry_policy: {
        retry_on: '5xx',
        rate_limited_retry_back_off: { reset_headers: [{ name: 'retry-after', format: 'SECONDS' }] },
      },
    },
    client: [get()],
    upstream: () => answer(503, 'retry-after: 9\r\n'),
    quietMs: 900,
  },
] satisfies Scenario[]

// ---- limits

const limits: Scenario[] = [
  {
    name: 'a body beyond the limit is not sent again',
    ...retry({ retry_on: '5xx', num_retries: 3 }),
    virtualHost: { ...COUNTED, per_request_buffer_limit_bytes: 8 },
    client: ['POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n12345678901234567890'],
    upstream: (_head, socket) => {
      setTimeout(() => socket.write(answer(503)), 700)
      return null
    },
    quietMs: 400,
  },
  {
    name: 'request_body_buffer_limit',
    ...retry({ retry_on: '5xx', num_retries: 3 }),
    virtualHost: { ...COUNTED, request_body_buffer_limit: 20 },
    client: ['POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n12345678901234567890'],
    upstream: () => answer(503),
  },
  {
    name: 'no retries',
    ...retry({ retry_on: '5xx', num_retries: 0 }),
    client: [get()],
    upstream: () => answer(503),
  },
  {
    name: 'retriable_request_headers',
    ...retry({ retry_on: '5xx', retriable_request_headers: [{ name: ':method', string_match: { exact: 'GET' } }] }),
    client: [get(), 'PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n'],
    upstream: () => answer(503),
  },
  ...['0', '1', '3', 'x', '-1', '4294967296', ' 2'].map(
    (max): Scenario => ({
      name: `x-envoy-max-retries: ${max}`,
      ...retry({ retry_on: '5xx', num_retries: 2 }),
      ...INTERNAL,
      client: [get('/', `${CALLER}x-envoy-max-retries: ${max}\r\n`)],
      upstream: () => answer(503),
    }),
  ),
  {
    name: 'words of the header and of the route',
    ...retry({ retry_on: 'retriable-4xx', num_retries: 2 }),
    ...INTERNAL,
    client: ['/409', '/503', '/500'].map((path) => get(path, `${CALLER}x-envoy-retry-on: gateway-error\r\n`)),
    upstream: failFirst,
  },
  {
    name: 'headers of an outside caller ask for nothing',
    virtualHost: COUNTED,
    log: LOG,
    hcm: { use_remote_address: true },
    client: [get('/503', 'x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3\r\n')],
    upstream: failFirst,
  },
  {
    name: 'a budget of nothing',
    ...retry({ retry_on: '5xx' }),
    cluster: {
      circuit_breakers: { thresholds: [{ retry_budget: { budget_percent: { value: 0 }, min_retry_concurrency: 0 } }] },
    },
    client: [get()],
    upstream: () => answer(503),
  },
  {
    name: 'a budget with its least',
    ...retry({ retry_on: '5xx', num_retries: 2 }),
    cluster: { circuit_breakers: { thresholds: [{ retry_budget: { min_retry_concurrency: 1 } }] } },
    client: [get()],
    upstream: () => answer(503),
  },
  {
    name: 'per-try timeouts until the retries are used up',
    ...retry({ retry_on: '5xx', num_retries: 1, per_try_timeout: '0.2s' }),
    client: [get()],
    upstream: () => null,
    quietMs: 900,
  },
  {
    name: 'per-try timeouts until the retries overflow',
    ...retry({ retry_on: '5xx', num_retries: 1, per_try_timeout: '0.2s' }),
    cluster: { circuit_breakers: { thresholds: [{ max_retries: 0 }] } },
    client: [get()],
    upstream: () => null,
    quietMs: 900,
  },
  {
    name: 'per-try timeouts, another answer asked for',
    ...retry({ retry_on: '5xx', num_retries: 1, per_try_timeout: '0.2s' }),
    ...INTERNAL,
    client: [get('/', `${CALLER}x-envoy-upstream-rq-timeout-alt-response: 1\r\n`)],
    upstream: () => null,
    quietMs: 900,
  },
  {
    name: 'per-try idle timeouts within a response',
    ...retry({ retry_on: '5xx', num_retries: 1, per_try_idle_timeout: '0.2s' }),
    client: [get()],
    upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc',
    quietMs: 900,
  },
  {
    name: 'per-try idle timeouts ahead of a response',
    ...retry({ retry_on: 'reset', num_retries: 1, per_try_idle_timeout: '0.2s' }),
    client: [get()],
    upstream: (head) => (attemptOf(head) > 1 ? answer(200) : null),
    quietMs: 900,
  },
  {
    name: 'overflow of the cluster is not retried',
    ...retry({ retry_on: '5xx,reset,connect-failure' }),
    cluster: { circuit_breakers: { thresholds: [{ max_connections: 0, max_pending_requests: 0 }] } },
    client: [get()],
  },
  {
    name: 'trailers go along',
    ...retry({ retry_on: '5xx' }),
    hcm: { http_protocol_options: { enable_trailers: true } },
    upstreamHttp1: { enable_trailers: true },
    client: [
      'POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nGET /503 HTTP/1.1: x\r\n\r\n',
    ],
    upstream: (head) => (attemptOf(head) > 1 ? answer(200) : answer(503)),
  },
]

// ---- where

/** Hosts that answer with their number; `fail` those that answer 503. */
async function hosts(count: number, fail: readonly number[]): Promise<number[]> {
  const ports: number[] = []
  for (let i = 0; i < count; i++) {
    const server: Server = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', () => socket.write(answer(fail.includes(i) ? 503 : 200, `x-host: ${i}\r\n`)))
    })
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    server.unref()
    ports.push((server.address() as AddressInfo).port)
  }
  return ports
}
const FIVE = await hosts(5, [0, 1, 2, 3])
const ALL_BAD = await hosts(3, [0, 1, 2])
const predicate = (name: string, message: string, more: object = {}): object => ({
  name: `envoy.retry_host_predicates.${name}`,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.retry.host.${name}.v3.${message}`, ...more },
})
const PREVIOUS_HOSTS = predicate('previous_hosts', 'PreviousHostsPredicate')
const PRIORITIES = {
  retry_priority: {
    name: 'envoy.retry_priorities.previous_priorities',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
      update_frequency: 1,
    },
  },
}
const endpoint = (port: number, more: object = {}): object => ({ endpoint: { address: address(port) }, ...more })
const assigned = (endpoints: object[], more: object = {}): object => ({
  load_assignment: { cluster_name: 'c', endpoints },
  ...more,
})
const hashOn = { hash_policy: [{ header: { header_name: 'x-key' } }] }
const KEYS = [Array.from({ length: 8 }, (_, i) => get('/', `x-key: ${i}\r\n`)).join('')]
const where: Scenario[] = [
  ...['RING_HASH', 'MAGLEV'].flatMap((lb_policy) =>
    [0, 1, 5].map(
      (attempts): Scenario => ({
        name: `${lb_policy}, previous hosts are left out, ${attempts} looks`,
        ...retry({}),
        route: {
          ...hashOn,
          retry_policy: {
            retry_on: '5xx',
            num_retries: 4,
            ...FAST,
            retry_host_predicate: [PREVIOUS_HOSTS],
            ...(attempts > 0 && { host_selection_retry_max_attempts: attempts }),
          },
        },
        cluster: assigned([{ lb_endpoints: FIVE.map((port) => endpoint(port)) }], { lb_policy }),
        client: KEYS,
      }),
    ),
  ),
  ...['RING_HASH', 'MAGLEV'].map(
    (lb_policy): Scenario => ({
      name: `${lb_policy}, retries stay where they hash to`,
      ...retry({}),
      route: { ...hashOn, retry_policy: { retry_on: '5xx', num_retries: 2, ...FAST } },
      cluster: assigned([{ lb_endpoints: FIVE.map((port) => endpoint(port)) }], { lb_policy }),
      client: KEYS,
    }),
  ),
  {
    name: 'canaries are left out',
    ...retry({}),
    route: {
      ...hashOn,
      retry_policy: {
        retry_on: '5xx',
        num_retries: 3,
        ...FAST,
        retry_host_predicate: [predicate('omit_canary_hosts', 'OmitCanaryHostsPredicate')],
        host_selection_retry_max_attempts: 20,
      },
    },
    cluster: assigned(
      [
        {
          lb_endpoints: FIVE.map((port, i) =>
            endpoint(port, i < 3 ? { metadata: { filter_metadata: { 'envoy.lb': { canary: true } } } } : {}),
          ),
        },
      ],
      { lb_policy: 'RING_HASH' },
    ),
    client: KEYS,
  },
  {
    name: 'hosts of some metadata are left out',
    ...retry({}),
    route: {
      ...hashOn,
      retry_policy: {
        retry_on: '5xx',
        num_retries: 3,
        ...FAST,
        retry_host_predicate: [
          predicate('omit_host_metadata', 'OmitHostMetadataConfig', {
            metadata_match: { filter_metadata: { 'envoy.lb': { old: 'yes' } } },
          }),
        ],
        host_selection_retry_max_attempts: 20,
      },
    },
    cluster: assigned(
      [
        {
          lb_endpoints: FIVE.map((port, i) =>
            endpoint(port, i < 4 ? { metadata: { filter_metadata: { 'envoy.lb': { old: 'yes' } } } } : {}),
          ),
        },
      ],
      { lb_policy: 'RING_HASH' },
    ),
    client: KEYS,
  },
  {
    name: 'previous priorities are left out',
    ...retry({ retry_on: '5xx', num_retries: 2, ...PRIORITIES }),
    cluster: assigned([
      { priority: 0, lb_endpoints: [endpoint(FIVE[0]!)] },
      { priority: 1, lb_endpoints: [endpoint(FIVE[1]!)] },
      { priority: 2, lb_endpoints: [endpoint(FIVE[4]!)] },
    ]),
    client: [get(), get()],
  },
  {
    name: 'previous priorities begin anew when all were tried',
    ...retry({ retry_on: '5xx', num_retries: 4, ...PRIORITIES }),
    cluster: assigned([
      { priority: 0, lb_endpoints: [endpoint(ALL_BAD[0]!)] },
      { priority: 1, lb_endpoints: [endpoint(ALL_BAD[1]!)] },
    ]),
    client: [get(), get()],
  },
]

// ---- what else the route does

const appended = (key: string, value: string): object => ({
  header: { key, value },
  append_action: 'APPEND_IF_EXISTS_OR_ADD',
})
/** Answers as `reply` says and remembers the requests, until /told asks for them: it waits for `expected` of them. */
function told(expected: number, reply: (head: string) => string | null): NonNullable<Scenario['upstream']> {
  let heads: string[] = []
  let asking: Socket | null = null
  const tell = (): void => {
    if (asking === null || heads.length < expected) return
    const lines = heads.map((head) =>
      head
        .trimEnd()
        .replace(/x-request-id: .*/, 'x-request-id: ID')
        .replace(/(x-envoy-expected-rq-timeout-ms): \d+/, '$1: N')
        .split('\r\n')
        .join('|'),
    )
    asking.write(
      answer(
        200,
        lines
          .sort()
          .map((line) => `x-told: ${line}\r\n`)
          .join(''),
      ),
    )
    heads = []
    asking = null
  }
  return (head, socket) => {
    if (pathOf(head) === '/told') asking = socket
    else heads.push(head)
    tell()
    return pathOf(head) === '/told' ? null : reply(head)
  }
}
const isCopy = (head: string): boolean => /host: a-shadow/i.test(head)
/** `n`: the index of the scenario, whose cluster everything goes to. */
const together = (n: number): Scenario[] => {
  const cluster = (i: number): string => `c${n + i}`
  const weighted = (i: number, more: object = {}): object => ({
    cluster: undefined,
    weighted_clusters: {
      clusters: [
        {
          name: cluster(i),
          weight: 1,
          request_headers_to_add: [appended('x-weighted', '%REQ(x-envoy-attempt-count)%')],
          response_headers_to_add: [appended('x-weighted-out', '%UPSTREAM_REQUEST_ATTEMPT_COUNT%')],
          ...more,
        },
      ],
    },
  })
  const routes = (i: number, action: object, next: object = {}): object => ({
    ...COUNTED,
    include_is_timeout_retry_header: true,
    virtual_clusters: [{ name: 'gets', headers: [{ name: ':method', string_match: { exact: 'GET' } }] }],
    request_headers_to_add: [appended('x-host', 'vh')],
    routes: [
      { name: 'told', match: { path: '/told' }, route: { cluster: cluster(i) } },
      { name: 'next', match: { prefix: '/next' }, route: { cluster: cluster(i), ...next }, stat_prefix: 'next' },
      {
        name: 'first',
        match: { prefix: '/' },
        request_headers_to_add: [appended('x-route', '%REQ(x-weighted)%')],
        route: { timeout: '5s', ...action },
        stat_prefix: 'first',
      },
    ],
  })
  const mirror = (i: number): object => ({ request_mirror_policies: [{ cluster: cluster(i) }] })
  const retried = { retry_policy: { retry_on: '5xx', num_retries: 2, ...FAST } }
  const redirected = { internal_redirect_policy: { max_internal_redirects: 2 } }
  const body = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello'
  const to = (path: string): string => answer(302, `location: http://a${path}\r\n`)
  const failing = (head: string): string => (attemptOf(head) > 1 || isCopy(head) ? answer(200) : answer(503))
  return [
    {
      name: 'retries, a copy, a weighted cluster',
      virtualHost: routes(0, { ...weighted(0), ...mirror(0), ...retried }),
      log: LOG,
      client: [get('/a'), get('/told')],
      upstream: told(3, failing),
    },
    {
      name: 'a body to retry and to copy',
      virtualHost: routes(1, { ...weighted(1), ...mirror(1), ...retried }),
      log: LOG,
      client: [body, get('/told')],
      upstream: told(3, failing),
    },
    {
      name: 'a redirect after a retry, with a copy',
      virtualHost: routes(2, { ...weighted(2), ...mirror(2), ...retried, ...redirected }),
      log: LOG,
      client: [get('/a'), get('/told')],
      upstream: told(4, (head) =>
        pathOf(head) === '/next' || isCopy(head) ? answer(200) : attemptOf(head) > 1 ? to('/next') : answer(503),
      ),
    },
    {
      name: 'a retry after a redirect',
      virtualHost: routes(3, { ...weighted(3), ...redirected }, { ...retried, ...mirror(3) }),
      log: LOG,
      client: [get('/a'), get('/told')],
      upstream: told(4, (head) => (pathOf(head) === '/next' ? failing(head) : to('/next'))),
    },
    {
      name: 'a redirect to a route that cannot be reached, then retries used up',
      virtualHost: routes(4, { ...weighted(4), ...redirected }, { cluster: undefined, cluster_header: 'x-none' }),
      log: LOG,
      client: [get('/a')],
      upstream: () => to('/next'),
    },
    {
      name: 'a redirect whose code is retried, too',
      virtualHost: routes(5, {
        ...weighted(5),
        ...redirected,
        retry_policy: { retry_on: 'retriable-status-codes', retriable_status_codes: [302], num_retries: 1, ...FAST },
      }),
      log: LOG,
      client: [get('/a'), get('/told')],
      upstream: told(3, (head) => (pathOf(head) === '/next' ? answer(200) : to('/next'))),
    },
    {
      name: 'the cluster of a retry stays the one that was drawn',
      virtualHost: routes(6, {
        cluster: undefined,
        weighted_clusters: {
          clusters: [
            { name: cluster(6), weight: 1, request_headers_to_add: [appended('x-drawn', 'one')] },
            { name: cluster(6), weight: 0, request_headers_to_add: [appended('x-drawn', 'two')] },
          ],
        },
        retry_policy: { retry_on: '5xx', num_retries: 5, ...FAST },
      }),
      log: LOG,
      client: [get('/a'), get('/told')],
      upstream: told(6, () => answer(503)),
    },
    {
      name: 'a late attempt, its copy and the attempt beside it',
      virtualHost: routes(7, {
        ...weighted(7),
        ...mirror(7),
        hedge_policy: { hedge_on_per_try_timeout: true },
        retry_policy: { retry_on: '5xx', num_retries: 1, per_try_timeout: '0.2s', ...FAST },
      }),
      log: LOG,
      client: [get('/a'), get('/told')],
      upstream: told(3, (head) => (attemptOf(head) > 1 || isCopy(head) ? answer(200) : null)),
      quietMs: 900,
    },
    {
      name: 'late attempts say so',
      virtualHost: routes(8, {
        ...weighted(8),
        retry_policy: { retry_on: '5xx', num_retries: 2, per_try_timeout: '0.2s', ...FAST },
      }),
      log: LOG,
      client: [get('/a'), get('/told')],
      upstream: told(3, (head) => (attemptOf(head) === 1 ? null : attemptOf(head) === 2 ? answer(503) : answer(200))),
      quietMs: 900,
    },
  ]
}

const ALONE = [...byWord, ...byHeader, ...refused, ...overHttp2, ...backOff, ...limits, ...where]
const SCENARIOS: readonly Scenario[] = [...ALONE, ...together(ALONE.length)]

describeBeside('retries', SCENARIOS, {
  // Made of the connection's ports.
  told: (received) => received.replace(/made="\w+"/g, 'made="…"'),
  // A copy and its request race for one connection: which of them has to wait for another is chance.
  counted: (i) =>
    new RegExp(
      `^(cluster\\.c${i}\\.(upstream_(rq${i < ALONE.length ? '' : '(?!_pending_total)'}|internal)|.*retry)|vhost\\.a${i}\\.|http\\.s${i}\\.(rq_|.*redirect))`,
    ),
})
