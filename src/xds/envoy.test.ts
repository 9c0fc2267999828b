// Stock Envoy takes its configuration from our server, in both protocol variants.
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createRegistry, type DescMessage, fromJson, type JsonValue, toBinary } from '@bufbuild/protobuf'
import { ClusterSchema } from '../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouterSchema } from '../api/gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import { HttpConnectionManagerSchema } from '../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { EncodedResource } from './server.ts'
import { RecordingHandler, serve } from './testing.ts'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE } from './type-urls.ts'

const registry = createRegistry(HttpConnectionManagerSchema, RouterSchema)
const cleanup: (() => void)[] = []
after(() => {
  for (const close of cleanup) close()
})

function resource(schema: DescMessage, name: string, version: string, json: JsonValue): EncodedResource {
  return { name, version, body: toBinary(schema, fromJson(schema, json, { registry })) }
}

function cluster(version: string, connectTimeout: string): EncodedResource {
  return resource(ClusterSchema, 'app', version, {
    name: 'app',
    type: 'EDS',
    connectTimeout,
    edsClusterConfig: { edsConfig: { ads: {}, resourceApiVersion: 'V3' } },
  })
}

const endpoints = resource(ClusterLoadAssignmentSchema, 'app', '1', {
  clusterName: 'app',
  endpoints: [{ lbEndpoints: [{ endpoint: { address: { socketAddress: { address: '127.0.0.1', portValue: 9 } } } }] }],
})

function listener(version: string, body: string): EncodedResource {
  return resource(ListenerSchema, 'http', version, {
    name: 'http',
    address: { socketAddress: { address: '127.0.0.1', portValue: 0 } },
    filterChains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typedConfig: {
              '@type':
                'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              statPrefix: 'http',
              routeConfig: {
                virtualHosts: [
                  {
                    name: 'all',
                    domains: ['*'],
                    routes: [{ match: { prefix: '/' }, directResponse: { status: 200, body: { inlineString: body } } }],
                  },
                ],
              },
              httpFilters: [
                {
                  name: 'router',
                  typedConfig: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
                },
              ],
            },
          },
        ],
      },
    ],
  })
}

async function startEnvoy(xdsPort: number, apiType: string): Promise<(path: string) => Promise<string>> {
  const dir = mkdtempSync(join(tmpdir(), 'outrigger-xds-'))
  const source = { ads: {}, resource_api_version: 'V3' }
  const bootstrap = {
    node: { id: 'test-envoy', cluster: 'test' },
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
    dynamic_resources: {
      cds_config: source,
      lds_config: source,
      ads_config: {
        api_type: apiType,
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }],
      },
    },
    static_resources: {
      clusters: [
        {
          name: 'xds',
          type: 'STATIC',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: 'xds',
            endpoints: [
              {
                lb_endpoints: [
                  { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: xdsPort } } } },
                ],
              },
            ],
          },
        },
      ],
    },
  }
  writeFileSync(join(dir, 'envoy.json'), JSON.stringify(bootstrap))
  const child: ChildProcess = spawn(
    'envoy',
    [
      '-c',
      join(dir, 'envoy.json'),
      '--admin-address-path',
      join(dir, 'admin'),
      '--disable-hot-restart',
      '-l',
      'error',
      '--concurrency',
      '1',
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  )
  cleanup.push(() => {
    child.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  })
  await eventually(
    async () => existsSync(join(dir, 'admin')) && readFileSync(join(dir, 'admin'), 'utf8').includes(':'),
    'Envoy to start',
  )
  const admin = readFileSync(join(dir, 'admin'), 'utf8').trim()
  return async (path) => (await fetch(`http://${admin}${path}`)).text()
}

async function eventually(condition: () => Promise<boolean>, what: string): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (await condition()) return
    await sleep(50)
  }
  throw new Error(`timed out waiting for ${what}`)
}

function envoyMissing(): string | false {
  try {
    execFileSync('envoy', ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'envoy is not on PATH'
  }
}

for (const apiType of ['DELTA_GRPC', 'GRPC']) {
  test(`Envoy over ${apiType}: configures itself, follows an update, refuses nonsense and warms a changed cluster`, {
    skip: envoyMissing(),
  }, async () => {
    const handler = new RecordingHandler()
    const state: Record<string, EncodedResource[]> = {
      [CDS_TYPE]: [cluster('1', '1s')],
      [LDS_TYPE]: [listener('1', 'one')],
      [EDS_TYPE]: [endpoints],
    }
    handler.onSubscribed = (conn, typeUrl) =>
      conn.push(typeUrl, { resources: state[typeUrl] ?? [], removed: [], version: 'v1', full: true })
    const { port, close } = await serve(handler)
    cleanup.push(close)
    const admin = await startEnvoy(port, apiType)
    const body = async () => {
      const found = /http::(127\.0\.0\.1:\d+)/.exec(await admin('/listeners'))
      return found === null ? '' : (await fetch(`http://${found[1]}/`)).text()
    }
    await eventually(async () => (await body()) === 'one', 'the first listener')
    const conn = handler.connection!
    assert.equal(conn.delta, apiType === 'DELTA_GRPC')
    assert.equal(conn.node.userAgentName, 'envoy')
    await eventually(async () => !conn.busy(), 'every ACK')
    assert.ok(!handler.events.some((event) => event.startsWith('nack')), handler.events.join('\n'))

    conn.push(LDS_TYPE, { resources: [listener('2', 'two')], removed: [], version: 'v2', full: false })
    await eventually(async () => (await body()) === 'two', 'the changed listener')

    // A cluster that fails validation: refused with the reason, and what was there keeps serving.
    const bad = resource(ClusterSchema, 'bad', '1', { name: 'bad', type: 'STATIC', connectTimeout: '-1s' })
    conn.push(CDS_TYPE, { resources: [bad], removed: [], version: 'v3', full: false })
    await eventually(async () => handler.events.some((event) => event.startsWith('nack Cluster')), 'the NACK')
    assert.match(conn.watched(CDS_TYPE)!.lastError!, /duration/)
    assert.equal(await body(), 'two')

    // A changed cluster waits for its endpoints to be told again; the generator answers with force.
    conn.push(CDS_TYPE, { resources: [cluster('2', '2s')], removed: ['bad'], version: 'v4', full: false })
    conn.push(EDS_TYPE, { resources: [endpoints], removed: [], version: 'v4', full: false, force: true })
    await eventually(
      async () => (await admin('/config_dump?resource=dynamic_active_clusters')).includes('"connect_timeout": "2s"'),
      'the changed cluster to be warm',
    )
    conn.push(LDS_TYPE, { resources: [], removed: ['http'], version: 'v5', full: false })
    await eventually(async () => !(await admin('/listeners')).includes('http::'), 'the listener to go')
  })
}
