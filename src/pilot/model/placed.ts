// Where a proxy is and who it is, as the registry has it: agents of pods do not know their node's zone.
import { NETWORK_LABEL } from '../registry/network-lookup.ts'
import type { ProxyNode } from './node.ts'
import type { PushContext } from './push-context.ts'
import { localityText } from './service.ts'
import { podOf } from './service-instances.ts'

/**
 * The proxy with the labels of its pod, else of an endpoint at one of its addresses that a ServiceEntry of its namespace
 * has; and its place: labels of the place in the registry first, then what its node said. A WorkloadEntry that no
 * ServiceEntry selects says nothing, as in istiod. The very same object when that is what it has already.
 */
export function placed(
  proxy: ProxyNode,
  push: Pick<PushContext, 'workloads' | 'clusterId' | 'entryEndpoint'>,
): ProxyNode {
  // Workloads of another cluster are that cluster's control plane's to tell.
  if (proxy.clusterId !== '' && proxy.clusterId !== push.clusterId) return proxy
  const workload = podOf(proxy, push.workloads) ?? push.entryEndpoint(proxy)
  if (!workload) return proxy
  const { locality } = localityText(workload.locality) === '' ? proxy : workload
  const labels: Record<string, string> = { ...proxy.staticLabels, ...workload.labels }
  // The network that the registry knows it in goes before what its node says: failover by networks compares this label.
  if (workload.network !== '') labels[NETWORK_LABEL] ||= workload.network
  if (sameLabels(labels, proxy.labels) && localityText(locality) === localityText(proxy.locality)) return proxy
  return { ...proxy, labels, locality }
}

function sameLabels(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key])
}
