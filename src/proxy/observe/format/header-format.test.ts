import assert from 'node:assert/strict'
import { test } from 'node:test'
import { request, streamInfo } from '../../route/testing.ts'
import { compileHeaderFormat } from './text-format.ts'

test('what a request says becomes one header, not several', () => {
  const format = compileHeaderFormat('[%QUERY_PARAM(a)%]', 'value')
  const headers = request('/?a=x%0d%0aset-cookie:%20b%00')
  assert.equal(format.format(headers, null, streamInfo()), '[x  set-cookie: b ]')
})
