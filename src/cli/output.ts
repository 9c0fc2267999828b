// Output forms that commands share.

import type { Pair, Scalar } from 'yaml'
import { UserError } from '../base/errors.ts'

/** JSON with four spaces, or `indent`, or YAML with sorted keys, as istioctl prints them. */
export async function printStructured(value: unknown, format: 'json' | 'yaml', indent = 4): Promise<void> {
  if (format === 'json') {
    process.stdout.write(`${JSON.stringify(value, null, indent)}\n`)
    return
  }
  process.stdout.write(`${await goYaml(value)}\n`)
}

/** What a YAML 1.1 reader would not take for a text. */
const OTHER_THAN_TEXT =
  /^(?:|~|null|true|false|yes|no|on|off|y|n|[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:e[-+]?\d+)?|0x[\da-f_]+|0o?[0-7_]+|0b[01_]+|[-+]?\.inf|\.nan|\d{4}-\d\d?-\d\d?(?:(?:t|\s+)\d\d?:\d\d:\d\d(?:\.\d*)?\s*(?:z|[-+]\d\d?(?::?\d\d)?)?)?|<<|=)$/i

/** Go's order of keys: letters after other characters, numbers by their value. */
function byKey({ key: a }: Pair, { key: b }: Pair): number {
  return compareKeys(String((a as Scalar).value), String((b as Scalar).value))
}

/** Exported for the test. */
export function compareKeys(a: string, b: string): number {
  let i = 0
  while (i < a.length && a[i] === b[i]) i++
  if (i === a.length || i === b.length) return a.length - b.length
  const [x, y] = [a[i]!, b[i]!]
  const [letterX, letterY] = [LETTER.test(x), LETTER.test(y)]
  const order = x < y ? -1 : 1
  if (letterX && letterY) return order
  // Within a number, its end comes first.
  if (letterX !== letterY) return letterX === /\d/.test(a[i - 1] ?? '') ? -1 : 1
  const [digitsX, digitsY] = [digitsAt(a, i), digitsAt(b, i)]
  return Number(digitsX) - Number(digitsY) || digitsX.length - digitsY.length || order
}

const LETTER = /\p{L}/u

/** The digits at a place; none count as 0. */
function digitsAt(text: string, at: number): string {
  return /^\d*/.exec(text.slice(at))![0]
}

/** YAML as Go programs write it: sorted keys; texts that look like something else in double quotes, other quotes single. */
export async function goYaml(value: unknown): Promise<string> {
  const { Document, Scalar, visit } = await import('yaml')
  const document = new Document(value, { aliasDuplicateObjects: false, sortMapEntries: byKey })
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value === 'string' && OTHER_THAN_TEXT.test(node.value)) node.type = Scalar.QUOTE_DOUBLE
    },
  })
  return document.toString({ lineWidth: 0, indentSeq: false, singleQuote: true })
}

/** Checks `-o`. Throws UserError with the choices; istioctl's exit code is 1, but for `analyze`. */
export function outputFormat<F extends string>(text: string, formats: readonly F[], exitCode = 1): F {
  if ((formats as readonly string[]).includes(text)) return text as F
  throw new UserError(`output format "${text}" not supported; use ${formats.join(', ')}`, exitCode)
}

/** A port given as an option; 0 when not given. */
export function portOption(text: string | undefined): number {
  if (text === undefined) return 0
  const port = Number(text)
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new UserError(`--port ${text}: must be a port number`, 64)
  return port
}

/** A flag that may be given alone or with `true` or `false`. Throws UserError for other words. */
export function isTrue(flag: string, value: string | boolean): boolean {
  if (value === true || value === 'true') return true
  if (value === false || value === 'false') return false
  throw new UserError(`${flag} ${value}: must be true or false`, 64)
}
