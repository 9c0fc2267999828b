import assert from 'node:assert/strict'
import { test } from 'node:test'
import { request } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { headerToMetadataFilter } from './config.ts'

const NAMESPACE = 'envoy.filters.http.header_to_metadata'

test('headers and cookies become metadata of their kind', () => {
  const stream = new FilterHarness(headerToMetadataFilter, {
    request_rules: [
      { header: 'X-Version', on_header_present: { metadata_namespace: 'envoy.lb', key: 'v' }, remove: true },
      { header: 'x-n', on_header_present: { key: 'n', type: 'NUMBER' } },
      { cookie: 'c', on_header_present: { key: 'c' }, on_header_missing: { key: 'c', value: 'none' } },
    ],
  }).stream()
  const headers = request('/', { 'x-version': '2', 'x-n': '1.5' })
  stream.request(headers)
  assert.deepEqual(stream.info.dynamicMetadata, { 'envoy.lb': { v: '2' }, [NAMESPACE]: { n: 1.5, c: 'none' } })
  assert.equal(headers.has('x-version'), false)
})

test('base64 ends with its padding, and any number of signs is soon looked at', () => {
  const rule = { header: 'x-a', on_header_present: { key: 'k', encode: 'BASE64' } }
  for (const [text, value] of [
    ['aGk=', 'hi'],
    ['aGk', 'hi'],
    [`aGk${'='.repeat(8000)}aGk`, undefined],
  ] as const) {
    const stream = new FilterHarness(headerToMetadataFilter, { request_rules: [rule] }).stream()
    stream.request(request('/', { 'x-a': text }))
    assert.equal(stream.info.dynamicMetadata?.[NAMESPACE]?.k, value)
  }
})

test('a namespace may have any name: no prototype is written to', () => {
  const rule = (metadata_namespace: string) => ({
    header: 'x-a',
    on_header_present: { metadata_namespace, key: 'keys' },
  })
  const request_rules = [rule('constructor'), rule('__proto__')]
  const stream = new FilterHarness(headerToMetadataFilter, { request_rules }).stream()
  stream.request(request('/', { 'x-a': 'b' }))
  assert.deepEqual(Object.entries(stream.info.dynamicMetadata!), [
    ['constructor', { keys: 'b' }],
    ['__proto__', { keys: 'b' }],
  ])
  assert.equal(({} as { keys?: unknown }).keys, undefined)
  assert.equal(typeof Object.keys, 'function')
})

test('rules that cannot be meant are refused', () => {
  const rule = (rule: object) => () => new FilterHarness(headerToMetadataFilter, { request_rules: [rule] })
  assert.throws(rule({ header: 'a' }), /on_header_present, on_header_missing is required/)
  assert.throws(rule({ header: 'a', cookie: 'b', on_header_present: { key: 'k' } }), /exclude each other/)
  assert.throws(rule({ cookie: 'b', remove: true, on_header_present: { key: 'k' } }), /cookies cannot be removed/)
  assert.throws(rule({ header: 'a', on_header_missing: { key: 'k' } }), /on_header_missing.value: is required/)
})
