// /clusters: every worker has its own hosts and counts; the page shows one of each.

import type { ClusterStatusData, HostCounts, HostStatusData } from '../admin/source.ts'

/**
 * Counts are summed over workers, health and weights are the first worker's. `addedViaApi` says where a cluster came
 * from, which workers do not know.
 */
export function mergeClusterStatus(
  workers: readonly (readonly ClusterStatusData[])[],
  addedViaApi: (name: string) => boolean,
): ClusterStatusData[] {
  const [first = [], ...others] = workers
  return first.map((cluster) => {
    const twins = others.map((worker) => worker.find((other) => other.name === cluster.name))
    return {
      ...cluster,
      addedViaApi: addedViaApi(cluster.name),
      hosts: cluster.hosts.map((host) =>
        mergeHost(
          host,
          twins.map((twin) => twin?.hosts.find((h) => h.address.text === host.address.text)),
        ),
      ),
    }
  })
}

function mergeHost(host: HostStatusData, twins: readonly (HostStatusData | undefined)[]): HostStatusData {
  const counts: Record<string, number> = { ...host.counts }
  for (const twin of twins) {
    if (twin === undefined) continue
    for (const [name, value] of Object.entries(twin.counts)) counts[name] = (counts[name] ?? 0) + value
  }
  return { ...host, counts: counts as unknown as HostCounts }
}
