import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FilterDataStatus, FilterHeadersStatus } from '../../../http/filter.ts'
import { request } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { bufferFilter } from './config.ts'

test('a request goes on when it is complete, with its length', () => {
  const stream = new FilterHarness(bufferFilter, { max_request_bytes: 10 }).stream()
  const headers = request('/')
  assert.equal(stream.request(headers, false), FilterHeadersStatus.StopIteration)
  assert.equal(stream.decoders[0]!.decodeData(Buffer.from('12345'), false), FilterDataStatus.StopIterationAndBuffer)
  assert.equal(stream.decoders[0]!.decodeData(Buffer.from('678'), true), FilterDataStatus.Continue)
  assert.equal(headers.get('content-length'), '8')
})

test('one that is too long is refused by whoever holds it: the limit becomes that of the stream', () => {
  const stream = new FilterHarness(bufferFilter, { max_request_bytes: 4 }).stream()
  stream.request(request('/'), false)
  assert.equal(stream.bufferLimit, 4)
  assert.equal(stream.decoders[0]!.decodeData(Buffer.from('12345'), false), FilterDataStatus.StopIterationAndBuffer)
})

test('a request without a body is left alone', () => {
  const stream = new FilterHarness(bufferFilter, { max_request_bytes: 4 }).stream()
  assert.equal(stream.request(request('/')), FilterHeadersStatus.Continue)
})
