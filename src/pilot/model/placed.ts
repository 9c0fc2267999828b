// Where a proxy is and who it is, as the registry has it: agents of pods do not know their node's zone.

import type { ProxyNode } from './node.ts'
import type { PushContext, WorkloadIndex } from './push-context.ts'
import { localityText, type Workload } from './service.ts'

/**
 * The proxy with the labels of its workload, and its place: labels of the place in the registry first, then what its
 * node said. The very same object when that is what it has already.
 */
export function placed(proxy: ProxyNode, push: Pick<PushContext, 'workloads'>): ProxyNode {
  const workload = workloadOf(proxy, push.workloads)
  if (!workload) return proxy
  const { locality } = localityText(workload.locality) === '' ? proxy : workload
  const labels = { ...proxy.staticLabels, ...workload.labels }
  if (sameLabels(labels, proxy.labels) && localityText(locality) === localityText(proxy.locality)) return proxy
  return { ...proxy, labels, locality }
}

/** Pods that share the address of their node are told apart by name. */
function workloadOf({ ips, name, namespace }: ProxyNode, { byAddress, byNamespace }: WorkloadIndex) {
  const address = ips[0] ?? ''
  const found = byAddress.get(address)
  const isOwn = (workload: Workload): boolean => workload.name === name && workload.namespace === namespace
  if (found?.kind !== 'Pod' || isOwn(found)) return found
  return byNamespace.get(namespace)?.find((workload) => isOwn(workload) && workload.address === address) ?? found
}

function sameLabels(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key])
}
