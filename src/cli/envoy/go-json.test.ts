import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { camelJson } from './go-json.ts'

// As `istioctl proxy-config listener -o json` prints such a listener.
test('fields stand in the order of their declaration, keys of structs and maps sorted, @type first', async () => {
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    rds: { route_config_name: '80', config_source: { ads: {}, initial_fetch_timeout: '0s' } },
    stat_prefix: 'outbound',
  }
  const [listener] = await camelJson(ListenerSchema, [
    {
      traffic_direction: 'OUTBOUND',
      metadata: { filter_metadata: { istio: { z: 1, a: { d: [], c: true } }, envoy: {} } },
      filter_chains: [{ filters: [{ typed_config: manager, name: 'http' }] }],
      name: 'web',
    },
  ])
  const text =
    '{"name":"web","filterChains":[{"filters":[{"name":"http","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","statPrefix":"outbound","rds":{"configSource":{"ads":{},"initialFetchTimeout":"0s"},"routeConfigName":"80"}}}]}],"metadata":{"filterMetadata":{"envoy":{},"istio":{"a":{"c":true,"d":[]},"z":1}}},"trafficDirection":"OUTBOUND"}'
  assert.equal(JSON.stringify(listener), text)
})
