// Services of type LoadBalancer, followed from outside of the node.
import { isDeepStrictEqual } from 'node:util'
import type { MemoryStore } from '../cluster/index.ts'
import type { Service } from './pod-types.ts'

export interface BalancedService {
  readonly namespace: string
  readonly name: string
  /** TCP only. */
  readonly ports: readonly number[]
}

export interface BalancedServices {
  /** Another one for every other list. */
  readonly version: number
  readonly services: readonly BalancedService[]
}

export class BalancedServiceWatch {
  private readonly store: MemoryStore
  private current: BalancedServices
  private waiting: ((services: BalancedServices) => void)[] = []

  constructor(store: MemoryStore) {
    this.store = store
    this.current = { version: 1, services: this.list() }
    store.watch((events) => {
      if (events.some(({ kind }) => kind === 'Service')) this.look()
    })
  }

  /** The list as soon as it is another than that of version `since`; 0 for what there is now. */
  next(since: number): Promise<BalancedServices> {
    if (this.current.version !== since) return Promise.resolve(this.current)
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  private look(): void {
    const services = this.list()
    if (isDeepStrictEqual(services, this.current.services)) return
    this.current = { version: this.current.version + 1, services }
    for (const resolve of this.waiting.splice(0)) resolve(this.current)
  }

  private list(): BalancedService[] {
    return (this.store.list('Service') as Service[])
      .filter(({ spec }) => spec.type === 'LoadBalancer')
      .map(({ metadata: { namespace = '', name }, spec }) => ({
        namespace,
        name,
        ports: (spec.ports ?? []).filter(({ protocol = 'TCP' }) => protocol === 'TCP').map(({ port }) => port),
      }))
  }
}
