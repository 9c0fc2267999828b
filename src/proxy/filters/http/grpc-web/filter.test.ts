import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FilterDataStatus } from '../../../http/filter.ts'
import { HeaderMap } from '../../../http/header-map.ts'
import { request } from '../../../route/testing.ts'
import { FilterHarness } from '../testing.ts'
import { grpcWebFilter } from './config.ts'

function call(contentType: string, accept = contentType) {
  const stream = new FilterHarness(grpcWebFilter, {}).stream()
  const headers = request('/s.S/M', { 'content-type': contentType, accept, 'content-length': '8' })
  stream.request(headers, false)
  return { stream, headers }
}

function trailers(): HeaderMap {
  const map = new HeaderMap()
  map.add('grpc-status', '0')
  return map
}

const TRAILERS = Buffer.concat([Buffer.from([0x80, 0, 0, 0, 15]), Buffer.from('grpc-status:0\r\n')])

describe('grpc_web', () => {
  test('a binary call becomes gRPC and its trailers the last frame', () => {
    const { stream, headers } = call('application/grpc-web+proto')
    assert.equal(headers.get('content-type'), 'application/grpc')
    assert.equal(headers.get('te'), 'trailers')
    assert.equal(headers.has('content-length'), false)
    assert.equal(stream.decoders[0]!.decodeData(Buffer.from('abc'), true), FilterDataStatus.Continue)
    const response = stream.response(200, { 'content-type': 'application/grpc' }, false)
    assert.equal(response.get('content-type'), 'application/grpc-web+proto')
    const left = trailers()
    stream.encoders[0]!.encodeTrailers(left)
    assert.deepEqual(Buffer.concat(stream.buffered), TRAILERS)
    assert.equal(left.size, 0)
  })

  test('a text call is base64 both ways, however it is cut', () => {
    for (const size of [1, 3, 5, 100]) {
      const { stream } = call('application/grpc-web-text')
      const text = Buffer.from(Buffer.from('hello world').toString('base64'))
      for (let at = 0; at < text.length; at += size) {
        stream.decoders[0]!.decodeData(text.subarray(at, at + size), at + size >= text.length)
      }
      assert.equal(Buffer.concat(stream.buffered).toString(), 'hello world')
      stream.buffered.length = 0
      stream.response(200, { 'content-type': 'application/grpc' }, false)
      stream.encoders[0]!.encodeData(Buffer.from('\0\0\0', 'latin1'), false)
      stream.encoders[0]!.encodeData(Buffer.from('\0\x02hi\0', 'latin1'), false)
      stream.encoders[0]!.encodeTrailers(trailers())
      const [message, end] = stream.buffered.map((text) => Buffer.from(text.toString(), 'base64'))
      assert.equal(message!.toString('latin1'), '\0\0\0\0\x02hi')
      assert.deepEqual(end, TRAILERS)
    }
  })

  test('bad base64 is refused', () => {
    const { stream } = call('application/grpc-web-text')
    stream.decoders[0]!.decodeData(Buffer.from('!!!!'), true)
    assert.equal(stream.reply!.status, 400)
  })

  test('other requests are left alone', () => {
    const { stream, headers } = call('application/grpc')
    assert.equal(headers.get('content-length'), '8')
    assert.equal(stream.response(200, { 'content-type': 'application/grpc' }).get('content-type'), 'application/grpc')
  })
})
