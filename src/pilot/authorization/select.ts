// Which security policies apply to one workload.
import type { PolicySelector, TargetReference } from '../../config/index.ts'
import { labelsMatch } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'

interface Selecting {
  readonly metadata: { readonly namespace: string }
  readonly spec: {
    readonly selector?: PolicySelector
    readonly targetRef?: TargetReference
    readonly targetRefs?: readonly TargetReference[]
  }
}

const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name'

/** Policies of the root namespace, then those of the workload's; each kept in its order. */
export function policiesFor<P extends Selecting>(
  policies: readonly P[],
  rootNamespace: string,
  proxy: Pick<ProxyNode, 'namespace' | 'labels'>,
): P[] {
  const inNamespace = (namespace: string): P[] =>
    policies.filter((policy) => policy.metadata.namespace === namespace && attaches(policy, proxy))
  return proxy.namespace === rootNamespace
    ? inNamespace(rootNamespace)
    : [...inNamespace(rootNamespace), ...inNamespace(proxy.namespace)]
}

/** A policy is for this proxy: by its labels, or by the Gateway whose pod it is. The namespace of selectors is not asked. */
export function attaches({ metadata, spec }: Selecting, proxy: Pick<ProxyNode, 'namespace' | 'labels'>): boolean {
  const targets = spec.targetRefs?.length ? spec.targetRefs : spec.targetRef ? [spec.targetRef] : []
  if (targets.length === 0) return labelsMatch(spec.selector?.matchLabels, proxy.labels)
  // A reference attaches to the gateway of that name in the policy's namespace.
  return targets.some(
    (target) =>
      target.kind === 'Gateway' && metadata.namespace === proxy.namespace && proxy.labels[GATEWAY_NAME] === target.name,
  )
}
