import type { KubeObject } from '../cluster/index.ts'
import type { Container, EnvVar, Pod } from './pod-types.ts'

/** Why a container cannot be made from its spec; kubelet's CreateContainerConfigError. */
export class ContainerConfigError extends Error {
  override name = 'ContainerConfigError'
}

/** Reads the ConfigMaps and Secrets a pod refers to. */
export type ObjectReader = (kind: 'ConfigMap' | 'Secret', name: string) => KubeObject | undefined

/** The environment of a container: envFrom first, then env in order, with `$(NAME)` of earlier variables replaced. */
export function containerEnv(pod: Pod, container: Container, read: ObjectReader): Record<string, string> {
  const env: Record<string, string> = {}
  for (const source of container.envFrom ?? []) {
    const [kind, ref] = source.configMapRef
      ? (['ConfigMap', source.configMapRef] as const)
      : (['Secret', source.secretRef!] as const)
    for (const [key, value] of Object.entries(objectData(read, kind, ref))) env[`${source.prefix ?? ''}${key}`] = value
  }
  for (const variable of container.env ?? []) {
    const value = variableValue(pod, container, variable, read, env)
    if (value !== undefined) env[variable.name] = value
  }
  return env
}

function variableValue(
  pod: Pod,
  container: Container,
  variable: EnvVar,
  read: ObjectReader,
  env: Record<string, string>,
): string | undefined {
  const from = variable.valueFrom
  if (!from) return expandReferences(variable.value ?? '', env)
  if (from.fieldRef) return fieldValue(pod, from.fieldRef.fieldPath)
  if (from.resourceFieldRef) return resourceValue(container, from.resourceFieldRef.resource)
  const [kind, ref] = from.configMapKeyRef
    ? (['ConfigMap', from.configMapKeyRef] as const)
    : (['Secret', from.secretKeyRef] as const)
  if (!ref) throw new ContainerConfigError(`env ${variable.name}: valueFrom names no source`)
  const value = objectData(read, kind, ref)[ref.key]
  if (value === undefined && !ref.optional)
    throw new ContainerConfigError(`couldn't find key ${ref.key} in ${kind} ${ref.name}`)
  return value
}

/** `$(NAME)` becomes the variable's value, `$$(NAME)` the text `$(NAME)`; an unknown name stays as written. */
export function expandReferences(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$(\$)?\(([A-Za-z_][A-Za-z0-9_.-]*)\)/g, (whole, escaped, name) =>
    escaped ? whole.slice(1) : (env[name] ?? whole),
  )
}

/** The downward API's field paths. */
export function fieldValue(pod: Pod, path: string): string {
  const { metadata, spec, status } = pod
  const keyed = /^metadata\.(labels|annotations)\['([^']*)'\]$/.exec(path)
  if (keyed) return metadata[keyed[1] as 'labels' | 'annotations']?.[keyed[2]!] ?? ''
  switch (path) {
    case 'metadata.name':
      return metadata.name
    case 'metadata.namespace':
      return metadata.namespace ?? 'default'
    case 'metadata.uid':
      return metadata.uid ?? ''
    case 'metadata.labels':
      return keyValueLines(metadata.labels)
    case 'metadata.annotations':
      return keyValueLines(metadata.annotations)
    case 'spec.nodeName':
      return spec.nodeName ?? ''
    case 'spec.serviceAccountName':
      return spec.serviceAccountName ?? 'default'
    case 'status.podIP':
    case 'status.podIPs':
      return status?.podIP ?? ''
    case 'status.hostIP':
      return status?.hostIP ?? ''
    default:
      throw new ContainerConfigError(`fieldRef ${path} is not a field the downward API has`)
  }
}

/** Kubernetes' file format of labels and annotations: `key="escaped value"`, sorted. */
function keyValueLines(map: Record<string, string> = {}): string {
  const keys = Object.keys(map).sort()
  return keys.map((key) => `${key}=${JSON.stringify(map[key])}`).join('\n')
}

/** Limits as whole units: cores rounded up, bytes. Without a limit: the machine's, as Kubernetes gives it. */
function resourceValue(container: Container, resource: string): string {
  const [list, name] = resource.split('.') as ['limits' | 'requests', string]
  const quantity = container.resources?.[list]?.[name]
  if (quantity === undefined) return '0'
  const parsed = /^(\d+(?:\.\d+)?)(m|Ki|Mi|Gi|k|M|G)?$/.exec(quantity)
  if (!parsed) throw new ContainerConfigError(`${resource}: ${quantity} is not a quantity`)
  const unit: Record<string, number> = { m: 0.001, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, k: 1e3, M: 1e6, G: 1e9 }
  return String(Math.ceil(Number(parsed[1]) * (parsed[2] ? unit[parsed[2]]! : 1)))
}

/** The text entries of a ConfigMap or Secret (decoded). A missing object is an error unless `optional`. */
export function objectData(
  read: ObjectReader,
  kind: 'ConfigMap' | 'Secret',
  ref: { name: string; optional?: boolean },
): Record<string, string> {
  const object = read(kind, ref.name)
  if (!object) {
    if (ref.optional) return {}
    throw new ContainerConfigError(`${kind === 'Secret' ? 'secret' : 'configmap'} "${ref.name}" not found`)
  }
  const data = (object.data ?? {}) as Record<string, string>
  if (kind === 'ConfigMap') return data
  const decoded = Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')])
  return { ...Object.fromEntries(decoded), ...(object.stringData as Record<string, string> | undefined) }
}
