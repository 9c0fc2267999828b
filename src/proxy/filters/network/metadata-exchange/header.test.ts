import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodePeer, peerFromFields } from '../../common/peer-metadata.ts'
import { decodeExchange, encodeExchange } from './header.ts'

const PEER = peerFromFields({
  NAME: 'reviews-v1-1',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'reviews-v1',
  CLUSTER_ID: 'Kubernetes',
  LABELS: { app: 'reviews', version: 'v1' },
})

test('what is sent is read again, whatever follows and however it is split', () => {
  const sent = encodeExchange(encodePeer(PEER), 'sidecar~10.0.0.1~a.b~b.svc')
  const bytes = Buffer.concat([sent, Buffer.from('data')])
  const result = decodeExchange(bytes)
  assert.ok(result.kind === 'found')
  assert.equal(result.length, sent.length)
  assert.equal(result.peer?.workload, 'reviews-v1')
  assert.equal(result.peer?.version, 'v1')
  for (let i = 0; i < sent.length; i++) assert.equal(decodeExchange(bytes.subarray(0, i)).kind, 'need-more')
})

test("other bytes are the peer's own; a length beyond reason is no header", () => {
  assert.equal(decodeExchange(Buffer.from('GET / HTTP/1.1')).kind, 'absent')
  assert.equal(decodeExchange(Buffer.from([0x3d, 0x23, 0x04, 0x67, 0x7f, 0xff, 0xff, 0xff])).kind, 'absent')
})

test('garbage after the magic leaves the peer unknown', () => {
  const result = decodeExchange(Buffer.from([0x3d, 0x23, 0x04, 0x67, 0, 0, 0, 2, 0xff, 0xff]))
  assert.ok(result.kind === 'found')
  assert.equal(result.peer, null)
})
