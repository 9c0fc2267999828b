// Time patterns of START_TIME and EMIT_TIME: strftime letters, `%3f` (fraction of a second, here 3 digits), `%s`, `%3s`
// (seconds and milliseconds since the epoch). Without a pattern: ISO 8601, UTC, milliseconds.

import { ConfigError } from '../../../base/errors.ts'

/** Formats wall clock milliseconds. */
export type TimeFormat = (timeMs: number) => string

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
]

interface Parts {
  readonly timeMs: number
  readonly year: number
  readonly month: number
  readonly day: number
  readonly hour: number
  readonly minute: number
  readonly second: number
  readonly weekday: number
  readonly offsetMinutes: number
}

function partsOf(timeMs: number, local: boolean): Parts {
  const d = new Date(timeMs)
  return local
    ? {
        timeMs,
        year: d.getFullYear(),
        month: d.getMonth(),
        day: d.getDate(),
        hour: d.getHours(),
        minute: d.getMinutes(),
        second: d.getSeconds(),
        weekday: d.getDay(),
        offsetMinutes: -d.getTimezoneOffset(),
      }
    : {
        timeMs,
        year: d.getUTCFullYear(),
        month: d.getUTCMonth(),
        day: d.getUTCDate(),
        hour: d.getUTCHours(),
        minute: d.getUTCMinutes(),
        second: d.getUTCSeconds(),
        weekday: d.getUTCDay(),
        offsetMinutes: 0,
      }
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, '0')
}

function dayOfYear(p: Parts): number {
  return Math.floor((Date.UTC(p.year, p.month, p.day) - Date.UTC(p.year, 0, 1)) / 86_400_000) + 1
}

function zone(p: Parts): string {
  const minutes = Math.abs(p.offsetMinutes)
  return `${p.offsetMinutes < 0 ? '-' : '+'}${pad(Math.floor(minutes / 60), 2)}${pad(minutes % 60, 2)}`
}

const LETTERS: Record<string, (p: Parts) => string> = {
  Y: (p) => String(p.year),
  y: (p) => pad(p.year % 100, 2),
  m: (p) => pad(p.month + 1, 2),
  d: (p) => pad(p.day, 2),
  e: (p) => String(p.day).padStart(2, ' '),
  H: (p) => pad(p.hour, 2),
  I: (p) => pad(p.hour % 12 || 12, 2),
  M: (p) => pad(p.minute, 2),
  S: (p) => pad(p.second, 2),
  p: (p) => (p.hour < 12 ? 'AM' : 'PM'),
  j: (p) => pad(dayOfYear(p), 3),
  a: (p) => DAYS[p.weekday]!.slice(0, 3),
  A: (p) => DAYS[p.weekday]!,
  b: (p) => MONTHS[p.month]!.slice(0, 3),
  h: (p) => MONTHS[p.month]!.slice(0, 3),
  B: (p) => MONTHS[p.month]!,
  F: (p) => `${p.year}-${pad(p.month + 1, 2)}-${pad(p.day, 2)}`,
  T: (p) => `${pad(p.hour, 2)}:${pad(p.minute, 2)}:${pad(p.second, 2)}`,
  D: (p) => `${pad(p.month + 1, 2)}/${pad(p.day, 2)}/${pad(p.year % 100, 2)}`,
  R: (p) => `${pad(p.hour, 2)}:${pad(p.minute, 2)}`,
  u: (p) => String(p.weekday || 7),
  w: (p) => String(p.weekday),
  z: zone,
  Z: (p) => (p.offsetMinutes === 0 ? 'UTC' : zone(p)),
  n: () => '\n',
  t: () => '\t',
  '%': () => '%',
}

/** Digits of the wall clock's nanoseconds; we know it to the microsecond at best. */
function nanoseconds(timeMs: number): string {
  const seconds = Math.floor(timeMs / 1000)
  return pad(Math.round((timeMs - seconds * 1000) * 1e6), 9)
}

/** Compiles a pattern; '' or null gives the default. Throws ConfigError for a letter it does not know. */
export function compileTime(pattern: string | null, local: boolean, path: string): TimeFormat {
  if (!pattern) return local ? compileTime('%Y-%m-%dT%H:%M:%E3S%z', local, path) : isoTime
  const pieces: (string | ((p: Parts) => string))[] = []
  const directive = /%(?:E([0-9]|\*)?S|([0-9])?([a-zA-Z%]))/y
  let position = 0
  while (position < pattern.length) {
    const next = pattern.indexOf('%', position)
    if (next !== position) {
      pieces.push(pattern.slice(position, next < 0 ? undefined : next))
      position = next < 0 ? pattern.length : next
      continue
    }
    directive.lastIndex = position
    const match = directive.exec(pattern)
    if (!match) throw new ConfigError(path, `time pattern ${pattern}: unknown directive at position ${position}`)
    pieces.push(directiveOf(match, pattern, path))
    position = directive.lastIndex
  }
  return (timeMs) => {
    const parts = partsOf(timeMs, local)
    let out = ''
    for (const piece of pieces) out += typeof piece === 'string' ? piece : piece(parts)
    return out
  }
}

function directiveOf(match: RegExpExecArray, pattern: string, path: string): (p: Parts) => string {
  const letter = match[3]
  if (letter === undefined) {
    const digits = match[1] === undefined ? 0 : match[1] === '*' ? 9 : Number(match[1])
    return (p) => pad(p.second, 2) + (digits ? `.${nanoseconds(p.timeMs).slice(0, digits)}` : '')
  }
  const digits = match[2] === undefined ? null : Number(match[2])
  if (letter === 'f') return (p) => nanoseconds(p.timeMs).slice(0, digits ?? 9)
  if (letter === 's') {
    return (p) => String(Math.floor(p.timeMs / 1000)) + (digits ? nanoseconds(p.timeMs).slice(0, digits) : '')
  }
  const write = LETTERS[letter]
  if (!write || digits !== null) throw new ConfigError(path, `time pattern ${pattern}: unknown directive ${match[0]}`)
  return write
}

let cachedTime = Number.NaN
let cachedText = ''
let cachedSecond = Number.NaN
let cachedPrefix = ''

/** `2016-10-27T12:34:56.789Z`; kept from call to call: the same millisecond has many requests. */
function isoTime(timeMs: number): string {
  if (timeMs === cachedTime) return cachedText
  const second = Math.floor(timeMs / 1000)
  if (second !== cachedSecond) {
    cachedPrefix = new Date(second * 1000).toISOString().slice(0, 20)
    cachedSecond = second
  }
  const ms = Math.floor(timeMs - second * 1000)
  cachedTime = timeMs
  cachedText = `${cachedPrefix}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${ms}Z`
  return cachedText
}
