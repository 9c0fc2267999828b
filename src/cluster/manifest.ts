// Manifests: Kubernetes objects in YAML or JSON text, with the line each one starts on.
import { LineCounter, parseAllDocuments } from 'yaml'
import { fail, ok, type Result } from '../base/errors.ts'
import type { KubeObject, Origin } from './object.ts'
import { isNamespacedKind } from './scope.ts'

/** One object of a manifest. */
export interface ManifestEntry {
  readonly object: KubeObject
  readonly origin: Origin
}

/**
 * Reads every object of a manifest: several documents, `List` objects opened, empty documents skipped. A namespaced
 * object without a namespace is put into `namespace`. All or nothing: a problem's path is `file:line`.
 */
export function parseManifest(text: string, file: string, namespace = 'default'): Result<ManifestEntry[]> {
  const lines = new LineCounter()
  const entries: ManifestEntry[] = []
  for (const document of parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })) {
    const error = document.errors[0]
    if (error) return fail(`${file}:${lines.linePos(error.pos[0]).line}`, firstLine(error.message))
    const line = document.contents ? lines.linePos(document.contents.range![0]).line : 1
    let value: unknown
    try {
      // The default of 100 alias expansions stops documents that explode when read.
      value = document.toJS()
    } catch (thrown) {
      return fail(`${file}:${line}`, thrown instanceof Error ? firstLine(thrown.message) : String(thrown))
    }
    if (value === null || value === undefined) continue
    const found = collect(value, { file, line }, namespace)
    if (!found.ok) return found
    entries.push(...found.value)
  }
  return ok(entries)
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]!
}

function collect(value: unknown, origin: Origin, namespace: string): Result<ManifestEntry[]> {
  const at = `${origin.file}:${origin.line}`
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return fail(at, 'is not a Kubernetes object', 'write a mapping with apiVersion, kind and metadata')
  }
  const { apiVersion, kind, metadata } = value as Partial<KubeObject>
  if (typeof apiVersion !== 'string' || apiVersion === '') return fail(at, 'apiVersion is missing')
  if (typeof kind !== 'string' || kind === '') return fail(at, 'kind is missing')
  if (kind === 'List' || (kind.endsWith('List') && Array.isArray((value as { items?: unknown }).items))) {
    const entries: ManifestEntry[] = []
    for (const item of (value as { items?: unknown[] }).items ?? []) {
      const found = collect(item, origin, namespace)
      if (!found.ok) return found
      entries.push(...found.value)
    }
    return ok(entries)
  }
  if (typeof metadata !== 'object' || metadata === null) return fail(at, `${kind} has no metadata`)
  if (typeof metadata.name !== 'string' || metadata.name === '') return fail(at, `${kind} has no metadata.name`)
  if (metadata.namespace !== undefined && typeof metadata.namespace !== 'string') {
    return fail(at, `${kind} ${metadata.name}: metadata.namespace must be a string`)
  }
  for (const field of ['labels', 'annotations'] as const) {
    const problem = stringMapProblem(metadata[field])
    if (problem) return fail(at, `${kind} ${metadata.name}: metadata.${field}${problem}`)
  }
  const object = value as KubeObject
  const placed = isNamespacedKind(kind) && !metadata.namespace
  return ok([{ object: placed ? { ...object, metadata: { ...metadata, namespace } } : object, origin }])
}

function stringMapProblem(map: unknown): string | null {
  if (map === undefined || map === null) return null
  if (typeof map !== 'object' || Array.isArray(map)) return ' must be a mapping'
  for (const [key, value] of Object.entries(map)) {
    if (typeof value !== 'string') return `.${key} must be a string: write it in quotes`
  }
  return null
}
