// Injection into manifests, before they are applied: what `istioctl kube-inject` does.
import { parseAllDocuments, stringify } from 'yaml'
import { errorText, UserError } from '../base/errors.ts'
import type { KubeObject } from '../cluster/index.ts'
import type { MeshConfig } from '../config/index.ts'
import { TEMPLATE_HASH } from './deployments.ts'
import { injectedPod } from './pod-admission.ts'
import type { Pod } from './pod-types.ts'

type Tree = Readonly<Record<string, unknown>>

/** Where the pod of a workload stands; null: the object is a pod, or none has one. */
const TEMPLATES: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  Deployment: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  Job: ['spec', 'template'],
  ReplicationController: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
}

/** Every namespace asks for sidecars: a pod's own word still counts. */
const STORE = {
  get: (kind: string, _namespace: string | undefined, name: string): KubeObject | undefined =>
    kind === 'Namespace'
      ? { apiVersion: 'v1', kind, metadata: { name, labels: { 'istio-injection': 'enabled' } } }
      : undefined,
  list: () => [],
}

/** The documents of `text` with the pods of every workload injected; others stay. Throws UserError with file and line. */
export function injectDocuments(file: string, text: string, meshConfig: MeshConfig | undefined): string {
  const documents = parseAllDocuments(text, { prettyErrors: false })
  const out: string[] = []
  for (const document of documents) {
    const fault = document.errors[0]
    if (fault) {
      const line = text.slice(0, fault.pos[0]).split('\n').length
      throw new UserError(`${file}:${line}: invalid YAML: ${fault.message}`, 65)
    }
    const value: unknown = document.toJS()
    if (value === null || value === undefined) continue
    const injected = injectObject(file, value, meshConfig)
    out.push(injected === value ? document.toString() : stringify(injected, { lineWidth: 0 }))
  }
  return out.map((one) => one.replace(/^---\n/, '')).join('---\n')
}

function injectObject(file: string, value: unknown, meshConfig: MeshConfig | undefined): unknown {
  if (!isTree(value)) return value
  if (value.kind === 'List' && Array.isArray(value.items)) {
    const items = value.items.map((item: unknown) => injectObject(file, item, meshConfig))
    return items.every((item, i) => item === (value.items as unknown[])[i]) ? value : { ...value, items }
  }
  const { kind } = value
  const path = typeof kind === 'string' && Object.hasOwn(TEMPLATES, kind) ? TEMPLATES[kind]! : null
  return path === null ? value : changeAt(value, path, (template) => injectPod(file, value, template, meshConfig))
}

/** Null: nothing to inject. */
function injectPod(file: string, workload: Tree, template: unknown, meshConfig: MeshConfig | undefined): Tree | null {
  const { name = '', namespace = 'default' } = (workload.metadata ?? {}) as { name?: string; namespace?: string }
  const what = `${file}: ${String(workload.kind)} ${name}`
  const pod = template as { metadata?: Tree | null; spec?: { containers?: unknown } } | undefined
  if (!Array.isArray(pod?.spec?.containers) || pod.spec.containers.length === 0)
    throw new UserError(`${what} has no containers`, 65)
  const metadata = pod.metadata ?? {}
  if (!isTree(metadata)) throw new UserError(`${what}: metadata must be a mapping`, 65)
  // As the pods of a Deployment are born: the names of workload and pod are read off them.
  const hash = 'hash'
  const born = {
    ...pod,
    metadata: {
      ...metadata,
      name: String(metadata.name ?? name),
      namespace,
      ...(workload.kind === 'Deployment'
        ? {
            labels: { ...(metadata.labels as object | undefined), [TEMPLATE_HASH]: hash },
            ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: `${name}-${hash}` }],
          }
        : {}),
    },
  } as unknown as Pod
  let injected: Pod | undefined
  try {
    injected = injectedPod(STORE, born, { proxy: 'mixed-by-annotation', clusterId: 'Kubernetes', meshConfig })
  } catch (error) {
    throw new UserError(`${what}: ${errorText(error)}`, 65, { cause: error })
  }
  if (injected === undefined || injected === born) return null
  const { name: _name, namespace: _namespace, ownerReferences: _owners, labels, ...rest } = injected.metadata
  const { [TEMPLATE_HASH]: _hash, ...kept } = labels ?? {}
  const own = workload.kind === 'Pod' ? { name: metadata.name, ...('namespace' in metadata ? { namespace } : {}) } : {}
  return { ...injected, metadata: { ...own, ...rest, labels: kept } } as unknown as Tree
}

/** `value` with what stands at `path` replaced; the same object when `change` gives null. */
function changeAt(value: Tree, path: readonly string[], change: (at: unknown) => Tree | null): Tree {
  const [first, ...rest] = path
  if (first === undefined) return change(value) ?? value
  const inner = value[first]
  const next = rest.length > 0 ? (isTree(inner) ? changeAt(inner, rest, change) : inner) : (change(inner) ?? inner)
  return next === inner ? value : { ...value, [first]: next }
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
