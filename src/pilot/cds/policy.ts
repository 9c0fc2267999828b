// The traffic policy of one cluster: DestinationRule, subset, port, and the mesh's baseline.
import type { MeshConfig, PortTrafficPolicy, Subset, TrafficPolicy } from '../../config/index.ts'
import type { MergedDestinationRule } from '../model/sidecar-scope.ts'

/** The blocks that apply to one cluster after all overrides. */
export type ClusterPolicy = Omit<TrafficPolicy, 'portLevelSettings'>

/**
 * The policy of `subset` (null: the whole host) on `port`. A subset overrides block by block; a port's settings replace
 * loadBalancer, connectionPool, outlierDetection and tls of the level they stand on, without inheriting missing ones.
 */
export function clusterPolicy(
  merged: MergedDestinationRule | null,
  subset: Subset | null,
  port: number,
  mesh: MeshConfig,
): ClusterPolicy {
  const base = forPort(merged?.rule.spec.trafficPolicy, port)
  const policy = subset?.trafficPolicy ? overlay(base, forPort(subset.trafficPolicy, port)) : base
  const baseline = mesh.defaultTrafficPolicy
  if (!baseline) return policy
  return {
    ...policy,
    connectionPool: policy.connectionPool ?? baseline.connectionPool,
    outlierDetection: policy.outlierDetection ?? baseline.outlierDetection,
  }
}

function forPort(policy: TrafficPolicy | undefined, port: number): ClusterPolicy {
  if (!policy) return {}
  const { portLevelSettings, ...rest } = policy
  const own = portLevelSettings?.find((p: PortTrafficPolicy) => p.port?.number === port)
  if (!own) return rest
  return {
    ...rest,
    loadBalancer: own.loadBalancer,
    connectionPool: own.connectionPool,
    outlierDetection: own.outlierDetection,
    tls: own.tls,
  }
}

function overlay(base: ClusterPolicy, over: ClusterPolicy): ClusterPolicy {
  return {
    connectionPool: over.connectionPool ?? base.connectionPool,
    outlierDetection: over.outlierDetection ?? base.outlierDetection,
    loadBalancer: over.loadBalancer ?? base.loadBalancer,
    tls: over.tls ?? base.tls,
    tunnel: over.tunnel ?? base.tunnel,
    proxyProtocol: over.proxyProtocol ?? base.proxyProtocol,
    retryBudget: over.retryBudget ?? base.retryBudget,
  }
}
