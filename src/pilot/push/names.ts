// What is asked for by name, and what of it there is.
import { errorText } from '../../base/errors.ts'
import type { EncodedResource } from '../../xds/server-types.ts'

/** Names of resources that are asked for. */
export type Names = ReadonlySet<string> | readonly string[]

export const NO_NAMES: readonly string[] = []

export const sizeOf = (names: Names): number => ('size' in names ? names.size : names.length)

/** After generating all of them threw: those that can be, and why the others cannot. */
export function oneByOne(
  names: Names,
  make: (names: readonly string[]) => readonly EncodedResource[],
  reasons: Map<string, string>,
): EncodedResource[] {
  const out: EncodedResource[] = []
  for (const name of names) {
    try {
      out.push(...make([name]))
    } catch (error) {
      reasons.set(name, errorText(error))
    }
  }
  return out
}

/** Names asked for that have no resource. Generators answer each name at most once. */
export function missing(asked: Names, resources: readonly EncodedResource[]): readonly string[] {
  if (sizeOf(asked) <= resources.length) return NO_NAMES
  const there = new Set(resources.map((r) => r.name))
  return [...asked].filter((name) => !there.has(name))
}
