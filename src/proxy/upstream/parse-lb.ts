// Load balancing: lb_policy with its lb_config, or the first supported load_balancing_policy; subsets; locality.

import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  Cluster_RingHashLbConfig_HashFunction,
  type Cluster_SlowStartConfig,
  Cluster_LbSubsetConfig_LbSubsetFallbackPolicy as Fallback,
  type LoadBalancingPolicy,
  Cluster_LbSubsetConfig_LbSubsetMetadataFallbackPolicy as MetadataFallback,
  Cluster_LbSubsetConfig_LbSubsetSelector_LbSubsetSelectorFallbackPolicy as SelectorFallback,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterProvidedSchema } from '../../api/gen/envoy/extensions/load_balancing_policies/cluster_provided/v3/cluster_provided_pb.js'
import type {
  LocalityLbConfig,
  SlowStartConfig,
} from '../../api/gen/envoy/extensions/load_balancing_policies/common/v3/common_pb.js'
import {
  LeastRequest_SelectionMethod,
  LeastRequestSchema,
} from '../../api/gen/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.js'
import { MaglevSchema } from '../../api/gen/envoy/extensions/load_balancing_policies/maglev/v3/maglev_pb.js'
import { RandomSchema } from '../../api/gen/envoy/extensions/load_balancing_policies/random/v3/random_pb.js'
import {
  RingHash_HashFunction,
  RingHashSchema,
} from '../../api/gen/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash_pb.js'
import { RoundRobinSchema } from '../../api/gen/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.js'
import { SubsetSchema } from '../../api/gen/envoy/extensions/load_balancing_policies/subset/v3/subset_pb.js'
import { WrrLocalitySchema } from '../../api/gen/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import { durationMsOr } from '../config/duration.ts'
import type { ParseContext } from '../config/extension.ts'
import type { ConsistentHashingData, LbPolicyData, LocalityLbData, SlowStartData, SubsetData } from './config.ts'

export interface LoadBalancingData {
  readonly policy: LbPolicyData
  readonly subset: SubsetData | null
  readonly locality: LocalityLbData
}

const DEFAULT_RING = 1024
const MAX_RING = 8 * 1024 * 1024
const DEFAULT_TABLE = 65537
const MAX_TABLE = 5_000_011
const DEFAULT_MIN_CLUSTER_SIZE = 6

export function parseLoadBalancing(cluster: Cluster, context: ParseContext): LoadBalancingData {
  checkHostnameHashing(cluster, context)
  if (cluster.loadBalancingPolicy)
    return parsePolicies(cluster.loadBalancingPolicy, context.at('load_balancing_policy'))
  const subset =
    cluster.lbSubsetConfig && cluster.lbSubsetConfig.subsetSelectors.length > 0
      ? parseSubset(cluster.lbSubsetConfig, context.at('lb_subset_config').path)
      : null
  return { policy: parseLbPolicy(cluster, context), subset, locality: parseClusterLocality(cluster) }
}

/** Of the built-in types only hosts of STRICT_DNS are sure to have names. */
function checkHostnameHashing({ clusterDiscoveryType: type, commonLbConfig }: Cluster, context: ParseContext): void {
  const { consistentHashingLbConfig: hashing } = commonLbConfig ?? {}
  if (!hashing?.useHostnameForHashing || type.case === 'clusterType') return
  if (type.case === 'type' && type.value === Cluster_DiscoveryType.STRICT_DNS) return
  throw new ConfigError(
    context.at('common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing').path,
    `Cannot use hostname for consistent hashing loadbalancing for cluster of type: ${Cluster_DiscoveryType[type.value ?? 0]}`,
  )
}

function parseLbPolicy(cluster: Cluster, context: ParseContext): LbPolicyData {
  const config = cluster.lbConfig
  const hashing: ConsistentHashingData = {
    useHostnameForHashing: cluster.commonLbConfig?.consistentHashingLbConfig?.useHostnameForHashing ?? false,
    hashBalanceFactor: cluster.commonLbConfig?.consistentHashingLbConfig?.hashBalanceFactor ?? 0,
  }
  switch (cluster.lbPolicy) {
    case Cluster_LbPolicy.ROUND_ROBIN:
      return {
        kind: 'round_robin',
        slowStart: config.case === 'roundRobinLbConfig' ? slowStart(config.value.slowStartConfig) : null,
      }
    case Cluster_LbPolicy.LEAST_REQUEST: {
      const least = config.case === 'leastRequestLbConfig' ? config.value : undefined
      return {
        kind: 'least_request',
        choiceCount: least?.choiceCount ?? 2,
        activeRequestBias: least?.activeRequestBias?.defaultValue ?? 1,
        activeRequestBiasRuntimeKey: least?.activeRequestBias?.runtimeKey ?? '',
        fullScan: false,
        slowStart: slowStart(least?.slowStartConfig),
      }
    }
    case Cluster_LbPolicy.RANDOM:
      return { kind: 'random' }
    case Cluster_LbPolicy.RING_HASH: {
      const ring = config.case === 'ringHashLbConfig' ? config.value : undefined
      const murmur = ring?.hashFunction === Cluster_RingHashLbConfig_HashFunction.MURMUR_HASH_2
      return ringHash(ring?.minimumRingSize, ring?.maximumRingSize, murmur, hashing, context)
    }
    case Cluster_LbPolicy.MAGLEV:
      return maglev(config.case === 'maglevLbConfig' ? config.value.tableSize : undefined, hashing, context)
    case Cluster_LbPolicy.CLUSTER_PROVIDED:
      return { kind: 'cluster_provided' }
    default:
      throw new ConfigError(context.at('lb_policy').path, 'LOAD_BALANCING_POLICY_CONFIG needs load_balancing_policy')
  }
}

function ringHash(
  minimum: bigint | undefined,
  maximum: bigint | undefined,
  murmur: boolean,
  hashing: ConsistentHashingData,
  context: ParseContext,
): LbPolicyData {
  const minimumRingSize = Number(minimum ?? DEFAULT_RING)
  const maximumRingSize = Number(maximum ?? MAX_RING)
  if (minimumRingSize > maximumRingSize) {
    throw new ConfigError(
      context.path,
      `ring hash: minimum_ring_size (${minimumRingSize}) > maximum_ring_size (${maximumRingSize})`,
    )
  }
  return {
    kind: 'ring_hash',
    minimumRingSize,
    maximumRingSize,
    hashFunction: murmur ? 'MURMUR_HASH_2' : 'XX_HASH',
    ...hashing,
  }
}

function maglev(size: bigint | undefined, hashing: ConsistentHashingData, context: ParseContext): LbPolicyData {
  const tableSize = Number(size ?? DEFAULT_TABLE)
  if (tableSize > MAX_TABLE || !isPrime(tableSize)) {
    throw new ConfigError(
      context.path,
      `The table size of maglev must be a prime number up to ${MAX_TABLE}, not ${tableSize}`,
    )
  }
  return { kind: 'maglev', tableSize, ...hashing }
}

function isPrime(n: number): boolean {
  if (n < 2 || (n % 2 === 0 && n !== 2)) return false
  for (let i = 3; i * i <= n; i += 2) if (n % i === 0) return false
  return true
}

function slowStart(config: Cluster_SlowStartConfig | SlowStartConfig | undefined): SlowStartData | null {
  const windowMs = durationMsOr(config?.slowStartWindow, 0)
  if (!config || windowMs === 0) return null
  return {
    windowMs,
    aggression: config.aggression?.defaultValue ?? 1,
    aggressionRuntimeKey: config.aggression?.runtimeKey ?? '',
    minWeightPercent: config.minWeightPercent?.value ?? 10,
  }
}

function parseClusterLocality(cluster: Cluster): LocalityLbData {
  const specifier = cluster.commonLbConfig?.localityConfigSpecifier
  if (specifier?.case === 'localityWeightedLbConfig') return { kind: 'weighted' }
  const zone = specifier?.case === 'zoneAwareLbConfig' ? specifier.value : undefined
  return {
    kind: 'zone_aware',
    routingEnabled: zone?.routingEnabled?.value ?? 100,
    minClusterSize: Number(zone?.minClusterSize ?? DEFAULT_MIN_CLUSTER_SIZE),
    failTrafficOnPanic: zone?.failTrafficOnPanic ?? false,
  }
}

/** Unlike the cluster's own field, an extension without locality_lb_config knows no zones. */
function parseLocality(config: LocalityLbConfig | undefined): LocalityLbData {
  const specifier = config?.localityConfigSpecifier
  if (specifier?.case === 'localityWeightedLbConfig') return { kind: 'weighted' }
  if (specifier?.case !== 'zoneAwareLbConfig') return { kind: 'none' }
  return {
    kind: 'zone_aware',
    routingEnabled: specifier.value.routingEnabled?.value ?? 100,
    minClusterSize: Number(specifier.value.minClusterSize ?? DEFAULT_MIN_CLUSTER_SIZE),
    failTrafficOnPanic: specifier.value.failTrafficOnPanic,
  }
}

const NO_LOCALITY: LocalityLbData = { kind: 'none' }
const WEIGHTED: LocalityLbData = { kind: 'weighted' }

/** The first policy that this proxy has, as Envoy chooses. */
function parsePolicies(list: LoadBalancingPolicy, context: ParseContext): LoadBalancingData {
  for (const [i, { typedExtensionConfig }] of list.policies.entries()) {
    const any = typedExtensionConfig?.typedConfig
    if (!any) continue
    const at = context.at(`policies[${i}].typed_extension_config.typed_config`)
    switch (typeNameOf(any.typeUrl)) {
      case RoundRobinSchema.typeName: {
        const policy = at.unpack(any, RoundRobinSchema)
        return {
          policy: { kind: 'round_robin', slowStart: slowStart(policy.slowStartConfig) },
          subset: null,
          locality: parseLocality(policy.localityLbConfig),
        }
      }
      case LeastRequestSchema.typeName: {
        const policy = at.unpack(any, LeastRequestSchema)
        return {
          policy: {
            kind: 'least_request',
            choiceCount: policy.choiceCount ?? 2,
            activeRequestBias: policy.activeRequestBias?.defaultValue ?? 1,
            activeRequestBiasRuntimeKey: policy.activeRequestBias?.runtimeKey ?? '',
            fullScan:
              (policy.enableFullScan ?? false) || policy.selectionMethod === LeastRequest_SelectionMethod.FULL_SCAN,
            slowStart: slowStart(policy.slowStartConfig),
          },
          subset: null,
          locality: parseLocality(policy.localityLbConfig),
        }
      }
      case RandomSchema.typeName:
        return {
          policy: { kind: 'random' },
          subset: null,
          locality: parseLocality(at.unpack(any, RandomSchema).localityLbConfig),
        }
      case RingHashSchema.typeName: {
        const policy = at.unpack(any, RingHashSchema)
        // The older fields count only where the newer message is not there.
        const { useHostnameForHashing, hashBalanceFactor } = policy.consistentHashingLbConfig ?? policy
        const hashing = { useHostnameForHashing, hashBalanceFactor: hashBalanceFactor ?? 0 }
        const murmur = policy.hashFunction === RingHash_HashFunction.MURMUR_HASH_2
        return {
          policy: ringHash(policy.minimumRingSize, policy.maximumRingSize, murmur, hashing, at),
          subset: null,
          locality: policy.localityWeightedLbConfig ? WEIGHTED : NO_LOCALITY,
        }
      }
      case MaglevSchema.typeName: {
        const policy = at.unpack(any, MaglevSchema)
        const hashing = {
          useHostnameForHashing: policy.consistentHashingLbConfig?.useHostnameForHashing ?? false,
          hashBalanceFactor: policy.consistentHashingLbConfig?.hashBalanceFactor ?? 0,
        }
        return {
          policy: maglev(policy.tableSize, hashing, at),
          subset: null,
          locality: policy.localityWeightedLbConfig ? WEIGHTED : NO_LOCALITY,
        }
      }
      case WrrLocalitySchema.typeName: {
        const picking = at.unpack(any, WrrLocalitySchema).endpointPickingPolicy
        if (!picking) throw new ConfigError(at.at('endpoint_picking_policy').path, 'is required')
        return { ...parsePolicies(picking, at.at('endpoint_picking_policy')), locality: WEIGHTED }
      }
      case SubsetSchema.typeName: {
        const policy = at.unpack(any, SubsetSchema)
        if (!policy.subsetLbPolicy) throw new ConfigError(at.at('subset_lb_policy').path, 'is required')
        // The enums of the extension have the numbers of the cluster's own.
        return {
          ...parsePolicies(policy.subsetLbPolicy, at.at('subset_lb_policy')),
          subset: {
            ...parseSubset(policy as unknown as SubsetMessage, at.path),
            allowRedundantKeys: policy.allowRedundantKeys,
          },
        }
      }
      case ClusterProvidedSchema.typeName:
        return { policy: { kind: 'cluster_provided' }, subset: null, locality: NO_LOCALITY }
    }
  }
  const names = list.policies.map(({ typedExtensionConfig }) => typedExtensionConfig?.name ?? '?').join(', ')
  throw new ConfigError(context.path, `Didn't find a registered load balancer factory implementation for: ${names}`)
}

type SubsetMessage = NonNullable<Cluster['lbSubsetConfig']>

/** Keys to fall back to: some of the selector's own and fewer, for KEYS_SUBSET alone. */
function checkFallbackKeys(selector: SubsetMessage['subsetSelectors'][number], path: string): void {
  const keys = new Set(selector.keys)
  const fewer = new Set(selector.fallbackKeysSubset)
  const wrong = (reason: string): ConfigError => new ConfigError(`${path}.fallback_keys_subset`, reason)
  if (selector.fallbackPolicy !== SelectorFallback.KEYS_SUBSET) {
    if (fewer.size > 0) throw wrong('fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy')
    return
  }
  if (fewer.size === 0) throw wrong('fallback_keys_subset cannot be empty')
  if ([...fewer].some((key) => !keys.has(key))) throw wrong('fallback_keys_subset must be a subset of selector keys')
  if (fewer.size === keys.size) throw wrong('fallback_keys_subset cannot be equal to keys')
}

const FALLBACK = {
  [Fallback.NO_FALLBACK]: 'NO_FALLBACK',
  [Fallback.ANY_ENDPOINT]: 'ANY_ENDPOINT',
  [Fallback.DEFAULT_SUBSET]: 'DEFAULT_SUBSET',
} as const
const SELECTOR_FALLBACK = {
  [SelectorFallback.NOT_DEFINED]: 'NOT_DEFINED',
  [SelectorFallback.NO_FALLBACK]: 'NO_FALLBACK',
  [SelectorFallback.ANY_ENDPOINT]: 'ANY_ENDPOINT',
  [SelectorFallback.DEFAULT_SUBSET]: 'DEFAULT_SUBSET',
  [SelectorFallback.KEYS_SUBSET]: 'KEYS_SUBSET',
} as const

function parseSubset(config: SubsetMessage, path: string): SubsetData {
  for (const [i, selector] of config.subsetSelectors.entries())
    checkFallbackKeys(selector, `${path}.subset_selectors[${i}]`)
  return {
    fallbackPolicy: FALLBACK[config.fallbackPolicy],
    defaultSubset: (config.defaultSubset as Record<string, unknown> | undefined) ?? {},
    selectors: config.subsetSelectors.map((selector) => ({
      keys: [...selector.keys].sort(),
      singleHostPerSubset: selector.singleHostPerSubset,
      fallbackPolicy: SELECTOR_FALLBACK[selector.fallbackPolicy],
      fallbackKeys: [...selector.fallbackKeysSubset].sort(),
    })),
    allowRedundantKeys: false,
    localityWeightAware: config.localityWeightAware,
    scaleLocalityWeight: config.scaleLocalityWeight,
    panicModeAny: config.panicModeAny,
    listAsAny: config.listAsAny,
    metadataFallback:
      config.metadataFallbackPolicy === MetadataFallback.FALLBACK_LIST ? 'FALLBACK_LIST' : 'METADATA_NO_FALLBACK',
  }
}
