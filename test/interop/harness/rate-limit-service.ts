// A rate limit service that answers by what it is asked.

import { createServer as createHttp2Server, type Http2Server } from 'node:http2'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  RateLimitResponse_Code as Code,
  RateLimitRequestSchema,
  RateLimitResponseSchema,
  RateLimitResponse_RateLimit_Unit as Unit,
} from '../../../src/api/gen/envoy/service/ratelimit/v3/rls_pb.js'

/** Answers by the first descriptor's value. */
export function startRateLimitService(): Promise<Http2Server> {
  const server = createHttp2Server()
  server.on('stream', (stream) => {
    const chunks: Buffer[] = []
    stream.on('error', () => {})
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      const request = fromBinary(RateLimitRequestSchema, Buffer.concat(chunks).subarray(5))
      const values = request.descriptors.map(({ entries }) => entries.map(({ value }) => value).join('/'))
      if (values.includes('silent')) return
      const bytes = toBinary(
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
      const frame = Buffer.alloc(5 + bytes.length)
      frame.writeUInt32BE(bytes.length, 1)
      frame.set(bytes, 5)
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': values.includes('error') ? '13' : '0' }))
      stream.end(values.includes('error') ? undefined : frame)
    })
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}
