// EnvoyFilter on clusters.
import { clone } from '@bufbuild/protobuf'
import { type Cluster, ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TransportSocketSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { CompiledPatch, PatchContext } from './compile.ts'
import { type ListMerge, MergeMismatch, mergeAny, mergeMessage } from './merge.ts'
import { addsHere, contextMatches, NO_PATCHES, type PatchSet } from './select.ts'

/** One cluster after its patches, changed in place; null: removed. `hosts` are the services behind an inbound cluster. */
export function patchCluster(
  cluster: Cluster,
  context: PatchContext,
  set: PatchSet,
  hosts: readonly string[] = [],
): Cluster | null {
  if (set === NO_PATCHES) return cluster
  for (const patch of set.patches.get('CLUSTER') ?? []) {
    if (!contextMatches(patch, context) || !clusterMatches(cluster, hosts, patch)) continue
    if (patch.operation === 'REMOVE') return null
    if (patch.operation === 'MERGE') mergeCluster(cluster, patch.value as Cluster, 'append')
    else if (patch.operation === 'MERGE_AND_REPLACE_LIST') mergeCluster(cluster, patch.value as Cluster, 'replace')
  }
  return cluster
}

/** The clusters that patches add in a context. */
export function addedClusters(context: PatchContext, set: PatchSet): Cluster[] {
  if (set === NO_PATCHES) return []
  return (set.patches.get('CLUSTER') ?? [])
    .filter((patch) => addsHere(patch, context))
    .map((patch) => clone(ClusterSchema, patch.value as Cluster))
}

function clusterMatches(cluster: Cluster, hosts: readonly string[], patch: CompiledPatch): boolean {
  const match = patch.match.cluster
  if (!match) return true
  if (match.name) return match.name === cluster.name
  const [direction, port, subset = '', host = ''] = cluster.name.split('|')
  if (match.service) {
    const found = direction === 'inbound' ? hosts.includes(match.service) : host === match.service
    if (!found) return false
  }
  if (match.subset && match.subset !== subset) return false
  return !match.portNumber || Number(port) === match.portNumber
}

/**
 * A patch with a transport socket changes nothing else: it merges into the first one of its name where endpoints choose
 * between several, else into the cluster's own of its name, which it replaces under another. As in istiod what is of another
 * type stays.
 */
function mergeCluster(cluster: Cluster, value: Cluster, lists: ListMerge): void {
  const socket = value.transportSocket
  if (!socket) {
    mergeMessage(ClusterSchema, cluster, value, lists)
    return
  }
  const matches = cluster.transportSocketMatches
  const candidates = matches.length > 0 ? matches.map((one) => one.transportSocket) : [cluster.transportSocket]
  const own = candidates.find((one) => one?.name === socket.name)
  if (own) {
    if (own.configType.case !== 'typedConfig' || socket.configType.case !== 'typedConfig') return
    try {
      mergeAny(own.configType.value, socket.configType.value)
    } catch (error) {
      if (!(error instanceof MergeMismatch)) throw error
    }
  } else if (matches.length === 0) cluster.transportSocket = clone(TransportSocketSchema, socket)
}
