// Kubernetes objects as plain data, as kubectl's JSON has them.

export interface ObjectMeta {
  name: string
  namespace?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
  creationTimestamp?: string
  deletionTimestamp?: string
  resourceVersion?: string
  generation?: number
  uid?: string
  generateName?: string
  ownerReferences?: OwnerReference[]
}

export interface OwnerReference {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller?: boolean
}

export interface KubeObject {
  apiVersion: string
  kind: string
  metadata: ObjectMeta
  spec?: unknown
  status?: unknown
  [field: string]: unknown
}

/** Where an object was written: for `explain`, `analyze` and error messages. Lines count from 1. */
export interface Origin {
  readonly file: string
  readonly line: number
}

/** Group and kind in kubectl's form: `Service`, `Deployment.apps`, `Gateway.networking.istio.io`. Versions are one kind. */
export type GroupKind = string

export function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/')
  return slash < 0 ? '' : apiVersion.slice(0, slash)
}

export function groupKindOf(object: Pick<KubeObject, 'apiVersion' | 'kind'>): GroupKind {
  const group = groupOf(object.apiVersion)
  return group ? `${object.kind}.${group}` : object.kind
}

/** `namespace/name`, or `name` for cluster-scoped objects. */
export function objectKey(meta: Pick<ObjectMeta, 'namespace' | 'name'>): string {
  return meta.namespace ? `${meta.namespace}/${meta.name}` : meta.name
}
