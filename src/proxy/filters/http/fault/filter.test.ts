import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FilterHeadersStatus } from '../../../http/filter.ts'
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
})
