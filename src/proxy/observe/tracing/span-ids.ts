// Random ids of traces and spans, in lower-case hex. Bytes are drawn in bulk: a system call per span costs more than all else.

import { randomFillSync } from 'node:crypto'

const POOL_BYTES = 4096
const pool = Buffer.alloc(POOL_BYTES)
let used = POOL_BYTES

/** 16 hex digits: 64 random bits. */
export function randomId(): string {
  if (used + 8 > POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  used += 8
  return pool.toString('hex', used - 8, used)
}
