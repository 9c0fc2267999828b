// An overlay laid over an object, as Kubernetes' strategic merge does: mappings merge, null removes, lists whose items
// have a name of their own merge by it, other lists replace. `$patch: replace` and `$patch: delete` are obeyed.

/** The field that tells the items of a list apart. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  env: 'name',
  ephemeralContainers: 'name',
  volumes: 'name',
  volumeMounts: 'mountPath',
  volumeDevices: 'devicePath',
  imagePullSecrets: 'name',
  secrets: 'name',
  resourceClaims: 'name',
  schedulingGates: 'name',
  hostAliases: 'ip',
  topologySpreadConstraints: 'topologyKey',
  ports: 'port',
  ownerReferences: 'uid',
}

/** What is to happen to a mapping instead of a merge. */
const DIRECTIVE = '$patch'

type Mapping = Readonly<Record<string, unknown>>

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Throws Error when the overlay is no mapping. */
export function overlaid(base: Mapping, overlay: unknown): Mapping {
  if (!isMapping(overlay)) throw new Error('must be a mapping')
  const out: Record<string, unknown> = overlay[DIRECTIVE] === 'replace' ? {} : { ...base }
  for (const [key, value] of Object.entries(overlay)) {
    const before = out[key]
    if (key === DIRECTIVE) continue
    if (value === null || (isMapping(value) && value[DIRECTIVE] === 'delete')) delete out[key]
    else if (isMapping(value)) out[key] = overlaid(isMapping(before) ? before : {}, value)
    else if (Array.isArray(value) && Array.isArray(before)) out[key] = mergedList(key, before, value)
    else out[key] = value
  }
  return out
}

function mergedList(name: string, before: readonly unknown[], list: readonly unknown[]): readonly unknown[] {
  const key = mergeKey(name, [...before, ...list])
  if (key === undefined) return list
  const replaces = list.some((item) => isMapping(item) && item[DIRECTIVE] === 'replace' && item[key] === undefined)
  const out = replaces ? [] : [...before]
  for (const item of list) {
    if (!isMapping(item) || item[key] === undefined) continue
    const i = out.findIndex((one) => isMapping(one) && one[key] === item[key])
    if (item[DIRECTIVE] === 'delete') out.splice(i, i < 0 ? 0 : 1)
    else if (i < 0) out.push(item)
    else out[i] = overlaid(out[i] as Mapping, item)
  }
  return out
}

/** Undefined: the list is replaced. Ports of a container go by `containerPort`, those of a Service by `port`. */
function mergeKey(name: string, items: readonly unknown[]): string | undefined {
  const key = MERGE_KEYS[name]
  for (const candidate of key === 'port' ? ['port', 'containerPort'] : key ? [key] : []) {
    if (items.every((item) => isMapping(item) && (item[candidate] !== undefined || DIRECTIVE in item))) return candidate
  }
  return undefined
}
