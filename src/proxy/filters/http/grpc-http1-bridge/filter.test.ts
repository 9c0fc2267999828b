import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Protocol } from '../../../http/codec.ts'
import { FilterHeadersStatus } from '../../../http/filter.ts'
import { HeaderMap } from '../../../http/header-map.ts'
import { request } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { grpcHttp1BridgeFilter } from './config.ts'

function trailers(fields: Readonly<Record<string, string>>): HeaderMap {
  const map = new HeaderMap()
  for (const [name, value] of Object.entries(fields)) map.add(name, value)
  return map
}

test('the status of a call becomes headers', () => {
  const stream = new FilterHarness(grpcHttp1BridgeFilter, {}).stream()
  stream.info.protocol = Protocol.Http11
  stream.request(request('/s/m', { 'content-type': 'application/grpc' }))
  const headers = stream.response(200, {}, false)
  const [filter] = stream.encoders
  filter!.encodeData(Buffer.from('\0\0\0\0\x02hi', 'latin1'), false)
  filter!.encodeTrailers(trailers({ 'grpc-status': '5', 'grpc-message': 'nope' }))
  assert.equal(headers.status, 503)
  assert.deepEqual(headers.list, ['grpc-status', '5', 'grpc-message', 'nope', 'content-length', '7'])
})

test('a message without a frame gets one', () => {
  const stream = new FilterHarness(grpcHttp1BridgeFilter, { upgrade_protobuf_to_grpc: true }).stream()
  stream.info.protocol = Protocol.Http11
  const headers = request('/s/m', { 'content-type': 'application/x-protobuf', 'content-length': '5' })
  assert.equal(stream.request(headers, false), FilterHeadersStatus.Continue)
  stream.decoders[0]!.decodeData(Buffer.from('hello'), true)
  assert.deepEqual(headers.list, ['content-type', 'application/grpc'])
  assert.equal(stream.buffered[0]!.toString('latin1'), '\0\0\0\0\x05hello')
})

test('HTTP/2 clients see trailers themselves', () => {
  const stream = new FilterHarness(grpcHttp1BridgeFilter, {}).stream()
  stream.info.protocol = Protocol.Http2
  stream.request(request('/s/m', { 'content-type': 'application/grpc' }))
  const headers = stream.response(200, {}, false)
  stream.encoders[0]!.encodeTrailers(trailers({ 'grpc-status': '5' }))
  assert.equal(headers.size, 0)
})
