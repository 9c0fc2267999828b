// The filter buffer: its limit is the stream's own from there on, for what other filters and the router keep, too.

import { type Case, describeCases, filter, http1, http2 } from './generated/cases.ts'

const buffer = (max_request_bytes: number): object => filter('buffer', 'Buffer', { max_request_bytes })
const FIVE = [buffer(5)]
const TRAILERS: [string, string][] = [['x-t', '1']]
const retry = { retry_policy: { retry_on: '5xx', retry_back_off: { base_interval: '0.001s' } } }
const again = { 'x-answer': '503;200' }
const big = 'b'.repeat(6000)

const BODIES: readonly string[][] = [
  [''],
  ['12345'],
  ['123456'],
  ['12345', ''],
  ['123456', ''],
  ['123', '45'],
  ['123', '456'],
  ['123', '45', '6'],
  ['123456', '7'],
]

const CASES: readonly Case[] = [
  ...BODIES.flatMap((body): Case[] => [
    { name: `DATA ${JSON.stringify(body)}`, filters: FIVE, client: [http2({}, body)] },
    {
      name: `DATA ${JSON.stringify(body)} to HTTP/2`,
      filters: FIVE,
      route: { cluster: 'up2' },
      client: [http2({}, body)],
    },
    { name: `DATA ${JSON.stringify(body)} with trailers`, filters: FIVE, client: [http2({}, body, TRAILERS)] },
    {
      name: `HTTP/1 ${JSON.stringify(body)}`,
      filters: FIVE,
      client: http1({}, body.length > 1 ? body.filter(Boolean) : body),
    },
  ]),
  { name: 'a length that was told', filters: FIVE, client: [http2({ 'content-length': '5' }, ['12345'])] },
  { name: 'a length that is too long', filters: FIVE, client: [http2({ 'content-length': '6' }, ['123', '456'])] },
  { name: 'two of them', filters: [buffer(10), buffer(5)], client: [http2({}, ['123', '456'])] },
  { name: 'two of them, the larger last', filters: [buffer(5), buffer(10)], client: [http2({}, ['123', '456'])] },
  { name: 'two of them, one frame', filters: [buffer(5), buffer(5)], client: [http2({}, ['123456'])] },
  {
    name: 'off for the route',
    filters: FIVE,
    routeEntry: {
      typed_per_filter_config: {
        'envoy.filters.http.buffer': {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute',
          disabled: true,
        },
      },
    },
    client: [http2({}, ['123', '456'])],
  },
  ...[4, 10, 11, 12, 6000, 11_999, 12_000, 12_001].flatMap((limit): Case[] => [
    { name: `retries, limit ${limit}`, filters: [buffer(limit)], route: retry, client: [http2(again, ['12', '3456'])] },
    {
      name: `retries, limit ${limit}, one frame`,
      filters: [buffer(limit)],
      route: retry,
      client: [http2(again, ['123456'])],
    },
    {
      name: `retries, limit ${limit}, HTTP/1`,
      filters: [buffer(limit)],
      route: retry,
      client: http1(again, ['123456']),
    },
    { name: `retries, limit ${limit}, large`, filters: [buffer(limit)], route: retry, client: [http2(again, [big])] },
    {
      name: `mirror, limit ${limit}`,
      filters: [buffer(limit)],
      route: { request_mirror_policies: [{ cluster: 'mirror' }] },
      client: [http2({}, ['12', '3456'])],
    },
  ]),
  {
    name: 'the limit holds for answers that are kept, too',
    filters: [filter('grpc_web', 'GrpcWeb'), ...FIVE],
    client: [http2({ 'content-type': 'application/grpc-web', 'x-answer': '503,len=20,chunked' }, ['1'])],
  },
  {
    name: 'the limit holds for answers that are kept, frame by frame',
    filters: [filter('grpc_web', 'GrpcWeb'), ...FIVE],
    route: { cluster: 'up2' },
    client: [http2({ 'content-type': 'application/grpc-web', 'x-answer': '503,hex=313233+343536' }, ['1'])],
  },
  ...[1, 5, 6, 7, 0].flatMap((limit): Case[] => {
    const listener = { per_connection_buffer_limit_bytes: limit }
    return [
      { name: `listener's limit ${limit}, retries`, listener, route: retry, client: http1(again, ['123456']) },
      {
        name: `listener's limit ${limit}, retries over HTTP/2`,
        listener,
        route: retry,
        client: [http2(again, ['123456'])],
      },
      {
        name: `listener's limit ${limit}, a kept answer`,
        listener,
        filters: [filter('grpc_web', 'GrpcWeb')],
        route: { cluster: 'up2' },
        client: http1({ 'content-type': 'application/grpc-web', 'x-answer': '503,hex=313233+343536' }, ['1']),
      },
      {
        name: `listener's limit ${limit}, the filter's`,
        listener,
        filters: FIVE,
        client: http1({}, ['12345']),
      },
    ]
  }),
  {
    name: 'the limit is not the one of the router',
    filters: FIVE,
    route: retry,
    routeEntry: { per_request_buffer_limit_bytes: 100 },
    client: [http2(again, ['123456'])],
  },
]

describeCases('buffer', CASES)
