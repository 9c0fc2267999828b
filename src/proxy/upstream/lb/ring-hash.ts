// Ketama ring (envoy-contract §13.3): a pure function of hosts and weights, so that `explain` can replay a choice.

/** A host on a ring or in a table. */
export interface HashedHost {
  /** metadata envoy.lb.hash_key, or the host name, or `ip:port`. */
  readonly key: string
  /** Weight among all hosts; all of them add up to 1 (locality weight × host weight, normalised). */
  readonly normalizedWeight: number
}

export interface HashRing {
  /** Ascending. */
  readonly hashes: BigUint64Array
  /** hashes[i] belongs to hosts[owners[i]]. */
  readonly owners: Uint32Array
  /** Entries of a ring of all hosts: more than there are where hosts of some localities are left out. */
  readonly fullSize: number
}

/**
 * Builds the ring. Entry i of a host hashes `<key>_<i>`. The scale lets the lightest host have a whole number of
 * entries, which is why a minimum of 1024 over five equal hosts makes 1025 entries.
 */
export function buildRing(
  hosts: readonly HashedHost[],
  minimumSize: number,
  maximumSize: number,
  hash: (text: string) => bigint,
): HashRing {
  let lightest = 1
  for (const host of hosts) lightest = Math.min(lightest, host.normalizedWeight)
  const scale = Math.min(Math.ceil(lightest * minimumSize) / lightest, maximumSize)
  const entries: { hash: bigint; owner: number }[] = []
  let target = 0
  for (const [owner, host] of hosts.entries()) {
    target += scale * host.normalizedWeight
    for (let i = 0; entries.length < target; i++) entries.push({ hash: hash(`${host.key}_${i}`), owner })
  }
  entries.sort((a, b) => (a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : 0))
  return {
    hashes: BigUint64Array.from(entries, (e) => e.hash),
    owners: Uint32Array.from(entries, (e) => e.owner),
    fullSize: Math.ceil(scale),
  }
}

/** Index of the host for `hash`: the first entry at or after it, wrapping; another look (`attempt`) moves on by that many entries. */
export function chooseFromRing(ring: HashRing, hash: bigint, attempt: number): number {
  const { hashes, owners } = ring
  let low = 0
  let high = hashes.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (hashes[middle]! < hash) low = middle + 1
    else high = middle
  }
  return owners[(low + attempt) % owners.length]!
}
