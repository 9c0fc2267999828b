// How long a request may take over each protocol, how much a connection may do, and 100-continue (contract §5.6, §5.7).

import { type Case, describeCases, http1, http2 } from '../generated/cases.ts'
import { both, type Request } from './both-protocols.ts'

const LONG = {
  request_timeout: '3s',
  request_headers_timeout: '3s',
  stream_idle_timeout: '3s',
  common_http_protocol_options: { idle_timeout: '3.2s' },
}
const SHORT = '0.2s'
const HANG = { 'x-answer': 'hang' }
const GRPC = { 'content-type': 'application/grpc' }

/** A body that never ends, over each protocol. */
function stalled(what: Omit<Case, 'client'>, fields: Readonly<Record<string, string>>): Case[] {
  const text = http1(fields, ['ok']).replace('content-length: 2', 'content-length: 9')
  return [
    { ...what, name: `${what.name}, HTTP/1`, client: text },
    { ...what, name: `${what.name}, HTTP/2`, client: [{ ...http2(fields, ['ok']), stalled: true }] },
  ]
}

const LIMITS: Readonly<Record<string, Omit<Case, 'client' | 'name'>>> = {
  request_timeout: { manager: { ...LONG, request_timeout: SHORT } },
  stream_idle_timeout: { manager: { ...LONG, stream_idle_timeout: SHORT } },
  'idle_timeout of the route': { manager: LONG, route: { idle_timeout: SHORT } },
  'idle_timeout of the route, longer': {
    manager: { ...LONG, stream_idle_timeout: '0.1s' },
    route: { idle_timeout: '0.5s', timeout: '0.3s' },
  },
  'idle_timeout of the route, none': {
    manager: { ...LONG, stream_idle_timeout: SHORT },
    route: { idle_timeout: '0s', timeout: '0.6s', max_stream_duration: { max_stream_duration: '0.9s' } },
  },
  max_stream_duration: {
    manager: { ...LONG, common_http_protocol_options: { idle_timeout: '3.2s', max_stream_duration: SHORT } },
  },
  'max_stream_duration of the route': { manager: LONG, route: { max_stream_duration: { max_stream_duration: SHORT } } },
  'max_stream_duration of the route beside the common one': {
    manager: { ...LONG, common_http_protocol_options: { idle_timeout: '3.2s', max_stream_duration: SHORT } },
    route: { max_stream_duration: { max_stream_duration: '0.5s' } },
  },
  'timeout of the route': {
    manager: LONG,
    route: { timeout: SHORT, max_stream_duration: { max_stream_duration: '0.9s' } },
  },
}
const LIMITED: readonly Case[] = Object.entries(LIMITS).flatMap(([name, what]) => [
  ...stalled({ ...what, name: `${name}, a request without end` }, {}),
  ...stalled({ ...what, name: `${name}, a gRPC request without end` }, GRPC),
  ...(name === 'request_timeout'
    ? []
    : [
        ...both({ ...what, name: `${name}, no answer` }, [{ fields: HANG }]),
        ...both({ ...what, name: `${name}, no answer to gRPC` }, [
          { fields: { ...HANG, ...GRPC }, body: ['\0\0\0\0\0'] },
        ]),
      ]),
])

const THREE: readonly Request[] = [{ fields: {} }, { fields: {} }, { fields: {} }]
const CONNECTIONS: readonly Case[] = [
  ...[1, 2, 3].flatMap((max_requests_per_connection) =>
    both(
      {
        name: `${max_requests_per_connection} requests per connection`,
        manager: { ...LONG, common_http_protocol_options: { idle_timeout: '3.2s', max_requests_per_connection } },
      },
      THREE,
    ),
  ),
  ...Object.entries({
    idle_timeout: { idle_timeout: SHORT },
    max_connection_duration: { max_connection_duration: SHORT },
  }).flatMap(([name, common_http_protocol_options]) =>
    [
      'GET /a HTTP/1.1\r\nhost: a\r\nx-case: ID\r\n\r\n',
      'GET /a HTTP/1.1\r\nhost: a\r\nx-case: ID\r\nx-answer: hang\r\nx-envoy-upstream-rq-timeout-ms: 700\r\n\r\n',
      '',
    ].map(
      (client): Case => ({
        name: `${name} ${JSON.stringify(client)}`,
        manager: { ...LONG, common_http_protocol_options },
        client,
      }),
    ),
  ),
  ...['', 'GET', 'GET /a HTTP/1.1\r\nhost: a\r\n', 'GET /a HTTP/1.1\r\nhost: a\r\nx-case: ID\r\n\r\nGET /a HT'].map(
    (client): Case => ({
      name: `request_headers_timeout ${JSON.stringify(client)}`,
      manager: { ...LONG, request_headers_timeout: SHORT, common_http_protocol_options: { idle_timeout: '0.6s' } },
      client,
    }),
  ),
]

const EXPECTATIONS: readonly Case[] = [undefined, true].flatMap((proxy_100_continue) =>
  ['100-continue', '100-Continue', '100-continue, x', 'other', ''].flatMap((expect) =>
    both(
      {
        name: `expect: ${expect}, proxy_100_continue ${proxy_100_continue}`,
        manager: { ...LONG, ...(proxy_100_continue ? { proxy_100_continue } : {}) },
      },
      [
        { fields: { expect }, body: ['ok'] },
        { fields: { expect } },
        { fields: { expect, 'x-answer': '417' }, body: ['ok'] },
        { fields: { expect, 'x-answer': '200,early' }, body: ['ok'] },
      ],
    ),
  ),
)

describeCases('timeouts', LIMITED)
describeCases('limits of connections', CONNECTIONS)
describeCases('expectations', EXPECTATIONS)
