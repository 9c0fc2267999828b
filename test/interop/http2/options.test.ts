// Limits of Http2ProtocolOptions and HttpProtocolOptions that scripts do not draw: sizes of fields and of responses, resets.

import { type Case, data, describeCases, get, headers, post, request, reset, status } from './cases.ts'
import type { Field } from './peer.ts'
import type { Op } from './script.ts'

const large = (bytes: number): Field => ['x-large', 'l'.repeat(bytes)]
const response = (...fields: Field[]): Op => headers(0, [[':status', '200'], ...fields], true, 8)
const resets = (count: number): Op[] => Array.from({ length: count }, (_, i) => [get(i), reset(8, i)]).flat()
const KB = 1024

describeCases('limits of HTTP/2', [
  ...[100_000, 128 * KB, 128 * KB + 1].map(
    (bytes): Case => ({
      name: `max_header_field_size_kb of 128: a field of ${bytes} bytes`,
      downstream: { max_header_field_size_kb: 128 },
      manager: { max_request_headers_kb: 300 },
      steps: [['c', headers(0, request('GET', large(bytes)), true, 9)]],
    }),
  ),
  {
    name: 'max_header_field_size_kb of responses',
    upstream: { max_header_field_size_kb: 128 },
    upstreamCommon: { max_response_headers_kb: 200 },
    steps: [
      ['c', get()],
      ['u', response(large(70_000))],
    ],
  },
  {
    name: 'max_response_headers_kb, larger',
    upstreamCommon: { max_response_headers_kb: 100 },
    steps: [
      ['c', get()],
      ['u', response(large(35_000), ['x-more', 'm'.repeat(35_000)])],
    ],
  },
  {
    name: 'max_response_headers_kb, smaller',
    upstreamCommon: { max_response_headers_kb: 10 },
    steps: [
      ['c', get()],
      ['u', response(large(20_000))],
    ],
  },
  ...[0, 1, 2, 3].map(
    (count): Case => ({
      name: `stream_reset_burst of 2, ${count} resets`,
      downstream: { stream_reset_burst: 2, stream_reset_rate: 0 },
      steps: [['c', ...resets(count), ...(count < 3 ? [get(count)] : [])]],
    }),
  ),
  { name: 'stream_reset_burst of 0', downstream: { stream_reset_burst: 0 }, steps: [['c', ...resets(1)]] },
  { name: 'stream_reset_rate of 0', downstream: { stream_reset_rate: 0 }, steps: [['c', ...resets(20)]] },
  {
    name: 'stream_reset_burst counts resets of requests that are answered',
    downstream: { stream_reset_burst: 2, stream_reset_rate: 0 },
    steps: [0, 1, 2].flatMap((i): Case['steps'] => [
      ['c', post(i)],
      ['u', status('200', false, i)],
      ['u', data(5, false, i)],
      ['c', reset(8, i)],
    ]),
  },
  {
    name: 'stream_reset_burst counts resets of what is over',
    downstream: { stream_reset_burst: 2, stream_reset_rate: 0 },
    steps: [
      ['c', get()],
      ['u', status('200', true)],
      ['c', reset(8), reset(8), reset(8)],
    ],
  },
  {
    name: 'stream_reset_burst is of clients alone',
    upstream: { stream_reset_burst: 2, stream_reset_rate: 0 },
    steps: [
      ['c', get(0), get(1), get(2), get(3)],
      ['u', reset(8, 0), reset(8, 1), reset(8, 2)],
    ],
  },
])
