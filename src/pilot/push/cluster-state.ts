// What clusters a proxy was sent, and what of it is different now: large lists are compared once for all their proxies.
import type { EncodedResource } from '../../xds/server-types.ts'

export interface ClusterState {
  /** The same array for all proxies of one scope and kind. */
  readonly outbound: readonly EncodedResource[]
  /** The proxy's own: fixed and inbound clusters. */
  readonly own: readonly EncodedResource[]
}

/** What leads from one state to another. */
export interface ClusterDelta {
  readonly changed: readonly EncodedResource[]
  readonly removed: readonly string[]
}

export function allClusters(state: ClusterState): EncodedResource[] {
  return [...state.outbound, ...state.own]
}

/** The state with what the proxy has of the clusters `missing`: they could not be generated, and stay as they were. */
export function keepingLast(
  state: ClusterState,
  before: ClusterState | null,
  missing: ReadonlyMap<string, string>,
): ClusterState {
  const kept = before?.outbound.filter(({ name }) => missing.has(name)) ?? []
  return kept.length === 0 ? state : { ...state, outbound: [...state.outbound, ...kept] }
}

const deltas = new WeakMap<readonly EncodedResource[], WeakMap<readonly EncodedResource[], ClusterDelta>>()

const UNCHANGED: ClusterDelta = { changed: [], removed: [] }

/** The difference between two states. */
export function clusterDelta(before: ClusterState, after: ClusterState): ClusterDelta {
  const own = before.own === after.own ? UNCHANGED : compare(before.own, after.own)
  if (before.outbound === after.outbound) return own
  let known = deltas.get(after.outbound)
  if (!known) deltas.set(after.outbound, (known = new WeakMap()))
  let outbound = known.get(before.outbound)
  if (!outbound) known.set(before.outbound, (outbound = compare(before.outbound, after.outbound)))
  if (own === UNCHANGED) return outbound
  return { changed: [...outbound.changed, ...own.changed], removed: [...outbound.removed, ...own.removed] }
}

function compare(before: readonly EncodedResource[], after: readonly EncodedResource[]): ClusterDelta {
  const versions = new Map(before.map((r) => [r.name, r.version]))
  const changed: EncodedResource[] = []
  for (const resource of after) {
    if (versions.get(resource.name) !== resource.version) changed.push(resource)
    versions.delete(resource.name)
  }
  return { changed, removed: [...versions.keys()] }
}
