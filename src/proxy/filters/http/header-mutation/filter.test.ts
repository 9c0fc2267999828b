import assert from 'node:assert/strict'
import { test } from 'node:test'
import { request } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { headerMutationFilter } from './config.ts'

test('mutations run in the order in which they are written, in both directions', () => {
  const stream = new FilterHarness(headerMutationFilter, {
    mutations: {
      request_mutations: [
        { append: { header: { key: 'x-a', value: '%REQ(:path)%' } } },
        { remove: 'x-b' },
        { append: { header: { key: 'x-a', value: 'last' }, append_action: 'OVERWRITE_IF_EXISTS' } },
      ],
      response_mutations: [{ append: { header: { key: 'x-from', value: '%REQ(x-a)%' } } }],
    },
  }).stream()
  const headers = request('/p', { 'x-b': '1' })
  stream.request(headers)
  assert.deepEqual(headers.list, ['x-a', 'last'])
  assert.equal(stream.response().get('x-from'), 'last')
})
