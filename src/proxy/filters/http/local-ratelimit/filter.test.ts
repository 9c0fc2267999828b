import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { StreamDownstreamInfo } from '../../../http/connection-manager/stream-downstream-info.ts'
import { FilterHeadersStatus } from '../../../http/filter.ts'
import { ipAddress } from '../../../network/address.ts'
import { request, routes } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { localRateLimitFilter } from './config.ts'

const ON = {
  filter_enabled: { default_value: { numerator: 100 } },
  filter_enforced: { default_value: { numerator: 100 } },
}
const bucket = (max_tokens: number) => ({ max_tokens, tokens_per_fill: 1, fill_interval: '3600s' })

function passed(filter: FilterHarness, headers: Record<string, string> = {}): boolean {
  return filter.stream().request(request('/', headers)) === FilterHeadersStatus.Continue
}

describe('local_ratelimit', () => {
  test('requests beyond the bucket are refused', () => {
    const filter = new FilterHarness(localRateLimitFilter, {
      stat_prefix: 's',
      token_bucket: bucket(2),
      enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
      response_headers_to_add: [{ header: { key: 'x-limited', value: 'yes' } }],
      ...ON,
    })
    assert.equal(passed(filter) && passed(filter), true)
    const stream = filter.stream()
    assert.equal(stream.request(request('/')), FilterHeadersStatus.StopIteration)
    assert.equal(stream.reply!.status, 429)
    assert.equal(stream.reply!.body, 'local_rate_limited')
    assert.equal(stream.reply!.headers.get('x-limited'), 'yes')
    const response = stream.response(429)
    assert.equal(response.get('x-ratelimit-limit'), '2')
    assert.equal(response.get('x-ratelimit-remaining'), '0')
    const value = (name: string) => filter.stats.counter(`s.http_local_rate_limit.${name}`).value
    assert.deepEqual([value('enabled'), value('ok'), value('rate_limited'), value('enforced')], [3, 2, 1, 1])
  })

  test('nothing is limited unless it is switched on, and marked when it is not enforced', () => {
    const off = new FilterHarness(localRateLimitFilter, { stat_prefix: 's', token_bucket: bucket(1) })
    assert.equal(passed(off) && passed(off), true)
    const soft = new FilterHarness(localRateLimitFilter, {
      stat_prefix: 's',
      token_bucket: bucket(1),
      filter_enabled: ON.filter_enabled,
      request_headers_to_add_when_not_enforced: [{ header: { key: 'x-over', value: '1' } }],
    })
    assert.equal(passed(soft), true)
    const headers = request('/')
    assert.equal(soft.stream().request(headers), FilterHeadersStatus.Continue)
    assert.equal(headers.get('x-over'), '1')
  })

  test('descriptors have buckets of their own', () => {
    const filter = new FilterHarness(localRateLimitFilter, {
      stat_prefix: 's',
      token_bucket: bucket(100),
      descriptors: [{ entries: [{ key: 'user', value: 'a' }], token_bucket: { ...bucket(1) } }],
      ...ON,
    })
    filter.table = routes([
      {
        match: { prefix: '/' },
        route: {
          cluster: 'c',
          rate_limits: [{ actions: [{ request_headers: { header_name: 'x-user', descriptor_key: 'user' } }] }],
        },
      },
    ])
    assert.equal(passed(filter, { 'x-user': 'a' }), true)
    assert.equal(passed(filter, { 'x-user': 'a' }), false)
    assert.equal(passed(filter, { 'x-user': 'b' }), true)
    assert.equal(passed(filter), true)
  })

  test('a connection has one bucket, whoever its requests say that they are from', () => {
    const filter = new FilterHarness(localRateLimitFilter, {
      stat_prefix: 's',
      token_bucket: bucket(2),
      local_rate_limit_per_downstream_connection: true,
      ...ON,
    })
    const statuses = ['1.1.1.1', '2.2.2.2', '3.3.3.3'].map((client) => {
      const stream = filter.stream()
      stream.info.downstream = new StreamDownstreamInfo(filter.connection.info, ipAddress(client, 0))
      return stream.request(request('/'))
    })
    const { Continue, StopIteration } = FilterHeadersStatus
    assert.deepEqual(statuses, [Continue, Continue, StopIteration])
  })

  test('a fill interval below 50 ms is refused', () => {
    const config = { stat_prefix: 's', token_bucket: { max_tokens: 1, fill_interval: '0.01s' } }
    assert.throws(() => new FilterHarness(localRateLimitFilter, config), /must be >= 50ms/)
  })

  test('a descriptor without value has a bucket for each value, the one not used for longest makes room', () => {
    const filter = new FilterHarness(localRateLimitFilter, {
      stat_prefix: 's',
      token_bucket: bucket(100),
      max_dynamic_descriptors: 2,
      rate_limits: [{ actions: [{ request_headers: { header_name: 'x-user', descriptor_key: 'user' } }] }],
      descriptors: [
        { entries: [{ key: 'user' }], token_bucket: bucket(1) },
        { entries: [{ key: 'user', value: 'own' }], token_bucket: bucket(3) },
      ],
      ...ON,
    })
    assert.equal(passed(filter, { 'x-user': 'a' }), true)
    assert.equal(passed(filter, { 'x-user': 'b' }), true)
    assert.equal(passed(filter, { 'x-user': 'a' }), false)
    assert.equal(passed(filter, { 'x-user': 'c' }), true, 'takes the place of b')
    assert.equal(passed(filter, { 'x-user': 'a' }), false)
    assert.equal(passed(filter, { 'x-user': 'b' }), true)
    assert.equal(passed(filter, { 'x-user': 'own' }) && passed(filter, { 'x-user': 'own' }), true)
  })

  test('what Envoy refuses is refused', () => {
    const one = { entries: [{ key: 'user', value: 'a' }], token_bucket: bucket(1) }
    const refused = (more: object, reason: RegExp): void =>
      assert.throws(
        () => new FilterHarness(localRateLimitFilter, { stat_prefix: 's', token_bucket: bucket(1), ...more }),
        reason,
      )
    refused({ descriptors: [one, one] }, /duplicate descriptor in the local rate descriptor: user=a/)
    refused({ max_dynamic_descriptors: 0 }, /max_dynamic_descriptors/)
    refused({ rate_limits: [{ stage: 1, actions: [{ remote_address: {} }] }] }, /'stage' field and 'disable_key' field/)
    refused({ local_cluster_rate_limit: {} }, /local_cluster_rate_limit/)
  })
})
