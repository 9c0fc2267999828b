import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { request, routes } from '../../../route/testing.ts'
import { clusterData, TestClusters } from '../../../upstream/testing.ts'
import { DOWNSTREAM_PEER, decodePeer, type PeerMetadata, UPSTREAM_PEER } from '../../common/peer-metadata.ts'
import { FilterHarness } from '../testing.ts'
import { metadataExchangeFilter } from './config.ts'

const NODE = {
  id: 'sidecar~10.0.0.1~reviews-v1-abc.default~default.svc.cluster.local',
  cluster: 'reviews.default',
  zone: '',
  metadata: {
    NAME: 'reviews-v1-abc',
    NAMESPACE: 'default',
    WORKLOAD_NAME: 'reviews-v1',
    CLUSTER_ID: 'Kubernetes',
    OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1',
    LABELS: { app: 'reviews', version: 'v1', 'service.istio.io/canonical-name': 'reviews' },
  },
}
const INBOUND = {
  downstream_discovery: [{ istio_headers: {} }, { workload_discovery: {} }],
  downstream_propagation: [{ istio_headers: {} }],
}
const OUTBOUND = { upstream_discovery: [{ istio_headers: {} }], upstream_propagation: [{ istio_headers: {} }] }

/** What a sidecar sends about itself. */
function introduction(): Record<string, string> {
  const headers = request('/')
  new FilterHarness(metadataExchangeFilter, OUTBOUND, { node: NODE }).stream().request(headers)
  return {
    'x-envoy-peer-metadata-id': headers.get('x-envoy-peer-metadata-id')!,
    'x-envoy-peer-metadata': headers.get('x-envoy-peer-metadata')!,
  }
}

describe('istio.metadata_exchange', () => {
  test('outbound requests say who sends them', () => {
    const sent = introduction()
    assert.equal(sent['x-envoy-peer-metadata-id'], NODE.id)
    const peer = decodePeer(Buffer.from(sent['x-envoy-peer-metadata']!, 'base64'))!
    assert.deepEqual(
      [peer.workload, peer.namespace, peer.cluster, peer.type, peer.service, peer.revision, peer.app],
      ['reviews-v1', 'default', 'Kubernetes', 'deployment', 'reviews', 'v1', 'reviews'],
    )
  })

  test('inbound takes the headers off, keeps the peer and answers in kind', () => {
    const stream = new FilterHarness(metadataExchangeFilter, INBOUND, { node: NODE }).stream()
    const headers = request('/', introduction())
    stream.request(headers)
    assert.equal(headers.size, 0)
    assert.equal((stream.info.filterState.get(DOWNSTREAM_PEER) as PeerMetadata).workload, 'reviews-v1')
    assert.equal(stream.response().get('x-envoy-peer-metadata-id'), NODE.id)
  })

  test('a stranger is answered without an introduction; garbage makes no peer', () => {
    const harness = new FilterHarness(metadataExchangeFilter, INBOUND, { node: NODE })
    const plain = harness.stream()
    plain.request(request('/'))
    assert.equal(plain.response().size, 0)
    const garbage = harness.stream()
    const headers = request('/', { 'x-envoy-peer-metadata': '////', 'x-envoy-peer-metadata-id': 'x' })
    garbage.request(headers)
    assert.equal(headers.size, 0)
    assert.equal(garbage.info.filterState.get(DOWNSTREAM_PEER), undefined)
  })

  test('outbound responses give the upstream peer and lose the headers', () => {
    const stream = new FilterHarness(metadataExchangeFilter, OUTBOUND, { node: NODE }).stream()
    stream.request(request('/'))
    assert.equal(stream.response(200, introduction()).size, 0)
    assert.equal((stream.info.filterState.get(UPSTREAM_PEER) as PeerMetadata).app, 'reviews')
  })

  test('nothing is told to PassthroughCluster or to clusters that say so', () => {
    const told = (cluster: string, istio: object): boolean => {
      const filter = new FilterHarness(metadataExchangeFilter, OUTBOUND, { node: NODE })
      filter.table = routes([{ match: { prefix: '/' }, route: { cluster } }])
      filter.clusters.set(
        cluster,
        new TestClusters().add(
          clusterData({ name: cluster, type: 'STATIC', metadata: { filter_metadata: { istio } } }),
        ),
      )
      const headers = request('/')
      filter.stream().request(headers)
      return headers.has('x-envoy-peer-metadata')
    }
    assert.equal(told('c', {}), true)
    assert.equal(told('c', { disable_mx: true }), false)
    assert.equal(told('PassthroughCluster', {}), false)
  })
})
