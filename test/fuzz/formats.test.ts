// Seeded mutation of format strings, statistics queries and admin targets: whatever comes in is accepted or refused with a
// reason, and what is accepted prints. FUZZ_SECONDS=600 runs longer, FUZZ_SEED=n starts elsewhere.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConfigError } from '../../src/base/errors.ts'
import { HeaderMap } from '../../src/proxy/http/header-map.ts'
import { ipAddress } from '../../src/proxy/network/address.ts'
import { SocketConnectionInfo } from '../../src/proxy/network/connection-info.ts'
import { JsonFormat } from '../../src/proxy/observe/format/json-format.ts'
import { compileHeaderFormat, DEFAULT_LOG_FORMAT, TextFormat } from '../../src/proxy/observe/format/text-format.ts'
import { MergedStats } from '../../src/proxy/observe/merged-stats.ts'
import { statsPrometheus } from '../../src/proxy/observe/prometheus.ts'
import { statsJson, statsText } from '../../src/proxy/observe/stats-print.ts'
import { parseStatsQuery } from '../../src/proxy/observe/stats-query.ts'
import { DEFAULT_BUCKETS, parseStatsConfig } from '../../src/proxy/observe/stats-settings.ts'
import { StatsStore } from '../../src/proxy/observe/stats-store.ts'
import { TagExtractor } from '../../src/proxy/observe/tag-extraction.ts'
import { StreamInfo } from '../../src/proxy/stream-info.ts'
import { mutate, type Random } from './random.ts'
import { rounds } from './rounds.ts'

const fuzz = rounds(2)

const SEEDS = [
  DEFAULT_LOG_FORMAT,
  '%START_TIME(%Y-%m-%dT%H:%M:%E3S %3f %s)% %COMMON_DURATION(DS_RX_BEG:US_TX_END:us)%',
  '%REQ(X-A?:PATH):10%%RESP(B)% %TRAILER(C)% %QUERY_PARAM(q)% %PATH(NQ:ORIG)%',
  '%DYNAMIC_METADATA(a:b:c)% %FILTER_STATE(k:FIELD:f)% %METADATA(ROUTE:x:y)% %GRPC_STATUS(NUMBER)%',
  "%CEL(request.headers['a'])% 100%% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)%",
]

const TOKENS = ['%', '%%', '(', ')', ':', '%REQ(', ')%', ':9%', '?', '\n', '\0', '&', '=', '.', ';', '|'].map((token) =>
  Buffer.from(token),
)

function mutated(random: Random, seeds: readonly string[]): string {
  return mutate(random, Buffer.from(random.pick(seeds), 'latin1'), TOKENS).toString('latin1')
}

function context() {
  const info = new StreamInfo(new SocketConnectionInfo(ipAddress('127.0.0.1', 80), ipAddress('::1', 90)), null)
  const requestHeaders = new HeaderMap()
  requestHeaders.method = 'GET'
  requestHeaders.path = '/a?q=%zz&q=1#f'
  requestHeaders.add('x-a', '\u00ff"\\')
  return {
    info,
    requestHeaders,
    responseHeaders: null,
    responseTrailers: null,
    localReplyBody: '',
    type: 'NotSet' as const,
  }
}

test('any format is refused with its path or prints one string', () => {
  const stream = context()
  fuzz((random) => {
    const format = mutated(random, SEEDS)
    try {
      assert.equal(typeof new TextFormat(format, false, 'f').format(stream), 'string')
      JSON.parse(
        Buffer.from(new JsonFormat({ a: format, b: [format] }, true, 'f').format(stream), 'latin1').toString('latin1'),
      )
      assert.equal(typeof compileHeaderFormat(format, 'f').format(stream.requestHeaders, null, stream.info), 'string')
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      assert.match(error.message, /^f/)
    }
  })
})

test('any stat name and any query is answered', () => {
  const tags = new TagExtractor(parseStatsConfig(undefined).tags)
  const names = [
    'cluster.a.upstream_rq_200',
    'http.hcm.downstream_rq_2xx',
    'listener.127.0.0.1_80.http.x.downstream_rq_xx',
  ]
  const queries = ['filter=^cluster.*&usedonly', 'format=json&histogram_buckets=detailed', 'type=Gauges&text_readouts']
  fuzz((random) => {
    const store = new StatsStore()
    const name = mutated(random, names)
    store.scope(name).counter('c').inc()
    store.scope(name).histogram('h', 'ms').record(random.below(1e9))
    const merged = new MergedStats()
    merged.apply('w', store.takeDelta())
    merged.flushHistograms()
    const query = parseStatsQuery(new URLSearchParams(mutated(random, queries)))
    if (typeof query === 'string') return
    const bounds = () => DEFAULT_BUCKETS
    statsText(merged, query, bounds)
    JSON.parse(statsJson(merged, query, bounds))
    for (const line of statsPrometheus(merged, query, tags, bounds).split('\n')) {
      assert.match(line, /^$|^# TYPE \w+ \w+$|^\w+\{.*\} (\S+)$/s)
    }
  })
})
