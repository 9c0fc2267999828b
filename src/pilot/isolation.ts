// Finds the object with which no push context can be built, so that it alone stays as it was and all others take effect.
import { type KubeObject, objectKey, type Store, type StoreEvent } from '../cluster/index.ts'

/** An object that was taken in since the last good push context. */
export interface Taken {
  readonly event: StoreEvent
  /** The version in force in the last good push context; null: none. */
  readonly before: KubeObject | null
  readonly store: Pick<Store, 'origin'>
}

/** An object that is set aside, and what building with it ended with. */
export interface Fault {
  readonly object: KubeObject
  readonly error: unknown
}

/** What was taken in since the last good push context, and which version of it was in force before. */
export class Journal {
  private readonly taken = new Map<string, Taken>()
  /** Versions in force of objects of which the store has another one: refused, or set aside. */
  private readonly standing = new Map<string, KubeObject | null>()

  /** Notes an event that took effect, or whose object was refused. */
  note(event: StoreEvent, refused: boolean, store: Pick<Store, 'origin'>): void {
    const key = keyOf(event)
    const inForce = this.standing.get(key)
    const before =
      inForce === undefined ? (event.previous ?? (event.type === 'deleted' ? event.object : null)) : inForce
    if (refused) {
      this.standing.set(key, before)
      return
    }
    this.standing.delete(key)
    this.taken.set(key, { event, before: this.taken.has(key) ? this.taken.get(key)!.before : before, store })
  }

  /** In the order in which they were taken in. */
  entries(): readonly Taken[] {
    return [...this.taken.values()]
  }

  /** A push context was built from everything taken in, but for what is named. */
  settle(aside: readonly Taken[]): void {
    this.taken.clear()
    for (const { event, before } of aside) this.standing.set(keyOf(event), before)
  }
}

function keyOf({ kind, object }: StoreEvent): string {
  return `${kind}/${objectKey(object.metadata)}`
}

/** The event that brings the version of before back; null: there was none, and there is none. */
export function takenBack({ event, before }: Taken): StoreEvent | null {
  const { kind, object, type } = event
  const gone = type === 'deleted'
  if (before)
    return gone ? { type: 'added', kind, object: before } : { type: 'modified', kind, object: before, previous: object }
  return gone ? null : { type: 'deleted', kind, object }
}

export interface Trials {
  put(entry: Taken): void
  takeBack(entry: Taken): void
  /** Throws when nothing can be built from what is in now. */
  build(): void
}

/**
 * Puts the entries, with all of which building failed, in again but for those with which it fails, and returns these with
 * their errors. Of several that fail together only, the last is the one. Null: building fails without any of them, too; then
 * all of them are in.
 */
export function setFaultyAside(
  entries: readonly Taken[],
  trials: Trials,
): readonly { readonly entry: Taken; readonly error: unknown }[] | null {
  const aside: { entry: Taken; error: unknown }[] = []
  const putAll = (list: readonly Taken[]): void => {
    for (const entry of list) trials.put(entry)
  }
  const takeBackAll = (list: readonly Taken[]): void => {
    for (const entry of [...list].reverse()) trials.takeBack(entry)
  }
  const admit = (list: readonly Taken[]): void => {
    putAll(list)
    try {
      trials.build()
    } catch (error) {
      takeBackAll(list)
      if (list.length === 1) aside.push({ entry: list[0]!, error })
      else admitHalves(list)
    }
  }
  const admitHalves = (list: readonly Taken[]): void => {
    const middle = list.length >> 1
    admit(list.slice(0, middle))
    admit(list.slice(middle))
  }
  takeBackAll(entries)
  try {
    trials.build()
  } catch {
    // Not their fault: the caller has the error that all of them together ended with.
    putAll(entries)
    return null
  }
  if (entries.length === 1) admit(entries)
  else admitHalves(entries)
  return aside
}
