// x-request-id: a version 4 UUID whose 13th hex digit carries why (or that not) the request is traced.

import { randomFillSync } from 'node:crypto'
import { latin1 } from '../../../base/bytes.ts'

/** Random bytes are drawn in bulk: one call per request costs a system call's worth of time. */
const POOL_BYTES = 4096
const pool = Buffer.alloc(POOL_BYTES)
let used = POOL_BYTES

const LENGTH = 36
/** Bytes 8-4-4-4-12 digits apart stand at these places of the text. */
const PLACES = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34]
const DIGITS = Buffer.from('0123456789abcdef', 'latin1')
/** The id being written: joining sixteen strings would make a string that is itself joined at its first use. */
const text = Buffer.from('00000000-0000-4000-8000-000000000000', 'latin1')

/** Position of the digit in the text form. */
const TRACE_DIGIT = 14
const VARIANT_DIGIT = 19
/** ASCII 4 */
const VERSION = 0x34

export const TraceReason = { NotTraceable: '4', Sampled: '9', ServiceForced: 'a', ClientForced: 'b' } as const
export type TraceReason = (typeof TraceReason)[keyof typeof TraceReason]

/** A new id, not traced. */
export function newRequestId(): string {
  if (used + 16 > POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  const from = used
  used += 16
  for (let i = 0; i < 16; i++) {
    const byte = pool[from + i]!
    const place = PLACES[i]!
    text[place] = DIGITS[byte >> 4]!
    text[place + 1] = DIGITS[byte & 15]!
  }
  text[TRACE_DIGIT] = VERSION
  text[VARIANT_DIGIT] = DIGITS[8 | ((pool[from + 8]! >> 4) & 3)]!
  return latin1(text, 0, LENGTH)
}

/** The reason an id carries, or null for what is no UUID. */
export function traceReasonOf(id: string): TraceReason | null {
  if (id.length !== LENGTH) return null
  const digit = id[TRACE_DIGIT]
  return digit === '9' || digit === 'a' || digit === 'b' ? digit : TraceReason.NotTraceable
}

/** The id with its reason replaced; other texts stay as they are. */
export function withTraceReason(id: string, reason: TraceReason): string {
  return id.length === LENGTH ? id.slice(0, TRACE_DIGIT) + reason + id.slice(TRACE_DIGIT + 1) : id
}

/** The id's first 8 hex digits as a number: what trace sampling takes modulo 10000. */
export function requestIdNumber(id: string): number | null {
  if (id.length !== LENGTH) return null
  const value = Number.parseInt(id.slice(0, 8), 16)
  return Number.isNaN(value) ? null : value
}
