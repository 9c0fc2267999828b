import { compareText } from '../model/host.ts'
import type { WorkloadIndex } from '../model/push-context.ts'
import type { Workload } from '../model/service.ts'

/** Pods and WorkloadEntries by address and namespace; at one address the first pod counts, then the first entry. */
export function workloadIndex(pods: Iterable<Workload>, entries: Iterable<Workload>): WorkloadIndex {
  const own = [...entries]
  const byAddress = new Map<string, Workload>()
  const byNamespace = new Map<string, Workload[]>()
  for (const workload of [...pods, ...own]) {
    for (const address of workload.addresses) if (!byAddress.has(address)) byAddress.set(address, workload)
    const list = byNamespace.get(workload.namespace)
    if (list) list.push(workload)
    else byNamespace.set(workload.namespace, [workload])
  }
  return { byAddress, entriesByAddress: entriesByAddress(own), byNamespace }
}

function entriesByAddress(entries: Iterable<Workload>): WorkloadIndex['entriesByAddress'] {
  const index = new Map<string, Workload[]>()
  for (const entry of entries) {
    if (entry.health === 'UNHEALTHY') continue
    const list = index.get(entry.address)
    if (list) list.push(entry)
    else index.set(entry.address, [entry])
  }
  const key = ({ namespace, name }: Workload): string => `${namespace}/${name}`
  for (const list of index.values()) list.sort((a, b) => compareText(key(a), key(b)))
  return index
}
