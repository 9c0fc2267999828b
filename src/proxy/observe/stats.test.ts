import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInThisContext } from 'node:vm'
import { create } from '@bufbuild/protobuf'
import { StatsConfigSchema } from '../../api/gen/envoy/config/metrics/v3/stats_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { MergedStats } from './merged-stats.ts'
import { statsPrometheus } from './prometheus.ts'
import { statsJson, statsText } from './stats-print.ts'
import { parseStatsQuery, type StatsQuery } from './stats-query.ts'
import { compileBuckets, compileStatsFilter, DEFAULT_BUCKETS, parseStatsConfig } from './stats-settings.ts'
import { StatsStore, sanitizeStatsName } from './stats-store.ts'
import { TagExtractor } from './tag-extraction.ts'

const bounds = () => DEFAULT_BUCKETS

function golden(name: string): string {
  return readFileSync(new URL(`testdata/${name}`, import.meta.url), 'utf8')
}

function query(text = ''): StatsQuery {
  const parsed = parseStatsQuery(new URLSearchParams(text))
  assert.ok(typeof parsed !== 'string', String(parsed))
  return parsed
}

function merge(...stores: StatsStore[]): MergedStats {
  const merged = new MergedStats()
  for (const [i, store] of stores.entries()) merged.apply(`worker_${i}`, store.takeDelta())
  merged.flushHistograms()
  return merged
}

test('scopes join names with dots and give one object per name', () => {
  const store = new StatsStore()
  const cluster = store.scope('cluster').scope('outbound:80')
  cluster.counter('upstream_rq_total').inc()
  assert.equal(cluster.prefix, 'cluster.outbound_80')
  assert.equal(store.counter('cluster.outbound_80.upstream_rq_total').value, 1)
  assert.throws(() => store.gauge('cluster.outbound_80.upstream_rq_total'), /another kind/)
  assert.equal(sanitizeStatsName('.http://a:1.'), 'http_a_1')
})

test('deltas of several threads add up: counts are summed, set gauges hold the latest, removed stats go', () => {
  const a = new StatsStore()
  const b = new StatsStore()
  const merged = new MergedStats()
  const update = () => {
    merged.apply('a', a.takeDelta())
    merged.apply('b', b.takeDelta())
  }
  const scopes = [a.scope('cluster').scope('x'), b.scope('cluster').scope('x')]
  for (const scope of scopes) {
    scope.counter('rq').add(3)
    scope.gauge('active').inc()
    scope.gauge('members').set(5)
    scope.textReadout('version').value = 'v1'
  }
  update()
  assert.equal(merged.get('cluster.x.rq')!.value, 6)
  assert.equal(merged.get('cluster.x.active')!.value, 2)
  assert.equal(merged.get('cluster.x.members')!.value, 5)
  assert.equal(merged.get('cluster.x.version')!.text, 'v1')
  scopes[0]!.gauge('active').dec()
  scopes[0]!.counter('rq').inc()
  merged.resetCounters()
  update()
  assert.equal(merged.get('cluster.x.rq')!.value, 1)
  assert.equal(merged.get('cluster.x.active')!.value, 1)
  scopes[0]!.release()
  update()
  assert.ok(merged.get('cluster.x.rq'), 'the other thread still has it')
  scopes[1]!.release()
  update()
  assert.equal(merged.get('cluster.x.rq'), undefined)
})

test('a scope held twice outlives the first release', () => {
  const store = new StatsStore()
  const old = store.scope('cluster.x')
  const next = store.scope('cluster.x')
  next.counter('rq').inc()
  old.release()
  assert.equal(store.counter('cluster.x.rq').value, 1)
  assert.throws(() => old.release(), /twice/)
})

test('text and JSON histograms equal those of Envoy for the same recorded values', () => {
  const store = new StatsStore()
  const histogram = store.scope('http').scope('hcm').histogram('downstream_rq_time', 'ms')
  for (const value of [0, 2, 2, 3, 7, 11, 12, 104, 251, 999]) histogram.record(value)
  const merged = merge(store)
  merged.flushHistograms() // an interval without samples, as when the golden was taken
  const modes = ['cumulative', 'disjoint', 'detailed', 'summary']
  assert.equal(
    modes.map((mode) => statsText(merged, query(`histogram_buckets=${mode}`), bounds)).join(''),
    golden('envoy-histogram-modes.txt'),
  )
  assert.equal(
    ['cumulative', 'summary']
      .map((mode) => `${statsJson(merged, query(`histogram_buckets=${mode}`), bounds)}\n`)
      .join(''),
    golden('envoy-histogram-modes.jsonl'),
  )
})

test('tag extraction and Prometheus output equal those of Envoy for the same stats', () => {
  const store = new StatsStore()
  const gauges = new Set(['active', 'started', 'state', 'inflated', 'clusters', 'open', 'warming_clusters'])
  for (const line of golden('envoy-stats.txt').trim().split('\n')) {
    const [name, value] = line.split(': ') as [string, string]
    const last = name.slice(name.search(/[^_.]+$/))
    if (/^P0|^No/.test(value)) {
      const values = {
        'http.hcm.downstream_rq_time': [0, 2, 2, 3, 7, 11, 12, 104, 251, 999],
        'server.initialization_time_ms': [16],
        'cluster.up_1.upstream_rq_per_cx': [1, 1],
      }
      const histogram = store.histogram(name, 'ms')
      for (const v of values[name as keyof typeof values] ?? [1, 6]) histogram.record(v)
    } else if (gauges.has(last)) store.gauge(name).set(Number(value))
    else store.counter(name).add(Number(value))
  }
  const tags = new TagExtractor(parseStatsConfig(undefined).tags)
  assert.deepEqual(
    statsPrometheus(merge(store), query('format=prometheus'), tags, bounds).split('\n'),
    golden('envoy-stats.prometheus.txt').split('\n'),
  )
})

test("Istio's tag rules label clusters by their full name", () => {
  const config = create(StatsConfigSchema, {
    useAllDefaultTags: false,
    statsTags: [
      {
        tagName: 'cluster_name',
        tagValue: { case: 'regex', value: '^cluster\\.((.+?(\\..+?\\.svc\\.cluster\\.local)?)\\.)' },
      },
      { tagName: 'response_code_class', tagValue: { case: 'regex', value: '_rq(_(\\dxx))$' } },
      { tagName: 'mesh', tagValue: { case: 'fixedValue', value: 'm "1"' } },
    ],
  })
  const store = new StatsStore()
  store.scope('cluster.outbound|9080||reviews.default.svc.cluster.local').counter('upstream_rq_2xx').add(4)
  store
    .counter('istiocustom.istio_requests_total', [
      ['reporter', 'source'],
      ['response_code', '200'],
    ])
    .inc()
  const text = statsPrometheus(
    merge(store),
    query('format=prometheus'),
    new TagExtractor(parseStatsConfig(config).tags),
    bounds,
  )
  assert.equal(
    text,
    '# TYPE envoy_cluster_upstream_rq counter\n' +
      'envoy_cluster_upstream_rq{response_code_class="2xx",mesh="m \\"1\\"",cluster_name="outbound|9080||reviews.default.svc.cluster.local"} 4\n' +
      '# TYPE istio_requests_total counter\n' +
      'istio_requests_total{reporter="source",response_code="200"} 1\n',
  )
})

test('usedonly, filter and type choose stats; wrong parameters are answered as Envoy does', () => {
  const store = new StatsStore()
  store.counter('a.used').inc()
  store.counter('a.unused')
  store.gauge('a.zero').set(0)
  store.textReadout('a.text').value = 'x'
  const merged = merge(store)
  assert.equal(statsText(merged, query('usedonly'), bounds), 'a.text: "x"\na.used: 1\na.zero: 0\n')
  assert.equal(statsText(merged, query('filter=^a.un'), bounds), 'a.unused: 0\n')
  assert.equal(statsText(merged, query('type=Gauges'), bounds), 'a.zero: 0\n')
  assert.equal(statsJson(merged, query('type=TextReadouts'), bounds), '{"stats":[{"name":"a.text","value":"x"}]}')
  assert.match(String(parseStatsQuery(new URLSearchParams('filter=('))), /^Invalid re2 regex: /)
  assert.equal(parseStatsQuery(new URLSearchParams('type=foo')), 'invalid &type= param')
  assert.match(String(parseStatsQuery(new URLSearchParams('format=xx'))), /^usage: /)
  assert.match(String(parseStatsQuery(new URLSearchParams('histogram_buckets=bad'))), /^usage: /)
})

test('stats_matcher hides stats from everybody but their holder', () => {
  const config = create(StatsConfigSchema, {
    statsMatcher: {
      statsMatcher: {
        case: 'inclusionList',
        value: {
          patterns: [
            { matchPattern: { case: 'prefix', value: 'cluster_manager' } },
            { matchPattern: { case: 'safeRegex', value: { regex: 'vhost\\..*\\.route\\..*' } } },
          ],
        },
      },
    },
    histogramBucketSettings: [{ match: { matchPattern: { case: 'suffix', value: '_ms' } }, buckets: [1, 2] }],
  })
  const settings = parseStatsConfig(config)
  const store = new StatsStore(compileStatsFilter(settings))
  const hidden = store.counter('cluster.x.rq')
  hidden.inc()
  store.counter('cluster_manager.added').inc()
  store.counter('vhost.a.route.b').inc()
  assert.equal(hidden.value, 1)
  assert.equal(statsText(merge(store), query(), bounds), 'cluster_manager.added: 1\nvhost.a.route.b: 1\n')
  assert.deepEqual(compileBuckets(settings)('a_ms'), [1, 2])
  assert.equal(compileBuckets(settings)('a'), DEFAULT_BUCKETS)
})

test('a bad stats_config is refused with its path', () => {
  const bad = create(StatsConfigSchema, { statsTags: [{ tagName: 'x', tagValue: { case: 'regex', value: '(' } }] })
  assert.throws(
    () => parseStatsConfig(bad),
    (error) => error instanceof ConfigError && error.path === 'stats_config.stats_tags[0].regex',
  )
  const unknown = create(StatsConfigSchema, { statsTags: [{ tagName: 'x' }] })
  assert.throws(() => parseStatsConfig(unknown), /no default regex for name: 'x'/)
})

test('a large or fractional value of one stat leaves the shape of all others as it is', () => {
  setFlagsFromString('--allow-natives-syntax')
  const haveSameMap = runInThisContext('(a, b) => %HaveSameMap(a, b)') as (a: object, b: object) => boolean
  const store = new StatsStore()
  const gauges = [store.gauge('a'), store.gauge('b')] as const
  const counters = [store.counter('c'), store.counter('d')] as const
  for (const stat of [...gauges, ...counters]) stat.inc()
  gauges[0].set(2 ** 40 + 0.5)
  counters[0].add(2 ** 40)
  assert.ok(haveSameMap(...gauges))
  assert.ok(haveSameMap(...counters))
  assert.deepEqual([gauges[1].value, counters[0].value, counters[1].value], [1, 2 ** 40 + 1, 1])
})
