// What a command of a format string compiles to.
//
// Texts are byte strings: one char per byte, as header values are, so that a peer's bytes reach the log unchanged.

import type { LogContext } from '../access-log.ts'

/** One compiled command. null = there is nothing to print. */
export interface Operator {
  text(context: LogContext): string | null
  /** The value as JSON text, keeping its type. */
  json(context: LogContext): string | null
}

/** A string value. */
export class TextOperator implements Operator {
  private readonly get: (context: LogContext) => string | null
  constructor(get: (context: LogContext) => string | null) {
    this.get = get
  }
  text(context: LogContext): string | null {
    return this.get(context)
  }
  json(context: LogContext): string | null {
    const value = this.get(context)
    return value === null ? null : quote(value)
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
  json(context: LogContext): string | null {
    const value = this.text(context)
    return value === null ? null : quote(value)
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
  json(context: LogContext): string | null {
    return this.text(context)
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
  json(context: LogContext): string | null {
    const value = this.get(context)
    if (value === undefined || value === null) return null
    if (typeof value === 'string' && value.length > this.maxLength) return JSON.stringify(this.text(context))
    return byteString(JSON.stringify(value))
  }
}

/** JSON text of a string; short ones without anything to escape, nearly all, are not worth a call of JSON.stringify. */
export function quote(text: string): string {
  if (text.length > 80) return JSON.stringify(text)
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i)
    if (char < 0x20 || char === 0x22 || char === 0x5c) return JSON.stringify(text)
  }
  return `"${text}"`
}

/** UTF-16 text as its UTF-8 bytes, one char per byte; ASCII comes back as it is. */
export function byteString(text: string): string {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return Buffer.from(text, 'utf8').toString('latin1')
  }
  return text
}
