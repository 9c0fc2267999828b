// The ProxyConfig of one pod at injection: the mesh's, ProxyConfig resources and the pod's annotation, in istiod's order.
import { parse } from 'yaml'
import type { Store } from '../cluster/index.ts'
import {
  defaultMeshConfig,
  type MeshConfig,
  type ProxyConfigResource,
  parseResource,
  proxyConfigJson,
} from '../config/index.ts'
import type { EnvVar, Pod } from './pod-types.ts'

const KIND = 'ProxyConfig.networking.istio.io'
const ANNOTATION = 'proxy.istio.io/config'

export interface EffectiveProxyConfig {
  /** For the agent's PROXY_CONFIG: what differs from Istio's defaults. */
  readonly text: string
  /** environmentVariables, as variables of the proxy's container. */
  readonly environment: readonly EnvVar[]
}

/**
 * The mesh's `defaultConfig`, the root namespace's general resource, the pod's namespace's, the annotation, the resource
 * that selects the pod: the later wins, field by field; variables add up. Of several resources of one kind the oldest
 * counts. An annotation that cannot be read is passed on as it is, so that the agent says what is wrong with it.
 */
export function effectiveProxyConfig(
  store: Pick<Store, 'list'>,
  { metadata }: Pod,
  { rootNamespace, defaultConfig }: MeshConfig = defaultMeshConfig(),
): EffectiveProxyConfig {
  const { namespace = 'default', labels = {}, annotations = {} } = metadata
  const own = annotations[ANNOTATION]
  const resources = (name: string): ProxyConfigResource[] =>
    store.list(KIND, name).flatMap((object) => {
      const parsed = parseResource(object)
      return parsed.ok && parsed.value.kind === 'ProxyConfig' ? [parsed.value] : []
    })
  const mine = sorted(resources(namespace))
  const layers: (Layer | null)[] = [
    proxyConfigJson(defaultConfig),
    namespace === rootNamespace ? null : layerOf(sorted(resources(rootNamespace)).find(isGeneral)),
    layerOf(mine.find(isGeneral)),
  ]
  const selecting = layerOf(
    mine.find(({ spec }) => {
      const wanted = Object.entries(spec.selector?.matchLabels ?? {})
      return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value)
    }),
  )
  const annotated = own === undefined ? null : readAnnotation(own)
  if (annotated === undefined) return { text: own!, environment: [] }
  const merged = [...layers, annotated, selecting].reduce<Layer>((all, layer) => merge(all, layer ?? {}), {})
  const variables = Object.entries((merged.proxyMetadata as Readonly<Record<string, string>> | undefined) ?? {})
  return {
    text: JSON.stringify(merged),
    environment: variables.map(([name, value]) => ({ name, value: String(value) })),
  }
}

type Layer = Readonly<Record<string, unknown>>

function sorted(list: ProxyConfigResource[]): ProxyConfigResource[] {
  return list.sort(
    (a, b) => a.metadata.creationMs - b.metadata.creationMs || (a.metadata.name < b.metadata.name ? -1 : 1),
  )
}

function isGeneral({ spec }: ProxyConfigResource): boolean {
  return spec.selector === undefined
}

function layerOf(resource: ProxyConfigResource | undefined): Layer | null {
  if (!resource) return null
  const { concurrency, environmentVariables, image } = resource.spec
  return {
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(environmentVariables ? { proxyMetadata: environmentVariables } : {}),
    ...(image ? { image } : {}),
  }
}

/** Undefined: not an object. */
function readAnnotation(text: string): Layer | undefined {
  try {
    const value: unknown = parse(text)
    if (value === null) return {}
    return typeof value === 'object' && !Array.isArray(value) ? (value as Layer) : undefined
  } catch {
    return undefined
  }
}

function merge(base: Layer, over: Layer): Layer {
  const merged = { ...base, ...over }
  return isMap(base.proxyMetadata) && isMap(over.proxyMetadata)
    ? { ...merged, proxyMetadata: { ...base.proxyMetadata, ...over.proxyMetadata } }
    : merged
}

function isMap(value: unknown): value is Layer {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
