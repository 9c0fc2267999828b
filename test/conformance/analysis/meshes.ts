// Random meshes with mistakes: objects of the recorded suites, changed here and there, thrown together. A seed makes the
// same mesh from the same data.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments, stringify } from 'yaml'
import { groupKindOf, groupOf, type KubeObject } from '../../../src/cluster/index.ts'
import { analyze } from '../../../src/config/index.ts'
import { Random } from '../../fuzz/random.ts'
import { SERVED_TYPES, type ServedType } from '../istioctl/kube-types.ts'

const TYPES = new Map(SERVED_TYPES.map((type) => [type.group ? `${type.kind}.${type.group}` : type.kind, type]))
const HOSTS = [
  'reviews',
  'reviews.default.svc.cluster.local',
  'ratings',
  'productpage',
  '*',
  '*.example.com',
  'foo.example.com',
  'reviews.foo.svc.cluster.local',
  'details.bar',
  'httpbin',
  'sleep.foo',
  'bogus',
]
const NAMESPACES = ['default', 'istio-system', 'foo', 'bar']
const GATEWAYS = [
  'mesh',
  'httpbin-gateway',
  'bookinfo-gateway',
  'istio-system/bookinfo-gateway',
  'foo/httpbin-gateway',
  'bogus',
]
const ANNOTATIONS = [
  'sidecar.istio.io/inject',
  'istio.io/rev',
  'networking.istio.io/exportTo',
  'sidecar.istio.io/bogus',
  'traffic.sidecar.istio.io/includeInboundPorts',
  'proxy.istio.io/config',
]
const SYSTEM = 'istio-system'
const INGRESS = `
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system, labels: {istio: ingressgateway}}
spec:
  type: LoadBalancer
  ports:
  - {port: 80, name: http2, protocol: TCP, targetPort: 8080}
  - {port: 443, name: https, protocol: TCP, targetPort: 8443}
  selector: {istio: ingressgateway}
---
apiVersion: v1
kind: Pod
metadata: {name: istio-ingressgateway-1, namespace: istio-system, labels: {istio: ingressgateway}, annotations: {sidecar.istio.io/inject: "false"}}
spec: {containers: [{name: istio-proxy, image: "x/proxyv2:1"}]}
status: {phase: Running}
`

type Pool = ReadonlyMap<string, readonly KubeObject[]>
type Node = Record<string | number, unknown>
type Key = string | number

/** Objects of the recorded suites of `data` that are valid by themselves, by group and kind. */
export function readPool(data: string): Pool {
  const seen = new Set<string>()
  const pool = new Map<string, KubeObject[]>()
  for (const text of texts(data)) {
    for (const object of documents(text)) {
      const key = JSON.stringify(object)
      if (seen.has(key)) continue
      seen.add(key)
      if (!usable(object)) continue
      const kind = groupKindOf(object)
      pool.set(kind, [...(pool.get(kind) ?? []), object])
    }
  }
  return pool
}

function texts(data: string): string[] {
  const suite = <T>(name: string): T[] =>
    (JSON.parse(readFileSync(join(data, 'conformance', `${name}.json`), 'utf8')) as { cases: T[] }).cases
  const goldens = join(data, 'goldens/istio')
  return [
    ...suite<{ files: { text: string }[] }>('istio-analyzers').flatMap(({ files }) => files.map(({ text }) => text)),
    ...readdirSync(goldens)
      .filter((name) => !name.includes('.'))
      .map((name) => readFileSync(join(goldens, name, 'input.yaml'), 'utf8')),
    ...suite<{ doc: unknown }>('istio-validation').map(({ doc }) => (typeof doc === 'string' ? doc : stringify(doc))),
  ]
}

/** What a YAML stream has; documents that cannot be read are none. */
function documents(text: string): KubeObject[] {
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0) return []
    const object = document.toJS() as KubeObject | null
    return object?.kind ? [object] : []
  })
}

function usable(object: KubeObject): boolean {
  const type = TYPES.get(groupKindOf(object))
  if (!type || type.kind === 'CustomResourceDefinition' || !object.metadata?.name) return false
  if (typeof object.spec === 'string' || !type.versions.some((version) => object.apiVersion.endsWith(version)))
    return false
  const { selector } = (object.spec ?? {}) as { readonly selector?: { readonly matchLabels?: unknown } }
  return !(groupOf(object.apiVersion) === 'apps' && typeof selector?.matchLabels === 'string') && valid(object, type)
}

/** Whether istioctl would read the object at all: what it refuses is compared elsewhere. */
function valid(object: KubeObject, type: ServedType | undefined): boolean {
  const placed = structuredClone(object)
  if (type?.namespaced) placed.metadata.namespace ??= 'default'
  const options = { namespace: 'default', istioNamespace: SYSTEM, rootNamespace: SYSTEM, proxyMetadata: {} }
  try {
    const said = analyze([{ object: placed, hasNamespace: true, reference: () => '' }], options)
    return !said.some(({ code, message }) => code === 'IST0106' || message.includes('unknown field'))
  } catch {
    return false
  }
}

/** The objects of a whole cluster. */
export function mesh(seed: number, pool: Pool): KubeObject[] {
  const random = new Random(seed)
  const kinds = [...pool.keys()]
  const ours = kinds.filter((kind) => kind.includes('istio.io') || kind.includes('gateway.networking'))
  const out: KubeObject[] = []
  for (let left = 2 + random.below(5); left > 0; left--) {
    const kind = random.next() < 0.6 ? random.pick(ours) : random.pick(kinds)
    out.push(changed(kind, pool.get(kind)!, random))
  }
  for (const name of ['foo', 'bar', 'bookinfo']) if (random.next() < 0.3) out.push(namespace(name, random))
  const seen = new Set<string>()
  const own = out.filter((object) => {
    const { name, namespace: place = 'default' } = object.metadata
    const key = `${groupKindOf(object)}/${place}/${name}`
    const fresh = !seen.has(key) && valid(object, TYPES.get(groupKindOf(object)))
    if (fresh) seen.add(key)
    return fresh
  })
  return wholeCluster([...own, ...documents(INGRESS)])
}

function namespace(name: string, random: Random): KubeObject {
  const labels: Record<string, string> | undefined =
    random.next() < 0.5
      ? { 'istio-injection': random.pick(['enabled', 'disabled']) }
      : random.next() < 0.3
        ? { 'istio.io/rev': 'canary' }
        : undefined
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, ...(labels && { labels }) } }
}

/** An object of the kind with a few values of others. */
function changed(kind: string, donors: readonly KubeObject[], random: Random): KubeObject {
  const object = structuredClone(random.pick(donors))
  if (TYPES.get(kind)!.namespaced && random.next() < 0.4) object.metadata.namespace = random.pick(NAMESPACES)
  for (let left = random.below(4); left > 0; left--) change(object, kind, donors, random)
  if (random.next() < 0.15) {
    const name = random.pick(ANNOTATIONS)
    object.metadata.annotations = { ...object.metadata.annotations, [name]: random.pick(['true', 'x', '*', '80,90']) }
  }
  return object
}

function change(object: KubeObject, kind: string, donors: readonly KubeObject[], random: Random): void {
  const spots: { readonly parent: Node; readonly key: Key; readonly path: readonly Key[] }[] = []
  walk(object.spec ?? {}, (parent, key, path) => spots.push({ parent, key, path }))
  if (spots.length === 0) return
  const { parent, key, path } = random.pick(spots)
  const last = path.at(-1)
  let other: unknown = random.pick(donors).spec
  for (const step of [...path, key]) other = (other as Node | undefined)?.[step]
  const value = parent[key]
  if (typeof value === 'string' && (key === 'host' || last === 'hosts')) {
    parent[key] = kind.startsWith('Sidecar.') ? `${random.pick(NAMESPACES)}/${random.pick(HOSTS)}` : random.pick(HOSTS)
  } else if (last === 'gateways') parent[key] = random.pick(GATEWAYS)
  else if (key === 'subset') parent[key] = random.pick(['v1', 'v2', 'v9'])
  else if (key === 'credentialName') {
    parent[key] = random.pick(['httpbin-credential', 'bogus-credential', 'httpbin-credential-bogus'])
  } else if (last === 'selector' || last === 'matchLabels') {
    parent[key] = random.pick(['ingressgateway', 'reviews', 'ratings', 'bogus'])
  } else if (other !== undefined && typeof other === typeof value) parent[key] = structuredClone(other)
}

function walk(
  value: unknown,
  visit: (parent: Node, key: Key, path: readonly Key[]) => void,
  path: readonly Key[] = [],
): void {
  if (typeof value !== 'object' || value === null) return
  for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
    visit(value as Node, key, path)
    walk((value as Node)[key], visit, [...path, key])
  }
}

/** With the namespaces and the ConfigMap that every cluster with Istio has. */
function wholeCluster(objects: readonly KubeObject[]): KubeObject[] {
  const placed = objects.map((object): KubeObject => {
    const namespaced = TYPES.get(groupKindOf(object))!.namespaced
    return {
      ...object,
      metadata: { ...object.metadata, ...(namespaced && { namespace: object.metadata.namespace ?? 'default' }) },
    }
  })
  const has = (kind: string, name: string) =>
    placed.some((object) => object.kind === kind && object.metadata.name === name)
  for (const name of ['default', SYSTEM]) {
    if (has('Namespace', name)) continue
    const labels = { 'kubernetes.io/metadata.name': name }
    placed.push({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } })
  }
  if (
    !placed.some(
      ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'istio' && metadata.namespace === SYSTEM,
    )
  ) {
    const metadata = { name: 'istio', namespace: SYSTEM, labels: { 'istio.io/rev': 'default' } }
    placed.push({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { mesh: '', meshNetworks: '' } })
  }
  return placed
}
