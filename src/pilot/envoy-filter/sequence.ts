// Operations on a named list of filters, the same for listener, network and HTTP filters and for routes.
import type { CompiledPatch } from './compile.ts'

/** What differs between kinds of lists. */
export interface SequenceOps<T> {
  /** The patch names one entry to stand before or after, or to act on. */
  readonly named: (patch: CompiledPatch) => boolean
  readonly matches: (entry: T, patch: CompiledPatch) => boolean
  readonly copy: (patch: CompiledPatch) => T
  readonly merge: (entry: T, patch: CompiledPatch) => void
}

/** Applies additions, insertions and replacements, then removals and merges, each in patch order. */
export function patchSequence<T>(list: readonly T[], patches: readonly CompiledPatch[], ops: SequenceOps<T>): T[] {
  let out = [...list]
  for (const patch of patches) out = insert(out, patch, ops)
  const kept: T[] = []
  for (const entry of out) {
    let removed = false
    for (const patch of patches) {
      if (!ops.matches(entry, patch)) continue
      if (patch.operation === 'REMOVE') removed = true
      else if (patch.operation === 'MERGE' || patch.operation === 'MERGE_AND_REPLACE_LIST') ops.merge(entry, patch)
      if (removed) break
    }
    if (!removed) kept.push(entry)
  }
  return kept
}

function insert<T>(list: T[], patch: CompiledPatch, ops: SequenceOps<T>): T[] {
  const at = list.findIndex((entry) => ops.matches(entry, patch))
  switch (patch.operation) {
    case 'ADD':
      return [...list, ops.copy(patch)]
    case 'INSERT_FIRST':
      return [ops.copy(patch), ...list]
    case 'INSERT_BEFORE':
      if (!ops.named(patch)) return [ops.copy(patch), ...list]
      return at < 0 ? list : [...list.slice(0, at), ops.copy(patch), ...list.slice(at)]
    case 'INSERT_AFTER':
      if (!ops.named(patch)) return [...list, ops.copy(patch)]
      return at < 0 ? list : [...list.slice(0, at + 1), ops.copy(patch), ...list.slice(at + 1)]
    case 'REPLACE':
      if (!ops.named(patch) || at < 0) return list
      return [...list.slice(0, at), ops.copy(patch), ...list.slice(at + 1)]
    default:
      return list
  }
}
