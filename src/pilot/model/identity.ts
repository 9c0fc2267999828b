// Versions for cache keys: parts of a push context are immutable and shared, so the object itself is its version.

const versions = new WeakMap<object, number>()
let last = 0

/** A number that is equal exactly for the same object; null has one of its own (0). */
export function versionOf(part: object | null): number {
  if (part === null) return 0
  let version = versions.get(part)
  if (version === undefined) versions.set(part, (version = ++last))
  return version
}
