// A rate limit service that answers by what it is asked.

import type { Http2Server } from 'node:http2'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  RateLimitResponse_Code as Code,
  type RateLimitRequest,
  RateLimitRequestSchema,
  RateLimitResponseSchema,
  RateLimitResponse_RateLimit_Unit as Unit,
} from '../../../src/api/gen/envoy/service/ratelimit/v3/rls_pb.js'
import { startGrpcService } from './grpc-service.ts'

/** Answers by the descriptors' values; `onQuestion` sees each request first. */
export function startRateLimitService(onQuestion?: (request: RateLimitRequest) => void): Promise<Http2Server> {
  return startGrpcService((message) => {
    const request = fromBinary(RateLimitRequestSchema, message)
    onQuestion?.(request)
    const values = request.descriptors.map(({ entries }) => entries.map(({ value }) => value).join('/'))
    if (values.includes('silent')) return null
    if (values.includes('error')) return 13
    return toBinary(
      RateLimitResponseSchema,
      create(RateLimitResponseSchema, {
        overallCode: values.includes('over') ? Code.OVER_LIMIT : Code.OK,
        statuses: [
          {
            code: Code.OK,
            currentLimit: { requestsPerUnit: 10, unit: Unit.MINUTE, name: 'per-minute' },
            limitRemaining: 3,
            durationUntilReset: { seconds: 17n },
          },
          { code: Code.OK, currentLimit: { requestsPerUnit: 100, unit: Unit.HOUR }, limitRemaining: 50 },
        ],
        requestHeadersToAdd: [{ key: 'X-Asked', value: `${request.domain} ${values.join(' ')}` }],
        responseHeadersToAdd: [{ key: 'X-Answer', value: 'yes' }],
        rawBody: values.includes('over') ? Buffer.from('too many') : new Uint8Array(),
      }),
    )
  })
}
