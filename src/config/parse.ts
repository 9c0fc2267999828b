import { fail, ok, type Result } from '../base/errors.ts'
import { ISTIO_KINDS, type IstioKind, isIstioGroup, KINDS } from './kinds.ts'
import type { AnyResource, ResourceMetadata, ResourceOrigin } from './resource.ts'
import { isRecord, Problems } from './schema.ts'
import { VALIDATORS } from './validate/index.ts'

const EXTENSIONS = 'extensions.istio.io'
const TOP_LEVEL = new Set(['apiVersion', 'kind', 'metadata', 'spec', 'status'])

/** True when `apiVersion` belongs to a group of Istio's: the object is ours to parse. */
export function isIstioApiVersion(apiVersion: unknown): boolean {
  return typeof apiVersion === 'string' && isIstioGroup(apiVersion.split('/')[0]!)
}

/**
 * Parses one Istio resource of any served version: shape, defaults and istiod's validation rules. Every problem is
 * listed with its field path; an accepted resource carries its warnings.
 */
export function parseResource(object: unknown, origin?: ResourceOrigin): Result<AnyResource> {
  if (!isRecord(object)) return fail('', 'must be an object with apiVersion, kind and metadata')
  const { apiVersion, kind } = object
  if (typeof apiVersion !== 'string') return fail('apiVersion', 'is required')
  if (typeof kind !== 'string') return fail('kind', 'is required')
  const known = kindOf(apiVersion, kind)
  if (!known.ok) return known
  const problems = new Problems()
  for (const key of Object.keys(object)) if (!TOP_LEVEL.has(key)) problems.error(key, 'unknown field')
  const version =
    KINDS[known.value].group === EXTENSIONS && isRecord(object.metadata) ? object.metadata.resourceVersion : undefined
  const metadata = {
    ...parseMetadata(object.metadata, problems),
    ...(typeof version === 'string' ? { resourceVersion: version } : {}),
  }
  const spec = parseSpec(known.value, object.spec, problems)
  if (problems.failed) return { ok: false, problems: problems.list }
  const resource = { kind: known.value, apiVersion, metadata, spec, origin, warnings: problems.list } as AnyResource
  // Validation runs only on what has the right shape, so that it need not check types again.
  const validate = VALIDATORS[known.value] as (resource: AnyResource, problems: Problems) => void
  validate(resource, problems)
  return problems.failed ? { ok: false, problems: problems.list } : ok(resource)
}

function kindOf(apiVersion: string, kind: string): Result<IstioKind> {
  const [group, version] = apiVersion.split('/')
  const candidates = ISTIO_KINDS.filter((name) => KINDS[name].group === group)
  if (candidates.length === 0) return fail('apiVersion', `"${apiVersion}" is not an Istio API`)
  const found = candidates.find((name) => name === kind)
  if (!found) return fail('kind', `unknown kind "${kind}" in ${group}`, `${group} has ${candidates.join(', ')}`)
  const versions: readonly string[] = KINDS[found].versions
  if (version === undefined || !versions.includes(version)) {
    return fail(
      'apiVersion',
      `${kind} has no version "${version}"`,
      `use ${versions.map((v) => `${group}/${v}`).join(', ')}`,
    )
  }
  return ok(found)
}

/** Kinds whose CRD lets `spec` be missing; the others say "is required". */
function parseSpec(kind: IstioKind, input: unknown, problems: Problems): unknown {
  const schema = KINDS[kind].spec
  if (input === undefined || input === null) {
    if (kind === 'ServiceEntry' || kind === 'WorkloadEntry' || kind === 'WorkloadGroup' || kind === 'WasmPlugin') {
      problems.error('spec', 'is required')
    }
    return schema.parse({}, 'spec', problems)
  }
  return schema.parse(input, 'spec', problems)
}

/** Name, namespace, labels, annotations and age of an object. */
export function parseMetadata(input: unknown, problems: Problems): ResourceMetadata {
  if (!isRecord(input)) {
    problems.error('metadata', 'is required')
    return { name: '', namespace: '', labels: {}, annotations: {}, creationMs: 0 }
  }
  const { name, namespace, creationTimestamp } = input
  if (typeof name !== 'string' || name === '') {
    if (typeof input.generateName !== 'string') problems.error('metadata.name', 'is required')
  } else if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name) || name.length > 253) {
    problems.error('metadata.name', `"${name}" is not a valid name`, 'use lower-case letters, digits, - and .')
  }
  const created = typeof creationTimestamp === 'string' ? Date.parse(creationTimestamp) : 0
  return {
    name: typeof name === 'string' ? name : '',
    namespace: typeof namespace === 'string' && namespace !== '' ? namespace : 'default',
    labels: stringMap(input.labels, 'metadata.labels', problems),
    annotations: stringMap(input.annotations, 'metadata.annotations', problems),
    creationMs: Number.isNaN(created) ? 0 : created,
  }
}

function stringMap(input: unknown, path: string, problems: Problems): Record<string, string> {
  if (input === undefined || input === null) return {}
  if (!isRecord(input)) {
    problems.error(path, 'must be an object of strings')
    return {}
  }
  for (const key of Object.keys(input)) {
    if (typeof input[key] !== 'string') problems.error(`${path}[${JSON.stringify(key)}]`, 'must be a string')
  }
  return input as Record<string, string>
}
