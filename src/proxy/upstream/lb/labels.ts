// Comparing the labels of hosts (metadata of the namespace envoy.lb) with those that are asked for.

type Labels = Readonly<Record<string, unknown>>

/** A text that two values share exactly when they are equal: the order of an object's fields does not matter. */
export function valueKey(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  )
}

/** All of `wanted` are among `labels`; under `listAsAny` a list has each of its items as its value. */
export function hasLabels(labels: Labels, wanted: Labels, listAsAny: boolean): boolean {
  return Object.entries(wanted).every(([key, value]) => {
    const own = labels[key]
    if (own === undefined) return false
    const text = valueKey(value)
    return listAsAny && Array.isArray(own) ? own.some((one) => valueKey(one) === text) : valueKey(own) === text
  })
}
