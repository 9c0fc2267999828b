import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { TestCa } from '../network/testing.ts'
import { PoolFailureReason } from './cluster-manager.ts'
import type { Host } from './host.ts'
import { staticCluster, TestClusters, TestRequest } from './testing.ts'

const OPTIONS = (more: object) => ({
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      upstream_http_protocol_options: { auto_sni: true, ...more },
      explicit_http_config: { http_protocol_options: {} },
    },
  },
})

describe('auto_sni', () => {
  test('the request’s host is the server name; auto_san_validation wants it in the certificate', async (t) => {
    const ca = new TestCa(t)
    const names: string[] = []
    const server = createServer(ca.issue('DNS:a.example'), (message, response) => {
      names.push((message.socket as TLSSocket & { servername: string }).servername)
      response.end('ok')
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const tls = {
      transport_socket: {
        name: 'tls',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
          common_tls_context: { validation_context: { trusted_ca: { inline_string: ca.cert } } },
        },
      },
    }
    const clusters = new TestClusters()
    const cluster = clusters.add(staticCluster([port], { ...tls, ...OPTIONS({ auto_san_validation: true }) }))
    const good = new TestRequest(cluster, '/', 'a.example:8443')
    await good.done
    assert.equal(good.status, 200)
    const bad = new TestRequest(cluster, '/', 'b.example')
    await bad.done
    assert.equal(bad.failure, PoolFailureReason.RemoteConnectionFailure)
    assert.match(bad.transportFailure, /CERTIFICATE_VERIFY_FAILED/)
    assert.equal(clusters.value('ssl.fail_verify_san'), 1)
    assert.deepEqual(names, ['a.example'])
    // Clients name servers as they like: a pool is not kept for each name that they thought of.
    const { pools } = good.host as Host
    assert.equal(pools.length, 1)
    server.closeAllConnections()
    while (pools.length > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    clusters.clusters.close()
    server.close()
  })
})
