// Retries under a runtime that forbids them, beside real Envoy.

import { describeQuestions, get } from './beside.ts'

const route = { retry_policy: { retry_on: '5xx', num_retries: 2 } }
const virtualHost = { include_attempt_count_in_response: true }
const upstream = (): string => 'HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n'

describeQuestions(
  'retries by runtime',
  [{ name: 'upstream.use_retry: 0', route, virtualHost, upstream, client: [get('/')] }],
  {
    counted: /^cluster.*upstream_rq_(retry|5)/,
    bootstrap: (made) => ({
      ...made,
      layered_runtime: { layers: [{ name: 's', static_layer: { upstream: { use_retry: 0 } } }] },
    }),
  },
)
