// Which patches concern one proxy.
import type { EnvoyFilter } from '../../config/index.ts'
import { compareText, labelsMatch } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { type ApplyTo, type CompiledPatch, compileEnvoyFilter, type PatchContext } from './compile.ts'

/** The patches of one proxy in the order in which they are applied; shared by all proxies with the same ones. */
export interface PatchSet {
  readonly patches: ReadonlyMap<ApplyTo, readonly CompiledPatch[]>
}

/** The set of proxies that no EnvoyFilter concerns. */
export const NO_PATCHES: PatchSet = { patches: new Map() }

interface Sorted {
  readonly filters: readonly EnvoyFilter[]
  readonly sets: Map<string, PatchSet>
}

const sorted = new WeakMap<readonly EnvoyFilter[], Sorted>()

/** The patches for a proxy; {@link NO_PATCHES} itself when there is none, which costs nothing. */
export function patchesFor(proxy: ProxyNode, push: PushContext): PatchSet {
  if (push.envoyFilters.length === 0) return NO_PATCHES
  const root = push.mesh.rootNamespace
  let known = sorted.get(push.envoyFilters)
  if (!known)
    sorted.set(push.envoyFilters, (known = { filters: sortFilters(push.envoyFilters, root), sets: new Map() }))
  const chosen: CompiledPatch[] = []
  const key: string[] = []
  for (const [index, filter] of known.filters.entries()) {
    if (!concerns(filter, proxy, root)) continue
    for (const [number, patch] of compileEnvoyFilter(filter).patches.entries()) {
      if (!proxyMatches(patch, proxy)) continue
      chosen.push(patch)
      key.push(`${index}.${number}`)
    }
  }
  if (chosen.length === 0) return NO_PATCHES
  const id = key.join(',')
  let set = known.sets.get(id)
  if (!set) known.sets.set(id, (set = { patches: group(chosen) }))
  return set
}

function group(patches: readonly CompiledPatch[]): ReadonlyMap<ApplyTo, readonly CompiledPatch[]> {
  const groups = new Map<ApplyTo, CompiledPatch[]>()
  for (const patch of patches) {
    const list = groups.get(patch.applyTo)
    if (list) list.push(patch)
    else groups.set(patch.applyTo, [patch])
  }
  return groups
}

/** Priority, then the root namespace, then age, then `name.namespace`. */
function sortFilters(filters: readonly EnvoyFilter[], root: string): EnvoyFilter[] {
  const inRoot = (f: EnvoyFilter) => (f.metadata.namespace === root ? 0 : 1)
  const name = (f: EnvoyFilter) => `${f.metadata.name}.${f.metadata.namespace}`
  return [...filters].sort(
    (a, b) =>
      (a.spec.priority ?? 0) - (b.spec.priority ?? 0) ||
      inRoot(a) - inRoot(b) ||
      a.metadata.creationMs - b.metadata.creationMs ||
      compareText(name(a), name(b)),
  )
}

function concerns(filter: EnvoyFilter, proxy: ProxyNode, root: string): boolean {
  const { namespace } = filter.metadata
  if (namespace !== root && namespace !== proxy.namespace) return false
  // targetRefs attach to waypoints and Gateway API gateways, named by the label of their pods.
  const refs = filter.spec.targetRefs
  if (refs?.length) {
    const gateway = proxy.labels['gateway.networking.k8s.io/gateway-name']
    return namespace === proxy.namespace && refs.some((ref) => ref.kind === 'Gateway' && ref.name === gateway)
  }
  return labelsMatch(filter.spec.workloadSelector?.labels, proxy.labels)
}

function proxyMatches(patch: CompiledPatch, proxy: ProxyNode): boolean {
  if (patch.proxyVersion && !patch.proxyVersion.matcher(proxy.istioVersion).find()) return false
  for (const [key, value] of Object.entries(patch.match.proxy?.metadata ?? {})) {
    if (proxy.metadata[key] !== value) return false
  }
  return true
}

/** A patch is for this kind of traffic. */
export function contextMatches(patch: CompiledPatch, context: PatchContext): boolean {
  const wanted = patch.match.context ?? 'ANY'
  return wanted === 'ANY' || wanted === context
}

/** Additions for any context are made once: outbound and on gateways, not inbound again. */
export function addsHere(patch: CompiledPatch, context: PatchContext): boolean {
  if (patch.operation !== 'ADD') return false
  const wanted = patch.match.context ?? 'ANY'
  return wanted === 'ANY' ? context !== 'SIDECAR_INBOUND' : wanted === context
}
