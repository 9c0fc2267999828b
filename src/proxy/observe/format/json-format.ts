// json_format: a Struct whose strings are format strings. Keys are printed sorted; a string that is exactly one command
// keeps the type of its value.

import { ConfigError } from '../../../base/errors.ts'
import type { LogContext } from '../access-log.ts'
import { byteString, type Operator, quote } from './operator.ts'
import { compileSegments } from './text-format.ts'

/** Plain JSON as configured. */
export type JsonTemplate =
  | string
  | number
  | boolean
  | null
  | readonly JsonTemplate[]
  | { readonly [key: string]: JsonTemplate }

/** Renders to JSON text; null = absent. */
interface Node {
  render(context: LogContext): string | null
}

class Constant implements Node {
  private readonly json: string
  constructor(json: string) {
    this.json = json
  }
  render(): string {
    return this.json
  }
}

class Single implements Node {
  private readonly operator: Operator
  constructor(operator: Operator) {
    this.operator = operator
  }
  render(context: LogContext): string | null {
    return this.operator.json(context)
  }
}

class Mixed implements Node {
  private readonly segments: readonly (string | Operator)[]
  private readonly absent: string
  constructor(segments: readonly (string | Operator)[], absent: string) {
    this.segments = segments
    this.absent = absent
  }
  render(context: LogContext): string {
    let value = ''
    for (const segment of this.segments) {
      value += typeof segment === 'string' ? segment : (segment.text(context) ?? this.absent)
    }
    return quote(value)
  }
}

class List implements Node {
  private readonly nodes: readonly Node[]
  private readonly omitEmpty: boolean
  constructor(nodes: readonly Node[], omitEmpty: boolean) {
    this.nodes = nodes
    this.omitEmpty = omitEmpty
  }
  render(context: LogContext): string {
    let out = ''
    for (const node of this.nodes) {
      const value = node.render(context)
      if (value === null && this.omitEmpty) continue
      out += `${out === '' ? '' : ','}${value ?? 'null'}`
    }
    return `[${out}]`
  }
}

class Fields implements Node {
  /** `"key":` */
  private readonly keys: readonly string[]
  private readonly nodes: readonly Node[]
  private readonly omitEmpty: boolean
  constructor(keys: readonly string[], nodes: readonly Node[], omitEmpty: boolean) {
    this.keys = keys
    this.nodes = nodes
    this.omitEmpty = omitEmpty
  }
  render(context: LogContext): string {
    const { keys, nodes } = this
    let out = '{'
    for (let i = 0; i < nodes.length; i++) {
      const value = nodes[i]!.render(context)
      if (value === null && this.omitEmpty) continue
      if (out.length > 1) out += ','
      out += keys[i]!
      out += value ?? 'null'
    }
    return `${out}}`
  }
}

/** Renders a json_format, one object and a newline per call. */
export class JsonFormat {
  private readonly root: Node

  /** `omitEmptyValues` drops keys whose value is absent. Throws ConfigError. */
  constructor(template: { readonly [key: string]: JsonTemplate }, omitEmptyValues: boolean, path: string) {
    this.root = compile(template, omitEmptyValues, path)
  }

  format(context: LogContext): string {
    return `${this.root.render(context)}\n`
  }
}

function compile(template: JsonTemplate, omitEmpty: boolean, path: string): Node {
  if (typeof template === 'string') {
    const segments = compileSegments(template, path)
    if (segments.length === 1 && typeof segments[0] !== 'string') return new Single(segments[0]!)
    if (segments.every((segment) => typeof segment === 'string')) return new Constant(JSON.stringify(segments.join('')))
    return new Mixed(segments, omitEmpty ? '' : '-')
  }
  if (template === null || typeof template === 'boolean') return new Constant(String(template))
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
    entries.map(([key]) => `${byteString(JSON.stringify(key))}:`),
    entries.map(([key, value]) => compile(value, omitEmpty, `${path}.${key}`)),
    omitEmpty,
  )
}
