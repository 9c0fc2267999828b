import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { createLogger } from '../../base/logger.ts'
import { MemoryStore } from '../../cluster/index.ts'
import { defaultMeshConfig } from '../../config/index.ts'
import { startPilot } from '../pilot.ts'
import { objects } from '../testing.ts'

const METHOD = '/test.Echo/Who'
const text = (value: string) => Buffer.from(value)
const bytes = (value: Buffer) => value.toString()

/** Asks until it holds; the test's own time limit ends a vain wait. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** A gRPC server that answers with its name; returns its port. */
async function serve(t: TestContext, name: string): Promise<number> {
  const server = new Server()
  server.addService(
    {
      who: {
        path: METHOD,
        requestStream: false,
        responseStream: false,
        requestSerialize: text,
        requestDeserialize: bytes,
        responseSerialize: text,
        responseDeserialize: bytes,
      },
    },
    { who: (_call: unknown, answer: (error: null, value: string) => void) => answer(null, name) },
  )
  t.after(() => server.forceShutdown())
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  )
}

const mesh = (ports: { v1: number; v2: number }, weights: { v1: number; v2: number }) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: echo}
spec:
  hosts: [echo.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 7070, name: grpc, protocol: GRPC}]
  endpoints:
  - {address: 127.0.0.1, ports: {grpc: ${ports.v1}}, labels: {version: v1}}
  - {address: 127.0.0.1, ports: {grpc: ${ports.v2}}, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec: {host: echo.example.com, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo.example.com]
  http:
  - route:
    - {destination: {host: echo.example.com, subset: v1}, weight: ${weights.v1}}
    - {destination: {host: echo.example.com, subset: v2}, weight: ${weights.v2}}
`

test('grpc-js-xds reaches a service through this control plane and follows a change of weights', async (t) => {
  const ports = { v1: await serve(t, 'v1'), v2: await serve(t, 'v2') }
  const store = new MemoryStore()
  const put = (yaml: string) => store.put(objects(yaml).map((object) => ({ object })))
  put(mesh(ports, { v1: 100, v2: 0 }))
  const pilot = await startPilot({
    store,
    meshConfig: defaultMeshConfig(),
    log: createLogger('test', 'off'),
    grpcAddr: '127.0.0.1:0',
  })
  const client = fork(join(import.meta.dirname, 'testing-client.ts'), ['xds:///echo.example.com:7070'], {
    env: {
      ...process.env,
      GRPC_XDS_BOOTSTRAP_CONFIG: JSON.stringify({
        xds_servers: [
          { server_uri: pilot.addresses.grpc, channel_creds: [{ type: 'insecure' }], server_features: ['xds_v3'] },
        ],
        node: {
          id: 'sidecar~10.0.0.1~client.default~default.svc.cluster.local',
          locality: {},
          metadata: { GENERATOR: 'grpc', NAMESPACE: 'default', CLUSTER_ID: 'Kubernetes' },
        },
      }),
    },
  })
  t.after(async () => {
    client.kill()
    await pilot.stop()
  })
  const who = async (): Promise<string> => {
    client.send('call')
    const [answer] = (await once(client, 'message')) as [string]
    return answer
  }
  for (let i = 0; i < 10; i++) assert.equal(await who(), 'v1')
  put(mesh(ports, { v1: 0, v2: 100 }))
  await until(async () => (await who()) === 'v2')
  for (let i = 0; i < 10; i++) assert.equal(await who(), 'v2')
  put(mesh(ports, { v1: 50, v2: 50 }))
  const seen = new Set<string>()
  await until(async () => seen.add(await who()).size === 2)
})
