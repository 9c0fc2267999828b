// Statuses of Gateway API objects that both control planes would write.
import type { JsonValue } from '@bufbuild/protobuf'
import type { KubeObject } from '../../src/cluster/index.ts'
import { gatewayApiGroupKind } from '../../src/config/index.ts'
import { mergeStatus, type ObjectStatus } from '../../src/pilot/status.ts'
import { compareJson } from './compare.ts'

/** By `Kind/namespace/name`, as istiod's test server answers to `statuses` (test/interop/istiod). */
export type Statuses = { readonly [key: string]: JsonValue }

/** Where our status of one object is not istiod's. */
export interface StatusDifference {
  /** `Kind/namespace/name`. */
  readonly key: string
  /** The first places, as `path: got …, want …`. */
  readonly lines: readonly string[]
}

/** Differences of the objects that have a status, which are all of the Gateway API. */
export function statusDifferences(
  objects: readonly KubeObject[],
  ours: readonly ObjectStatus[],
  theirs: Statuses,
): StatusDifference[] {
  const own = new Map(ours.map((one) => [`${one.kind}/${one.namespace ?? ''}/${one.name}`, one.status]))
  return objects.flatMap((object): StatusDifference[] => {
    const { kind, metadata } = object
    if (!hasStatus(object)) return []
    const status = own.get(`${groupKind(kind)}/${metadata.namespace ?? ''}/${metadata.name}`)
    const next = status && mergeStatus(object, status, '')
    const key = `${kind}/${metadata.namespace ?? ''}/${metadata.name}`
    const lines = compareJson(comparable((next ?? {}) as JsonValue), comparable(theirs[key] ?? {}), 12)
    return lines.length > 0 ? [{ key, lines }] : []
  })
}

/** Objects whose status is compared. */
export function hasStatus({ apiVersion }: Pick<KubeObject, 'apiVersion'>): boolean {
  return apiVersion.startsWith('gateway.networking.')
}

function groupKind(kind: string): string {
  return gatewayApiGroupKind(kind as Parameters<typeof gatewayApiGroupKind>[0])
}

/**
 * Without times, and with nothing where a list is empty. Not compared: how parsers of certificates word their errors, the
 * order in which istiod joins what several listeners say, and what the Gateway API asks for and istiod does not write (a
 * condition, the namespace of an ancestor).
 */
function comparable(value: JsonValue): JsonValue {
  if (Array.isArray(value)) {
    return value.filter((one) => (one as { type?: unknown } | null)?.type !== 'OverlappingTLSConfig').map(comparable)
  }
  if (typeof value === 'string')
    return value
      .replace(/malformed: .*/, 'malformed')
      .split('; ')
      .sort()
      .join('; ')
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(
    ([key, inner]) => key !== 'lastTransitionTime' && !(Array.isArray(inner) && inner.length === 0),
  )
  const out: Record<string, JsonValue> = Object.fromEntries(entries.map(([key, inner]) => [key, comparable(inner)]))
  if (typeof out.ancestorRef === 'object' && out.ancestorRef !== null) {
    out.ancestorRef = { ...out.ancestorRef, namespace: '' } as JsonValue
  }
  return out
}
