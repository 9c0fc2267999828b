// admission_control beside real Envoy: what counts as success, and who is rejected when nothing succeeds.

import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const admission = (config: object = {}): { name: string; typed_config: object }[] => [
  {
    name: 'envoy.filters.http.admission_control',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.admission_control.v3.AdmissionControl',
      success_criteria: {},
      // With these what can be rejected is: the root of any number is 1, nearly.
      aggression: { default_value: 1e9, runtime_key: 'a' },
      max_rejection_probability: { default_value: { value: 100 }, runtime_key: 'm' },
      ...config,
    },
  },
]
/** An answer of each status asked for, one after the other, on one connection. */
const get = (status: string, ...headers: string[]): string =>
  `GET /${status} HTTP/1.1\r\nhost: a\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`
const answers = (head: string): string => {
  const path = /^GET \/(\S*)/.exec(head)![1]!
  const grpc = /^grpc-(\d+)(-trailers)?$/.exec(path)
  if (grpc === null) return `HTTP/1.1 ${path} X\r\ncontent-length: 0\r\n\r\n`
  const type = 'content-type: application/grpc\r\n'
  if (grpc[2] === undefined) return `HTTP/1.1 200 OK\r\n${type}grpc-status: ${grpc[1]}\r\ncontent-length: 0\r\n\r\n`
  return `HTTP/1.1 200 OK\r\n${type}transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\ngrpc-status: ${grpc[1]}\r\n\r\n`
}
const statuses = ['200', '404', '499', '500', '503', '301']
const trailers = { hcm: { http_protocol_options: { enable_trailers: true } }, upstreamHttp1: { enable_trailers: true } }
const off = { max_rejection_probability: { default_value: { value: 0 }, runtime_key: 'm' } }

const PROTOCOL = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
const CODEC = {
  name: 'codec',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec' },
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'nothing fails',
    filters: admission(),
    client: ['200', '404', '301', '200'].map((status) => get(status)),
    upstream: answers,
  },
  {
    name: 'one fails, the next are rejected',
    filters: admission(),
    client: ['503', '200', '200'].map((status) => get(status)),
    upstream: answers,
  },
  {
    name: 'enough succeed',
    filters: admission({ sr_threshold: { default_value: { value: 50 }, runtime_key: 's' } }),
    client: ['200', '200', '503', '200', '503', '200'].map((status) => get(status)),
    upstream: answers,
  },
  {
    name: 'too few requests',
    filters: admission({ rps_threshold: { default_value: 1000, runtime_key: 'r' } }),
    client: ['503', '503', '503', '200'].map((status) => get(status)),
    upstream: answers,
  },
  {
    name: 'off',
    filters: admission({ enabled: { default_value: false, runtime_key: 'e' } }),
    client: ['503', '200'].map((status) => get(status)),
    upstream: answers,
  },
  {
    name: 'none is ever rejected',
    filters: admission(off),
    client: ['503', '200'].map((status) => get(status)),
    upstream: answers,
  },
  ...statuses.map(
    (status): Scenario => ({
      name: `${status} counts`,
      filters: admission(off),
      client: [get(status)],
      upstream: answers,
    }),
  ),
  ...statuses.map(
    (status): Scenario => ({
      name: `${status} counts, by criteria`,
      filters: admission({
        ...off,
        success_criteria: {
          http_criteria: {
            http_success_status: [
              { start: 200, end: 300 },
              { start: 404, end: 405 },
            ],
          },
        },
      }),
      client: [get(status)],
      upstream: answers,
    }),
  ),
  ...Array.from({ length: 18 }, (_, status) => `grpc-${status}`).flatMap((path) =>
    ['', '-trailers'].map(
      (how): Scenario => ({
        name: `${path}${how} counts`,
        filters: admission(off),
        ...trailers,
        client: [get(`${path}${how}`, 'content-type: application/grpc', 'te: trailers')],
        upstream: answers,
      }),
    ),
  ),
  ...['grpc-5', 'grpc-0'].map(
    (path): Scenario => ({
      name: `${path} counts, by criteria`,
      filters: admission({ ...off, success_criteria: { grpc_criteria: { grpc_success_status: [5] } } }),
      client: [get(path, 'content-type: application/grpc')],
      upstream: answers,
    }),
  ),
  {
    name: 'nobody there',
    filters: admission(off),
    cluster: { load_assignment: { cluster_name: 'none' } },
    client: [get('200')],
    upstream: answers,
  },
  {
    name: 'as an upstream filter',
    cluster: {
      typed_extension_protocol_options: {
        [PROTOCOL]: {
          '@type': `type.googleapis.com/${PROTOCOL}`,
          explicit_http_config: { http_protocol_options: {} },
          http_filters: [...admission(), CODEC],
        },
      },
    },
    client: ['200', '503', '200'].map((status) => get(status)),
    upstream: answers,
  },
]

describeBeside('admission_control', SCENARIOS, { counted: (i) => new RegExp(`[.][sc]${i}[.]admission_control`) })
