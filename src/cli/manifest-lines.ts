// Objects of YAML files with the lines of their fields.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Document, isMap, isNode, LineCounter, parseAllDocuments } from 'yaml'
import { UserError } from '../base/errors.ts'

/** One object, and `file:line` of any of its fields by path (`spec.http[0].match`). */
export interface LocatedObject {
  readonly object: unknown
  reference(path: string): string
}

/**
 * Reads files and folders (`-` = standard input). Throws UserError for what is missing, and for what is no YAML unless
 * `unreadable` takes it.
 */
export function readLocated(
  paths: readonly string[],
  recursive: boolean,
  unreadable: (error: UserError) => void = (error) => {
    throw error
  },
): LocatedObject[] {
  return paths
    .flatMap((path) => filesOf(path, recursive))
    .flatMap((file) => {
      const lines = new LineCounter()
      const text = readFileSync(file === '-' ? 0 : file, 'utf8')
      return parseAllDocuments(text, { lineCounter: lines, prettyErrors: false }).flatMap((document) => {
        const fault = document.errors[0]
        if (fault) {
          unreadable(new UserError(`${file}:${lines.linePos(fault.pos[0]).line}: invalid YAML: ${fault.message}`, 65))
          return []
        }
        return locate(document, lines, file)
      })
    })
}

function filesOf(path: string, recursive: boolean): string[] {
  if (path === '-') return ['-']
  const stat = statSync(path, { throwIfNoEntry: false })
  if (!stat) throw new UserError(`the path "${path}" does not exist`)
  if (!stat.isDirectory()) return [path]
  return readdirSync(path, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const inner = join(path, entry.name)
      if (entry.isDirectory()) return recursive ? filesOf(inner, true) : []
      return /\.(ya?ml|json)$/.test(entry.name) ? [inner] : []
    })
}

function locate(document: Document.Parsed, lines: LineCounter, file: string): LocatedObject[] {
  const value = document.toJS() as { kind?: string; items?: unknown[] } | null
  if (value === null || value === undefined) return []
  const reference = (base: readonly (string | number)[]) => (path: string) =>
    `${file}:${lineOf(document, lines, [...base, ...segments(path)])}`
  if (value.kind === 'List' && Array.isArray(value.items)) {
    return value.items.map((object, i) => ({ object, reference: reference(['items', i]) }))
  }
  return [{ object: value, reference: reference([]) }]
}

/** `spec.http[0].match["a.b"]` → `spec`, `http`, 0, `match`, `a.b`. */
function segments(path: string): (string | number)[] {
  const found: (string | number)[] = []
  for (const [, key, index, quoted] of path.matchAll(/([^.[\]]+)|\[(\d+)\]|\["([^"]*)"\]/g)) {
    found.push(index === undefined ? (key ?? quoted ?? '') : Number(index))
  }
  return found
}

/** The line of the deepest field on the path that exists. */
function lineOf(document: Document.Parsed, lines: LineCounter, path: readonly (string | number)[]): number {
  for (let depth = path.length; depth > 0; depth--) {
    const parent = depth === 1 ? document.contents : document.getIn(path.slice(0, depth - 1), true)
    const last = path[depth - 1]!
    if (isMap(parent)) {
      const pair = parent.items.find((item) => isNode(item.key) && String(item.key) === String(last))
      if (pair && isNode(pair.key) && pair.key.range) return lines.linePos(pair.key.range[0]).line
      continue
    }
    const node = document.getIn(path.slice(0, depth), true)
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line
  }
  return lines.linePos(document.contents?.range?.[0] ?? 0).line
}
