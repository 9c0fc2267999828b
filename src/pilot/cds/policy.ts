// The traffic policy of one cluster: DestinationRule, subset, port, and the mesh's baseline.
import type { ClientTlsMode, MeshConfig, Subset, TrafficPolicy } from '../../config/index.ts'
import type { MergedDestinationRule } from '../model/sidecar-scope.ts'

/** The blocks that apply to one cluster after all overrides. */
export type ClusterPolicy = Omit<TrafficPolicy, 'portLevelSettings'>

/**
 * The policy of `subset` (null: the whole host) on `port`. A subset overrides block by block; a port's settings replace
 * loadBalancer, connectionPool, outlierDetection and tls of the level they stand on, without inheriting missing ones, and
 * on the level of the host everything else, too. `mesh` null: without the mesh's baseline, which clusters have and
 * endpoints do not.
 */
export function clusterPolicy(
  merged: MergedDestinationRule | null,
  subset: Subset | null,
  port: number,
  mesh: MeshConfig | null,
): ClusterPolicy {
  const baseline = mesh?.defaultTrafficPolicy
  const rule = merged?.rule.spec.trafficPolicy
  const own = (rule && onPort(rule, port)) ?? rule ?? {}
  const base: ClusterPolicy = {
    tunnel: own.tunnel,
    proxyProtocol: own.proxyProtocol,
    retryBudget: own.retryBudget,
    loadBalancer: own.loadBalancer,
    tls: own.tls,
    connectionPool: own.connectionPool ?? baseline?.connectionPool,
    outlierDetection: own.outlierDetection ?? baseline?.outlierDetection,
  }
  const over = subset?.trafficPolicy
  if (!over) return base
  const blocks = onPort(over, port)
  if (blocks) return { ...base, ...blocks }
  return {
    tunnel: over.tunnel ?? base.tunnel,
    proxyProtocol: over.proxyProtocol ?? base.proxyProtocol,
    retryBudget: over.retryBudget ?? base.retryBudget,
    connectionPool: over.connectionPool ?? base.connectionPool,
    outlierDetection: over.outlierDetection ?? base.outlierDetection,
    loadBalancer: over.loadBalancer ?? base.loadBalancer,
    tls: over.tls ?? base.tls,
  }
}

/** What a policy says of one port alone; undefined: nothing. */
function onPort(policy: TrafficPolicy, port: number): ClusterPolicy | undefined {
  const own = policy.portLevelSettings?.find((p) => p.port?.number === port)
  return (
    own && {
      connectionPool: own.connectionPool,
      outlierDetection: own.outlierDetection,
      loadBalancer: own.loadBalancer,
      tls: own.tls,
    }
  )
}

/**
 * The TLS mode that endpoints are marked for: unlike the cluster's own TLS, a port's settings without `tls` inherit it
 * here, as in istiod. Undefined: no rule says anything, mutual TLS is decided per endpoint.
 */
export function endpointTlsMode(
  merged: MergedDestinationRule | null,
  subset: Subset | null,
  port: number,
): ClientTlsMode | undefined {
  return modeFor(subset?.trafficPolicy, port) ?? modeFor(merged?.rule.spec.trafficPolicy, port)
}

function modeFor(policy: TrafficPolicy | undefined, port: number): ClientTlsMode | undefined {
  const tls = policy?.portLevelSettings?.find((p) => p.port?.number === port)?.tls ?? policy?.tls
  return tls && (tls.mode ?? 'DISABLE')
}
