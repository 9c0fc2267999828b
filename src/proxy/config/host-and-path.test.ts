import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hostAndPath } from './host-and-path.ts'

for (const [uri, host, path] of [
  ['http://a.example:4318/v1/traces?x=1', 'a.example:4318', '/v1/traces?x=1'],
  ['a.example/v1', 'a.example', '/v1'],
  ['a.example', 'a.example', '/'],
  ['https://a.example', 'a.example', '/'],
] as const) {
  test(`${uri} is ${host} and ${path}`, () => assert.deepEqual(hostAndPath(uri), { host, path }))
}
