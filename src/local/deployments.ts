import { createHash } from 'node:crypto'
import type { KubeObject, MemoryStore } from '../cluster/index.ts'
import { type Deployment, isPodReady, type Pod } from './pod-types.ts'

/** Kubernetes' alphabet of generated names: no vowels, no look-alikes. */
const SAFE = 'bcdfghjklmnpqrstvwxz2456789'
export const TEMPLATE_HASH = 'pod-template-hash'

/** A short name part that depends on `content` alone. */
export function safeHash(content: string, length: number): string {
  const digest = createHash('sha256').update(content).digest()
  return Array.from({ length }, (_, i) => SAFE[digest[i]! % SAFE.length]).join('')
}

export interface RolloutPlan {
  /** How many pods of the current template to add. */
  readonly create: number
  readonly remove: readonly Pod[]
}

/**
 * The next step of a rollout: never more than replicas + maxSurge pods, never fewer than replicas - maxUnavailable
 * ready ones, unready pods first to go, then the youngest. Terminating pods do not count.
 */
export function planRollout(deployment: Deployment, pods: readonly Pod[], currentHash: string): RolloutPlan {
  const replicas = deployment.spec.replicas ?? 1
  const alive = pods.filter((pod) => !pod.metadata.deletionTimestamp)
  const isCurrent = (pod: Pod) => pod.metadata.labels?.[TEMPLATE_HASH] === currentHash
  const current = alive.filter(isCurrent)
  const old = alive.filter((pod) => !isCurrent(pod))
  if (deployment.spec.strategy?.type === 'Recreate') {
    if (old.length > 0) return { create: 0, remove: old }
    // The old pods must be gone, not only going.
    if (pods.some((pod) => !isCurrent(pod))) return { create: 0, remove: [] }
  }
  const { maxSurge = '25%', maxUnavailable = '25%' } = deployment.spec.strategy?.rollingUpdate ?? {}
  let unavailable = share(maxUnavailable, replicas, Math.floor)
  const surge = share(maxSurge, replicas, Math.ceil)
  if (surge === 0 && unavailable === 0) unavailable = 1
  const room = old.length === 0 ? replicas - current.length : replicas + surge - alive.length
  const create = Math.max(0, Math.min(replicas - current.length, room))
  const excess = current.length > replicas ? byExpendability(current).slice(0, current.length - replicas) : []
  const readyNow = alive.filter(isPodReady).length - excess.filter(isPodReady).length
  let mayLose = readyNow - (replicas - unavailable)
  const remove = [...excess]
  for (const pod of byExpendability(old)) {
    if (isPodReady(pod) && mayLose-- <= 0) continue
    remove.push(pod)
  }
  return { create, remove }
}

function byExpendability(pods: readonly Pod[]): Pod[] {
  const age = (pod: Pod) => Date.parse(pod.metadata.creationTimestamp ?? '') || 0
  return [...pods].sort((a, b) => Number(isPodReady(a)) - Number(isPodReady(b)) || age(b) - age(a))
}

function share(value: number | string, of: number, round: (x: number) => number): number {
  return typeof value === 'number' ? value : round((Number.parseFloat(value) / 100) * of)
}

export interface DeploymentHooks {
  /** Turns a pod as written into the pod that runs: defaults, sidecar injection. Throws when it must not run. */
  admitPod(pod: Pod): Pod
  event(object: KubeObject, message: string): void
}

/** Makes and removes pods so that every Deployment has what it asks for, through ReplicaSets as Kubernetes does. */
export class DeploymentController {
  private readonly store: MemoryStore
  private readonly hooks: DeploymentHooks
  private podCounter = 0

  constructor(store: MemoryStore, hooks: DeploymentHooks) {
    this.store = store
    this.hooks = hooks
    store.watch((events) => {
      const touched = new Set<string>()
      for (const { kind, object, type } of events) {
        const { namespace, name } = object.metadata
        if (kind === 'Deployment.apps' && type !== 'deleted') touched.add(`${namespace}/${name}`)
        else if (kind === 'Deployment.apps') this.removeOwned(object as Deployment)
        else if (kind === 'Pod') {
          const owner = ownerDeployment(object)
          if (owner) touched.add(`${namespace}/${owner}`)
        }
      }
      for (const key of touched) {
        const [namespace, name] = key.split('/')
        const deployment = store.get('Deployment.apps', namespace, name!)
        if (deployment) this.reconcile(deployment as Deployment)
      }
    })
  }

  private podsOf({ metadata }: Deployment): Pod[] {
    const pods = this.store.list('Pod', metadata.namespace) as Pod[]
    return pods.filter((pod) => ownerDeployment(pod) === metadata.name)
  }

  private removeOwned(deployment: Deployment): void {
    const { namespace, name } = deployment.metadata
    const sets = this.store
      .list('ReplicaSet.apps', namespace)
      .filter((rs) => rs.metadata.ownerReferences?.[0]?.name === name)
    this.store.remove(sets.map((rs) => ({ kind: 'ReplicaSet.apps', namespace, name: rs.metadata.name })))
    this.terminate(this.podsOf(deployment))
  }

  private terminate(pods: readonly Pod[]): void {
    this.store.put(pods.map((pod) => ({ object: terminating(pod) })))
  }

  private reconcile(deployment: Deployment): void {
    const pods = this.podsOf(deployment)
    const hash = safeHash(JSON.stringify(deployment.spec.template), 10)
    const plan = planRollout(deployment, pods, hash)
    const fresh: Pod[] = []
    try {
      for (let i = 0; i < plan.create; i++) fresh.push(this.hooks.admitPod(this.newPod(deployment, hash)))
    } catch (error) {
      this.hooks.event(deployment, `Error creating: ${(error as Error).message}`)
    }
    const after = [...pods.filter((pod) => !plan.remove.includes(pod) && !pod.metadata.deletionTimestamp), ...fresh]
    const origin = this.store.origin(deployment)
    this.store.commit(
      [
        ...this.replicaSets(deployment, hash, after).map((object) => ({ object })),
        { object: { ...deployment, status: statusOf(deployment, after, hash) }, origin },
        ...fresh.map((object) => ({ object: object as KubeObject, origin })),
        ...plan.remove.map((pod) => ({ object: terminating(pod) })),
      ],
      this.emptySets(deployment, hash, after),
    )
  }

  private newPod(deployment: Deployment, hash: string): Pod {
    const { name, namespace } = deployment.metadata
    const { metadata, spec } = deployment.spec.template
    const set = `${name}-${hash}`
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        ...metadata,
        name: `${set}-${safeHash(`${set}/${Date.now()}/${this.podCounter++}`, 5)}`,
        generateName: `${set}-`,
        namespace,
        labels: { ...metadata?.labels, [TEMPLATE_HASH]: hash },
        ownerReferences: [
          {
            apiVersion: 'apps/v1',
            kind: 'ReplicaSet',
            name: set,
            uid: `${deployment.metadata.uid}-${hash}`,
            controller: true,
          },
        ],
      },
      spec,
    }
  }

  private replicaSets(deployment: Deployment, hash: string, pods: readonly Pod[]): KubeObject[] {
    const { name, namespace, uid } = deployment.metadata
    const mine = pods.filter((pod) => pod.metadata.labels?.[TEMPLATE_HASH] === hash)
    return [
      {
        apiVersion: 'apps/v1',
        kind: 'ReplicaSet',
        metadata: {
          name: `${name}-${hash}`,
          namespace,
          uid: `${uid}-${hash}`,
          labels: { ...deployment.spec.template.metadata?.labels, [TEMPLATE_HASH]: hash },
          ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name, uid: uid!, controller: true }],
        },
        spec: { replicas: deployment.spec.replicas ?? 1, template: deployment.spec.template },
        status: { replicas: mine.length, readyReplicas: mine.filter(isPodReady).length },
      },
    ]
  }

  private emptySets(deployment: Deployment, hash: string, pods: readonly Pod[]) {
    const { name, namespace } = deployment.metadata
    return this.store
      .list('ReplicaSet.apps', namespace)
      .filter((set) => set.metadata.ownerReferences?.[0]?.name === name && set.metadata.name !== `${name}-${hash}`)
      .filter((set) => !pods.some((pod) => pod.metadata.ownerReferences?.[0]?.name === set.metadata.name))
      .map((set) => ({ kind: 'ReplicaSet.apps', namespace, name: set.metadata.name }))
  }
}

/** The Deployment behind a pod, from its ReplicaSet's name, as Istio derives the workload's name. */
export function ownerDeployment(pod: KubeObject): string | undefined {
  const owner = pod.metadata.ownerReferences?.[0]
  const hash = pod.metadata.labels?.[TEMPLATE_HASH]
  return owner?.kind === 'ReplicaSet' && hash && owner.name.endsWith(`-${hash}`)
    ? owner.name.slice(0, -hash.length - 1)
    : undefined
}

/** The pod with the mark that makes the kubelet end it. */
export function terminating(pod: Pod): Pod {
  const deletionTimestamp = pod.metadata.deletionTimestamp ?? new Date().toISOString()
  return { ...pod, metadata: { ...pod.metadata, deletionTimestamp } }
}

function statusOf(deployment: Deployment, pods: readonly Pod[], hash: string): Record<string, unknown> {
  const ready = pods.filter(isPodReady).length
  const available = ready >= (deployment.spec.replicas ?? 1)
  return {
    observedGeneration: deployment.metadata.generation,
    replicas: pods.length,
    updatedReplicas: pods.filter((pod) => pod.metadata.labels?.[TEMPLATE_HASH] === hash).length,
    readyReplicas: ready,
    availableReplicas: ready,
    conditions: [{ type: 'Available', status: available ? 'True' : 'False' }],
  }
}
