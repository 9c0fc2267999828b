import { isAlias, isMap, LineCounter, parseAllDocuments } from 'yaml'
import { errorText } from '../base/errors.ts'
import type { KubeObject, Origin } from '../cluster/index.ts'
import {
  isGatewayApiVersion,
  isIstioApiVersion,
  parseGatewayApi,
  parseIngress,
  parseResource,
} from '../config/index.ts'
import { meshConfigMapProblems, untranslated } from '../pilot/index.ts'
import { parseKubernetesObject } from './kubernetes-schema.ts'

/** A problem with its place in a file, ready to print as `file:line: message`. */
export interface ManifestProblem {
  readonly file: string
  readonly line: number
  readonly level: 'error' | 'warning'
  readonly message: string
}

export interface ManifestObject {
  readonly object: KubeObject
  readonly origin: Origin
}

export interface Manifests {
  readonly objects: readonly ManifestObject[]
  readonly problems: readonly ManifestProblem[]
}

/** Reads and checks every object of a YAML or JSON text. With an error among the problems nothing of it should be applied. */
export function readManifests(file: string, text: string): Manifests {
  const lines = new LineCounter()
  const lineAt = (offset: number | undefined) => lines.linePos(offset ?? 0).line
  const objects: ManifestObject[] = []
  const problems: ManifestProblem[] = []
  for (const doc of parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })) {
    const fault = doc.errors[0]
    if (fault) {
      problems.push({ file, line: lineAt(fault.pos[0]), level: 'error', message: `invalid YAML: ${fault.message}` })
      continue
    }
    let value: unknown
    try {
      value = doc.toJS()
    } catch (error) {
      // Documents whose aliases explode when expanded.
      problems.push({
        file,
        line: lineAt(doc.contents?.range?.[0]),
        level: 'error',
        message: `invalid YAML: ${errorText(error)}`,
      })
      continue
    }
    if (value === null || value === undefined) continue // an empty document between separators
    const check = (content: unknown, path: (string | number)[]) => {
      const lineOf = (fieldPath: string) => lineAt(offsetOf(doc, [...path, ...pathSegments(fieldPath)]))
      const at = { file, line: lineOf('') }
      for (const problem of validate(content, at)) {
        const { level, message, hint } = problem
        const where = problem.path ? `${problem.path.replace(/^\./, '')}: ` : ''
        const name = nameOf(content)
        const text = `${name ? `${name}: ` : ''}${where}${message}${hint ? ` (${hint})` : ''}`
        problems.push({ file, line: lineOf(problem.path), level, message: text })
      }
      objects.push({ object: content as KubeObject, origin: at })
    }
    const items =
      (value as { kind?: string; items?: unknown }).kind === 'List' ? (value as { items?: unknown }).items : undefined
    if (Array.isArray(items)) for (const [i, item] of items.entries()) check(item, ['items', i])
    else check(value, [])
  }
  return { objects, problems }
}

function validate(content: unknown, origin: Origin) {
  const apiVersion = (content as { apiVersion?: unknown } | null)?.apiVersion
  if (isGatewayApiVersion(apiVersion)) {
    const parsed = parseGatewayApi(content, origin)
    return parsed.ok ? parsed.value.warnings : parsed.problems
  }
  if (apiVersion === 'networking.k8s.io/v1' && (content as { kind?: unknown }).kind === 'Ingress') {
    const parsed = parseIngress(content, origin)
    return parsed.ok ? parsed.value.warnings : parsed.problems
  }
  if (!isIstioApiVersion(apiVersion)) {
    return [...parseKubernetesObject(content), ...meshConfigMapProblems(content)]
  }
  const parsed = parseResource(content, origin)
  return parsed.ok ? [...parsed.value.warnings, ...untranslated(parsed.value)] : parsed.problems
}

function nameOf(content: unknown): string {
  const { kind, metadata } = (content ?? {}) as Partial<KubeObject>
  return typeof kind === 'string' && typeof metadata?.name === 'string' ? `${kind} ${metadata.name}` : ''
}

/** `spec.http[0].match["a.b"]` → `['spec', 'http', 0, 'match', 'a.b']`. */
export function pathSegments(path: string): (string | number)[] {
  const segments: (string | number)[] = []
  for (const [, key, index, quoted] of path.matchAll(/([^.[\]]+)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]/g)) {
    if (index !== undefined) segments.push(Number(index))
    else segments.push(quoted === undefined ? key! : (JSON.parse(quoted) as string))
  }
  return segments
}

/** Where the deepest existing node on `path` starts; for a map entry its key, which is what a person looks for. */
function offsetOf(doc: ReturnType<typeof parseAllDocuments>[number], path: (string | number)[]): number | undefined {
  for (let depth = path.length; depth > 0; depth--) {
    const parent = depth === 1 ? doc.contents : doc.getIn(path.slice(0, depth - 1), true)
    if (!parent || isAlias(parent)) continue
    const last = path[depth - 1]!
    if (isMap(parent)) {
      const pair = parent.items.find((item) => String((item.key as { value?: unknown } | null)?.value) === String(last))
      const offset = (pair?.key as { range?: [number, number, number] } | undefined)?.range?.[0]
      if (offset !== undefined) return offset
      continue
    }
    const node = doc.getIn(path.slice(0, depth), true) as { range?: [number, number, number] } | undefined
    if (node?.range) return node.range[0]
  }
  return doc.contents?.range?.[0]
}
