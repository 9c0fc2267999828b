// 64-bit hashes that must equal Envoy's bit for bit: hash policies, rings and Maglev tables depend on them.

import xxhash from 'xxhash-wasm'

const { h64Raw } = await xxhash()

/** xxHash64 of UTF-8 `text`, as an unsigned 64-bit BigInt. */
export function xxh64(text: string, seed = 0n): bigint {
  return h64Raw(Buffer.from(text), seed)
}

/** xxHash64 of a byte string (one char per byte, as header values are). */
export function xxh64Bytes(bytes: string, seed = 0n): bigint {
  return h64Raw(Buffer.from(bytes, 'latin1'), seed)
}

const MASK = 0xffff_ffff_ffff_ffffn
const MURMUR_M = 0xc6a4_a793_5bd1_e995n
/** libstdc++'s seed for std::hash, which Envoy's MURMUR_HASH_2 reproduces. */
const STD_HASH_SEED = 0xc70f_6907n

/** MurmurHash2 (64 bit, as libstdc++ hashes bytes) of UTF-8 `text`. */
export function murmur2(text: string): bigint {
  const bytes = Buffer.from(text)
  const words = bytes.length >> 3
  let hash = STD_HASH_SEED ^ ((BigInt(bytes.length) * MURMUR_M) & MASK)
  for (let i = 0; i < words; i++) {
    let k = (bytes.readBigUInt64LE(i * 8) * MURMUR_M) & MASK
    k = ((k ^ (k >> 47n)) * MURMUR_M) & MASK
    hash = ((hash ^ k) * MURMUR_M) & MASK
  }
  const rest = bytes.length & 7
  if (rest > 0) {
    let tail = 0n
    for (let i = rest - 1; i >= 0; i--) tail = (tail << 8n) | BigInt(bytes[words * 8 + i]!)
    hash = ((hash ^ tail) * MURMUR_M) & MASK
  }
  hash = ((hash ^ (hash >> 47n)) * MURMUR_M) & MASK
  return hash ^ (hash >> 47n)
}
