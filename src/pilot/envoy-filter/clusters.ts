// EnvoyFilter on clusters.
import { clone } from '@bufbuild/protobuf'
import { type Cluster, ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { type TransportSocket, TransportSocketSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { CompiledPatch, PatchContext } from './compile.ts'
import { type ListMerge, mergeMessage } from './merge.ts'
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

/** A transport socket merges into the cluster's own of the same name, also where endpoints choose between several. */
function mergeCluster(cluster: Cluster, value: Cluster, lists: ListMerge): void {
  const socket = value.transportSocket
  if (!socket) {
    mergeMessage(ClusterSchema, cluster, value, lists)
    return
  }
  const rest = clone(ClusterSchema, value)
  rest.transportSocket = undefined
  mergeMessage(ClusterSchema, cluster, rest, lists)
  const own: TransportSocket[] = []
  if (cluster.transportSocket?.name === socket.name) own.push(cluster.transportSocket)
  for (const match of cluster.transportSocketMatches) {
    if (match.transportSocket?.name === socket.name) own.push(match.transportSocket)
  }
  if (own.length === 0) cluster.transportSocket = clone(TransportSocketSchema, socket)
  for (const target of own) mergeMessage(TransportSocketSchema, target, socket, lists)
}
