import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compareKeys, outputFormat } from './output.ts'

// The order in which sigs.k8s.io/yaml 1.4 writes these keys.
test('keys of YAML stand in the order of Go programs', () => {
  const keys = ['http_options', 'http2_options', 'a10', 'a9', 'a', 'B', 'b', 'a_b', 'ab', 'a.b', '@type', '10', '9']
  const sorted = ['@type', '9', '10', 'B', 'a', 'a.b', 'a_b', 'a9', 'a10', 'ab', 'b', 'http_options', 'http2_options']
  assert.deepEqual(keys.toSorted(compareKeys), sorted)
})

test('an output format that is not there is an error with those that are', () => {
  assert.equal(outputFormat('json', ['json', 'yaml']), 'json')
  assert.throws(() => outputFormat('xml', ['json', 'yaml']), /output format "xml" not supported; use json, yaml/)
})
