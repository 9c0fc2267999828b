import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { request } from '../../../route/testing.ts'
import { peerFromFields, UPSTREAM_PEER } from '../../common/peer-metadata.ts'
import { FilterHarness } from '../testing.ts'
import { istioStatsFilter } from './filter.ts'

const NODE = {
  id: 'n',
  cluster: 'productpage.default',
  zone: '',
  metadata: {
    NAMESPACE: 'default',
    WORKLOAD_NAME: 'productpage-v1',
    CLUSTER_ID: 'Kubernetes',
    LABELS: { app: 'productpage' },
  },
}

function report(
  config: Readonly<Record<string, unknown>>,
  prepare: (stream: ReturnType<FilterHarness['stream']>) => void = () => {},
) {
  const filter = new FilterHarness(istioStatsFilter, config, { node: NODE })
  const stream = filter.stream()
  stream.request(request('/', {}, 'reviews:9080'))
  stream.info.responseCode = 200
  stream.info.upstreamClusterMetadata = {
    istio: { services: [{ host: 'reviews.default.svc.cluster.local', name: 'reviews', namespace: 'default' }] },
  }
  prepare(stream)
  stream.response()
  stream.destroy()
  const defined = filter.stats.takeDelta().defined
  return defined.find((stat) => stat.baseName === 'istiocustom.istio_requests_total')
}

describe('istio.stats', () => {
  test('a request is counted under Istio’s labels, in their order', () => {
    const stat = report({}, (stream) => {
      const labels = { app: 'reviews', version: 'v1' }
      stream.info.filterState.set(
        UPSTREAM_PEER,
        peerFromFields({ NAMESPACE: 'default', WORKLOAD_NAME: 'reviews-v1', LABELS: labels }),
      )
    })
    assert.deepEqual(Object.fromEntries(stat!.tags!), {
      reporter: 'source',
      source_workload: 'productpage-v1',
      source_canonical_service: 'productpage',
      source_canonical_revision: 'latest',
      source_workload_namespace: 'default',
      source_principal: 'unknown',
      source_app: 'productpage',
      source_version: 'unknown',
      source_cluster: 'Kubernetes',
      destination_workload: 'reviews-v1',
      destination_workload_namespace: 'default',
      destination_principal: 'unknown',
      destination_app: 'reviews',
      destination_version: 'v1',
      destination_service: 'reviews.default.svc.cluster.local',
      destination_canonical_service: 'reviews',
      destination_canonical_revision: 'v1',
      destination_service_name: 'reviews',
      destination_service_namespace: 'default',
      destination_cluster: 'unknown',
      request_protocol: 'http',
      response_code: '200',
      grpc_response_status: '',
      response_flags: '-',
      connection_security_policy: 'unknown',
    })
  })

  test('overrides remove tags, add dimensions and drop metrics', () => {
    const metrics = [
      { name: 'requests_total', tags_to_remove: ['source_app'], dimensions: { host: 'request.host', team: '"a"' } },
    ]
    const tags = Object.fromEntries(report({ metrics })!.tags!)
    assert.equal(tags.source_app, undefined)
    assert.equal(tags.host, 'reviews:9080')
    assert.equal(tags.team, 'a')
    assert.equal(report({ metrics: [{ name: 'requests_total', drop: true }] }), undefined)
  })

  test('an expression beyond one attribute is refused', () => {
    assert.throws(
      () => report({ metrics: [{ dimensions: { a: 'request.size > 5 ? "big" : "small"' } }] }),
      /is not supported/,
    )
  })
})
