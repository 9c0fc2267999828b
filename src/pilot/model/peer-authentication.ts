// Effective mutual TLS mode of a workload: port before workload before namespace before mesh.
import type { PeerAuthentication } from '../../config/index.ts'
import { labelsMatch } from './host.ts'

export type MutualTlsMode = 'DISABLE' | 'PERMISSIVE' | 'STRICT'

/** What a server enforces. */
export interface ServerMutualTls {
  readonly mode: MutualTlsMode
  /** Overrides by port of the workload. */
  readonly ports: ReadonlyMap<number, MutualTlsMode>
}

type SpecMode = NonNullable<PeerAuthentication['spec']['mtls']>['mode']

/** All PeerAuthentications, oldest first within each level; immutable. */
export class PeerAuthenticationIndex {
  private readonly mesh: MutualTlsMode
  private readonly namespaceModes = new Map<string, MutualTlsMode>()
  private readonly workloadPolicies = new Map<string, PeerAuthentication[]>()

  /** `policies` oldest first: the oldest of a level wins. */
  constructor(policies: readonly PeerAuthentication[], rootNamespace: string) {
    let mesh: MutualTlsMode | undefined
    for (const policy of policies) {
      const { namespace } = policy.metadata
      const selector = policy.spec.selector?.matchLabels
      if (selector && Object.keys(selector).length > 0) {
        // Istio has no policies for single workloads in the root namespace: they are neither its own nor the mesh's.
        if (namespace === rootNamespace) continue
        const list = this.workloadPolicies.get(namespace)
        if (list) list.push(policy)
        else this.workloadPolicies.set(namespace, [policy])
      } else if (namespace === rootNamespace) mesh ??= inherit(policy.spec.mtls?.mode, 'PERMISSIVE')
    }
    this.mesh = mesh ?? 'PERMISSIVE'
    for (const policy of policies) {
      const { namespace } = policy.metadata
      const selector = policy.spec.selector?.matchLabels
      if ((selector && Object.keys(selector).length > 0) || namespace === rootNamespace) continue
      if (!this.namespaceModes.has(namespace))
        this.namespaceModes.set(namespace, inherit(policy.spec.mtls?.mode, this.mesh))
    }
  }

  /** The mode of a whole namespace: what clients assume of services whose workloads they do not know. */
  namespaceMode(namespace: string): MutualTlsMode {
    return this.namespaceModes.get(namespace) ?? this.mesh
  }

  /** What a workload enforces, with the overrides of its ports. */
  forWorkload(namespace: string, labels: Readonly<Record<string, string>>): ServerMutualTls {
    const policy = this.workloadPolicies.get(namespace)?.find((p) => labelsMatch(p.spec.selector?.matchLabels, labels))
    const base = this.namespaceMode(namespace)
    if (!policy) return { mode: base, ports: NO_PORTS }
    const mode = inherit(policy.spec.mtls?.mode, base)
    const ports = new Map<number, MutualTlsMode>()
    for (const [port, mtls] of Object.entries(policy.spec.portLevelMtls ?? {})) {
      ports.set(Number(port), inherit(mtls.mode, mode))
    }
    return { mode, ports }
  }

  /** The mode on one port of a workload. */
  forPort(namespace: string, labels: Readonly<Record<string, string>>, port: number): MutualTlsMode {
    const server = this.forWorkload(namespace, labels)
    return server.ports.get(port) ?? server.mode
  }
}

const NO_PORTS: ReadonlyMap<number, MutualTlsMode> = new Map()

function inherit(mode: SpecMode, parent: MutualTlsMode): MutualTlsMode {
  return mode === undefined || mode === 'UNSET' ? parent : mode
}
