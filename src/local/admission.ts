// What an API server does between receiving an object and storing it: names, defaults, addresses, references.
import { UserError } from '../base/errors.ts'
import {
  groupKindOf,
  isNamespacedKind,
  type KubeObject,
  type MemoryStore,
  type Store,
  type StoreEvent,
} from '../cluster/index.ts'
import { freeServiceIp, isServiceIp, SERVICE_CIDR } from './addresses.ts'
import { terminating } from './deployments.ts'
import type { ManifestObject } from './manifest.ts'
import type { Deployment, Pod, Service } from './pod-types.ts'

export interface ApplyResult {
  readonly object: string
  readonly action: 'created' | 'configured' | 'unchanged'
}

/** Names an object as kubectl does: `service/reviews`, `virtualservice.networking.istio.io/reviews`. */
function displayName({ apiVersion, kind, metadata }: Pick<KubeObject, 'apiVersion' | 'kind' | 'metadata'>): string {
  const [first, ...group] = groupKindOf({ apiVersion, kind }).split('.')
  return `${[first!.toLowerCase(), ...group].join('.')}/${metadata.name}`
}

/** Turns a pod as written into the pod that runs, by what `store` says of its namespace and account. */
export type PodAdmission = (pod: Pod, store: Pick<Store, 'get' | 'list'>) => Pod

/** Writes to the store as Kubernetes' API server does; every method is one batch, all or nothing. */
export class Admission {
  private readonly store: MemoryStore
  private readonly admitPod: PodAdmission

  constructor(store: MemoryStore, admitPod: PodAdmission) {
    this.store = store
    this.admitPod = admitPod
  }

  /**
   * Creates or replaces the objects. What the cluster itself decided (status, address, times, a replica count the
   * object does not state) is kept. Throws UserError with file and line for what cannot be.
   */
  apply(manifests: readonly ManifestObject[]): ApplyResult[] {
    const namespaces = new Set(this.store.list('Namespace').map((o) => o.metadata.name))
    for (const { object } of manifests) if (object.kind === 'Namespace') namespaces.add(object.metadata.name)
    const used = new Set((this.store.list('Service') as Service[]).map((s) => s.spec.clusterIP ?? ''))
    const batch = manifests.map(({ object }) => withNamespace(object))
    const defaults = this.defaultAccounts(batch)
    const seen = this.withBatch([...batch, ...defaults.map(({ object }) => object)])
    const puts = manifests.map(({ object, origin }) => {
      try {
        return { object: this.admit(withNamespace(object), namespaces, used, seen), origin }
      } catch (error) {
        if (error instanceof UserError)
          throw new UserError(`${origin.file}:${origin.line}: ${error.message}`, error.exitCode)
        throw error
      }
    })
    // Owners before what refers to them: watchers of one batch see accounts and namespaces first.
    const order = ['Namespace', 'ServiceAccount', 'ConfigMap', 'Secret', 'Service']
    const rank = ({ object }: { object: KubeObject }) =>
      (order.indexOf(object.kind) + order.length + 1) % (order.length + 1)
    const sorted = [...puts, ...defaults].sort((a, b) => rank(a) - rank(b))
    const events = this.store.put(sorted)
    return puts.map(({ object }) => ({ object: displayName(object), action: actionOf(object, events) }))
  }

  /** Every namespace has an account `default`. */
  private defaultAccounts(objects: readonly KubeObject[]): { object: KubeObject }[] {
    return objects
      .filter(
        ({ kind, metadata }) => kind === 'Namespace' && !this.store.get('ServiceAccount', metadata.name, 'default'),
      )
      .map(({ metadata }) => ({
        object: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: metadata.name } },
      }))
  }

  /** The store as it will be: a pod is admitted by the namespace and account that come in the same batch. */
  private withBatch(objects: readonly KubeObject[]): Pick<Store, 'get' | 'list'> {
    return {
      get: (kind, namespace, name) =>
        objects.find(
          (o) => groupKindOf(o) === kind && o.metadata.name === name && o.metadata.namespace === namespace,
        ) ?? this.store.get(kind, namespace, name),
      list: (kind, namespace) => {
        const own = objects.filter(
          (o) => groupKindOf(o) === kind && (namespace ?? o.metadata.namespace) === o.metadata.namespace,
        )
        const replaced = new Set(own.map((o) => `${o.metadata.namespace}/${o.metadata.name}`))
        const stored = this.store.list(kind, namespace)
        return [...stored.filter((o) => !replaced.has(`${o.metadata.namespace}/${o.metadata.name}`)), ...own]
      },
    }
  }

  private admit(
    object: KubeObject,
    namespaces: ReadonlySet<string>,
    used: Set<string>,
    seen: Pick<Store, 'get' | 'list'>,
  ): KubeObject {
    const { namespace, name } = object.metadata
    if (namespace !== undefined && !namespaces.has(namespace)) {
      throw new UserError(`namespaces "${namespace}" not found (apply a Namespace ${namespace} first)`)
    }
    const kind = groupKindOf(object)
    const previous = this.store.get(kind, namespace, name)
    const merged: KubeObject = {
      ...object,
      metadata: { ...systemMetadata(previous), ...object.metadata },
      ...(previous?.status !== undefined ? { status: previous.status } : {}),
    }
    if (kind === 'Namespace') return labelled(merged, { 'kubernetes.io/metadata.name': name })
    if (kind === 'Service') return withServiceDefaults(merged as Service, previous as Service | undefined, used)
    if (kind === 'Deployment.apps')
      return withDeploymentDefaults(merged as Deployment, previous as Deployment | undefined)
    if (kind === 'Pod') {
      if (previous) {
        // A pod's spec is fixed once it runs; labels and annotations may change.
        return {
          ...previous,
          metadata: { ...previous.metadata, labels: object.metadata.labels, annotations: object.metadata.annotations },
        }
      }
      return this.admitPod(merged as Pod, seen)
    }
    return merged
  }

  /** Removes objects; a pod is asked to end first, a namespace takes everything in it along. */
  delete(targets: readonly { kind: string; namespace?: string; name: string }[]): string[] {
    const removals: { kind: string; namespace?: string; name: string }[] = []
    const ending: Pod[] = []
    const deleted: string[] = []
    for (const target of targets) {
      const object = this.store.get(target.kind, target.namespace, target.name)
      if (!object) continue
      deleted.push(displayName(object))
      if (target.kind === 'Pod') ending.push(object as Pod)
      else removals.push(target)
      if (target.kind !== 'Namespace') continue
      for (const kind of this.store.kindsPresent()) {
        for (const inside of this.store.list(kind, target.name)) {
          if (kind === 'Pod') ending.push(inside as Pod)
          else removals.push({ kind, namespace: target.name, name: inside.metadata.name })
        }
      }
    }
    this.store.commit(
      ending.map((pod) => ({ object: terminating(pod) })),
      removals,
    )
    return deleted
  }

  /** Changes part of one object. Throws UserError when it does not exist. */
  update(
    kind: string,
    namespace: string | undefined,
    name: string,
    change: (object: KubeObject) => KubeObject,
  ): KubeObject {
    const object = this.store.get(kind, namespace, name)
    if (!object) throw new UserError(`${kind} ${namespace ? `${namespace}/` : ''}${name} not found`)
    this.store.put([{ object: change(object), origin: this.store.origin(object) }])
    return this.store.get(kind, namespace, name)!
  }
}

function withNamespace(object: KubeObject): KubeObject {
  if (!isNamespacedKind(object.kind)) {
    const { namespace: _none, ...metadata } = object.metadata
    return { ...object, metadata }
  }
  return { ...object, metadata: { ...object.metadata, namespace: object.metadata.namespace ?? 'default' } }
}

/** The metadata that the cluster keeps across an apply. */
function systemMetadata(previous: KubeObject | undefined) {
  if (!previous) return {}
  const { uid, creationTimestamp, generation, resourceVersion } = previous.metadata
  return { uid, creationTimestamp, generation, resourceVersion }
}

function labelled(object: KubeObject, labels: Record<string, string>): KubeObject {
  return { ...object, metadata: { ...object.metadata, labels: { ...object.metadata.labels, ...labels } } }
}

function withServiceDefaults(service: Service, previous: Service | undefined, used: Set<string>): Service {
  const { spec, metadata } = service
  const type = spec.type ?? 'ClusterIP'
  const ports = spec.ports?.map((port) => ({
    ...port,
    protocol: port.protocol ?? 'TCP',
    targetPort: port.targetPort ?? port.port,
  }))
  if (type === 'ExternalName') {
    if (!spec.externalName)
      throw new UserError(`Service ${metadata.name}: spec.externalName is required for type ExternalName`)
    return { ...service, spec: { ...spec, type, ...(ports ? { ports } : {}) } }
  }
  if (!ports?.length && spec.clusterIP !== 'None')
    throw new UserError(`Service ${metadata.name}: spec.ports needs at least one port`)
  if ((ports?.length ?? 0) > 1 && ports!.some((port) => !port.name)) {
    throw new UserError(`Service ${metadata.name}: every port needs a name when there are several`)
  }
  const asked = spec.clusterIP || previous?.spec.clusterIP
  const clusterIP = asked ?? freeServiceIp(used)
  if (clusterIP !== 'None') {
    if (!isServiceIp(clusterIP)) {
      throw new UserError(
        `Service ${metadata.name}: spec.clusterIP ${clusterIP} is outside of ${SERVICE_CIDR}; leave it out to get one`,
      )
    }
    if (clusterIP !== previous?.spec.clusterIP && used.has(clusterIP)) {
      throw new UserError(`Service ${metadata.name}: spec.clusterIP ${clusterIP} is already taken`)
    }
    used.add(clusterIP)
  }
  // Outside of this one machine nobody can reach a Service: its cluster address is the address a load balancer gives.
  const balanced = type === 'LoadBalancer' && clusterIP !== 'None'
  return {
    ...service,
    spec: { ...spec, type, clusterIP, clusterIPs: [clusterIP], ...(ports ? { ports } : {}) },
    ...(balanced ? { status: { loadBalancer: { ingress: [{ ip: clusterIP }] } } } : {}),
  }
}

function withDeploymentDefaults(deployment: Deployment, previous: Deployment | undefined): Deployment {
  const { spec, metadata } = deployment
  const labels = spec.template.metadata?.labels ?? {}
  const wanted = Object.entries(spec.selector?.matchLabels ?? {})
  if (wanted.length === 0 || wanted.some(([key, value]) => labels[key] !== value)) {
    throw new UserError(
      `Deployment ${metadata.name}: spec.selector.matchLabels must be among spec.template.metadata.labels`,
    )
  }
  return { ...deployment, spec: { ...spec, replicas: spec.replicas ?? previous?.spec.replicas ?? 1 } }
}

function actionOf(object: KubeObject, events: readonly StoreEvent[]): ApplyResult['action'] {
  const kind = groupKindOf(object)
  const { namespace, name } = object.metadata
  const event = events.find(
    (e) => e.kind === kind && e.object.metadata.name === name && e.object.metadata.namespace === namespace,
  )
  if (!event) return 'unchanged'
  return event.type === 'added' ? 'created' : 'configured'
}
