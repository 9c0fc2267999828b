import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { HeaderMap } from '../../../http/header-map.ts'
import { request } from '../../../route/testing.ts'
import { staticCluster, TestClusters } from '../../../upstream/testing.ts'
import { FilterHarness } from '../testing.ts'
import { grpcStatsFilter } from './config.ts'
import { GRPC_STATS_STATE } from './filter.ts'
import { GrpcMessageCounter } from './message-counter.ts'

function frame(bytes: number): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(bytes, 1)
  return Buffer.concat([head, Buffer.alloc(bytes, 1)])
}

test('messages are counted at any split of the data', () => {
  const body = Buffer.concat([frame(0), frame(3), frame(300)])
  for (const size of [1, 2, 5, 7, body.length]) {
    const counter = new GrpcMessageCounter()
    let count = 0
    for (let at = 0; at < body.length; at += size) count += counter.add(body.subarray(at, at + size))
    assert.equal(count, 3, `split every ${size}`)
  }
})

describe('grpc_stats', () => {
  function call(config: object, contentType = 'application/grpc') {
    const filter = new FilterHarness(grpcStatsFilter, { emit_filter_state: true, ...config })
    const test = new TestClusters()
    filter.clusters.set('c', test.add(staticCluster([1])))
    const stream = filter.stream()
    stream.request(request('/pkg.Svc/Do', { 'content-type': contentType }), false)
    stream.decoders[0]!.decodeData(frame(2), false)
    stream.decoders[0]!.decodeData(frame(2), true)
    stream.response(200, { 'content-type': contentType }, false)
    stream.encoders[0]!.encodeData(frame(1), false)
    const trailers = new HeaderMap()
    trailers.add('grpc-status', '0')
    stream.encoders[0]!.encodeTrailers(trailers)
    return { test, state: stream.info.filterState.get(GRPC_STATS_STATE) }
  }

  test('counts calls of each method and tells other filters', () => {
    const { test, state } = call({ stats_for_all_methods: true })
    assert.deepEqual(state, { requestMessageCount: 2, responseMessageCount: 1 })
    assert.equal(test.value('grpc.pkg.Svc.Do.success'), 1)
    assert.equal(test.value('grpc.pkg.Svc.Do.total'), 1)
    assert.equal(test.value('grpc.pkg.Svc.Do.0'), 1)
    assert.equal(test.value('grpc.pkg.Svc.Do.request_message_count'), 2)
  })

  test('methods that are not listed are counted together', () => {
    assert.equal(call({ stats_for_all_methods: false }).test.value('grpc.success'), 1)
  })

  test('methods and statuses that peers think up are bounded, and clash with nothing', () => {
    const filter = new FilterHarness(grpcStatsFilter, { stats_for_all_methods: true, enable_upstream_stats: true })
    const test = new TestClusters()
    filter.clusters.set('c', test.add(staticCluster([1])))
    const call = (path: string, status: string): void => {
      const stream = filter.stream()
      stream.info.lastUpstreamTxByte = 1
      stream.info.lastUpstreamRxByte = 2
      stream.request(request(path, { 'content-type': 'application/grpc' }), true)
      stream.response(200, { 'content-type': 'application/grpc' }, false)
      const trailers = new HeaderMap()
      trailers.add('grpc-status', status)
      stream.encoders[0]!.encodeTrailers(trailers)
    }
    call('/s/m', '0')
    call('/s/m', 'upstream_rq_time')
    call('/s/m', 'thought-up')
    assert.equal(test.value('grpc.s.m.other'), 1)
    assert.equal(test.value('grpc.s.m.thought-up'), 1)
    assert.equal(test.value('grpc.s.m.total'), 3)
    test.stats.takeDelta()
    for (let i = 0; i < 2000; i++) call(`/s/thought-up-${i}`, '0')
    call(`/s/${'x'.repeat(1000)}`, '0')
    assert.equal(test.value('grpc.s.thought-up-997.total'), 1)
    assert.equal(test.value('grpc.total'), 2000 - 998 + 1)
    assert.ok(test.stats.takeDelta().defined.length < 10_000)
    call('/s/m', '0')
    assert.equal(test.value('grpc.s.m.total'), 4)
  })

  test('other requests are left alone', () => {
    assert.equal(call({}, 'application/json').state, undefined)
  })
})
