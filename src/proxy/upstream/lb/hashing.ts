// Ring hash and Maglev as tables over hosts: how they are filled is lb/ring-hash.ts and lb/maglev.ts.

import { murmur2, xxh64 } from '../../../base/hash.ts'
import type { Scope } from '../../observe/stats.ts'
import type { LoadBalancerContext } from '../cluster-manager.ts'
import type { LbPolicyData } from '../config.ts'
import type { Host } from '../host.ts'
import { BoundedLoad } from './bounded-load.ts'
import { buildMaglevTable, chooseFromMaglev } from './maglev.ts'
import { buildRing, chooseFromRing, type HashedHost } from './ring-hash.ts'

export type HashPolicyKind = Extract<LbPolicyData, { kind: 'ring_hash' | 'maglev' }>

/** A host and its part of all weights, which add up to 1. */
export interface WeightedHost {
  readonly host: Host
  readonly normalizedWeight: number
}

/** Hash → host. */
export type HashTable = (hash: bigint, attempt: number) => Host

/** What identifies a host on the ring: its metadata's hash_key, its name, or its address. */
function hashKey(host: Host, useHostname: boolean): string {
  const key = host.metadata['envoy.lb']?.hash_key
  if (typeof key === 'string' && key !== '') return key
  return useHostname ? host.hostname : host.address.text
}

/** The hash that a route or filter gives the request; null = none. */
export function requestHash(context: LoadBalancerContext): bigint | null {
  if (context.hashSource === null) return context.hash
  context.hash = context.hashSource.hash()
  context.hashSource = null
  return context.hash
}

export function randomHash(): bigint {
  return (BigInt(Math.floor(Math.random() * 0x100000000)) << 32n) | BigInt(Math.floor(Math.random() * 0x100000000))
}

/** Fewest and most entries that one host owns. */
function spread(owners: Uint32Array, hosts: number): [fewest: number, most: number] {
  const counts = new Uint32Array(hosts)
  for (const owner of owners) counts[owner]!++
  let fewest = owners.length
  let most = 0
  for (const count of counts) {
    fewest = Math.min(fewest, count)
    most = Math.max(most, count)
  }
  return [fewest, most]
}

/** `weighted` is not empty. `stats`: the cluster's. `active`: requests under way in the cluster. */
export function buildHashTable(
  policy: HashPolicyKind,
  weighted: readonly WeightedHost[],
  stats: Scope,
  active: () => number,
): HashTable {
  const hosts = weighted.map(({ host }) => host)
  const hashed = weighted.map(({ host, normalizedWeight }) => ({
    key: hashKey(host, policy.useHostnameForHashing),
    normalizedWeight,
  }))
  const table =
    policy.kind === 'ring_hash' ? ringOf(policy, hosts, hashed, stats) : maglevOf(policy, hosts, hashed, stats)
  if (policy.hashBalanceFactor === 0) return table
  const bounded = new BoundedLoad(hosts, hashed, policy.hashBalanceFactor, active)
  return (hash, attempt) => bounded.pick(table(hash, attempt), hash)
}

function ringOf(
  policy: Extract<HashPolicyKind, { kind: 'ring_hash' }>,
  hosts: readonly Host[],
  hashed: readonly HashedHost[],
  stats: Scope,
): HashTable {
  const hash = policy.hashFunction === 'MURMUR_HASH_2' ? murmur2 : xxh64
  const ring = buildRing(hashed, policy.minimumRingSize, policy.maximumRingSize, hash)
  const [fewest, most] = spread(ring.owners, hosts.length)
  const scope = stats.scope('ring_hash_lb')
  scope.gauge('size').set(ring.fullSize)
  scope.gauge('min_hashes_per_host').set(fewest)
  scope.gauge('max_hashes_per_host').set(most)
  return (wanted, attempt) => hosts[chooseFromRing(ring, wanted, attempt)]!
}

function maglevOf(
  policy: Extract<HashPolicyKind, { kind: 'maglev' }>,
  hosts: readonly Host[],
  hashed: readonly HashedHost[],
  stats: Scope,
): HashTable {
  const table = buildMaglevTable(hashed, policy.tableSize)
  const [fewest, most] = spread(table, hosts.length)
  const scope = stats.scope('maglev_lb')
  scope.gauge('min_entries_per_host').set(fewest)
  scope.gauge('max_entries_per_host').set(most)
  return (wanted, attempt) => hosts[chooseFromMaglev(table, wanted, attempt)]!
}
