import type { KubeObject } from '../cluster/index.ts'

/** One thing that happened to an object, as `kubectl get events` tells it. */
export interface ClusterEvent {
  readonly time: string
  readonly object: string
  readonly namespace: string
  readonly message: string
  count: number
}

const MAX_EVENTS = 500

/** The last events of the mesh; a repeated message counts up instead of adding a line. */
export class EventLog {
  readonly events: ClusterEvent[] = []

  add(object: Pick<KubeObject, 'kind' | 'metadata'>, message: string): void {
    const name = `${object.kind.toLowerCase()}/${object.metadata.name}`
    const last = this.events.findLast((event) => event.object === name)
    if (last?.message === message) {
      last.count++
      return
    }
    const namespace = object.metadata.namespace ?? ''
    this.events.push({ time: new Date().toISOString(), object: name, namespace, message, count: 1 })
    if (this.events.length > MAX_EVENTS) this.events.shift()
  }
}
