// Seeded mutation of the documents that the control plane and the tools read: objects of Kubernetes and Istio, reviews of
// webhooks, files given to commands, mesh configuration; and of xDS responses. Whatever comes in is taken, or refused with
// a reason of ours; what is taken can be translated for any proxy.

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { parseAllDocuments, stringify } from 'yaml'
import { parseProxyConfig } from '../../src/agent/proxy-config.ts'
import {
  DeltaDiscoveryResponseSchema,
  DiscoveryResponseSchema,
} from '../../src/api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { ConfigError, UserError } from '../../src/base/errors.ts'
import type { KubeObject } from '../../src/cluster/index.ts'
import { defaultMeshConfig } from '../../src/config/index.ts'
import { parseMeshConfigText, parseMeshNetworksText } from '../../src/config/mesh-text.ts'
import { injectDocuments } from '../../src/local/kube-inject.ts'
import { readManifests } from '../../src/local/manifest.ts'
import { injectedPod } from '../../src/local/pod-admission.ts'
import type { Pod } from '../../src/local/pod-types.ts'
import { ResourceGenerator } from '../../src/pilot/push/resources.ts'
import { TestMesh, testProxy } from '../../src/pilot/testing.ts'
import { answerReview, reviewConfiguration, reviewPod } from '../../src/pilot/webhook/review.ts'
import { SubscriptionState } from '../../src/xds/subscription.ts'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../src/xds/type-urls.ts'
import type { Json } from '../interop/config/mutate.ts'
import { edit } from './edit.ts'
import { mutate, type Random } from './random.ts'
import { rounds } from './rounds.ts'

const TESTS = 5
const fuzz = rounds(TESTS, 300)

const TEXTS = globSync(['samples/bookinfo/**/*.yaml', 'test/conformance/inputs/**/*.yaml']).map((path) =>
  readFileSync(path, 'utf8'),
)
const OBJECTS = TEXTS.flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as Json)).filter(
  (object): object is { [key: string]: Json } => typeof object === 'object' && object !== null && 'kind' in object,
)

/** A few of the objects, with a few edits each. */
function objects(random: Random, most: number): Json[] {
  return Array.from({ length: 1 + random.below(most) }, () => {
    const object = structuredClone(random.pick(OBJECTS))
    for (let count = random.below(4); count > 0; count--) edit(random, object, random.pick(OBJECTS))
    return object
  })
}

/** A refusal is one of our errors: anything else is a fault. */
function taken(use: () => void): boolean {
  try {
    use()
    return true
  } catch (error) {
    if (error instanceof UserError || error instanceof ConfigError) return false
    throw error
  }
}

const PROXIES = [
  testProxy({ ip: '10.1.0.1', labels: { app: 'productpage' } }),
  testProxy({ type: 'router', labels: { istio: 'ingressgateway' } }),
]

function isObject(value: Json): boolean {
  const { kind, apiVersion, metadata } = value as { kind?: Json; apiVersion?: Json; metadata?: { name?: Json } | null }
  return typeof kind === 'string' && typeof apiVersion === 'string' && typeof metadata?.name === 'string'
}

test('objects of a cluster are translated for any proxy, or left out with a reason', () => {
  fuzz((random) => {
    const mesh = new TestMesh()
    const list = objects(random, 8).filter(isObject) as unknown as KubeObject[]
    mesh.store.put(
      list.map((object) => ({ object: { ...object, metadata: { namespace: 'default', ...object.metadata } } })),
    )
    const push = mesh.push()
    const generator = new ResourceGenerator()
    for (const proxy of PROXIES) {
      const clusters = generator.generate(CDS_TYPE, proxy, push, null).map(({ name }) => name)
      assert.ok(clusters.includes('BlackHoleCluster'))
      generator.generate(EDS_TYPE, proxy, push, clusters)
      generator.generate(LDS_TYPE, proxy, push, null)
      generator.generate(RDS_TYPE, proxy, push, ['80', '9080', 'http.80', 'http.8080'])
    }
  })
})

const POD: Json = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'p',
    namespace: 'default',
    labels: { app: 'p' },
    annotations: { 'sidecar.istio.io/inject': 'true' },
  },
  spec: { containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 80 }], env: [{ name: 'A', value: 'b' }] }] },
}

test('reviews of webhooks are answered, or refused as what they are not', () => {
  const meshConfig = defaultMeshConfig()
  const store = { get: () => undefined, list: () => [] }
  const options = { meshConfig, clusterId: 'Kubernetes' } as unknown as Parameters<typeof injectedPod>[2]
  fuzz((random) => {
    const [object] = random.next() < 0.5 ? [structuredClone(POD)] : objects(random, 1)
    const review: Json = {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      request: { uid: 'u', operation: 'CREATE', namespace: 'default', object: object!, resource: { group: 'g' } },
    }
    for (let count = random.below(4); count > 0; count--) edit(random, review, random.pick(OBJECTS))
    for (const admit of [
      (asked: Parameters<typeof reviewConfiguration>[0]) => reviewConfiguration(asked),
      (asked: Parameters<typeof reviewPod>[0]) =>
        reviewPod(asked, (pod) => injectedPod(store, pod as unknown as Pod, options) as unknown as KubeObject),
    ]) {
      try {
        const { response } = answerReview(review, admit)
        assert.equal(typeof response.allowed, 'boolean')
        assert.ok(response.allowed || response.status!.message !== '')
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error
        assert.match((error as Error).message, /^(the body|request)/)
      }
    }
  })
})

const TOKENS = ['---\n', '- ', ': ', '  ', '{', '}', '[', ']', '&a ', '*a', '<<: *a', '!!binary ', '|\n', '"', '#', '\t', '? ', '\0', 'null', '1e999', '__proto__: ', 'kind: List\nitems:\n'].map(
  (text) => Buffer.from(text),
) // biome-ignore format: one list

test('files given to commands are read, or refused with their place', () => {
  fuzz((random) => {
    const whole = objects(random, 2)
    const text =
      random.next() < 0.5
        ? whole.map((one) => stringify(one)).join('---\n')
        : mutate(random, Buffer.from(random.pick(TEXTS)), TOKENS).toString()
    for (const { file, line, message } of readManifests('f.yaml', text).problems) {
      assert.equal(file, 'f.yaml')
      assert.ok(line >= 1 && message !== '')
      assert.doesNotMatch(message, /Cannot read|is not a function|is not iterable/)
    }
    taken(() => injectDocuments('f.yaml', text, undefined))
  })
})

const MESH = `
accessLogFile: /dev/stdout
defaultConfig: {concurrency: 2, discoveryAddress: "a:15012", proxyMetadata: {A: b}, tracing: {zipkin: {address: "z:1"}, sampling: 10}}
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
extensionProviders: [{name: o, opentelemetry: {service: s, port: 1}}, {name: e, envoyExtAuthzGrpc: {service: s, port: 2}}]
localityLbSetting: {failover: [{from: a, to: b}]}
discoverySelectors: [{matchLabels: {a: b}}]
`
const NETWORKS =
  'networks: {n: {endpoints: [{fromCidr: 10.0.0.0/8}, {fromRegistry: r}], gateways: [{address: 1.1.1.1, port: 15443}]}}'
const PROXY =
  '{discoveryAddress: "a:15012", concurrency: 2, drainDuration: 45s, proxyMetadata: {A: b}, tracing: {zipkin: {address: "z:1"}}}'

test('mesh and proxy configuration is read, or refused with the field', () => {
  const parse = (text: string) => parseAllDocuments(text)[0]!.toJS() as Json
  const bases = [parse(MESH), parse(NETWORKS), parse(PROXY)]
  fuzz((random) => {
    const kind = random.below(3)
    const json = structuredClone(bases[kind]!)
    for (let count = random.below(5); count > 0; count--) edit(random, json, random.pick(bases))
    const text =
      random.next() < 0.7
        ? stringify(json)
        : mutate(random, Buffer.from([MESH, NETWORKS, PROXY][kind]!), TOKENS).toString()
    if (kind === 0) parseMeshConfigText(text)
    else if (kind === 1) parseMeshNetworksText(text)
    else taken(() => parseProxyConfig([{ from: 'text', text }]))
  })
  assert.equal(({} as { A?: unknown }).A, undefined)
})

test('xDS responses of any bytes are read, or refused with a reason', () => {
  const names = ['a', 'b', '__proto__', 'constructor']
  const any = (name: string) => ({ typeUrl: CDS_TYPE, value: Buffer.from([0x0a, name.length, ...Buffer.from(name)]) })
  const delta = toBinary(
    DeltaDiscoveryResponseSchema,
    create(DeltaDiscoveryResponseSchema, {
      typeUrl: CDS_TYPE,
      nonce: 'n',
      systemVersionInfo: '1',
      resources: names.map((name) => ({ name, version: '1', resource: any(name), ttl: { seconds: 5n } })),
      removedResources: ['gone', 'toString'],
    }),
  )
  const sotw = toBinary(
    DiscoveryResponseSchema,
    create(DiscoveryResponseSchema, { typeUrl: CDS_TYPE, nonce: 'n', versionInfo: '1', resources: names.map(any) }),
  )
  const tokens = [
    [0x0a, 0xff, 0x7f],
    [0x12, 0],
    [0x1a, 1, 97],
    [0x3a, 2, 8, 1],
    [0xff, 0xff, 0xff, 0xff, 0x0f],
  ]
  const extra = tokens.map((token) => Buffer.from(token))
  fuzz((random) => {
    const variant = random.next() < 0.5
    const state = new SubscriptionState(CDS_TYPE, variant, random.next() < 0.7, ['a', 'x'])
    for (let i = 0; i < 5; i++) {
      const bytes = mutate(random, Buffer.from(variant ? delta : sotw), extra)
      let response: Parameters<SubscriptionState['read']>[0]
      try {
        response = variant
          ? fromBinary(DeltaDiscoveryResponseSchema, bytes)
          : fromBinary(DiscoveryResponseSchema, bytes)
      } catch {
        // What is no message ends the stream (client.ts).
        continue
      }
      const read = state.read(response)
      if (read.ok) state.accepted(read.value, 'n')
      else {
        assert.notEqual(read.problems[0]!.message, '')
        state.rejected(read.problems[0]!.message, 'n')
      }
      if (random.next() < 0.3) state.reconnected()
      const request = state.takeRequest()
      if (request !== null) assert.ok(Object.keys(request.initialVersions).length <= state.versions.size)
    }
  })
})
