import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppendAction, type QueryMutationData } from './config.ts'
import { QueryMutation } from './query-mutation.ts'
import { request, streamInfo } from './testing.ts'

function changed(path: string, name: string, value: string, action: QueryMutationData['action']): string {
  const headers = request(path, { 'x-a': 'v w' })
  new QueryMutation({ name, value, action }).apply(headers, streamInfo())
  return headers.path
}

test('parameters are added, replaced and removed, and stand in the order of their names', () => {
  assert.equal(changed('/p?b=2&a=1', 'a', '3', AppendAction.AppendIfExistsOrAdd), '/p?a=1&a=3&b=2')
  assert.equal(changed('/p?b=2&a=1', 'b', '3', AppendAction.OverwriteIfExistsOrAdd), '/p?a=1&b=3')
  assert.equal(changed('/p', 'b', '3', AppendAction.OverwriteIfExists), '/p')
  assert.equal(changed('/p?b=1', 'b', '3', AppendAction.AddIfAbsent), '/p?b=1')
  assert.equal(changed('/p?b=1', 'b', '', 'remove'), '/p')
})

test('values are formats and are encoded; what is not touched stays as it is', () => {
  assert.equal(changed('/p?z=%20+%2f', 'q', '%REQ(x-a)%&', AppendAction.AddIfAbsent), '/p?q=v%20w%26&z=%20+%2f')
  assert.equal(changed('/p?%=1', 'q', '2', AppendAction.AddIfAbsent), '/p?%=1&q=2')
})
