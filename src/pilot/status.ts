// Status of resources as the control plane sees it, and how it is laid over what an object's status already says.
import { isDeepStrictEqual } from 'node:util'
import type { GroupKind, KubeObject, StoreEvent } from '../cluster/index.ts'

/** A condition before it has a time: Kubernetes' `metav1.Condition`. */
export interface Condition {
  readonly type: string
  readonly status: 'True' | 'False'
  readonly reason: string
  readonly message: string
}

/** Status of one listener of a Gateway or ListenerSet. */
export interface ListenerStatus {
  readonly name: string
  readonly attachedRoutes: number
  readonly supportedKinds: readonly { readonly group: string; readonly kind: string }[]
  readonly conditions: readonly Condition[]
}

/** One entry of `status.parents` of a route, or of `status.ancestors` of a policy. */
export interface ReferenceStatus {
  readonly reference: Readonly<Record<string, unknown>>
  readonly controllerName: string
  readonly conditions: readonly Condition[]
}

export interface Address {
  readonly type: string
  readonly value: string
}

/** What a status says; entries of other controllers are not among it. */
export type Status =
  /** GatewayClass, Gateway, ListenerSet. `addresses` left out: none are known, the ones there stay. */
  | {
      readonly shape: 'gateway'
      readonly conditions: readonly Condition[]
      readonly addresses?: readonly Address[]
      readonly listeners?: readonly ListenerStatus[]
      readonly attachedListenerSets?: number
    }
  | {
      readonly shape: 'references'
      readonly list: 'parents' | 'ancestors'
      readonly entries: readonly ReferenceStatus[]
    }
  /** Ingress. */
  | { readonly shape: 'loadBalancer'; readonly ingress: readonly Readonly<Record<string, string>>[] }
  /** ServiceEntry without addresses: those that were allocated. */
  | { readonly shape: 'addresses'; readonly addresses: readonly { readonly value: string; readonly host: string }[] }

/** The status that an object should have. */
export interface ObjectStatus {
  readonly kind: GroupKind
  /** Left out for objects of the cluster. */
  readonly namespace?: string
  readonly name: string
  readonly status: Status
}

/** Controllers whose entries are ours to replace. */
const OWN_CONTROLLERS: ReadonlySet<string> = new Set(['istio.io/gateway-controller', 'istio.io/mesh-controller'])
/** Conditions that are ours to take away. */
const OWN_CONDITIONS: ReadonlySet<string> = new Set([
  'Accepted',
  'Conflicted',
  'InsecureFrontendValidationMode',
  'OverlappingTLSConfig',
  'Programmed',
  'ResolvedRefs',
])
/** The API's limit of `status.ancestors`. */
const MAX_ANCESTORS = 16

type StoredCondition = Condition & { readonly observedGeneration?: number; readonly lastTransitionTime?: string }
interface StoredReference {
  readonly controllerName?: string
  readonly conditions?: readonly StoredCondition[]
}

/**
 * The object's new `status`, or null when it says all that already. Entries of other controllers stay, and a condition
 * keeps its time until its status changes.
 */
export function mergeStatus(object: Pick<KubeObject, 'metadata' | 'status'>, status: Status, now: string) {
  const existing = (typeof object.status === 'object' && object.status !== null ? object.status : {}) as Record<
    string,
    unknown
  >
  const stamp = (conditions: readonly Condition[], before: unknown): StoredCondition[] => [
    ...conditions.map((condition) => {
      const known = listOf<StoredCondition>(before).find((one) => one.type === condition.type)
      return {
        lastTransitionTime: known?.status === condition.status ? (known.lastTransitionTime ?? now) : now,
        message: condition.message,
        observedGeneration: object.metadata.generation ?? 1,
        reason: condition.reason,
        status: condition.status,
        type: condition.type,
      }
    }),
    ...listOf<StoredCondition>(before).filter(({ type }) => !OWN_CONDITIONS.has(type)),
  ]
  const next = { ...existing, ...merged(status, existing, stamp, object.metadata.namespace) }
  return isDeepStrictEqual(next, existing) ? null : next
}

function merged(
  status: Status,
  existing: Record<string, unknown>,
  stamp: (conditions: readonly Condition[], before: unknown) => StoredCondition[],
  namespace: string | undefined,
): Record<string, unknown> {
  switch (status.shape) {
    case 'gateway': {
      const { addresses, listeners, attachedListenerSets } = status
      const before = listOf<ListenerStatus>(existing.listeners)
      return {
        ...(addresses ? { addresses } : {}),
        ...(attachedListenerSets === undefined ? {} : { attachedListenerSets }),
        conditions: stamp(status.conditions, existing.conditions),
        ...(listeners
          ? {
              listeners: listeners.map((listener) => ({
                ...listener,
                conditions: stamp(listener.conditions, before.find(({ name }) => name === listener.name)?.conditions),
              })),
            }
          : {}),
      }
    }
    case 'references': {
      const field = status.list === 'parents' ? 'parentRef' : 'ancestorRef'
      const before = listOf<StoredReference & Record<string, unknown>>(existing[status.list])
      const own = status.entries.map(({ reference, controllerName, conditions }) => ({
        conditions: stamp(
          conditions,
          before.find(
            (one) =>
              one.controllerName === controllerName &&
              isDeepStrictEqual(whole(one[field], namespace), whole(reference, namespace)),
          )?.conditions,
        ),
        controllerName,
        [field]: reference,
      }))
      const others = before.filter(({ controllerName }) => !OWN_CONTROLLERS.has(controllerName ?? ''))
      const all = [...others, ...own]
      if (all.length === 0 && existing[status.list] === undefined) return {}
      return { [status.list]: status.list === 'ancestors' ? all.slice(0, MAX_ANCESTORS) : all }
    }
    case 'loadBalancer':
      return { loadBalancer: status.ingress.length > 0 ? { ingress: status.ingress } : {} }
    case 'addresses':
      return { addresses: status.addresses }
  }
}

/** A reference with what it may leave out. */
function whole(reference: unknown, namespace: string | undefined): unknown {
  const given = typeof reference === 'object' && reference !== null ? reference : {}
  return { group: 'gateway.networking.k8s.io', kind: 'Gateway', namespace, ...given }
}

function listOf<T>(value: unknown): readonly T[] {
  return Array.isArray(value) ? (value.filter((one) => typeof one === 'object' && one !== null) as T[]) : []
}

/** Statuses are written by us: most are no reason to do anything anew. */
export function onlyStatusChanged({ type, object, previous }: StoreEvent): boolean {
  return (
    type === 'modified' &&
    previous !== undefined &&
    isDeepStrictEqual(object.spec, previous.spec) &&
    isDeepStrictEqual(object.metadata.labels, previous.metadata.labels) &&
    isDeepStrictEqual(object.metadata.annotations, previous.metadata.annotations)
  )
}
