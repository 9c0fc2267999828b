// Bookinfo with our sidecars under stock istiod: Istio's own discovery server configures every application pod, our pilot
// only the gateway and, as certificate authority, all of them. The discovery server is built from Istio's Go module by
// `node scripts/build-istiod.mjs`, which takes minutes: where nobody did that, the test says so and is skipped.

import assert from 'node:assert/strict'
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { createMesh, type Mesh, skip, until } from '../system/mesh.ts'

const BINARY = process.env.OUTRIGGER_ISTIOD ?? fileURLToPath(new URL('../../.istiod/discovery', import.meta.url))
const reason = skip || (existsSync(BINARY) ? false : 'stock istiod is not built: node scripts/build-istiod.mjs')

const XDS_PORT = 15010
const DEBUG_PORT = 15014
const UNDER_ISTIOD = JSON.stringify({
  discoveryAddress: `stock-istiod.default.svc:${XDS_PORT}`,
  controlPlaneAuthPolicy: 'NONE',
})

/** Every application pod asks stock istiod for its configuration. */
function underIstiod(manifest: string): string {
  return manifest
    .split(/^---$/m)
    .map((document) =>
      /^kind: Deployment$/m.test(document)
        ? document.replace(
            /^( {4}metadata:\n)/m,
            `$1      annotations:\n        proxy.istio.io/config: '${UNDER_ISTIOD}'\n`,
          )
        : document,
    )
    .join('---')
}

/** Stock istiod as a pod without a sidecar. It starts when the test has told it the objects of the mesh. */
const STOCK_ISTIOD = `
apiVersion: v1
kind: Service
metadata: { name: stock-istiod }
spec:
  selector: { app: stock-istiod }
  ports: [{ name: grpc-xds, port: ${XDS_PORT} }, { name: http-debug, port: ${DEBUG_PORT} }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: stock-istiod }
spec:
  selector: { matchLabels: { app: stock-istiod } }
  template:
    metadata:
      labels: { app: stock-istiod }
      annotations: { sidecar.istio.io/inject: "false" }
    spec:
      containers: [{ name: discovery, image: stock-istiod }]
`

interface KubernetesObject {
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> }
  readonly spec?: { readonly selector?: Record<string, string>; readonly ports?: readonly Port[] }
  readonly status?: { readonly podIP?: string }
}
interface Port {
  readonly name: string
  readonly port: number
}

/** The objects that istiod works from, as the kubelet would report them once every pod is ready. */
function objectsFor(pods: readonly KubernetesObject[], services: readonly KubernetesObject[]): unknown[] {
  const ready = { type: 'Ready', status: 'True' }
  const slices = services.flatMap(({ metadata, spec }) => {
    const selected = pods.filter(({ metadata: { labels = {}, namespace } }) =>
      namespace === metadata.namespace && spec?.selector
        ? Object.entries(spec.selector).every(([key, value]) => labels[key] === value)
        : false,
    )
    return {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: metadata.name,
        namespace: metadata.namespace,
        labels: { 'kubernetes.io/service-name': metadata.name },
      },
      addressType: 'IPv4',
      ports: spec?.ports?.map(({ name, port }) => ({ name, port, protocol: 'TCP' })),
      endpoints: selected.map((pod) => ({
        addresses: [pod.status?.podIP],
        conditions: { ready: true },
        targetRef: { kind: 'Pod', name: pod.metadata.name, namespace: pod.metadata.namespace },
      })),
    }
  })
  return [...services, ...pods.map((pod) => ({ ...pod, status: { ...pod.status, conditions: [ready] } })), ...slices]
}

describe('Bookinfo: our sidecars under stock istiod', { skip: reason }, () => {
  let mesh: Mesh

  const list = (kind: string): KubernetesObject[] =>
    (JSON.parse(mesh.ok('get', kind, '-n', 'default', '-o', 'json')) as { items: KubernetesObject[] }).items

  const debug = async <T>(page: string): Promise<T> =>
    JSON.parse(
      mesh.ok(
        'exec',
        mesh.pod('app=productpage'),
        '-c',
        'istio-proxy',
        '--',
        'curl',
        '-s',
        '-m',
        '5',
        `http://${istiodIp}${page}`,
      ),
    )
  let istiodIp = ''

  before(async () => {
    mesh = await createMesh(underIstiod)
    const objects = join(mesh.dir, 'objects.txt')
    const commands = join(mesh.dir, 'commands')
    writeFileSync(commands, '')
    writeFileSync(join(mesh.dir, 'mesh-config.txt'), 'accessLogFile: /dev/stdout\n')
    // Containers run as users of their own in the mesh's folder, which is all of the test's that they may read.
    cpSync(BINARY, join(mesh.dir, 'discovery'))
    const listen = `-xds 0.0.0.0:${XDS_PORT} -debug 0.0.0.0:${DEBUG_PORT}`
    const run = `until [ -s objects.txt ]; do sleep 0.1; done; tail -n +1 -F commands | ./discovery -input objects.txt -mesh mesh-config.txt ${listen}`
    const images = join(mesh.dir, 'images.yaml')
    writeFileSync(
      images,
      `${readFileSync(images, 'utf8')}\n  stock-istiod:\n    command: [sh, -c, ${JSON.stringify(run)}]\n`,
    )
    mesh.save('stock-istiod.yaml', STOCK_ISTIOD)
    mesh.start(['up', mesh.dir], { stdio: 'ignore' })
    const pods = await until(
      'every pod has its address',
      () => {
        const pods = list('pods')
        return pods.length === 7 && pods.every((pod) => pod.status?.podIP) ? pods : undefined
      },
      60_000,
    )
    istiodIp = `${pods.find(({ metadata }) => metadata.labels?.app === 'stock-istiod')?.status?.podIP}:${DEBUG_PORT}`
    const documents = objectsFor(pods, list('services')).map((object) => stringify(object))
    writeFileSync(objects, documents.join('---\n'))
  })
  after(() => mesh?.close())

  it('every call is answered, by each version of reviews', async () => {
    const versions = new Set<string>()
    await until(
      'all versions seen',
      async () => {
        const page = await (await fetch(`${mesh.gateway}/productpage`, { signal: AbortSignal.timeout(5000) })).text()
        const version = /reviews-(v[123])/.exec(page)?.[1]
        if (version) versions.add(version)
        return versions.size === 3
      },
      60_000,
    )
  })

  it('hops are mutual TLS', async () => {
    await until('an inbound line at reviews', () =>
      mesh.ok('logs', mesh.pod('app=reviews'), '-c', 'istio-proxy').includes('outbound_.9080_._.reviews.default'),
    )
  })

  it('a VirtualService given to istiod is in force', async () => {
    mesh.save('virtual-service.istiod', readFileSync(new URL('./istiod/reviews-v3.yaml', import.meta.url), 'utf8'))
    writeFileSync(join(mesh.dir, 'commands'), 'apply virtual-service.istiod\n', { flag: 'a' })
    await until(
      'ten pages in a row from v3',
      async () => {
        for (let i = 0; i < 10; i++) {
          const page = await (await fetch(`${mesh.gateway}/productpage`, { signal: AbortSignal.timeout(5000) })).text()
          if (!/reviews-v3/.test(page)) return false
        }
        return true
      },
      60_000,
    )
  })

  it('every proxy acknowledged all that istiod sent', async () => {
    const sync = await debug<Record<string, string>[]>('/debug/syncz')
    assert.equal(sync.length, 6, JSON.stringify(sync))
    for (const proxy of sync)
      for (const type of ['cluster', 'listener', 'route', 'endpoint'])
        assert.equal(proxy[`${type}_acked`], proxy[`${type}_sent`], `${proxy.proxy} ${type}`)
  })
})
