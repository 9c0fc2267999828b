import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FilterHeadersStatus } from '../../../http/filter.ts'
import { request } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { healthCheckFilter } from './config.ts'

const config = (more: object = {}) => ({
  pass_through_mode: false,
  headers: [{ name: ':path', string_match: { exact: '/healthz' } }],
  ...more,
})

test('a check is answered, other requests go on', () => {
  const filter = new FilterHarness(healthCheckFilter, config())
  const check = filter.stream()
  assert.equal(check.request(request('/healthz')), FilterHeadersStatus.StopIteration)
  assert.deepEqual([check.reply!.status, check.reply!.details], [200, 'health_check_ok'])
  assert.equal(check.info.isHealthCheck, true)
  assert.equal(filter.stream().request(request('/')), FilterHeadersStatus.Continue)
  assert.equal(filter.counter('health_check.ok'), 1)
})

test('a proxy that is to fail says so to everybody', () => {
  const drain = { drainClose: () => false, healthCheckFailed: true }
  const filter = new FilterHarness(healthCheckFilter, config({ pass_through_mode: true }), { drain })
  const check = filter.stream()
  check.request(request('/healthz'))
  assert.equal(check.reply!.status, 503)
  const other = filter.stream()
  other.request(request('/'))
  assert.equal(other.response().get('x-envoy-immediate-health-check-fail'), 'true')
})

test('the answer of the upstream serves for a while', () => {
  const filter = new FilterHarness(healthCheckFilter, config({ pass_through_mode: true, cache_time: '3600s' }))
  const first = filter.stream()
  assert.equal(first.request(request('/healthz')), FilterHeadersStatus.Continue)
  assert.equal(first.response(503).get('x-envoy-upstream-healthchecked-cluster'), 'node-cluster')
  const second = filter.stream()
  second.request(request('/healthz'))
  assert.deepEqual([second.reply!.status, second.reply!.details], [503, 'health_check_cached'])
})
