import assert from 'node:assert/strict'
import { test } from 'node:test'
import { grpcToHttp } from './grpc-status.ts'

test('a status that is none counts as 500, whatever objects have under its name', () => {
  assert.equal(grpcToHttp('0'), 200)
  assert.equal(grpcToHttp('14'), 503)
  for (const status of ['17', '', 'constructor', '__proto__', 'toString']) assert.equal(grpcToHttp(status), 500)
})
