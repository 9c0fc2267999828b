import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toJson } from '@bufbuild/protobuf'
import { RetryPolicySchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { parseMeshConfig } from '../../config/index.ts'
import { inboundRetryPolicy } from './retry.ts'

function inbound(policy?: object) {
  const mesh = parseMeshConfig(policy ? { defaultInboundHttpRetryPolicy: policy } : {})
  assert.ok(mesh.ok)
  const retry = inboundRetryPolicy(mesh.value)
  return retry && toJson(RetryPolicySchema, retry)
}

test('an inbound request is repeated when nothing of it was sent, unless the mesh says otherwise', () => {
  // As istiod 1.32 writes it.
  assert.deepEqual(inbound(), { retryOn: 'reset-before-request', numRetries: 2 })
  assert.equal(inbound({ attempts: 0 }), undefined)
  assert.deepEqual(inbound({ attempts: 4, perTryTimeout: '2s', retryOn: 'reset,503', backoff: '40ms' }), {
    retryOn: 'reset,retriable-status-codes',
    retriableStatusCodes: [503],
    numRetries: 4,
    perTryTimeout: '2s',
    retryBackOff: { baseInterval: '0.040s' },
  })
})
