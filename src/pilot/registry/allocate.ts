// Addresses for ServiceEntries that have none: so that DNS capture can answer for them and listeners tell them apart.
import { createHash } from 'node:crypto'

/** Istio's ranges: 240.240.0.0/16 (nobody routes it) and 2001:2::/48 (benchmarking). */
const V4_PREFIX = '240.240.'
const V6_PREFIX = '2001:2::'
/** Host numbers 1 to 65534: neither the network nor the broadcast address. */
const HOSTS = 65_534

/** Gives each owner an address of its own for as long as it lives; where it starts to look depends on its name alone. */
export class AddressAllocator {
  private readonly numbers = new Map<string, number>()
  private readonly taken = new Set<number>()

  /** The IPv4 and IPv6 address of `owner`; none when the range is used up. */
  allocate(owner: string): readonly string[] {
    let number = this.numbers.get(owner)
    if (number === undefined) {
      if (this.taken.size >= HOSTS) return []
      number = createHash('sha256').update(owner).digest().readUInt32BE(0) % HOSTS
      while (this.taken.has(number)) number = (number + 1) % HOSTS
      this.numbers.set(owner, number)
      this.taken.add(number)
    }
    const host = number + 1
    return [`${V4_PREFIX}${host >> 8}.${host & 255}`, `${V6_PREFIX}${host.toString(16)}`]
  }

  release(owner: string): void {
    const number = this.numbers.get(owner)
    if (number === undefined) return
    this.numbers.delete(owner)
    this.taken.delete(number)
  }
}
