// A change of a mesh: what it is afterwards.
import type { KubeObject } from '../../../../src/cluster/index.ts'
import { type Case, generateCase, withDistribution } from './case.ts'
import { Draw } from './draw.ts'
import { allocatedAddresses } from './vocabulary.ts'

const isIstio = ({ apiVersion }: KubeObject): boolean => apiVersion.includes('.istio.io/')
const isOf = (kinds: readonly string[]) => (object: KubeObject) => kinds.includes(object.kind)

type Step = (objects: readonly KubeObject[], draw: Draw, others: () => readonly KubeObject[]) => readonly KubeObject[]

const remove =
  (kinds: readonly string[] | null): Step =>
  (objects, draw) => {
    const among = objects.filter(kinds ? isOf(kinds) : isIstio)
    if (among.length === 0) return objects
    const gone = draw.pick(among)
    return objects.filter((object) => object !== gone)
  }

/** A resource of another mesh, in place of the one with its name or beside all. */
const put: Step = (objects, draw, others) => {
  const among = others().filter(isIstio)
  if (among.length === 0) return objects
  const chosen = draw.pick(among)
  const { kind, metadata } = chosen
  const same = (o: KubeObject) =>
    o.kind === kind && o.metadata.name === metadata.name && o.metadata.namespace === metadata.namespace
  const place = objects.length
  const creationTimestamp =
    objects.find(same)?.metadata.creationTimestamp ?? `2026-01-05T00:00:${String(place % 60).padStart(2, '0')}Z`
  const status =
    kind === 'ServiceEntry'
      ? allocatedAddresses((chosen.spec as { hosts: string[] }).hosts, 100 + draw.below(100))
      : undefined
  return [
    ...objects.filter((o) => !same(o)),
    { ...chosen, metadata: { ...metadata, creationTimestamp }, ...(status && { status }) },
  ]
}

/** An endpoint goes, or is no longer ready. */
const endpoint: Step = (objects, draw) => {
  const slices = objects.filter((o) => o.kind === 'EndpointSlice' && (o.endpoints as unknown[]).length > 0)
  if (slices.length === 0) return objects
  const slice = draw.pick(slices)
  const endpoints = structuredClone(slice.endpoints) as { conditions?: object }[]
  const at = draw.below(endpoints.length)
  if (draw.chance(0.5)) endpoints.splice(at, 1)
  else endpoints[at]!.conditions = { ready: false, serving: false, terminating: false }
  return objects.map((object) => (object === slice ? { ...slice, endpoints } : object))
}

/** A port of a Service changes, its slice with it. */
const port: Step = (objects, draw) => {
  const services = objects.filter(
    (o) => o.kind === 'Service' && ((o.spec as { ports?: unknown[] }).ports?.length ?? 0) > 1,
  )
  if (services.length === 0) return objects
  const service = draw.pick(services)
  const spec = structuredClone(service.spec) as { ports: unknown[] }
  spec.ports.splice(draw.below(spec.ports.length), 1)
  return objects.map((object) => (object === service ? { ...service, spec } : object))
}

const STEPS: readonly Step[] = [
  remove(null),
  remove(null),
  remove(['Service', 'Pod', 'EndpointSlice']),
  put,
  put,
  put,
  endpoint,
  port,
]

/** The objects of a mesh after a change of up to three steps. */
export function changed(input: Case, seed: number, topics: readonly string[]): readonly KubeObject[] {
  const draw = new Draw(seed ^ 0x5eed)
  let round = 0
  const others = () => generateCase(seed + 1_000_003 * ++round, topics).objects
  let { objects } = input
  for (let steps = draw.between(1, 3); steps > 0; steps--) objects = draw.pick(STEPS)(objects, draw, others)
  return withDistribution(objects)
}
