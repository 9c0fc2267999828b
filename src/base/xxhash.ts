// xxHash64 over bytes. The module is ready when imported: WebAssembly is compiled once per thread.

import xxhash from 'xxhash-wasm'

const hasher = await xxhash()

/** Unsigned 64-bit hash of a byte string (one char per byte, as header values are). */
export function xxHash64(bytes: string, seed = 0n): bigint {
  return hasher.h64Raw(Buffer.from(bytes, 'latin1'), seed)
}
