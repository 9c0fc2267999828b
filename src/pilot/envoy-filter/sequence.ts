// Operations on an ordered list: filters of a listener, a chain or a connection manager, and routes.
import type { CompiledPatch } from './compile.ts'

/** What differs between kinds of lists. */
export interface SequenceOps<T> {
  /** The patch names one entry to stand before or after, or to act on. */
  readonly named: (patch: CompiledPatch) => boolean
  readonly matches: (entry: T, patch: CompiledPatch) => boolean
  readonly copy: (patch: CompiledPatch) => T
}

/** The list after an addition or insertion; the list itself when the patch is none, or finds no place. */
export function inserted<T>(list: readonly T[], patch: CompiledPatch, ops: SequenceOps<T>): readonly T[] {
  const at = () => list.findIndex((entry) => ops.matches(entry, patch))
  const before = (index: number) => list.toSpliced(index, 0, ops.copy(patch))
  switch (patch.operation) {
    case 'ADD':
      return before(list.length)
    case 'INSERT_FIRST':
      return before(0)
    case 'INSERT_BEFORE': {
      const index = ops.named(patch) ? at() : 0
      return index < 0 ? list : before(index)
    }
    case 'INSERT_AFTER': {
      const index = ops.named(patch) ? at() : list.length - 1
      return ops.named(patch) && index < 0 ? list : before(index + 1)
    }
    default:
      return list
  }
}

/** Filters after additions, insertions, replacements and removals in patch order. The last two act on named filters only. */
export function arranged<T>(list: readonly T[], patches: readonly CompiledPatch[], ops: SequenceOps<T>): T[] {
  let out = list
  for (const patch of patches) {
    if (patch.operation === 'REPLACE') {
      const index = ops.named(patch) ? out.findIndex((entry) => ops.matches(entry, patch)) : -1
      if (index >= 0) out = out.with(index, ops.copy(patch))
    } else if (patch.operation === 'REMOVE') {
      if (ops.named(patch)) out = out.filter((entry) => !ops.matches(entry, patch))
    } else out = inserted(out, patch, ops)
  }
  return [...out]
}
