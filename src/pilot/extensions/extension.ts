// WasmPlugin and TrafficExtension as one: what is put where into which filter chains.
import type { Resource, TrafficExtensionSpec, WasmConfig } from '../../config/index.ts'
import { policiesFor } from '../authorization/select.ts'
import type { ListenerClass } from '../lds/context.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'

/** Places in a filter chain, in their order; the last two stand together after authorization. */
export const PHASES = ['AUTHN', 'AUTHZ', 'STATS', 'UNSPECIFIED'] as const
export type Phase = (typeof PHASES)[number]
export type ChainType = 'http' | 'network'

export interface Extension {
  /** Name of its filters and of its ECDS resource. */
  readonly resourceName: string
  /** `namespace.name`: what the module's VM is called. */
  readonly pluginName: string
  readonly namespace: string
  readonly resourceVersion: string
  readonly phase: Phase
  /** The higher comes first. */
  readonly priority: number
  readonly chain: ChainType
  readonly wasm: WasmConfig | null
  readonly lua: string | null
  readonly resource: Resource<'WasmPlugin'> | Resource<'TrafficExtension'>
}

const EXTENSION_PREFIX = 'extensions.istio.io/trafficextension/'
/** istiod translates WasmPlugins into TrafficExtensions of this name, which no object can have. */
const TRANSLATED_SUFFIX = '~istio-translated-wasmplugin'
const LOWEST_PRIORITY = -(2 ** 31)

/** All extensions of a mesh, oldest first. */
export function extensionsOf(
  resources: readonly (Resource<'WasmPlugin'> | Resource<'TrafficExtension'>)[],
): readonly Extension[] {
  return resources.map((resource) => {
    const plugin = resource.kind === 'WasmPlugin'
    const { name, namespace, resourceVersion } = resource.metadata
    const { priority } = resource.spec
    const phase = resource.spec.phase === 'UNSPECIFIED_PHASE' ? undefined : resource.spec.phase
    const wasm = plugin ? resource.spec : (resource.spec.wasm ?? null)
    const pluginName = `${namespace}.${name}${plugin ? TRANSLATED_SUFFIX : ''}`
    return {
      resourceName: EXTENSION_PREFIX + pluginName,
      pluginName,
      namespace,
      resourceVersion: resourceVersion ?? '',
      phase: phase ?? 'UNSPECIFIED',
      priority: priority ?? LOWEST_PRIORITY,
      chain: wasm?.type === 'NETWORK' ? 'network' : 'http',
      wasm,
      lua: plugin ? null : (resource.spec.lua?.inlineCode ?? null),
      resource,
    }
  })
}

/** Extensions of one filter chain, by phase. */
export type ExtensionsByPhase = Readonly<Record<Phase, readonly Extension[]>>
const NO_EXTENSIONS: ExtensionsByPhase = { AUTHN: [], AUTHZ: [], STATS: [], UNSPECIFIED: [] }

/**
 * The extensions of a proxy's chain on a port. Only proxies that can run them have any: Envoy lists what it is built with,
 * ours lists neither Wasm nor Lua.
 */
export function extensionsFor(
  push: PushContext,
  proxy: ProxyNode,
  kind: ListenerClass,
  port: number,
  chain: ChainType,
): ExtensionsByPhase {
  if (push.extensions.length === 0) return NO_EXTENSIONS
  const found = applicable(push, proxy).filter(
    (extension) => extension.chain === chain && matches(extension.resource.spec.match, kind, port),
  )
  if (found.length === 0) return NO_EXTENSIONS
  found.sort((a, b) => b.priority - a.priority)
  const inPhase = (phase: Phase): Extension[] => found.filter((extension) => extension.phase === phase)
  return {
    AUTHN: inPhase('AUTHN'),
    AUTHZ: inPhase('AUTHZ'),
    STATS: inPhase('STATS'),
    UNSPECIFIED: inPhase('UNSPECIFIED'),
  }
}

/** Those that select the proxy: of its own namespace, then of the root namespace. */
function applicable(push: PushContext, proxy: ProxyNode): Extension[] {
  const { rootNamespace } = push.mesh
  const selected = new Set(
    policiesFor(
      push.extensions.map(({ resource }) => resource),
      rootNamespace,
      proxy,
    ),
  )
  const usable = push.extensions.filter((extension) => selected.has(extension.resource) && runs(proxy, extension))
  return [
    ...usable.filter(({ namespace }) => namespace === proxy.namespace),
    ...usable.filter(({ namespace }) => namespace !== proxy.namespace),
  ]
}

function runs(proxy: ProxyNode, { lua, chain }: Extension): boolean {
  const filter = lua !== null ? 'envoy.filters.http.lua' : `envoy.filters.${chain}.wasm`
  return proxy.extensions?.has(filter) ?? false
}

function matches(selectors: TrafficExtensionSpec['match'], kind: ListenerClass, port: number): boolean {
  if (!selectors?.length) return true
  const mine = kind === 'inbound' ? 'SERVER' : 'CLIENT'
  return selectors.some(({ mode = 'UNDEFINED', ports = [] }) => {
    const side = mode === 'UNDEFINED' || mode === 'CLIENT_AND_SERVER' || mode === mine
    return side && (ports.length === 0 || ports.some(({ number }) => number === port))
  })
}
