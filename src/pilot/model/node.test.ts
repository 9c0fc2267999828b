import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create } from '@bufbuild/protobuf'
import { NodeSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { parseNode, supportsExtension } from './node.ts'

test('a node is what its id and metadata say', () => {
  const parsed = parseNode(
    create(NodeSchema, {
      id: 'sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local',
      locality: { region: 'r', zone: 'z', subZone: 's' },
      metadata: {
        INSTANCE_IPS: '10.0.0.1,fd00::1',
        INTERCEPTION_MODE: 'TPROXY',
        LABELS: { app: 'web', bad: 3 },
        UNPRIVILEGED_POD: 'true',
      },
      extensions: [{ name: 'istio.alpn' }],
    }),
  )
  assert.ok(parsed.ok)
  const proxy = parsed.value
  assert.deepEqual(
    [
      proxy.name,
      proxy.namespace,
      proxy.ip,
      proxy.ips.length,
      proxy.interceptionMode,
      proxy.locality.subzone,
      proxy.unprivileged,
    ],
    ['web-1', 'shop', '10.0.0.1', 2, 'TPROXY', 's', true],
  )
  assert.deepEqual(proxy.labels, { app: 'web' })
  assert.ok(supportsExtension(proxy, 'istio.alpn'))
  assert.ok(!supportsExtension(proxy, 'istio.stats'))
})

test("an extension is known by its configuration's type, too", () => {
  const parsed = parseNode(
    create(NodeSchema, {
      id: 'sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local',
      extensions: [{ name: 'envoy.filters.http.istio_stats', typeUrls: ['type.googleapis.com/stats.PluginConfig'] }],
    }),
  )
  assert.ok(parsed.ok && supportsExtension(parsed.value, 'istio.stats'))
})

test('what is no proxy is refused with the reason', () => {
  const reason = (id: string) => {
    const parsed = parseNode(create(NodeSchema, { id }))
    return parsed.ok ? '' : parsed.problems[0]!.message
  }
  assert.match(reason('web-1'), /four parts/)
  assert.match(reason('teapot~10.0.0.1~a.b~b.svc.cluster.local'), /unknown node type "teapot"/)
  assert.match(reason('sidecar~~a.b~b.svc.cluster.local'), /no IP address/)
})
