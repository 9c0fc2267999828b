import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { SniClusterSchema as SpySchema } from '../../../../api/gen/envoy/extensions/filters/network/sni_cluster/v3/sni_cluster_pb.js'
import type { NetworkFilterExtension, WorkerContext } from '../../../config/extension.ts'
import { ipAddress } from '../../../network/address.ts'
import { openConnection } from '../../../network/connect.ts'
import { CloseType, type Connection, ConnectionEvent } from '../../../network/connection.ts'
import { type FilterState, FilterStatus } from '../../../network/filter.ts'
import { localAddress, TEST_NODE, TestCa, TYPE, testListeners } from '../../../network/testing.ts'
import { UpstreamTlsFactory } from '../../../network/tls/client-context.ts'
import { SecretStore } from '../../../network/tls/secret-store.ts'
import { withUpstreamFilters } from '../../../network/upstream-filters.ts'
import { StatsStore } from '../../../observe/stats-store.ts'
import { DOWNSTREAM_PEER, type PeerMetadata, UPSTREAM_PEER } from '../../common/peer-metadata.ts'
import { metadataExchange } from './filter.ts'

const PROTOCOL = 'istio-peer-exchange'

/** Echoes, and shows what the filters before it have left. */
function spy(seen: FilterState[]): NetworkFilterExtension {
  return {
    name: 'spy',
    desc: SpySchema,
    parse: () => ({}),
    terminal: true,
    create: () => (callbacks) => {
      seen.push(callbacks.filterState)
      return {
        onNewConnection: () => FilterStatus.Continue,
        onData: (chunk, end) => {
          callbacks.connection.write(chunk, end)
          return FilterStatus.StopIteration
        },
        onEvent() {},
      }
    },
  }
}

/** Sends `hello` over TLS with `alpn` and resolves with what comes back. */
async function exchange(
  t: TestContext,
  alpn: readonly string[],
): Promise<{ got: string; downstream: unknown; upstream: unknown }> {
  const seen: FilterState[] = []
  const { apply } = testListeners(t, { extra: [metadataExchange as NetworkFilterExtension, spy(seen)] })
  const { cert, key } = new TestCa(t).issue('DNS:a.example')
  const certificates = [{ certificate_chain: { inline_string: cert }, private_key: { inline_string: key } }]
  const common = { tls_certificates: certificates, alpn_protocols: [PROTOCOL, 'h2'] }
  const address = await apply({
    name: 'a',
    address: localAddress(),
    filter_chains: [
      {
        filters: [
          {
            name: 'mx',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange',
              protocol: PROTOCOL,
            },
          },
          { name: 'spy', typed_config: { '@type': `type.googleapis.com/${SpySchema.typeName}` } },
        ],
        transport_socket: { name: 'tls', typed_config: { '@type': TYPE.downstreamTls, common_tls_context: common } },
      },
    ],
  })
  const stats = new StatsStore()
  const tls = new UpstreamTlsFactory(
    {
      common: {
        minVersion: 'TLSv1.2',
        maxVersion: 'TLSv1.3',
        ciphers: 'TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256',
        curves: '',
        signatureAlgorithms: '',
        certificates: [],
        certificateSecrets: [],
        validation: null,
        validationSecret: '',
        alpnProtocols: alpn,
      },
      sni: 'a.example',
      maxSessionKeys: 0,
    },
    new SecretStore(),
    stats.scope('cluster.a'),
  )
  let upstreamState: FilterState | null = null
  const make = metadataExchange.create({ protocol: PROTOCOL }, {
    stats,
    node: TEST_NODE,
    listener: null,
  } as unknown as WorkerContext)
  const options = {
    bindSource: null,
    tls: tls.clientTls(null, null, []),
    connectTimeoutMs: 0,
    keepalive: null,
    socketOptions: [],
    bufferLimitBytes: 0,
  }
  const filter = {
    alpn: PROTOCOL,
    factory: (callbacks: Parameters<typeof make>[0]) => {
      upstreamState = callbacks.filterState
      return make(callbacks)
    },
  }
  const connection: Connection = withUpstreamFilters(
    openConnection(ipAddress('127.0.0.1', address.port), options),
    [filter],
    alpn,
  )
  t.after(() => connection.close(CloseType.NoFlush))
  const got = await new Promise<string>((resolve, reject) => {
    let text = ''
    connection.callbacks = {
      onData(chunk) {
        text += chunk.toString('latin1')
        if (text.length >= 5) resolve(text)
      },
      onEvent(event) {
        if (event === ConnectionEvent.Connected) connection.write(Buffer.from('hello'), false)
        else reject(new Error(connection.transportFailureReason))
      },
      onAboveWriteBufferHighWatermark() {},
      onBelowWriteBufferLowWatermark() {},
    }
  })
  const read = (state: FilterState | null, name: string): unknown =>
    (state?.get(name) as PeerMetadata | undefined)?.workload
  return { got, downstream: read(seen[0]!, DOWNSTREAM_PEER), upstream: read(upstreamState, UPSTREAM_PEER) }
}

test('both sides learn of each other before the first byte of the application', async (t) => {
  assert.deepEqual(await exchange(t, [PROTOCOL, 'istio']), { got: 'hello', downstream: 'a-v1', upstream: 'a-v1' })
})

test('without the protocol in ALPN nothing is sent', async (t) => {
  assert.deepEqual(await exchange(t, ['h2']), { got: 'hello', downstream: undefined, upstream: undefined })
})
