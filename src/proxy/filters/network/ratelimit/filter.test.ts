import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fromJson } from '@bufbuild/protobuf'
import { RateLimitSchema } from '../../../../api/gen/envoy/extensions/filters/network/ratelimit/v3/rate_limit_pb.js'
import { createParseContext, ExtensionRegistry } from '../../../config/extension-registry.ts'
import { networkRateLimit } from './filter.ts'

const CONFIG = {
  stat_prefix: 's',
  domain: 'd',
  descriptors: [{ entries: [{ key: 'k', value: '%DOWNSTREAM_REMOTE_PORT%' }] }],
  rate_limit_service: { transport_api_version: 'V3', grpc_service: { envoy_grpc: { cluster_name: 'limits' } } },
}

function parse(change: object): unknown {
  const message = fromJson(RateLimitSchema, { ...CONFIG, ...change } as Parameters<typeof fromJson>[1])
  return networkRateLimit.parse(message, createParseContext(new ExtensionRegistry()))
}

describe('network ratelimit', () => {
  test('its configuration can be cloned into workers; the default timeout is 20 ms', () => {
    assert.deepEqual(structuredClone(parse({})), {
      statPrefix: 's',
      service: { cluster: 'limits', authority: 'limits', timeoutMs: 20, metadata: null },
      domain: 'd',
      descriptors: [[['k', '%DOWNSTREAM_REMOTE_PORT%']]],
      failureModeDeny: false,
    })
  })

  test('refuses what it cannot do, with the path', () => {
    assert.throws(
      () => parse({ descriptors: [{ entries: [{ key: 'k', value: '%NOTHING%' }] }] }),
      /descriptors\[0\]\.entries\[0\]\.value/,
    )
    assert.throws(
      () => parse({ rate_limit_service: { grpc_service: { google_grpc: { target_uri: 'x', stat_prefix: 'y' } } } }),
      /rate_limit_service\.grpc_service: envoy_grpc is required/,
    )
  })
})
