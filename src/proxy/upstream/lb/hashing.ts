// Ring hash and Maglev as balancer policies: the tables are lb/ring-hash.ts and lb/maglev.ts.

import { murmur2, xxh64 } from '../../../base/hash.ts'
import type { Scope } from '../../observe/stats.ts'
import type { LoadBalancerContext } from '../cluster-manager.ts'
import type { ConsistentHashingData, LbPolicyData } from '../config.ts'
import type { Host } from '../host.ts'
import { buildMaglevTable, chooseFromMaglev } from './maglev.ts'
import type { Picker, WeightOf } from './picker.ts'
import { buildRing, chooseFromRing, type HashedHost, type HashRing } from './ring-hash.ts'

/** What identifies a host on the ring: its metadata's hash_key, its name, or its address. */
function hashKey(host: Host, useHostname: boolean): string {
  const key = host.metadata['envoy.lb']?.hash_key
  if (typeof key === 'string' && key !== '') return key
  return useHostname ? host.hostname : host.address.text
}

function hashedHosts(hosts: readonly Host[], weightOf: WeightOf, useHostname: boolean): HashedHost[] {
  const total = hosts.reduce((sum, host) => sum + weightOf(host), 0)
  return hosts.map((host) => ({ key: hashKey(host, useHostname), normalizedWeight: weightOf(host) / total }))
}

/** The hash that a route or filter gives the request; null = none. */
export function requestHash(context: LoadBalancerContext): bigint | null {
  if (context.hashSource === null) return context.hash
  context.hash = context.hashSource.hash()
  context.hashSource = null
  return context.hash
}

/** Requests without a hash go to a random place. */
function hashOf(context: LoadBalancerContext): bigint {
  const hash = requestHash(context)
  if (hash !== null) return hash
  return (BigInt(Math.floor(Math.random() * 0x100000000)) << 32n) | BigInt(Math.floor(Math.random() * 0x100000000))
}

/** Bounded load: the chosen host is passed over while it has more than its share (hash_balance_factor). */
class BoundedLoad {
  private readonly factor: number
  private readonly hosts: readonly Host[]
  private readonly shares: ReadonlyMap<Host, number>

  constructor(hosts: readonly Host[], hashed: readonly HashedHost[], factor: number) {
    this.factor = factor / 100
    this.hosts = hosts
    this.shares = new Map(hosts.map((host, i) => [host, hashed[i]!.normalizedWeight]))
  }

  private overloaded(host: Host, active: number): boolean {
    return host.stats.rqActive >= Math.ceil((active + 1) * this.factor * this.shares.get(host)!)
  }

  /** `first`, or the first host with room in an order that depends on the hash only. */
  pick(first: Host, hash: bigint): Host {
    let active = 0
    for (const host of this.hosts) active += host.stats.rqActive
    if (!this.overloaded(first, active)) return first
    let at = Number(hash % BigInt(this.hosts.length))
    let least = first
    for (let i = 0; i < this.hosts.length; i++) {
      const host = this.hosts[at]!
      if (!this.overloaded(host, active)) return host
      if (host.stats.rqActive < least.stats.rqActive) least = host
      at = at + 1 === this.hosts.length ? 0 : at + 1
    }
    return least
  }
}

function boundedLoad(
  hosts: readonly Host[],
  hashed: readonly HashedHost[],
  data: ConsistentHashingData,
): BoundedLoad | null {
  return data.hashBalanceFactor > 0 ? new BoundedLoad(hosts, hashed, data.hashBalanceFactor) : null
}

/** Fewest and most entries that one host owns. */
function shares(owners: Uint32Array, hosts: number): [fewest: number, most: number] {
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

export class RingHashPicker implements Picker {
  private readonly hosts: readonly Host[]
  private readonly ring: HashRing
  private readonly bounded: BoundedLoad | null

  /** `stats`: the cluster's. */
  constructor(
    hosts: readonly Host[],
    weightOf: WeightOf,
    data: Extract<LbPolicyData, { kind: 'ring_hash' }>,
    stats: Scope,
  ) {
    const hashed = hashedHosts(hosts, weightOf, data.useHostnameForHashing)
    this.hosts = hosts
    this.ring = buildRing(
      hashed,
      data.minimumRingSize,
      data.maximumRingSize,
      data.hashFunction === 'MURMUR_HASH_2' ? murmur2 : xxh64,
    )
    this.bounded = boundedLoad(hosts, hashed, data)
    const { owners } = this.ring
    const [fewest, most] = shares(owners, hosts.length)
    const scope = stats.scope('ring_hash_lb')
    scope.gauge('size').set(owners.length)
    scope.gauge('min_hashes_per_host').set(fewest)
    scope.gauge('max_hashes_per_host').set(most)
  }

  pick(context: LoadBalancerContext): Host {
    const hash = hashOf(context)
    const host = this.hosts[chooseFromRing(this.ring, hash, context.attempt)]!
    return this.bounded === null ? host : this.bounded.pick(host, hash)
  }
}

export class MaglevPicker implements Picker {
  private readonly hosts: readonly Host[]
  private readonly table: Uint32Array
  private readonly bounded: BoundedLoad | null

  /** `stats`: the cluster's. */
  constructor(
    hosts: readonly Host[],
    weightOf: WeightOf,
    data: Extract<LbPolicyData, { kind: 'maglev' }>,
    stats: Scope,
  ) {
    const hashed = hashedHosts(hosts, weightOf, data.useHostnameForHashing)
    this.hosts = hosts
    this.table = buildMaglevTable(hashed, data.tableSize)
    this.bounded = boundedLoad(hosts, hashed, data)
    const [fewest, most] = shares(this.table, hosts.length)
    const scope = stats.scope('maglev_lb')
    scope.gauge('min_entries_per_host').set(fewest)
    scope.gauge('max_entries_per_host').set(most)
  }

  pick(context: LoadBalancerContext): Host {
    const hash = hashOf(context)
    const host = this.hosts[chooseFromMaglev(this.table, hash, context.attempt)]!
    return this.bounded === null ? host : this.bounded.pick(host, hash)
  }
}
