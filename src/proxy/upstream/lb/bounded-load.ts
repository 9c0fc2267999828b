// hash_balance_factor: consistent hashing with bounded loads. No host is to have more than its share of the requests under
// way, times the factor; who has is passed over for hosts in an order that depends on the hash alone.

import type { Host } from '../host.ts'
import { MersenneTwister } from './mersenne-twister.ts'
import type { HashedHost } from './ring-hash.ts'

export class BoundedLoad {
  /** Percent. */
  private readonly factor: number
  private readonly hosts: readonly Host[]
  private readonly shares: ReadonlyMap<Host, number>
  /** Requests under way in the cluster. */
  private readonly active: () => number

  constructor(hosts: readonly Host[], hashed: readonly HashedHost[], factor: number, active: () => number) {
    this.factor = factor
    this.hosts = hosts
    this.shares = new Map(hosts.map((host, i) => [host, hashed[i]!.normalizedWeight]))
    this.active = active
  }

  /** How full a host is; above 1 it takes no more while others do. */
  private load(host: Host, active: number): number {
    const all = Math.floor(((active + 1) * this.factor + 99) / 100)
    return host.stats.rqActive / Math.max(1, Math.ceil(all * this.shares.get(host)!))
  }

  /** `first`, or the first host with room, or the one with the least load. */
  pick(first: Host, hash: bigint): Host {
    const active = this.active()
    let least = first
    let leastLoad = this.load(first, active)
    if (leastLoad <= 1) return first
    const random = new MersenneTwister(Number(BigInt.asUintN(32, hash)))
    const order = this.hosts.map((_, i) => i)
    for (let i = 0; i < order.length; i++) {
      const swap = i + random.below(order.length - i)
      const chosen = order[swap]!
      order[swap] = order[i]!
      order[i] = chosen
      const host = this.hosts[chosen]!
      if (host === first) continue
      const load = this.load(host, active)
      if (load <= 1) return host
      if (load < leastLoad) {
        least = host
        leastLoad = load
      }
    }
    return least
  }
}
