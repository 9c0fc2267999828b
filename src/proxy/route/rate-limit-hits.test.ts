import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import { RateLimitSchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { createParseContext, ExtensionRegistry } from '../config/extension-registry.ts'
import { parseOwnRateLimits, parseRateLimits } from './parse-rate-limit.ts'
import { toHits } from './rate-limit-hits.ts'

const limit = (more: object) =>
  fromJson(RateLimitSchema, { actions: [{ remote_address: {} }], ...more } as unknown as JsonValue)
const context = createParseContext(new ExtensionRegistry())

describe('hits_addend', () => {
  test('what is a number of hits', () => {
    assert.deepEqual(['3', ' 4 ', '2.9', '1e2', '0x10', '1000000000'].map(toHits), [3, 4, 2, 100, 16, 1e9])
    for (const text of ['', '-1', 'x', 'nan', 'inf', '1 2', '1000000001', '5%']) assert.equal(toHits(text), null, text)
  })

  test('refused with the path', () => {
    const refused = (more: object, error: RegExp): void =>
      assert.throws(() => parseOwnRateLimits([limit(more)], context), error)
    refused({ hits_addend: {} }, /rate_limits\[0\]\.hits_addend: .*either a format or a number/)
    refused({ hits_addend: { number: 1, format: '%REQ(x)%' } }, /either a format or a number/)
    refused({ hits_addend: { format: '%REQ(x)%%REQ(y)%' } }, /exactly one substitution/)
    refused({ hits_addend: { format: '%NOTHING%' } }, /hits_addend\.format/)
    refused({ stage: 0 }, /'stage' field and 'disable_key' field are not supported/)
    refused({ limit: {} }, /rate_limits\[0\]\.limit: one of dynamic_metadata, rate_limit is required/)
    const locality = { metadata: { source: 'CLUSTER_LOCALITY_ENTRY', descriptor_key: 'k', metadata_key: { key: 'm' } } }
    refused({ actions: [locality] }, /actions\[0\]\.metadata\.source: CLUSTER_LOCALITY_ENTRY is not supported/)
    const address = { descriptor_value: 'v', address_matcher: { ranges: [{ address_prefix: 'x' }] } }
    refused({ actions: [{ remote_address_match: address }] }, /address_matcher\.ranges\[0\]: malformed IP address: x/)
    refused({ limit: { dynamic_metadata: {} } }, /limit\.dynamic_metadata\.metadata_key: is required/)
  })

  test('routes have none, as in Envoy', () => {
    const [route] = parseRateLimits([limit({ hits_addend: { number: 5 }, apply_on_stream_done: true })], context)
    assert.deepEqual([route!.hitsAddend, route!.onStreamDone], [null, true])
    const [own] = parseOwnRateLimits([limit({ hits_addend: { number: 5 } })], context)
    assert.deepEqual(own!.hitsAddend, { source: 'number', number: 5, format: '', negative: false })
  })
})
