import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  RateLimitResponse_Code as Code,
  RateLimitRequestSchema,
  RateLimitResponseSchema,
  RateLimitResponse_RateLimit_Unit as Unit,
} from '../../../../api/gen/envoy/service/ratelimit/v3/rls_pb.js'
import { RateLimitUnit } from '../../../../api/gen/envoy/type/v3/ratelimit_unit_pb.js'
import { FilterHeadersStatus } from '../../../http/filter.ts'
import { request, routes } from '../../../route/testing.ts'
import { decodeAnswer, encodeQuestion, limitHeaders } from '../../common/rate-limit.ts'
import { FilterHarness } from '../testing.ts'
import { rateLimitFilter } from './config.ts'

const CONFIG = {
  domain: 'd',
  rate_limit_service: { transport_api_version: 'V3', grpc_service: { envoy_grpc: { cluster_name: 'limits' } } },
}

function harness(more: object, route: object = {}): FilterHarness {
  const filter = new FilterHarness(rateLimitFilter, { ...CONFIG, ...more })
  const rate_limits = [{ actions: [{ generic_key: { descriptor_value: 'v' } }] }]
  filter.table = routes([{ match: { prefix: '/' }, route: { cluster: 'c', rate_limits, ...route } }])
  return filter
}

describe('ratelimit', () => {
  test('without descriptors nobody is asked', () => {
    const filter = harness({ failure_mode_deny: true }, { rate_limits: [] })
    assert.equal(filter.stream().request(request('/')), FilterHeadersStatus.Continue)
  })

  test('a service that cannot be reached lets requests pass, or answers 500', () => {
    assert.equal(harness({}).stream().request(request('/')), FilterHeadersStatus.Continue)
    const stream = harness({ failure_mode_deny: true }).stream()
    assert.equal(stream.request(request('/')), FilterHeadersStatus.StopIteration)
    assert.deepEqual([stream.reply!.status, stream.reply!.details], [500, 'rate_limiter_error'])
  })

  test('the question carries domain and descriptors', () => {
    const message = fromBinary(
      RateLimitRequestSchema,
      encodeQuestion('d', [
        {
          entries: [
            ['a', '1'],
            ['b', '2'],
          ],
          hits: 4,
          negative: true,
          limit: { requestsPerUnit: 9, unit: RateLimitUnit.HOUR },
          told: null,
        },
      ]),
    )
    assert.equal(message.domain, 'd')
    assert.deepEqual(
      message.descriptors[0]!.entries.map(({ key, value }) => [key, value]),
      [
        ['a', '1'],
        ['b', '2'],
      ],
    )
    const { hitsAddend, isNegativeHits, limit } = message.descriptors[0]!
    assert.deepEqual(
      [hitsAddend, isNegativeHits, limit?.requestsPerUnit, limit?.unit],
      [4n, true, 9, RateLimitUnit.HOUR],
    )
  })

  test('the nearest limit is told, with the policy of all', () => {
    const answer = decodeAnswer(
      toBinary(
        RateLimitResponseSchema,
        create(RateLimitResponseSchema, {
          overallCode: Code.OVER_LIMIT,
          statuses: [
            { currentLimit: { requestsPerUnit: 100, unit: Unit.HOUR }, limitRemaining: 9 },
            {
              currentLimit: { requestsPerUnit: 10, unit: Unit.SECOND, name: 'n', unitMultiplier: 30 },
              limitRemaining: 0,
              durationUntilReset: { seconds: 1n },
            },
          ],
        }),
      ),
    )
    assert.equal(answer?.verdict, 'over_limit')
    assert.deepEqual(limitHeaders(answer!, [], true), [
      ['x-ratelimit-limit', '10, 100;w=3600, 10;w=30;name="n"'],
      ['x-ratelimit-remaining', '0'],
      ['x-ratelimit-reset', '1'],
    ])
  })

  test('what does not decode is no answer', () => {
    assert.equal(decodeAnswer(Buffer.from([0xff])), null)
  })
})
