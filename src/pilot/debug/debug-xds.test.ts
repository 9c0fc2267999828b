import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { create, fromBinary } from '@bufbuild/protobuf'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import { NodeSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { ClientConfigSchema, ConfigStatus } from '../../api/gen/envoy/service/status/v3/csds_pb.js'
import { createLogger } from '../../base/logger.ts'
import { MemoryStore } from '../../cluster/index.ts'
import { CertificateAuthority, ServiceAccountTokens } from '../../security/index.ts'
import { ADS_CHANNEL_OPTIONS, AdsClient, askOnce, CDS_TYPE, LDS_TYPE } from '../../xds/index.ts'
import { startPilot } from '../pilot.ts'
import { objects, serviceYaml } from '../testing.ts'

const log = createLogger('test', 'off')
const NAME_OVERRIDE = { 'grpc.ssl_target_name_override': 'istiod.istio-system.svc' }

/** A control plane with one proxy that refuses its listeners, and who asks it as the account of a namespace. */
async function start(t: TestContext) {
  const store = new MemoryStore()
  store.put(objects(serviceYaml('web')).map((object) => ({ object })))
  const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local', keyType: 'ECDSA' })
  const tokens = new ServiceAccountTokens()
  const pilot = await startPilot({
    store,
    log,
    grpcAddr: '127.0.0.1:0',
    secureGrpc: { address: '127.0.0.1:0', ca, tokens, serverNames: ['istiod.istio-system.svc'] },
    instance: 'istiod-7',
    version: '9.9',
    unsafeAdmin: true,
  })
  const refused = Promise.withResolvers<void>()
  const proxy = new AdsClient({
    mode: 'delta',
    log,
    node: create(NodeSchema, {
      id: 'sidecar~10.0.0.1~client.default~default.svc.cluster.local',
      metadata: { NAMESPACE: 'default', CLUSTER_ID: 'Kubernetes', ISTIO_VERSION: '1.32.0', PROXY_CONFIG: {} },
    }),
    transport: { connect: () => new Client(pilot.addresses.grpc, credentials.createInsecure(), ADS_CHANNEL_OPTIONS) },
  })
  const onUpdate = () => {
    refused.resolve()
    return 'not these'
  }
  proxy.subscribe(CDS_TYPE, { wildcard: true }, { onUpdate: () => null })
  proxy.subscribe(LDS_TYPE, { wildcard: true }, { onUpdate })
  proxy.start()
  t.after(async () => {
    proxy.close()
    await pilot.stop()
  })
  await refused.promise
  const ask = async (namespace: string | null, typeUrl: string, ...names: string[]) => {
    const channel =
      namespace === null ? credentials.createInsecure() : credentials.createSsl(Buffer.from(ca.rootPem), null, null)
    const address = namespace === null ? pilot.addresses.grpc : pilot.addresses.secureGrpc!
    const client = new Client(address, channel, namespace === null ? {} : NAME_OVERRIDE)
    const metadata = new Metadata()
    if (namespace !== null) {
      const token = await tokens.sign({
        namespace,
        serviceAccount: 'default',
        audiences: ['istio-ca'],
        expirationSeconds: 600,
      })
      metadata.set('authorization', `Bearer ${token}`)
    }
    const own = namespace ?? 'istio-system'
    const node = create(NodeSchema, {
      id: `sidecar~10.0.0.9~asks.${own}~${own}.svc.cluster.local`,
      metadata: { GENERATOR: 'event', NAMESPACE: own, SERVICE_ACCOUNT: 'default' },
    })
    try {
      return await askOnce(client, { node, typeUrl, names, timeoutMs: 10_000 }, metadata)
    } finally {
      client.close()
    }
  }
  const page = async (namespace: string | null, name: string) =>
    Buffer.from((await ask(namespace, 'istio.io/debug', name)).resources[0]!.value).toString('utf8')
  return { ask, page }
}

test('sync answers name the instance and what each proxy acknowledged, not who asks', async (t) => {
  const { ask } = await start(t)
  // A refusal is known when the proxy's answer has come.
  let states: unknown[] = []
  while (!states.some((state) => (state as unknown[])[1] === ConfigStatus.ERROR)) {
    const answer = await ask('istio-system', 'istio.io/debug/syncz')
    assert.equal((JSON.parse(answer.controlPlane!.identifier) as { ID: string }).ID, 'istiod-7')
    const configs = answer.resources.map(({ value }) => fromBinary(ClientConfigSchema, value))
    assert.deepEqual(
      configs.map(({ node }) => node!.id),
      ['client.default'],
    )
    states = configs[0]!.genericXdsConfigs.map(({ typeUrl, configStatus, errorState }) => [
      typeUrl,
      configStatus,
      errorState?.details,
    ])
  }
  assert.deepEqual(states, [
    [CDS_TYPE, ConfigStatus.SYNCED, undefined],
    [LDS_TYPE, ConfigStatus.ERROR, 'not these'],
  ])
})

test('pages are answered as they are on the HTTP port; one proxy comes as the sections of its config dump', async (t) => {
  const { ask, page } = await start(t)
  assert.ok((JSON.parse(await page('istio-system', 'list')) as string[]).includes('syncz'))
  assert.match(await page('istio-system', 'edsz'), /You must provide a proxyID in the query string/)
  assert.equal(await page('istio-system', 'nothing'), '404 page not found\n')
  const dump = await ask('istio-system', 'istio.io/debug/config_dump', 'client.default')
  assert.deepEqual(
    dump.resources.map(({ typeUrl }) => typeUrl.split('.').at(-1)!.replace('ConfigDump', '')),
    ['Bootstrap', 'Clusters', 'Listeners', 'ScopedRoutes', 'Routes', 'Secrets', 'Ecds'],
  )
})

test('workloads see pages about proxies of their own namespace only, and who proves nothing sees none', async (t) => {
  const { ask, page } = await start(t)
  assert.match(await page('default', 'config_dump?proxyID=client.default'), /^\{"configs"/)
  assert.match(await page('other', 'config_dump?proxyID=client.default'), /^Proxy not connected/)
  assert.equal((await ask('other', 'istio.io/debug/config_dump', 'client.default')).resources.length, 0)
  assert.equal((await ask('other', 'istio.io/debug/syncz')).resources.length, 0)
  assert.equal((await ask('default', 'istio.io/debug/syncz')).resources.length, 1)
  await assert.rejects(page('default', 'syncz'), /PERMISSION_DENIED: the debug info is not available/)
  await assert.rejects(page(null, 'syncz'), /UNAUTHENTICATED: authentication required/)
  await assert.rejects(ask('istio-system', 'istio.io/debug'), /INVALID_ARGUMENT: exactly one debug request/)
})

test('a proxy can be made to connect anew, by callers of the namespace of the control plane', async (t) => {
  const { page } = await start(t)
  const connectedId = async () =>
    (JSON.parse(await page('istio-system', 'connections')) as { clients: { connectionId: string }[] }).clients
      .map(({ connectionId }) => connectionId)
      .find((id) => id.startsWith('client.default-'))
  const first = await connectedId()
  assert.match(first!, /^client\.default-\d+$/)
  await assert.rejects(page('default', 'force_disconnect?proxyID=client.default'), /PERMISSION_DENIED/)
  assert.equal(
    await page('istio-system', 'force_disconnect?proxyID=nobody'),
    'Proxy not connected to this Pilot instance. It may be connected to another instance.\n',
  )
  assert.equal(await page('istio-system', 'force_disconnect?proxyID=client.default'), 'OK')
  let id = first
  while (id === undefined || id === first) id = await connectedId()
})
