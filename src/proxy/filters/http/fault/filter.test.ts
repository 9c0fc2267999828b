import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FilterDataStatus, FilterHeadersStatus, FilterTrailersStatus } from '../../../http/filter.ts'
import { HeaderMap } from '../../../http/header-map.ts'
import { request, routes } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { faultFilter } from './config.ts'

const ALWAYS = { percentage: { numerator: 100 } }

describe('fault', () => {
  test('an empty configuration does nothing', () => {
    const stream = new FilterHarness(faultFilter, {}).stream()
    assert.equal(stream.request(request('/')), FilterHeadersStatus.Continue)
  })

  test('abort answers with its status, flag and details', () => {
    const filter = new FilterHarness(faultFilter, { abort: { http_status: 418, ...ALWAYS } })
    const stream = filter.stream()
    assert.equal(stream.request(request('/')), FilterHeadersStatus.StopIteration)
    assert.equal(stream.reply!.status, 418)
    assert.equal(stream.reply!.body, 'fault filter abort')
    assert.equal(stream.reply!.details, 'fault_filter_abort')
    assert.equal(filter.counter('fault.aborts_injected'), 1)
    assert.equal(filter.stats.gauge('http.t.fault.active_faults').value, 1)
    stream.destroy()
    assert.equal(filter.stats.gauge('http.t.fault.active_faults').value, 0)
  })

  test('grpc_status is handed on', () => {
    const stream = new FilterHarness(faultFilter, { abort: { grpc_status: 14, ...ALWAYS } }).stream()
    stream.request(request('/'))
    assert.equal(stream.reply!.grpcStatus, 14)
  })

  test('a delay holds the request, then lets it go on', async () => {
    const stream = new FilterHarness(faultFilter, { delay: { fixed_delay: '0.001s', ...ALWAYS } }).stream()
    assert.equal(stream.request(request('/')), FilterHeadersStatus.StopIteration)
    await stream.resumed()
    assert.equal(stream.reply, null)
  })

  test('a delay is followed by the abort', async () => {
    const config = { delay: { fixed_delay: '0.001s', ...ALWAYS }, abort: { http_status: 500, ...ALWAYS } }
    const stream = new FilterHarness(faultFilter, config).stream()
    stream.request(request('/'))
    assert.equal((await stream.replied()).status, 500)
    assert.equal(stream.continued, 0)
  })

  test('only matching requests and clusters are hit', () => {
    const config = {
      abort: { http_status: 500, ...ALWAYS },
      headers: [{ name: 'hit', present_match: true }],
      upstream_cluster: 'c',
    }
    const hit = (headers: Record<string, string>, cluster: string): boolean => {
      const filter = new FilterHarness(faultFilter, config)
      filter.table = routes([{ match: { prefix: '/' }, route: { cluster } }])
      return filter.stream().request(request('/', headers)) === FilterHeadersStatus.StopIteration
    }
    assert.equal(hit({ hit: '1' }, 'c'), true)
    assert.equal(hit({}, 'c'), false)
    assert.equal(hit({ hit: '1' }, 'other'), false)
  })

  test('header faults follow the request, whose percentage can only lower the share', () => {
    const config = { abort: { header_abort: {}, ...ALWAYS } }
    const stream = new FilterHarness(faultFilter, config).stream()
    stream.request(request('/', { 'x-envoy-fault-abort-request': '503' }))
    assert.equal(stream.reply!.status, 503)
    const none = { 'x-envoy-fault-abort-request': '503', 'x-envoy-fault-abort-request-percentage': '0' }
    assert.equal(
      new FilterHarness(faultFilter, config).stream().request(request('/', none)),
      FilterHeadersStatus.Continue,
    )
  })

  test('max_active_faults caps them', () => {
    const filter = new FilterHarness(faultFilter, { abort: { http_status: 500, ...ALWAYS }, max_active_faults: 1 })
    assert.equal(filter.stream().request(request('/')), FilterHeadersStatus.StopIteration)
    assert.equal(filter.stream().request(request('/')), FilterHeadersStatus.Continue)
    assert.equal(filter.counter('fault.faults_overflow'), 1)
  })

  test('response_rate_limit lets bytes go as their tokens come, the trailers last', async (t) => {
    // Time passes only when somebody looks at the clock.
    let time = performance.now()
    t.mock.method(performance, 'now', () => (time += 5))
    const config = { response_rate_limit: { fixed_limit: { limit_kbps: 20 }, ...ALWAYS } }
    const filter = new FilterHarness(faultFilter, config)
    const stream = filter.stream()
    assert.equal(stream.request(request('/')), FilterHeadersStatus.Continue)
    stream.response(200, {}, false)
    assert.equal(stream.encoders[0]!.encodeData(Buffer.alloc(1500, 1), false), FilterDataStatus.StopIterationNoBuffer)
    assert.equal(stream.encoders[0]!.encodeTrailers(new HeaderMap()), FilterTrailersStatus.StopIteration)
    await stream.resumed()
    assert.equal(stream.buffered[0]!.length <= 1024 + 400, true, 'the rest waits')
    assert.equal(Buffer.concat(stream.buffered).length, 1500)
    assert.equal(filter.counter('fault.response_rl_injected'), 1)
    stream.destroy()
  })

  test('the rate of header_limit is the request header; without one nothing is slowed', () => {
    const config = { response_rate_limit: { header_limit: {}, ...ALWAYS } }
    const slowed = (headers: Record<string, string>): boolean => {
      const stream = new FilterHarness(faultFilter, config).stream()
      stream.request(request('/', headers))
      stream.response(200, {}, false)
      const status = stream.encoders[0]!.encodeData(Buffer.from('x'), false)
      stream.destroy()
      return status === FilterDataStatus.StopIterationNoBuffer
    }
    assert.equal(slowed({ 'x-envoy-fault-throughput-response': '4' }), true)
    assert.equal(slowed({ 'x-envoy-fault-throughput-response': '0' }), false)
    assert.equal(slowed({}), false)
    const none = { 'x-envoy-fault-throughput-response': '4', 'x-envoy-fault-throughput-response-percentage': '0' }
    assert.equal(slowed(none), false)
  })
})
