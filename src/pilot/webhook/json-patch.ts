// RFC 6902: the operations that make one JSON document of another. Lists are replaced as a whole, unless only their end
// grew.
import { isDeepStrictEqual } from 'node:util'

export interface PatchOperation {
  readonly op: 'add' | 'remove' | 'replace'
  readonly path: string
  readonly value?: unknown
}

export function jsonPatch(from: unknown, to: unknown, path = ''): PatchOperation[] {
  if (isDeepStrictEqual(from, to)) return []
  if (isMapping(from) && isMapping(to)) {
    const out: PatchOperation[] = []
    for (const key of Object.keys(from)) {
      // JSON has no undefined.
      if (to[key] === undefined && from[key] !== undefined) out.push({ op: 'remove', path: `${path}/${escaped(key)}` })
    }
    for (const [key, value] of Object.entries(to)) {
      if (value === undefined) continue
      const at = `${path}/${escaped(key)}`
      if (from[key] === undefined) out.push({ op: 'add', path: at, value })
      else out.push(...jsonPatch(from[key], value, at))
    }
    return out
  }
  if (Array.isArray(from) && Array.isArray(to) && to.length > from.length) {
    if (from.every((item, i) => isDeepStrictEqual(item, to[i]))) {
      return to.slice(from.length).map((value: unknown) => ({ op: 'add', path: `${path}/-`, value }))
    }
  }
  return [{ op: 'replace', path, value: to }]
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function escaped(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1')
}
