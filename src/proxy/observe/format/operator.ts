// What a command of a format string compiles to.
//
// Texts are byte strings: one char per byte, as header values are, so that a peer's bytes reach the log unchanged.

import { byteString } from '../../../base/byte-string.ts'
import type { LogContext } from '../access-log.ts'
import type { LineBuffer } from './line-buffer.ts'

/** One compiled command. null = there is nothing to print. */
export interface Operator {
  text(context: LogContext): string | null
  /** Writes the value as JSON text, keeping its type. False = there is none, and nothing was written. */
  writeJson(context: LogContext, out: LineBuffer): boolean
}

/** JSON text of a value that came this often in a row is kept. */
const KEPT_STREAK = 8
const MAX_KEPT_LENGTH = 256

/** A string value. */
export class TextOperator implements Operator {
  private readonly get: (context: LogContext) => string | null
  // Many values are the same from line to line: addresses, clusters, flags, authorities.
  private last: string | null = null
  private streak = 0
  private lastJson: Uint8Array | null = null
  constructor(get: (context: LogContext) => string | null) {
    this.get = get
  }
  text(context: LogContext): string | null {
    return this.get(context)
  }
  writeJson(context: LogContext, out: LineBuffer): boolean {
    const value = this.get(context)
    if (value === null) return false
    if (value !== this.last) {
      this.last = value.length <= MAX_KEPT_LENGTH ? value : null
      this.streak = 0
      this.lastJson = null
    } else if (this.lastJson !== null) {
      out.putBytes(this.lastJson)
      return true
    }
    const begin = out.length
    out.putQuoted(value)
    if (++this.streak === KEPT_STREAK) this.lastJson = out.copyFrom(begin)
    return true
  }
}

/** A string value cut after `maxLength` bytes. */
export class TruncatedOperator implements Operator {
  private readonly get: (context: LogContext) => string | null
  private readonly maxLength: number
  constructor(get: (context: LogContext) => string | null, maxLength: number) {
    this.get = get
    this.maxLength = maxLength
  }
  text(context: LogContext): string | null {
    const value = this.get(context)
    return value === null || value.length <= this.maxLength ? value : value.slice(0, this.maxLength)
  }
  writeJson(context: LogContext, out: LineBuffer): boolean {
    const value = this.text(context)
    if (value === null) return false
    out.putQuoted(value)
    return true
  }
}

/** A number. */
export class NumberOperator implements Operator {
  private readonly get: (context: LogContext) => number | null
  constructor(get: (context: LogContext) => number | null) {
    this.get = get
  }
  text(context: LogContext): string | null {
    const value = this.get(context)
    return value === null ? null : String(value)
  }
  writeJson(context: LogContext, out: LineBuffer): boolean {
    const value = this.get(context)
    if (value === null) return false
    out.putNumber(value)
    return true
  }
}

/** Any JSON value; undefined = absent. As text, strings stand bare and everything else is JSON. */
export class ValueOperator implements Operator {
  private readonly get: (context: LogContext) => unknown
  private readonly maxLength: number
  constructor(get: (context: LogContext) => unknown, maxLength: number | null) {
    this.get = get
    this.maxLength = maxLength ?? Number.POSITIVE_INFINITY
  }
  text(context: LogContext): string | null {
    const value = this.get(context)
    if (value === undefined || value === null) return null
    const text = byteString(typeof value === 'string' ? value : JSON.stringify(value))
    return text.length > this.maxLength ? text.slice(0, this.maxLength) : text
  }
  writeJson(context: LogContext, out: LineBuffer): boolean {
    const value = this.get(context)
    if (value === undefined || value === null) return false
    if (typeof value === 'string' && value.length > this.maxLength) out.put(JSON.stringify(this.text(context)))
    else out.put(byteString(JSON.stringify(value)))
    return true
  }
}
