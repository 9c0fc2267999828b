// The statistics of real Envoy and ours on one bootstrap that uses every part, after the same few requests: the same names
// of the same kinds, in text, JSON and Prometheus form. What is absent, or more, is listed with its reason.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { TestCa } from '../../src/proxy/network/testing.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { type RecordingUpstream, startRecordingUpstream } from './harness/recording-upstream.ts'
import { startRecordingHttp2Upstream } from './harness/recording-upstream-http2.ts'
import { resourceFiles, richBootstrap } from './harness/rich-bootstrap.ts'

/** Names that only Envoy has. */
const ABSENT: readonly Explained[] = [
  [/http3|0rtt|0_rtt/, 'there is no HTTP/3'],
  [/reset_high_memory_stream|overload[._]refresh|overload_close/, 'this bootstrap has no overload manager'],
  [/nghttp2_|oghttp2_/, 'which of Envoy’s two HTTP/2 libraries a connection uses'],
  [/outbound_(control_)?frames_active|deferred_stream_close/, 'queues inside Envoy’s HTTP/2 codec'],
  [/soft_drain/, 'connections that Envoy’s HTTP/1 codec marks for drain'],
  [/http\.admin|prefix="admin"/, 'of the admin listener only what node:http tells is counted'],
  [/extension_config_missing/, 'there is no ECDS'],
  [/connections_accepted_per_socket_event/, 'the runtime accepts connections'],
  [/upstream_queue_overloaded|preconnect_skipped/, 'connections are opened for waiting requests only'],
  [/server\.stats_recent_lookups|server_stats_recent_lookups/, 'the symbol table of Envoy’s statistics'],
  [/total_filter_chains_draining/, 'workers drain filter chains by themselves'],
  [/workers_pinned/, 'workers are not pinned to processors'],
  [
    /tcp\.tcp\.(downstream_cx_drain_close|early_data|route_delayed)|envoy_tcp_(downstream_cx_drain_close|early_data|route_delayed)/,
    'on-demand clusters and early data of tcp_proxy are refused',
  ],
  [
    /ext_authz.*(filter_state_name_collision|omitted_response_headers|_limits_reached|shadow)/,
    'their options are refused',
  ],
  [/response_rl_injected|rejected_via_ip_detection/, 'the option that counts in it is refused'],
  [/ssl[._](ciphers|curves|sigalgs|versions)/, 'what TLS agrees on is OpenSSL’s choice'],
]
/** Names that only we have. */
const EXTRA: readonly Explained[] = [
  [/ssl[._](ciphers|curves|sigalgs|versions)/, 'what TLS agrees on is OpenSSL’s choice'],
]

type Explained = readonly [pattern: RegExp, reason: string]
type Listeners = readonly [tls: number, tcp: number, files: number]

describe('names of statistics', {
  skip: envoyBinary() ? false : 'real Envoy is not installed',
  concurrency: false,
}, () => {
  const dir = mkdtempSync(join(tmpdir(), 'stats-names-'))
  let upstreams: RecordingUpstream[] = []
  let envoy: RunningProxy
  let ours: RunningProxy
  const portsOf = new Map<string, Listeners>()

  before(async () => {
    const ca = new TestCa({ after: (fn) => after(fn) })
    const { cert, key } = ca.issue('DNS:a.example')
    upstreams = await Promise.all([startRecordingUpstream(), startRecordingHttp2Upstream()])
    const [upstream, upstreamHttp2] = upstreams.map((u) => u.port) as [number, number]
    const files = { rds: join(dir, 'rds.json'), eds: join(dir, 'eds.json'), sds: join(dir, 'sds.json') }
    const texts = resourceFiles(upstream, cert, key)
    for (const name of ['rds', 'eds', 'sds'] as const) writeFileSync(files[name], texts[name])
    const start = async (name: 'envoy' | 'outrigger'): Promise<RunningProxy> => {
      const listeners = [await freePort(), await freePort(), await freePort()] as const
      portsOf.set(name, listeners)
      return startProxy(name, richBootstrap({ upstream, upstreamHttp2, ca: ca.cert, cert, key, files, listeners }))
    }
    envoy = await start('envoy')
    ours = await start('outrigger')
    for (const proxy of [envoy, ours]) await useIt(proxy, portsOf.get(proxy.name)!)
  })
  after(async () => {
    await Promise.all([envoy?.stop(), ours?.stop(), ...upstreams.map((u) => u.close())])
    rmSync(dir, { recursive: true, force: true })
  })

  const ports = (proxy: RunningProxy): string[] =>
    [proxy.ports.listener, proxy.ports.admin, ...portsOf.get(proxy.name)!].map(String)
  /** Ports as words. */
  const named = (proxy: RunningProxy, text: string): string =>
    ports(proxy).reduce((all, port, i) => all.replaceAll(port, `PORT${i}`), text)

  function compare(theirs: ReadonlySet<string>, mine: ReadonlySet<string>): void {
    const explained = (name: string, list: readonly Explained[]): boolean =>
      list.some(([pattern]) => pattern.test(name))
    const missing = [...theirs].filter((name) => !mine.has(name) && !explained(name, ABSENT))
    const extra = [...mine].filter((name) => !theirs.has(name) && !explained(name, EXTRA))
    assert.deepEqual({ missing: missing.sort(), extra: extra.sort() }, { missing: [], extra: [] })
  }

  it('has the names of Envoy, of the same kind', async () => {
    const names = async (proxy: RunningProxy): Promise<Set<string>> => {
      const kinds = ['Counters', 'Gauges', 'Histograms', 'TextReadouts']
      const pages = await Promise.all(kinds.map((kind) => proxy.admin(`/stats?type=${kind}`)))
      return new Set(
        pages.flatMap((page, i) =>
          named(proxy, page)
            .split('\n')
            .filter(Boolean)
            .map((line) => `${kinds[i]} ${line.slice(0, line.indexOf(': '))}`),
        ),
      )
    }
    compare(await names(envoy), await names(ours))
  })

  it('counts its subscriptions as Envoy does', async () => {
    const names =
      'update_(attempt|success|failure|rejected)|config_reload$|init_fetch_timeout|version$|version_text|warming_state'
    const page = async (proxy: RunningProxy): Promise<string[]> =>
      (await proxy.admin(`/stats?filter=${encodeURIComponent(`^(cluster\\.eds|.*\\.rds|sds).*(${names})`)}`))

        .split('\n')
        // 64 bits: to us the nearest number that a double can hold.
        .map((line) => line.replace(/(version: \d{15})\d+/, '$1'))
        .sort()
    assert.deepEqual(await page(ours), await page(envoy))
  })

  it('counts requests of its own, mirrors included, as Envoy does', async () => {
    const page = (proxy: RunningProxy): Promise<string> => proxy.admin('/stats?filter=^http.async-client')
    assert.match(await page(envoy), /rq_total: [1-9]/)
    assert.equal(await page(ours), await page(envoy))
  })

  it('counts the look-ups of names', async () => {
    const page = await ours.admin('/stats?filter=^dns.cares')
    assert.match(page, /resolve_total: [1-9]/)
    assert.match(page, /pending_resolutions: 0/)
  })

  it('has the families of Envoy for Prometheus, of the same type and with the same labels', async () => {
    const families = async (proxy: RunningProxy): Promise<Set<string>> => {
      const text = named(proxy, await proxy.admin('/stats/prometheus'))
      return new Set(
        text
          .split('\n')
          .filter(Boolean)
          .map((line) => (line.startsWith('#') ? line : line.replace(/ \S+$/, '').replace(/le="[^"]*"/, 'le'))),
      )
    }
    compare(await families(envoy), await families(ours))
  })

  it('answers queries that fit nothing, or are wrong, as Envoy does', async () => {
    const paths = [
      '/stats?hidden=only',
      '/stats?hidden=only&format=json',
      '/stats?hidden=bad',
      '/stats/prometheus?hidden=only',
      '/stats/prometheus?histogram_buckets=disjoint',
      '/stats?format=prometheus&histogram_buckets=detailed',
      '/stats?type=nosuch',
      '/stats?format=nosuch',
      '/contention',
      '/config_dump?resource=bootstrap',
      '/config_dump?resource=nosuch',
    ]
    for (const path of paths) {
      const answer = async ({ ports: { admin } }: RunningProxy): Promise<unknown[]> => {
        const response = await fetch(`http://127.0.0.1:${admin}${path}`)
        return [response.status, response.headers.get('content-type'), await response.text()]
      }
      assert.deepEqual(await answer(ours), await answer(envoy), path)
    }
  })

  it('tells what the bootstrap says of clusters with endpoints of their own discovery', async () => {
    const seen = async (proxy: RunningProxy): Promise<unknown> => {
      const clusters = (await proxy.admin('/clusters')).includes('eds_service_name')
      const dynamic = await proxy.admin('/config_dump?include_eds&resource=dynamic_endpoint_configs')
      return [clusters, JSON.parse(dynamic)]
    }
    assert.deepEqual(await seen(ours), await seen(envoy))
  })

  it('sorts and prints the text as Envoy does', async () => {
    for (const query of ['', '?usedonly', '?filter=downstream_rq_time', '?type=Gauges&filter=circuit']) {
      const lines = async (proxy: RunningProxy): Promise<string[]> =>
        named(proxy, await proxy.admin(`/stats${query}`))
          .split('\n')
          .map((line) => line.replace(/: .*/, ''))
      const [theirs, mine] = [await lines(envoy), await lines(ours)]
      // Random ports sort at random.
      const common = new Set(theirs.filter((line) => !line.includes('PORT') && mine.includes(line)))
      assert.deepEqual(
        mine.filter((line) => common.has(line)),
        theirs.filter((line) => common.has(line)),
        query,
      )
    }
  })
})

/** One request of each kind, so that what counts on first use is there. */
async function useIt(proxy: RunningProxy, [tls, tcp, files]: Listeners): Promise<void> {
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<void> =>
    new Promise((resolve, reject) => {
      const call = request(
        { port: proxy.ports.listener, path, method, headers: { connection: 'close', ...headers } },
        (response) => {
          response.resume()
          response.on('end', resolve)
        },
      )
      call.on('error', reject)
      call.end(method === 'POST' ? 'body' : undefined)
    })
  for (const path of ['/', '/direct', '/redirect', '/h2', '/tls', '/ring', '/maglev', '/subset', '/dns', '/jwt'])
    await get(path)
  await get('/', {}, 'POST')
  await get('/', { 'x-answer': '503;200' })
  await get('/', { origin: 'http://o' })
  await new Promise<void>((resolve, reject) => {
    const client = connectHttp2(`http://127.0.0.1:${proxy.ports.listener}`)
    client.on('error', reject)
    const stream = client.request({ ':path': '/', ':authority': 'h' })
    stream.resume()
    stream.on('close', () => client.close(() => resolve()))
  })
  const speak = (socket: ReturnType<typeof connect>): Promise<void> =>
    new Promise((resolve) => {
      socket.on('error', () => resolve())
      socket.on('close', () => resolve())
      socket.resume()
      socket.write('GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\nx-answer: 200,close\r\n\r\n')
    })
  await speak(
    connectTls({
      port: tls,
      host: '127.0.0.1',
      servername: 'a.example',
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
    }),
  )
  await speak(connectTls({ port: files, host: '127.0.0.1', rejectUnauthorized: false }))
  await speak(connect(tcp, '127.0.0.1'))
  // Histograms show up with the next flush.
  while (!(await proxy.admin('/stats?usedonly&filter=http.main.downstream_rq_time')).includes('P100')) {
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
