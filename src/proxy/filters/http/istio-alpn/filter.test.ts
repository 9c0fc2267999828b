import assert from 'node:assert/strict'
import { test } from 'node:test'
import { request } from '../../../route/testing.ts'
import { clusterData, TestClusters } from '../../../upstream/testing.ts'
import { UPSTREAM_ALPN_KEY } from '../router/host-choice.ts'
import { FilterHarness } from '../testing.ts'
import { alpnFilter } from './config.ts'

const CONFIG = {
  alpn_override: [
    { alpn_override: ['istio-http/1.0', 'istio', 'http/1.0'] },
    { upstream_protocol: 'HTTP11', alpn_override: ['istio-http/1.1', 'istio', 'http/1.1'] },
    { upstream_protocol: 'HTTP2', alpn_override: ['istio-h2', 'istio', 'h2'] },
  ],
}
const HTTP2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
}

function offered(cluster: object): unknown {
  const filter = new FilterHarness(alpnFilter, CONFIG)
  filter.clusters.set('c', new TestClusters().add(clusterData({ name: 'c', type: 'STATIC', ...cluster })))
  const stream = filter.stream()
  stream.request(request('/'))
  return stream.info.filterState.get(UPSTREAM_ALPN_KEY)
}

test('the protocols offered follow the version spoken upstream', () => {
  assert.deepEqual(offered({}), ['istio-http/1.1', 'istio', 'http/1.1'])
  assert.deepEqual(offered(HTTP2), ['istio-h2', 'istio', 'h2'])
})

test('equal lists are one object, whoever configured them: pools compare them so', () => {
  assert.equal(offered({}), offered({}))
})

test('a cluster may opt out', () => {
  assert.equal(offered({ metadata: { filter_metadata: { istio: { alpn_override: 'false' } } } }), undefined)
})
