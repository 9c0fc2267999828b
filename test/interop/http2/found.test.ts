// Differences that generated frames found (scripts.ts), each in its smallest form.

import {
  type Case,
  CONNECT,
  close,
  data,
  describeCases,
  get,
  goaway,
  headers,
  post,
  RETRIES,
  raw,
  request,
  reset,
  status,
  TUNNELS,
  WEBSOCKET,
} from './cases.ts'
import type { Op } from './script.ts'

const CASES: readonly Case[] = [
  { name: 'settings of either side', downstream: { initial_stream_window_size: 65_535 }, steps: [['c', get()]] },
  { name: 'a client that goes away', steps: [['c', get()]] },
  ...[0, 5, 10].map((code) => ({
    name: `a complete request that its client resets, code ${code}`,
    steps: [
      ['c', get()],
      ['c', reset(code)],
    ] as const,
  })),
  {
    name: 'a request that its client resets without error',
    steps: [
      ['c', post()],
      ['c', reset(0)],
    ],
  },
  {
    name: 'DATA before HEADERS from upstream',
    steps: [
      ['c', get()],
      ['u', data(5)],
    ],
  },
  {
    name: 'late DATA from upstream',
    steps: [
      ['c', get()],
      ['u', status('200', true)],
      ['u', data(5)],
      ['c', get(1)],
    ],
  },
  {
    name: 'late HEADERS from upstream',
    steps: [
      ['c', get()],
      ['u', status('200', true)],
      ['u', status('200')],
    ],
  },
  {
    name: 'DATA for HEAD',
    steps: [
      ['c', headers(0, request('HEAD'), true)],
      ['u', status('200')],
      ['u', data(5, true)],
    ],
  },
  {
    name: 'a reset after the response began',
    steps: [
      ['c', get()],
      ['u', status('200')],
      ['u', reset(2)],
    ],
  },
  {
    name: 'a reset after the response of gRPC began',
    steps: [
      ['c', headers(0, request('POST', ['content-type', 'application/grpc']), true)],
      ['u', status('200')],
      ['u', reset(2)],
    ],
  },
  {
    name: 'GOAWAY of a stream that is not ours, from the client',
    steps: [
      ['c', get()],
      ['c', goaway(0)],
    ],
  },
  {
    name: 'GOAWAY that refuses a request',
    steps: [
      ['c', get()],
      ['u', goaway(-1)],
    ],
    ...RETRIES,
  },
  {
    name: 'SETTINGS acknowledged twice',
    steps: [
      ['c', get()],
      ['c', raw('SETTINGS acknowledged once more')],
    ],
  },
  {
    name: 'a server that allows pushes',
    steps: [
      ['c', get()],
      ['u', raw('SETTINGS_ENABLE_PUSH 1')],
    ],
  },
  {
    name: 'a smaller table',
    downstream: { hpack_table_size: 0 },
    steps: [
      ['c', get()],
      ['u', status('200', true)],
    ],
  },
  ...[0, 100].map((size) => ({
    name: `tables of ${size} bytes all around`,
    downstream: { hpack_table_size: size },
    upstream: { hpack_table_size: size },
    steps: [
      ['c', get()],
      ['u', status('200', true)],
      ['c', get(1)],
      ['u', status('200', true, 1)],
    ] as const,
  })),
  {
    name: 'frames of padding alone',
    steps: [
      ['c', post()],
      ['c', raw('DATA of padding alone', 3)],
    ],
  },
  {
    name: 'empty frames from upstream',
    steps: [
      ['c', get()],
      ['u', status('200')],
      ['u', raw('empty DATA', 3)],
    ],
  },
  {
    name: 'too many PRIORITY frames',
    steps: [
      ['c', get()],
      ['c', raw('PRIORITY', 250)],
    ],
  },
  {
    name: 'too many WINDOW_UPDATE frames',
    steps: [
      ['c', get()],
      ['c', ...Array.from({ length: 40 }, (): Op => ({ op: 'window', to: 0, bytes: 1 }))],
    ],
  },
  {
    name: 'a field too large for the wire',
    steps: [['c', headers(0, request('GET', ['x', 'h'.repeat(70_000)]), true, 5)]],
  },
  {
    name: 'a malformed request beside another',
    steps: [
      ['c', post()],
      ['c', headers(1, request('GET', ['X', '1']), true)],
    ],
  },
  {
    name: 'two requests whose client goes away, the newest first',
    steps: [
      ['c', post()],
      ['c', post(1)],
    ],
  },
  {
    name: 'two requests whose upstream is at fault',
    steps: [
      ['c', post()],
      ['c', get(1)],
      ['u', raw('DATA without a stream')],
    ],
  },
  {
    name: 'a dropped header, then the client goes away',
    downstreamCommon: { headers_with_underscores_action: 'DROP_HEADER' },
    steps: [
      ['c', headers(0, request('GET', ['x_y', '1']), true)],
      ['u', status('200')],
    ],
  },
  {
    name: 'a length in trailers',
    steps: [
      ['c', get()],
      ['u', status('200')],
      ['u', data(5)],
      ['u', headers(0, [['content-length', '3']], true)],
    ],
  },
  {
    name: 'the right length in trailers',
    steps: [
      ['c', get()],
      ['u', status('200')],
      ['u', data(5)],
      ['u', headers(0, [['content-length', '5']], true)],
    ],
  },
  {
    name: 'trailers at fault are counted',
    steps: [
      ['c', post()],
      ['c', headers(0, [['te', 'gzip']], true)],
    ],
  },
  ...['0', '5'].map((length) => ({
    name: `204 of length ${length}`,
    steps: [
      ['c', get()],
      ['u', status('204', true, 0, ['content-length', length])],
    ] as const,
  })),
  {
    name: '103 of a length',
    steps: [
      ['c', get()],
      ['u', status('103', false, 0, ['content-length', '0'])],
    ],
  },
  {
    name: 'host in a response',
    steps: [
      ['c', get()],
      ['u', status('200', true, 0, ['host', 'b'])],
    ],
  },
  {
    name: '100-continue, then the client goes away',
    steps: [['c', headers(0, request('POST', ['expect', '100-continue']))]],
  },
  {
    name: 'CONNECT waits for consent',
    ...TUNNELS,
    steps: [
      ['c', headers(0, CONNECT)],
      ['c', data(5)],
    ],
  },
  {
    name: 'CONNECT with consent',
    ...TUNNELS,
    steps: [
      ['c', headers(0, CONNECT)],
      ['c', data(5)],
      ['u', status('200')],
      ['u', data(7)],
      ['c', data(9, true)],
    ],
  },
  {
    name: 'WebSocket waits for consent',
    ...TUNNELS,
    steps: [
      ['c', headers(0, WEBSOCKET)],
      ['c', data(5)],
    ],
  },
  {
    name: 'WebSocket with consent',
    ...TUNNELS,
    steps: [
      ['c', headers(0, WEBSOCKET)],
      ['c', data(5)],
      ['u', status('200')],
      ['u', data(7)],
    ],
  },
  ...[true, false].flatMap((end) => [
    {
      name: `WebSocket refused, ${end ? 'ended' : 'open'}`,
      ...TUNNELS,
      steps: [
        ['c', headers(0, WEBSOCKET)],
        ['c', data(20_000, end)],
        ['u', status('503')],
        ['u', data(5, true)],
      ] as const,
    },
    {
      name: `WebSocket refused at once, ${end ? 'ended' : 'open'}`,
      ...TUNNELS,
      steps: [
        ['c', headers(0, WEBSOCKET)],
        ['c', data(20_000, end)],
        ['u', status('503', true)],
      ] as const,
    },
  ]),
  {
    name: 'CONNECT is retried',
    ...TUNNELS,
    ...RETRIES,
    steps: [
      ['c', headers(0, CONNECT)],
      ['u', reset(2)],
    ],
  },
  { name: 'an upgrade that nobody allows', steps: [['c', headers(0, CONNECT)]] },
  {
    name: 'CONNECT of gRPC that nobody allows',
    steps: [['c', headers(0, [...CONNECT, ['content-type', 'application/grpc']])]],
  },
  {
    name: 'more requests than max_requests',
    cluster: { circuit_breakers: { thresholds: [{ max_requests: 1 }] } },
    steps: [
      ['c', get()],
      ['c', get(1)],
    ],
  },
  {
    name: 'the last request of an upstream connection, given up',
    upstreamCommon: { max_requests_per_connection: 1 },
    steps: [
      ['c', get()],
      ['c', reset(8)],
    ],
  },
  {
    name: 'an upstream that closes',
    steps: [
      ['c', get()],
      ['u', { op: 'close', to: 0, abort: false }],
    ],
  },
  {
    name: 'joined headers count once',
    downstreamCommon: { max_headers_count: 6 },
    steps: [['c', headers(0, request('GET', ['via', 'a'], ['via', 'b'], ['via', 'c'], ['x', '1']), true)]],
  },
  {
    name: 'CONNECT whose upstream closes',
    ...TUNNELS,
    steps: [
      ['c', headers(0, CONNECT)],
      ['u', close()],
    ],
  },
  {
    name: 'WebSocket whose upstream closes',
    ...TUNNELS,
    steps: [
      ['c', headers(0, WEBSOCKET)],
      ['u', close()],
    ],
  },
  {
    name: 'an open tunnel whose upstream closes',
    ...TUNNELS,
    steps: [
      ['c', headers(0, CONNECT)],
      ['u', status('200')],
      ['u', close()],
    ],
  },
  {
    name: 'CONNECT whose upstream refuses it',
    ...TUNNELS,
    steps: [
      ['c', headers(0, CONNECT)],
      ['u', status('404', true)],
    ],
  },
  ...(['DATA of padding alone', 'empty DATA'] as const).flatMap((kind) =>
    [1, 5].map((count) => ({
      name: `${count} of ${kind} behind 150`,
      steps: [
        ['c', get()],
        ['u', status('150')],
        ['u', raw(kind, count)],
      ] as const,
    })),
  ),
  ...[data(5), data(5, true), data(0, true), data(20_000)].map((op, i) => ({
    name: `DATA behind 100 (${i})`,
    steps: [
      ['c', get()],
      ['u', status('100')],
      ['u', op],
      ['u', status('200', true)],
    ] as const,
  })),
  ...[3, 4].map((count) => ({
    name: `${count} PRIORITY frames where one of two requests is over`,
    downstream: { max_inbound_priority_frames_per_stream: 1 },
    steps: [
      ['c', get()],
      ['u', status('200', true)],
      ['c', get(1)],
      ['c', raw('PRIORITY', count)],
    ] as const,
  })),
  ...[5, 6].map((count) => ({
    name: `${count} WINDOW_UPDATE frames behind a request that is over`,
    steps: [
      ['c', get()],
      ['u', status('200', true)],
      ['c', ...Array.from({ length: count }, (): Op => ({ op: 'window', to: -1, bytes: 1 }))],
      ['c', get(1)],
    ] as const,
  })),
]

describeCases('found differences of HTTP/2 frames', CASES)
