import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type GroupKind, groupKindOf, type KubeObject, type Origin, objectKey } from './object.ts'

/** One change. `modified` events carry what was there before, so that a consumer can tell what really changed. */
export interface StoreEvent {
  readonly type: 'added' | 'modified' | 'deleted'
  readonly kind: GroupKind
  /** The object after the change; for `deleted` its last state. */
  readonly object: KubeObject
  readonly previous?: KubeObject
}

/** What a control plane needs of Kubernetes: read, and be told. Objects handed out are frozen by convention: never change one. */
export interface Store {
  list(kind: GroupKind, namespace?: string): KubeObject[]
  get(kind: GroupKind, namespace: string | undefined, name: string): KubeObject | undefined
  /** Every kind that holds at least one object. */
  kindsPresent(): GroupKind[]
  origin(object: KubeObject): Origin | undefined
  /** Calls `listener` with every later batch of changes, in order. Returns the function that ends the watch. */
  watch(listener: (events: readonly StoreEvent[]) => void): () => void
  /** True once the first complete state has been read. */
  readonly synced: boolean
}

/** A store that accepts writes: the embedded API server's, and the one tests and file sources fill. */
export class MemoryStore implements Store {
  synced = true
  private readonly kinds = new Map<GroupKind, Map<string, KubeObject>>()
  private readonly origins = new WeakMap<KubeObject, Origin>()
  private readonly listeners = new Set<(events: readonly StoreEvent[]) => void>()
  private version = 0

  list(kind: GroupKind, namespace?: string): KubeObject[] {
    const all = [...(this.kinds.get(kind)?.values() ?? [])]
    return namespace === undefined ? all : all.filter((o) => o.metadata.namespace === namespace)
  }

  get(kind: GroupKind, namespace: string | undefined, name: string): KubeObject | undefined {
    return this.kinds.get(kind)?.get(objectKey({ namespace, name }))
  }

  kindsPresent(): GroupKind[] {
    return [...this.kinds].filter(([, objects]) => objects.size > 0).map(([kind]) => kind)
  }

  origin(object: KubeObject): Origin | undefined {
    return this.origins.get(object)
  }

  watch(listener: (events: readonly StoreEvent[]) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Creates or replaces objects as one batch: watchers see all of them at once. An equal object makes no event. */
  put(objects: readonly { object: KubeObject; origin?: Origin }[]): StoreEvent[] {
    return this.commit(objects, [])
  }

  /** Removes what is there of `keys`, as one batch. */
  remove(keys: readonly { kind: GroupKind; namespace?: string; name: string }[]): StoreEvent[] {
    return this.commit([], keys)
  }

  /** Replaces the `status` of objects that are there, as one batch, and nothing else of them. */
  putStatuses(
    updates: readonly { kind: GroupKind; namespace?: string; name: string; status: unknown }[],
  ): StoreEvent[] {
    const puts = updates.flatMap(({ kind, namespace, name, status }) => {
      const object = this.get(kind, namespace, name)
      return object ? [{ object: { ...object, status }, origin: this.origin(object) }] : []
    })
    return this.put(puts)
  }

  /** Puts and removals in one batch. */
  commit(
    puts: readonly { object: KubeObject; origin?: Origin }[],
    removals: readonly { kind: GroupKind; namespace?: string; name: string }[],
  ): StoreEvent[] {
    const events: StoreEvent[] = []
    for (const { kind, namespace, name } of removals) {
      const objects = this.kinds.get(kind)
      const key = objectKey({ namespace, name })
      const object = objects?.get(key)
      if (!objects || !object) continue
      objects.delete(key)
      events.push({ type: 'deleted', kind, object })
    }
    for (const { object, origin } of puts) {
      const event = this.putOne(object, origin)
      if (event) events.push(event)
    }
    if (events.length > 0) for (const listener of [...this.listeners]) listener(events)
    return events
  }

  private putOne(input: KubeObject, origin: Origin | undefined): StoreEvent | undefined {
    const kind = groupKindOf(input)
    let objects = this.kinds.get(kind)
    if (!objects) this.kinds.set(kind, (objects = new Map()))
    const key = objectKey(input.metadata)
    const previous = objects.get(key)
    const object: KubeObject = {
      ...input,
      metadata: {
        ...input.metadata,
        uid: previous?.metadata.uid ?? input.metadata.uid ?? randomUUID(),
        creationTimestamp:
          previous?.metadata.creationTimestamp ?? input.metadata.creationTimestamp ?? new Date().toISOString(),
        generation: previous?.metadata.generation ?? 1,
        resourceVersion: previous?.metadata.resourceVersion ?? '0',
      },
    }
    if (origin) this.origins.set(object, origin)
    if (previous && isDeepStrictEqual(previous, object)) {
      const moved = origin ?? this.origins.get(previous)
      if (moved) this.origins.set(previous, moved)
      return undefined
    }
    object.metadata.resourceVersion = String(++this.version)
    if (previous && !isDeepStrictEqual(previous.spec, object.spec)) {
      object.metadata.generation = (previous.metadata.generation ?? 1) + 1
    }
    objects.set(key, object)
    return previous ? { type: 'modified', kind, object, previous } : { type: 'added', kind, object }
  }
}
