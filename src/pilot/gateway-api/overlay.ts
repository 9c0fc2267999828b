// An overlay laid over an object, as Kubernetes' strategic merge does: mappings merge, null removes, lists whose items
// have a name of their own merge by it, other lists replace.

/** The field that tells the items of a list apart. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  env: 'name',
  volumes: 'name',
  volumeMounts: 'mountPath',
  imagePullSecrets: 'name',
  ports: 'port',
  ownerReferences: 'uid',
}

type Mapping = Readonly<Record<string, unknown>>

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Throws Error when the overlay is no mapping. */
export function overlaid(base: Mapping, overlay: unknown): Mapping {
  if (!isMapping(overlay)) throw new Error('must be a mapping')
  const out: Record<string, unknown> = { ...base }
  for (const [key, value] of Object.entries(overlay)) {
    const before = out[key]
    if (value === null) delete out[key]
    else if (isMapping(value)) out[key] = overlaid(isMapping(before) ? before : {}, value)
    else if (Array.isArray(value) && Array.isArray(before)) out[key] = mergedList(key, before, value)
    else out[key] = value
  }
  return out
}

function mergedList(name: string, before: readonly unknown[], list: readonly unknown[]): readonly unknown[] {
  const key = mergeKey(name, [...before, ...list])
  if (key === undefined) return list
  const out = [...before]
  for (const item of list) {
    const i = out.findIndex((one) => isMapping(one) && isMapping(item) && one[key] === item[key])
    if (i < 0) out.push(item)
    else out[i] = overlaid(out[i] as Mapping, item)
  }
  return out
}

/** Undefined: the list is replaced. Ports of a container go by `containerPort`, those of a Service by `port`. */
function mergeKey(name: string, items: readonly unknown[]): string | undefined {
  const key = MERGE_KEYS[name]
  for (const candidate of key === 'port' ? ['port', 'containerPort'] : key ? [key] : []) {
    if (items.every((item) => isMapping(item) && item[candidate] !== undefined)) return candidate
  }
  return undefined
}
