// `%COALESCE({"operators": [...]})%`: the first of several commands that has something to print.

import { ConfigError } from '../../../base/errors.ts'
import type { LogContext } from '../access-log.ts'
import type { LineBuffer } from './line-buffer.ts'
import type { Operator } from './operator.ts'
import type { Token } from './tokenizer.ts'

type Command = Extract<Token, { kind: 'command' }>

const QUOTE = 0x22

class CoalesceOperator implements Operator {
  private readonly operators: readonly Operator[]
  private readonly maxLength: number

  constructor(operators: readonly Operator[], maxLength: number | null) {
    this.operators = operators
    this.maxLength = maxLength ?? Number.POSITIVE_INFINITY
  }

  text(context: LogContext): string | null {
    for (const operator of this.operators) {
      const value = operator.text(context)
      if (value !== null) return value.length > this.maxLength ? value.slice(0, this.maxLength) : value
    }
    return null
  }

  /** Numbers and structures are not cut. */
  writeJson(context: LogContext, out: LineBuffer): boolean {
    const begin = out.length
    for (const operator of this.operators) {
      if (!operator.writeJson(context, out)) continue
      if (this.maxLength < out.length - begin && out.copyFrom(begin)[0] === QUOTE) {
        out.length = begin
        out.putQuoted((operator.text(context) ?? '').slice(0, this.maxLength))
      }
      return true
    }
    return false
  }
}

/**
 * `args`: JSON with a list `operators`, each the name of a command or `{"command", "param", "max_length"}`; other keys
 * are not looked at, as in Envoy. Throws ConfigError at `path` in Envoy's words.
 */
export function coalesce(
  args: string,
  maxLength: number | null,
  path: string,
  compile: (command: Command, path: string) => Operator,
): Operator {
  const fail = (text: string): never => {
    throw new ConfigError(path, `COALESCE: ${text}`)
  }
  let config: unknown
  try {
    config = JSON.parse(args)
  } catch (error) {
    return fail(`failed to parse JSON configuration: ${error instanceof Error ? error.message : error}`)
  }
  const { operators } = (config ?? {}) as { readonly operators?: unknown }
  if (operators === undefined) return fail("JSON configuration must contain 'operators' array")
  if (!Array.isArray(operators)) return fail("'operators' must be an array")
  if (operators.length === 0) return fail("'operators' array must not be empty")
  const compiled = operators.map((entry: unknown, i) => {
    try {
      return compile(commandOf(entry), '')
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      return fail(`failed to parse operator at index ${i}: ${error.message}`)
    }
  })
  return new CoalesceOperator(compiled, maxLength)
}

/** Its errors have no path: the caller knows the operator's place. */
function commandOf(entry: unknown): Command {
  if (typeof entry === 'string') return { kind: 'command', name: entry, args: null, maxLength: null }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
    throw new ConfigError('', "operator entry must be either a string (command name) or an object with 'command' field")
  }
  const { command, param, max_length: length } = entry as Readonly<Record<string, unknown>>
  if (typeof command !== 'string') throw new ConfigError('', "operator object must have 'command' field, a string")
  if (param !== undefined && typeof param !== 'string') throw new ConfigError('', "'param' field must be a string")
  if (length === undefined) return { kind: 'command', name: command, args: param ?? null, maxLength: null }
  if (typeof length !== 'number' || !Number.isInteger(length))
    throw new ConfigError('', "'max_length' field must be an integer")
  if (length <= 0) throw new ConfigError('', "'max_length' must be a positive integer")
  return { kind: 'command', name: command, args: param ?? null, maxLength: length }
}
