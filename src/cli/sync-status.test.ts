import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create } from '@bufbuild/protobuf'
import { anyPack, timestampFromMs } from '@bufbuild/protobuf/wkt'
import { DiscoveryResponseSchema } from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { ClientConfigSchema, ConfigStatus } from '../api/gen/envoy/service/status/v3/csds_pb.js'
import { proxiesOf, statusTable, syncJson, verboseTable, versionsText } from './sync-status.ts'

const CDS = 'type.googleapis.com/envoy.config.cluster.v3.Cluster'
const EDS = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment'
const LDS = 'type.googleapis.com/envoy.config.listener.v3.Listener'

function config(id: string, version: string, types: [string, ConfigStatus, number?][]) {
  return anyPack(
    ClientConfigSchema,
    create(ClientConfigSchema, {
      node: { id, metadata: { CLUSTER_ID: 'Kubernetes', NAMESPACE: id.split('.')[1]!, ISTIO_VERSION: version } },
      genericXdsConfigs: types.map(([typeUrl, configStatus, ms]) => ({
        typeUrl,
        configStatus,
        ...(ms === undefined ? {} : { lastUpdated: timestampFromMs(ms) }),
      })),
    }),
  )
}

const answer = create(DiscoveryResponseSchema, {
  resources: [
    config('web.shop', '1.32.0', [
      [EDS, ConfigStatus.NOT_SENT],
      [CDS, ConfigStatus.SYNCED, 1000],
    ]),
    config('cart.default', '1.31.0', [
      [CDS, ConfigStatus.STALE, 0],
      [LDS, ConfigStatus.ERROR, 1000],
    ]),
  ],
})

// Columns, widths and words are those that istioctl 1.32 printed for the same answer.
test('the table lists proxies by name with what they subscribe to', () => {
  assert.equal(
    statusTable(proxiesOf(answer), 'istiod-1'),
    [
      'NAME             CLUSTER        ISTIOD       VERSION     SUBSCRIBED TYPES',
      'cart.default     Kubernetes     istiod-1     1.31.0      2 (CDS,LDS)',
      'web.shop         Kubernetes     istiod-1     1.32.0      2 (CDS,EDS)',
      '',
    ].join('\n'),
  )
})

test('the verbose table has a column for each type, and the age of what was sent', () => {
  assert.equal(
    verboseTable(proxiesOf(answer), 'istiod-1', 121_000),
    [
      'NAME             CLUSTER        CDS              ECDS        EDS          LDS            RDS         ISTIOD       VERSION',
      'cart.default     Kubernetes     STALE (2m1s)     IGNORED     IGNORED      ERROR (2m)     IGNORED     istiod-1     1.31.0',
      'web.shop         Kubernetes     SYNCED (2m)      IGNORED     NOT SENT     IGNORED        IGNORED     istiod-1     1.32.0',
      '',
    ].join('\n'),
  )
})

test('versions are counted, and JSON is of one namespace when it is asked for', () => {
  assert.equal(versionsText(proxiesOf(answer)), '1.31.0 (1 proxies), 1.32.0 (1 proxies)')
  assert.equal(versionsText([]), 'none')
  const { resources } = syncJson(answer, 'shop') as { resources: { '@type': string; node: { id: string } }[] }
  assert.deepEqual(
    resources.map((one) => [Object.keys(one)[0], one.node.id]),
    [['@type', 'web.shop']],
  )
})
