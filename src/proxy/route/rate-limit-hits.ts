// hits_addend of a rate limit: how much one request adds to its limit, a fixed number or what a format makes of it.

import type { LogContext } from '../observe/access-log.ts'
import { compileSegments } from '../observe/format/text-format.ts'
import type { HitsAddendData } from './config.ts'

/** null: the format gives no number in range, and the descriptor is dropped. */
export type Hits = (context: LogContext) => number | null

const MAX_HITS = 1_000_000_000
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i
const HEXADECIMAL = /^[+-]?0x[0-9a-f]+$/i

export function compileHits({ source, format, number }: HitsAddendData): Hits {
  if (source === 'number') return () => number
  const [command] = compileSegments(format, 'hits_addend.format')
  if (command === undefined || typeof command === 'string') throw new TypeError(`no command: ${format}`)
  return (context) => {
    const text = command.text(context)
    return text === null ? null : toHits(text)
  }
}

/** Whole hits of a number in text, cut at its point; null for what is none, negative or above 10⁹. */
export function toHits(text: string): number | null {
  const value = numberOf(text.trim())
  return value >= 0 && value <= MAX_HITS ? Math.trunc(value) : null
}

function numberOf(text: string): number {
  if (DECIMAL.test(text)) return Number(text)
  if (!HEXADECIMAL.test(text)) return Number.NaN
  return Number.parseInt(text, 16)
}
