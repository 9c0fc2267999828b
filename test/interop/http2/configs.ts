// Random configurations of lanes: HTTP/2 options of either side, retries, limits.

import { Draw } from '../../conformance/differential/generate/draw.ts'
import type { LaneConfig } from './bootstrap.ts'

const RETRY_ON = [
  'refused-stream',
  'reset',
  '5xx',
  'gateway-error',
  'reset-before-request',
  'refused-stream,retriable-status-codes',
  'connect-failure',
  'cancelled,unavailable,internal',
  'http3-post-connect-failure',
]

/** `count` lanes, the same for the same seed. */
export function drawLanes(seed: number, count: number): LaneConfig[] {
  const draw = new Draw(seed)
  return Array.from({ length: count }, () => lane(draw))
}

function lane(draw: Draw): LaneConfig {
  const retries = draw.chance(0.4)
  const limited = draw.chance(0.25)
  return {
    downstream: some(draw, {
      override_stream_error_on_invalid_http_message: [true, false],
      // One more ends the connection in Envoy, against RFC 9113 §5.1.2.
      max_concurrent_streams: [3],
      initial_stream_window_size: [65_535],
      initial_connection_window_size: [65_535],
      hpack_table_size: [0, 4096, 100],
      allow_connect: [true, true, false],
      max_inbound_priority_frames_per_stream: [1],
      max_consecutive_inbound_frames_with_empty_payload: [1, 3],
      max_inbound_window_update_frames_per_data_frame_sent: [1],
    }),
    upstream: some(draw, {
      override_stream_error_on_invalid_http_message: [true, false],
      max_concurrent_streams: [1, 2],
      initial_stream_window_size: [65_535],
      initial_connection_window_size: [65_535],
      hpack_table_size: [0, 4096, 100],
      allow_connect: [true, true, false],
      max_inbound_priority_frames_per_stream: [1],
      max_consecutive_inbound_frames_with_empty_payload: [1, 3],
      max_inbound_window_update_frames_per_data_frame_sent: [1],
    }),
    downstreamCommon: some(draw, {
      headers_with_underscores_action: ['ALLOW', 'REJECT_REQUEST'],
      max_headers_count: [9],
      max_requests_per_connection: [1, 2],
    }),
    upstreamCommon: some(draw, {
      max_headers_count: [4],
      max_requests_per_connection: [1, 2],
    }),
    manager: some(draw, {
      stream_error_on_invalid_http_message: [true, false],
      proxy_100_continue: [true, false],
      upgrade_configs: [[{ upgrade_type: 'websocket' }], [{ upgrade_type: 'websocket' }, { upgrade_type: 'CONNECT' }]],
      server_header_transformation: ['PASS_THROUGH'],
    }),
    route: {
      ...(retries && {
        retry_policy: {
          retry_on: draw.some(RETRY_ON, 1, 3).join(','),
          num_retries: draw.pick([1, 2]),
          retriable_status_codes: [404],
          retry_back_off: { base_interval: '0.001s', max_interval: '0.002s' },
        },
      }),
    },
    cluster: limited
      ? {
          circuit_breakers: {
            thresholds: [some(draw, { max_requests: [1], max_pending_requests: [1], max_retries: [1] })],
          },
        }
      : {},
    quietMs: retries ? 12 : 0,
  }
}

/** Some of the fields, each with one of its values; most are left out. */
function some(draw: Draw, fields: Readonly<Record<string, readonly unknown[]>>): object {
  const entries = Object.entries(fields).filter(() => draw.chance(0.3))
  return Object.fromEntries(entries.map(([name, values]) => [name, draw.pick(values)]))
}
