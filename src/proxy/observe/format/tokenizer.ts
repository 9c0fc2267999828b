// Splits a format string into literals and commands: `%NAME%`, `%NAME(args)%`, `%NAME(args):length%`, `%%`.

import { ConfigError } from '../../../base/errors.ts'

/** One piece of a format string. */
export type Token =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'command'; readonly name: string; readonly args: string | null; readonly maxLength: number | null }

const COMMAND = /%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%/y

/** Throws ConfigError when a `%` starts no command. */
export function tokenize(format: string, path: string): Token[] {
  const tokens: Token[] = []
  let literal = ''
  let position = 0
  while (position < format.length) {
    if (format[position] !== '%') {
      const next = format.indexOf('%', position)
      const end = next < 0 ? format.length : next
      literal += format.slice(position, end)
      position = end
      continue
    }
    if (format[position + 1] === '%') {
      literal += '%'
      position += 2
      continue
    }
    COMMAND.lastIndex = position
    const match = COMMAND.exec(format)
    if (!match) {
      throw new ConfigError(
        path,
        `Incorrect configuration: ${format}. Couldn't find valid command at position ${position}`,
      )
    }
    if (literal) tokens.push({ kind: 'literal', text: literal })
    literal = ''
    tokens.push({
      kind: 'command',
      name: match[1]!,
      args: match[2] ?? null,
      maxLength: match[3] === undefined ? null : Number(match[3]),
    })
    position = COMMAND.lastIndex
  }
  if (literal) tokens.push({ kind: 'literal', text: literal })
  return tokens
}
