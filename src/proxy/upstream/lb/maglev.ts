// Maglev consistent hashing (envoy-contract §13.3), table equal to Envoy's entry by entry.

import { xxh64 } from '../../../base/hash.ts'
import type { HashedHost } from './ring-hash.ts'

/** Entry → index of the host in `hosts`. Hosts take turns by key order, weights by how far each has fallen behind. */
export function buildMaglevTable(hosts: readonly HashedHost[], tableSize: number): Uint32Array {
  const EMPTY = 0xffff_ffff
  const table = new Uint32Array(tableSize).fill(EMPTY)
  const size = BigInt(tableSize)
  let heaviest = 0
  const turns = hosts
    .map((host, index) => {
      heaviest = Math.max(heaviest, host.normalizedWeight)
      return {
        key: host.key,
        index,
        weight: host.normalizedWeight,
        target: 0,
        next: 0,
        offset: Number(xxh64(host.key) % size),
        skip: Number(xxh64(host.key, 1n) % (size - 1n)) + 1,
      }
    })
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
  let filled = 0
  for (let round = 1; filled < tableSize && turns.length > 0; round++) {
    for (const turn of turns) {
      if (filled === tableSize) break
      if (round * turn.weight < turn.target) continue
      turn.target += heaviest
      let entry = (turn.offset + turn.skip * turn.next) % tableSize
      while (table[entry] !== EMPTY) {
        turn.next++
        entry = (turn.offset + turn.skip * turn.next) % tableSize
      }
      table[entry] = turn.index
      turn.next++
      filled++
    }
  }
  return table
}

/** Index of the host for `hash`; another look (`attempt`) flips the hash so that it lands elsewhere. */
export function chooseFromMaglev(table: Uint32Array, hash: bigint, attempt: number): number {
  const seen = attempt > 0 ? hash ^ (0xffff_ffff_ffff_ffffn - BigInt(attempt) + 1n) : hash
  return table[Number(seen % BigInt(table.length))]!
}
