// Gateways of the Gateway API get their ServiceAccount, Deployment and Service; with the Gateway they go.
import { isDeepStrictEqual } from 'node:util'
import { errorText } from '../base/errors.ts'
import { groupKindOf, type KubeObject, type MemoryStore } from '../cluster/index.ts'
import type { GatewayWorkload } from '../pilot/index.ts'
import type { Admission } from './admission.ts'

const MANAGED_LABEL = 'gateway.istio.io/managed'
const OWNED_KINDS = [
  'Deployment.apps',
  'Service',
  'ServiceAccount',
  'HorizontalPodAutoscaler.autoscaling',
  'PodDisruptionBudget.policy',
] as const

const NOTHING: ReadonlyMap<string, KubeObject> = new Map()

type Report = (object: KubeObject, message: string) => void

export class GatewayWorkloads {
  private readonly store: MemoryStore
  private readonly admission: Admission
  private readonly report: Report
  /**
   * What was applied last, by Gateway and `kind namespace/name`: only what changed is applied again, so that a scale by hand
   * stays.
   */
  private applied = new Map<string, ReadonlyMap<string, KubeObject>>()

  constructor(store: MemoryStore, admission: Admission, report: Report) {
    this.store = store
    this.admission = admission
    this.report = report
    store.watch((events) => {
      for (const { type, kind, object } of events) {
        if (type === 'deleted' && kind === 'Gateway.gateway.networking.k8s.io') this.removeOwned(object)
      }
    })
  }

  /** Creates and updates. An object of the same name that was not made for a Gateway stays as it is. */
  keep(workloads: readonly GatewayWorkload[]): void {
    const next = new Map<string, ReadonlyMap<string, KubeObject>>()
    for (const { objects, gateway, problems } of workloads) {
      const [namespace, name] = gateway.split('/') as [string, string]
      const owner = this.store.get('Gateway.gateway.networking.k8s.io', namespace, name)
      if (!owner) continue
      const applied = this.applied.get(gateway) ?? NOTHING
      for (const problem of problems) this.report(owner, `infrastructure.parametersRef: ${problem}`)
      const kept = new Map<string, KubeObject>()
      next.set(gateway, objects.length > 0 ? kept : applied)
      for (const object of objects) {
        const kind = groupKindOf(object)
        const key = `${kind} ${namespace}/${object.metadata.name}`
        const before = this.store.get(kind, namespace, object.metadata.name)
        if (before && before.metadata.labels?.[MANAGED_LABEL] === undefined) {
          if (kind !== 'ServiceAccount') this.report(owner, `${key} was not made for the Gateway and is left alone`)
          continue
        }
        kept.set(key, object)
        if (before && isDeepStrictEqual(applied.get(key), object)) continue
        this.apply(object, owner)
      }
    }
    this.applied = next
  }

  private apply(object: KubeObject, owner: KubeObject): void {
    try {
      this.admission.apply([{ object, origin: this.store.origin(owner) ?? { file: 'gateway', line: 1 } }])
    } catch (error) {
      this.report(owner, errorText(error))
    }
  }

  private removeOwned({ metadata: { namespace, uid } }: KubeObject): void {
    const targets = OWNED_KINDS.flatMap((kind) =>
      this.store
        .list(kind, namespace)
        .filter(({ metadata }) => metadata.ownerReferences?.some((owner) => owner.uid === uid))
        .map(({ metadata }) => ({ kind, namespace, name: metadata.name })),
    )
    this.admission.delete(targets)
  }
}
