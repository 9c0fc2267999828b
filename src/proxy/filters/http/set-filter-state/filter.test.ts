import assert from 'node:assert/strict'
import { test } from 'node:test'
import { request } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { setFilterStateFilter } from './config.ts'

const value = (key: string, text: string, more: object = {}): object => ({
  object_key: key,
  format_string: { text_format_source: { inline_string: text }, omit_empty_values: true },
  ...more,
})
const STRING = { factory_key: 'envoy.string' }

test('objects have the form that their readers know', () => {
  const stream = new FilterHarness(setFilterStateFilter, {
    on_request_headers: [
      value('mine', '%REQ(x-a)%', STRING),
      value('envoy.network.application_protocols', 'h2,http/1.1'),
      value('envoy.upstream.dynamic_port', '%REQ(x-port)%'),
      value('nothing', '%REQ(x-none)%', { ...STRING, skip_if_empty: true }),
    ],
  }).stream()
  stream.request(request('/', { 'x-a': 'v', 'x-port': '8080' }))
  const { filterState } = stream.info
  assert.equal(filterState.get('mine'), 'v')
  assert.deepEqual(filterState.get('envoy.network.application_protocols'), ['h2', 'http/1.1'])
  assert.equal(filterState.get('envoy.upstream.dynamic_port'), 8080)
  assert.equal(filterState.get('nothing'), undefined)
})

test('what is read-only stays', () => {
  const stream = new FilterHarness(setFilterStateFilter, {
    on_request_headers: [value('k', '1', { ...STRING, read_only: true }), value('k', '2', STRING)],
  }).stream()
  stream.request(request('/'))
  assert.equal(stream.info.filterState.get('k'), '1')
})

test('objects that nobody reads are refused', () => {
  const parse = (more: object) => () =>
    new FilterHarness(setFilterStateFilter, { on_request_headers: [value('my.key', 'x', more)] })
  assert.throws(parse({}), /'my.key' does not have an object factory/)
  assert.throws(parse({ ...STRING, shared_with_upstream: 'ONCE' }), /shared_with_upstream: not supported/)
})
