// x-request-id: a version 4 UUID whose 13th hex digit carries why (or that not) the request is traced.

import { randomFillSync } from 'node:crypto'

/** Random bytes are drawn in bulk: one call per request costs a system call's worth of time. */
const POOL_BYTES = 4096
const pool = Buffer.alloc(POOL_BYTES)
let used = POOL_BYTES

const HEX: string[] = []
for (let i = 0; i < 256; i++) HEX.push(i.toString(16).padStart(2, '0'))

/** Position of the digit in the text form. */
const TRACE_DIGIT = 14

export const TraceReason = { NotTraceable: '4', Sampled: '9', ServiceForced: 'a', ClientForced: 'b' } as const
export type TraceReason = (typeof TraceReason)[keyof typeof TraceReason]

/** A new id, not traced. */
export function newRequestId(): string {
  if (used + 16 > POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  const p = pool
  const o = used
  used += 16
  return `${HEX[p[o]!]}${HEX[p[o + 1]!]}${HEX[p[o + 2]!]}${HEX[p[o + 3]!]}-${HEX[p[o + 4]!]}${HEX[p[o + 5]!]}-${HEX[(p[o + 6]! & 0x0f) | 0x40]}${HEX[p[o + 7]!]}-${HEX[(p[o + 8]! & 0x3f) | 0x80]}${HEX[p[o + 9]!]}-${HEX[p[o + 10]!]}${HEX[p[o + 11]!]}${HEX[p[o + 12]!]}${HEX[p[o + 13]!]}${HEX[p[o + 14]!]}${HEX[p[o + 15]!]}`
}

/** The reason an id carries, or null for what is no UUID. */
export function traceReasonOf(id: string): TraceReason | null {
  if (id.length !== 36) return null
  const digit = id[TRACE_DIGIT]
  return digit === '9' || digit === 'a' || digit === 'b' ? digit : TraceReason.NotTraceable
}

/** The id with its reason replaced; other texts stay as they are. */
export function withTraceReason(id: string, reason: TraceReason): string {
  return id.length === 36 ? id.slice(0, TRACE_DIGIT) + reason + id.slice(TRACE_DIGIT + 1) : id
}

/** The id's first 8 hex digits as a number: what trace sampling takes modulo 10000. */
export function requestIdNumber(id: string): number | null {
  if (id.length !== 36) return null
  const value = Number.parseInt(id.slice(0, 8), 16)
  return Number.isNaN(value) ? null : value
}
