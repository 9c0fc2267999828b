// Which mutual TLS mode holds for a pod, and by which PeerAuthentications.

import type { MeshObject } from '../access.ts'
import { type Labels, labelsOf, matches, namespaceOf, spec } from './objects.ts'

interface PeerAuthentication {
  readonly selector?: { readonly matchLabels?: Labels }
  readonly mtls?: { readonly mode?: string }
  readonly portLevelMtls?: Readonly<Record<string, { readonly mode?: string } | null>>
}

function policyOf(object: MeshObject): PeerAuthentication {
  return spec(object) as PeerAuthentication
}

/** Mesh, then namespace, then workload: the most specific mode that is set; of several of one level the oldest. */
export function peerAuthenticationText(all: readonly MeshObject[], rootNamespace: string, pod: MeshObject): string {
  const inNamespace = (namespace: string) => all.filter((policy) => namespaceOf(policy) === namespace)
  const applied = [...inNamespace(rootNamespace), ...inNamespace(namespaceOf(pod))].filter((policy) =>
    matches(policyOf(policy).selector?.matchLabels, labelsOf(pod)),
  )
  const wide = (policy: MeshObject) => Object.keys(policyOf(policy).selector?.matchLabels ?? {}).length === 0
  const inRoot = (policy: MeshObject) => namespaceOf(policy) === rootNamespace
  const workload = oldest(applied.filter((policy) => !wide(policy) && !inRoot(policy)))
  const levels = [
    oldest(applied.filter((policy) => wide(policy) && inRoot(policy))),
    oldest(applied.filter((policy) => wide(policy) && !inRoot(policy))),
    workload,
  ]
  const mode = levels.reduce(
    (before, policy) => (policy ? (modeOf(policyOf(policy).mtls) ?? before) : before),
    'PERMISSIVE',
  )
  let out = `Effective PeerAuthentication:\n   Workload mTLS mode: ${mode}\n`
  const ports = Object.entries((workload && policyOf(workload).portLevelMtls) ?? {})
  if (ports.length > 0) {
    out += '   Port Level mTLS mode:\n'
    for (const [port, own] of ports) out += `      ${port}: ${modeOf(own ?? undefined) ?? mode}\n`
  }
  if (applied.length > 0) {
    const names = applied.map((policy) => `${policy.metadata.name}.${namespaceOf(policy)}`)
    out += `Applied PeerAuthentication:\n   ${names.join(', ')}\n`
  }
  return out
}

/** Undefined: not set. */
function modeOf(mtls: { readonly mode?: string } | undefined): string | undefined {
  return mtls?.mode === undefined || mtls.mode === 'UNSET' ? undefined : mtls.mode
}

function oldest(policies: readonly MeshObject[]): MeshObject | undefined {
  const created = ({ metadata }: MeshObject) => metadata.creationTimestamp ?? ''
  return policies.reduce<MeshObject | undefined>(
    (before, policy) => (before === undefined || created(policy) < created(before) ? policy : before),
    undefined,
  )
}
