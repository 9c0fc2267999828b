import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { create, fromBinary } from '@bufbuild/protobuf'
import { Client, credentials } from '@grpc/grpc-js'
import { ClusterSchema } from '../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { NodeSchema } from '../api/gen/envoy/config/core/v3/base_pb.js'
import { createLogger } from '../base/logger.ts'
import { MemoryStore } from '../cluster/index.ts'
import { defaultMeshConfig } from '../config/index.ts'
import { ADS_CHANNEL_OPTIONS, AdsClient, type ResourceChange } from '../xds/client.ts'
import { until } from '../xds/testing.ts'
import { CDS_TYPE, EDS_TYPE } from '../xds/type-urls.ts'
import { startPilot } from './pilot.ts'
import { objects, serviceYaml } from './testing.ts'

const log = createLogger('test', 'off')

async function start(t: TestContext, yaml: string) {
  const store = new MemoryStore()
  store.put(objects(yaml).map((object) => ({ object })))
  const pilot = await startPilot({
    store,
    meshConfig: defaultMeshConfig(),
    log,
    grpcAddr: '127.0.0.1:0',
    httpAddr: '127.0.0.1:0',
    monitoringAddr: '127.0.0.1:0',
    version: '9.9',
  })
  t.after(() => pilot.stop())
  const get = (path: string, port: 'http' | 'monitoring' = 'http') => fetch(`http://${pilot.addresses[port]}${path}`)
  return { store, pilot, get }
}

test('answers readiness, version, metrics and the debug pages on both ports', async (t) => {
  const { get } = await start(t, serviceYaml('web'))
  assert.equal((await get('/ready')).status, 200)
  assert.equal(await (await get('/version')).text(), '9.9')
  const metrics = await (await get('/metrics', 'monitoring')).text()
  assert.match(metrics, /pilot_info\{version="9\.9"\} 1/)
  for (const name of ['pilot_services', 'pilot_virt_services', 'pilot_endpoint_not_ready', 'xds_cache_size'])
    assert.match(metrics, new RegExp(`^${name} \\d+$`, 'm'), name)
  assert.match(metrics, /^process_resident_memory_bytes [1-9]\d+$/m)
  const pages = (await (await get('/debug/list')).json()) as string[]
  assert.ok(pages.includes('adsz'))
  const ofProxy = ['config_dump', 'ecdsz', 'edsz', 'ndsz', 'sidecarz']
  for (const page of pages) {
    const { status } = await get(`/debug/${page}`, 'monitoring')
    assert.equal(status, ofProxy.includes(page) ? 400 : 200, page)
  }
  assert.equal((await get('/debug/edsz?proxyID=nobody.default')).status, 404)
  assert.equal((await get('/nothing')).status, 404)
  const [service] = (await (await get('/debug/registryz')).json()) as { hostname: string }[]
  assert.equal(service?.hostname, 'web.default.svc.cluster.local')
})

test('metrics name what is left out: subsets defined twice, endpoints without a pod', async (t) => {
  const rule = (name: string, ...subsets: string[]) =>
    `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ${name}}\nspec: {host: web, subsets: [${subsets.map((s) => `{name: ${s}}`).join(', ')}]}`
  const { store, get } = await start(
    t,
    [serviceYaml('web'), rule('a', 'v1', 'v2'), rule('b', 'v2', 'v3')].join('\n---\n'),
  )
  const metric = async (name: string) => {
    const text = await (await get('/metrics', 'monitoring')).text()
    return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1])
  }
  assert.equal(await metric('pilot_destrule_subsets'), 1)
  assert.equal(await metric('endpoint_no_pod'), 0)
  assert.equal(await metric('xds_cache_evictions'), 0)
  store.remove([{ kind: 'Pod', namespace: 'default', name: 'web-0' }])
  assert.equal(await metric('endpoint_no_pod'), 1)
  assert.equal(await metric('pilot_k8s_endpoints_pending_pod'), 1)
})

test('a bad resource is refused, named once, and its last good version stays', async (t) => {
  const good =
    'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\nspec: {host: web, subsets: [{name: v1}]}'
  const { store, get } = await start(t, `${serviceYaml('web')}\n---\n${good}`)
  store.put(objects(good.replace('subsets', 'subsetz')).map((object) => ({ object })))
  const status = async () => JSON.stringify(await (await get('/debug/push_status')).json())
  assert.match(await status(), /spec\.subsetz unknown field/)
  store.put(objects(good).map((object) => ({ object })))
  assert.doesNotMatch(await status(), /subsetz/)
})

test('an address in use is one clear error', async (t) => {
  const { pilot } = await start(t, '')
  await assert.rejects(
    startPilot({ store: new MemoryStore(), meshConfig: defaultMeshConfig(), log, grpcAddr: pilot.addresses.grpc }),
    /cannot listen on 127\.0\.0\.1:\d+/,
  )
})

for (const mode of ['delta', 'sotw'] as const) {
  test(`a ${mode} client gets clusters, then endpoints, and follows a change of endpoints alone`, async (t) => {
    const { store, pilot, get } = await start(t, serviceYaml('web'))
    const id = 'sidecar~10.0.0.1~client.default~default.svc.cluster.local'
    const client = new AdsClient({
      mode,
      log,
      node: create(NodeSchema, { id, metadata: { NAMESPACE: 'default', CLUSTER_ID: 'Kubernetes' } }),
      transport: {
        connect: () => new Client(pilot.addresses.grpc, credentials.createInsecure(), ADS_CHANNEL_OPTIONS),
      },
    })
    const clusters: string[] = []
    let clusterUpdates = 0
    let endpointUpdates = 0
    client.subscribe(
      CDS_TYPE,
      { wildcard: true },
      {
        onUpdate: (change) => {
          clusterUpdates++
          clusters.push(...change.added.map((r) => r.name))
          return null
        },
      },
    )
    client.start()
    t.after(() => client.close())
    const name = 'outbound|80||web.default.svc.cluster.local'
    await until(() => clusters.includes(name), 'clusters')
    client.subscribe(
      EDS_TYPE,
      { names: [name] },
      {
        onUpdate: () => {
          endpointUpdates++
          return null
        },
      },
    )
    await until(() => endpointUpdates === 1, 'endpoints')
    store.put(objects(serviceYaml('web', { ip: '10.1.0.9' })).map((object) => ({ object })))
    await until(() => endpointUpdates === 2, 'the changed endpoints')
    assert.equal(clusterUpdates, 1)

    const edsz = await (await get('/debug/edsz?proxyID=client.default')).text()
    assert.match(edsz, /10\.1\.0\.9/)
    const [proxy] = (await (await get('/debug/syncz')).json()) as Record<string, string>[]
    assert.equal(proxy?.proxy, 'client.default')
    assert.equal(proxy?.cluster_sent, proxy?.cluster_acked)
    const dump = (await (await get('/debug/config_dump?proxyID=client.default')).json()) as {
      configs: { '@type': string }[]
    }
    assert.deepEqual(
      dump.configs.map((c) => c['@type'].split('.').at(-1)),
      [
        'BootstrapConfigDump',
        'ClustersConfigDump',
        'ListenersConfigDump',
        'ScopedRoutesConfigDump',
        'RoutesConfigDump',
        'SecretsConfigDump',
        'EcdsConfigDump',
      ],
    )
  })
}

test('a changed ConfigMap istio is pushed; one that cannot be used is named and changes nothing', async (t) => {
  const { store, pilot, get } = await start(t, serviceYaml('web'))
  const put = (mesh: string): void => {
    const metadata = { name: 'istio', namespace: 'istio-system' }
    store.put([{ object: { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { mesh } } as never }])
  }
  const client = new AdsClient({
    mode: 'delta',
    log,
    node: create(NodeSchema, { id: 'sidecar~10.0.0.9~a.default~default.svc.cluster.local' }),
    transport: { connect: () => new Client(pilot.addresses.grpc, credentials.createInsecure(), ADS_CHANNEL_OPTIONS) },
  })
  const timeouts: string[] = []
  const onUpdate = ({ added }: ResourceChange): null => {
    for (const { name, body } of added) {
      const cluster = name === 'BlackHoleCluster' && fromBinary(ClusterSchema, body)
      if (cluster) timeouts.push(String(cluster.connectTimeout?.seconds))
    }
    return null
  }
  client.subscribe(CDS_TYPE, { wildcard: true }, { onUpdate })
  client.start()
  t.after(() => client.close())
  await until(() => timeouts.includes('10'), 'clusters')
  put('connectTimeout: 3s')
  await until(() => timeouts.includes('3'), 'the other timeout')
  assert.equal(pilot.meshConfig().connectTimeout, 3000)
  assert.match(await (await get('/metrics', 'monitoring')).text(), /^pilot_push_triggers\{type="global"\} 1$/m)
  put('connectTimeout: never')
  const status = (await (await get('/debug/push_status')).json()) as Record<string, Record<string, { message: string }>>
  const [message] = Object.values(status.pilot_total_rejected_configs ?? {}).map((entry) => entry.message)
  assert.match(message ?? '', /^ConfigMap istio-system\/istio mesh: connectTimeout must be a duration/)
  assert.equal(((await (await get('/debug/mesh')).json()) as { connectTimeout: string }).connectTimeout, '3s')
})

test('providers in use whose service is gone are counted by type', async (t) => {
  const mesh = defaultMeshConfig()
  const zipkin = { name: 'z', zipkin: { service: 'gone.example', port: 9411 } }
  const unused = { name: 'o', opentelemetry: { service: 'gone.example', port: 4317 } }
  const meshConfig = {
    ...mesh,
    defaultProviders: { tracing: ['z'] },
    extensionProviders: [...mesh.extensionProviders, zipkin, unused],
  }
  const log = createLogger('test', 'off')
  const options = { store: new MemoryStore(), meshConfig, log, grpcAddr: '127.0.0.1:0', monitoringAddr: '127.0.0.1:0' }
  const pilot = await startPilot(options)
  t.after(() => pilot.stop())
  const text = await (await fetch(`http://${pilot.addresses.monitoring}/metrics`)).text()
  assert.deepEqual(text.match(/^provider_lookup_cluster_failures.*$/gm), [
    'provider_lookup_cluster_failures{type="zipkin"} 1',
  ])
})
