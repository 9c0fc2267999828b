// json_format: a Struct whose strings are format strings. Keys are printed sorted; a string that is exactly one command
// keeps the type of its value.

import { latin1 } from '../../../base/bytes.ts'
import { ConfigError } from '../../../base/errors.ts'
import type { LogContext } from '../access-log.ts'
import { LineBuffer } from './line-buffer.ts'
import type { Operator } from './operator.ts'
import { compileSegments } from './text-format.ts'

/** Plain JSON as configured. */
export type JsonTemplate =
  | string
  | number
  | boolean
  | null
  | readonly JsonTemplate[]
  | { readonly [key: string]: JsonTemplate }

/** Writes JSON text. False = absent, and nothing was written. */
interface Node {
  write(context: LogContext, out: LineBuffer): boolean
}

class Constant implements Node {
  private readonly json: string
  constructor(json: string) {
    this.json = json
  }
  write(_context: LogContext, out: LineBuffer): boolean {
    out.put(this.json)
    return true
  }
}

/** An explicit null counts as absent. */
class Null implements Node {
  write(): boolean {
    return false
  }
}

class Single implements Node {
  private readonly operator: Operator
  constructor(operator: Operator) {
    this.operator = operator
  }
  write(context: LogContext, out: LineBuffer): boolean {
    return this.operator.writeJson(context, out)
  }
}

class Mixed implements Node {
  private readonly segments: readonly (string | Operator)[]
  private readonly absent: string
  constructor(segments: readonly (string | Operator)[], absent: string) {
    this.segments = segments
    this.absent = absent
  }
  write(context: LogContext, out: LineBuffer): boolean {
    let value = ''
    for (const segment of this.segments) {
      value += typeof segment === 'string' ? segment : (segment.text(context) ?? this.absent)
    }
    out.putQuoted(value)
    return true
  }
}

class List implements Node {
  private readonly nodes: readonly Node[]
  private readonly omitEmpty: boolean
  constructor(nodes: readonly Node[], omitEmpty: boolean) {
    this.nodes = nodes
    this.omitEmpty = omitEmpty
  }
  write(context: LogContext, out: LineBuffer): boolean {
    out.put('[')
    const first = out.length
    for (const node of this.nodes) {
      const before = out.length
      if (before !== first) out.put(',')
      if (node.write(context, out)) continue
      if (this.omitEmpty) out.length = before
      else out.put('null')
    }
    out.put(']')
    return true
  }
}

class Fields implements Node {
  /** `,"key":`, each with its comma; the first is written without. */
  private readonly keys: readonly Uint8Array[]
  private readonly nodes: readonly Node[]
  private readonly omitEmpty: boolean
  constructor(keys: readonly Uint8Array[], nodes: readonly Node[], omitEmpty: boolean) {
    this.keys = keys
    this.nodes = nodes
    this.omitEmpty = omitEmpty
  }
  write(context: LogContext, out: LineBuffer): boolean {
    const { keys, nodes } = this
    const begin = out.length
    for (let i = 0; i < nodes.length; i++) {
      const before = out.length
      out.putBytes(keys[i]!)
      if (nodes[i]!.write(context, out)) continue
      if (this.omitEmpty) out.length = before
      else out.put('null')
    }
    // An object of nothing counts as absent, too.
    if (this.omitEmpty && out.length === begin) return false
    // The first key's comma is where the brace belongs.
    if (out.length === begin) out.put('{')
    else out.bytes[begin] = OPENING_BRACE
    out.put('}')
    return true
  }
}

const OPENING_BRACE = 0x7b
/** Where lines that are wanted as strings are made. */
const scratch = new LineBuffer(1024)

/** Renders a json_format, one object and a newline per call. */
export class JsonFormat {
  private readonly root: Node

  /** `omitEmptyValues` drops keys whose value is absent. Throws ConfigError. */
  constructor(template: { readonly [key: string]: JsonTemplate }, omitEmptyValues: boolean, path: string) {
    this.root = compile(template, omitEmptyValues, path)
  }

  write(context: LogContext, out: LineBuffer): void {
    out.put(this.root.write(context, out) ? '\n' : '{}\n')
  }

  format(context: LogContext): string {
    scratch.length = 0
    this.write(context, scratch)
    return latin1(scratch.bytes, 0, scratch.length)
  }
}

function compile(template: JsonTemplate, omitEmpty: boolean, path: string): Node {
  if (typeof template === 'string') {
    const segments = compileSegments(template, path)
    if (segments.length === 1 && typeof segments[0] !== 'string') return new Single(segments[0]!)
    if (segments.every((segment) => typeof segment === 'string')) return new Constant(JSON.stringify(segments.join('')))
    return new Mixed(segments, omitEmpty ? '' : '-')
  }
  if (template === null) return new Null()
  if (typeof template === 'boolean') return new Constant(String(template))
  if (typeof template === 'number') return new Constant(JSON.stringify(template))
  if (Array.isArray(template)) {
    return new List(
      template.map((item: JsonTemplate, i) => compile(item, omitEmpty, `${path}[${i}]`)),
      omitEmpty,
    )
  }
  if (typeof template !== 'object') throw new ConfigError(path, 'is no JSON value')
  const entries = Object.entries(template as Record<string, JsonTemplate>).sort(([a], [b]) => (a < b ? -1 : 1))
  return new Fields(
    entries.map(([key]) => Buffer.from(`,${JSON.stringify(key)}:`)),
    entries.map(([key, value]) => compile(value, omitEmpty, `${path}.${key}`)),
    omitEmpty,
  )
}
