import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FilterHeadersStatus } from '../../../http/filter.ts'
import { request } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { csrfFilter } from './config.ts'

const config = { filter_enabled: { default_value: { numerator: 100 } }, additional_origins: [{ exact: 'b.example' }] }

function post(origin: string, filter = new FilterHarness(csrfFilter, config)) {
  const headers = request('/', { origin })
  headers.method = 'POST'
  const stream = filter.stream()
  return { filter, stream, status: stream.request(headers) }
}

test('a request from its own host, or from a named origin, goes on', () => {
  assert.equal(post('https://a.example').status, FilterHeadersStatus.Continue)
  assert.equal(post('https://b.example/path').status, FilterHeadersStatus.Continue)
})

test('one from elsewhere is refused', () => {
  const { filter, stream } = post('https://c.example')
  assert.deepEqual([stream.reply!.status, stream.reply!.body], [403, 'Invalid origin'])
  assert.equal(filter.counter('csrf.request_invalid'), 1)
  assert.equal(post('null', filter).stream.reply!.status, 403)
  assert.equal(filter.counter('csrf.missing_source_origin'), 1)
})
