// All listeners of a worker, by name and by address.

import type { Counter, Gauge } from '../observe/stats.ts'
import { ActiveListener, type ListenerLookup } from './active-listener.ts'
import { isAnyAddress } from './address.ts'
import type { Address } from './connection.ts'
import type { ListenerEnvironment } from './filter-chain.ts'
import type { ListenerConfig } from './listener-config.ts'
import { closeDescriptor } from './socket-options.ts'

export class WorkerListeners implements ListenerLookup {
  private readonly environment: ListenerEnvironment
  private readonly byName = new Map<string, ActiveListener>()
  /** `ip:port` → listener; rebuilt on every change. */
  private byAddress = new Map<string, ActiveListener>()
  /** Removed or replaced, with connections left. */
  private readonly draining = new Set<ActiveListener>()
  private accepting = true
  private readonly stopped: Counter
  private readonly drainingGauge: Gauge

  constructor(environment: ListenerEnvironment) {
    this.environment = environment
    const scope = environment.base.stats.scope('listener_manager')
    this.stopped = scope.counter('listener_stopped')
    this.drainingGauge = scope.gauge('total_listeners_draining')
    environment.ports?.listen((moved) => {
      const listener = this.byName.get(moved.listener)
      // Its listener has gone meanwhile.
      if (listener === undefined) closeDescriptor(moved.fd)
      else listener.receive(moved)
    })
  }

  /**
   * Adds a listener or replaces the one of the same name. The old one keeps serving until the new one is bound; its
   * connections drain. Returns the addresses as bound. Rejects with the system's error and changes nothing.
   */
  async apply(config: ListenerConfig): Promise<readonly Address[]> {
    const old = this.byName.get(config.name)
    if (old?.config.key === config.key) {
      old.replaceChains(config)
      return config.addresses
    }
    const listener = new ActiveListener(config, this.environment, this)
    let bound: readonly Address[] = config.addresses
    if (config.bindToPort) {
      if (old?.config.bindToPort && sameSockets(old.config, config)) listener.adoptSockets(old)
      else bound = await this.bind(listener)
    }
    if (!this.accepting) listener.setAccepting(false)
    this.byName.set(config.name, listener)
    if (old !== undefined) this.retire(old)
    this.rebuildAddresses()
    return bound
  }

  /** Of a listener that cannot be bound nothing stays: its chains watch secrets. */
  private async bind(listener: ActiveListener): Promise<readonly Address[]> {
    try {
      return await listener.bind()
    } catch (error) {
      listener.close()
      throw error
    }
  }

  /** Stops accepting at once; connections drain. */
  remove(name: string): void {
    const listener = this.byName.get(name)
    if (listener === undefined) return
    this.byName.delete(name)
    this.rebuildAddresses()
    this.retire(listener)
  }

  byDestination(address: Address): ActiveListener | null {
    const exact = this.byAddress.get(address.text)
    if (exact !== undefined) return exact
    const any = address.ip.includes(':') ? `[::]:${address.port}` : `0.0.0.0:${address.port}`
    return this.byAddress.get(any) ?? null
  }

  /** False: new connections wait, at listeners to come as well. */
  setAccepting(accepting: boolean): void {
    this.accepting = accepting
    for (const listener of this.byName.values()) listener.setAccepting(accepting)
  }

  /** /drain_listeners: listeners stop accepting. */
  stopListeners(inboundOnly: boolean): void {
    for (const listener of this.selected(inboundOnly)) {
      listener.stopListening()
      this.stopped.inc()
    }
    this.rebuildAddresses()
  }

  /** Ends everything now. */
  close(): void {
    for (const listener of [...this.byName.values(), ...this.draining]) {
      listener.stopListening()
      listener.close()
    }
    this.byName.clear()
    this.draining.clear()
    this.byAddress.clear()
  }

  get connectionCount(): number {
    let count = 0
    for (const listener of this.byName.values()) count += listener.connectionCount
    for (const listener of this.draining) count += listener.connectionCount
    return count
  }

  private selected(inboundOnly: boolean): ActiveListener[] {
    return [...this.byName.values()].filter(
      (listener) => !inboundOnly || listener.config.trafficDirection === 'INBOUND',
    )
  }

  private retire(listener: ActiveListener): void {
    listener.stopListening()
    this.draining.add(listener)
    this.countDraining()
    void listener.drain(this.environment.drain.drainTimeMs).then(() => {
      this.draining.delete(listener)
      this.countDraining()
    })
  }

  private countDraining(): void {
    this.drainingGauge.set(this.draining.size)
  }

  private rebuildAddresses(): void {
    const map = new Map<string, ActiveListener>()
    for (const listener of this.byName.values()) {
      if (!listener.listening) continue
      for (const address of listener.config.addresses) {
        map.set(address.text, listener)
        // A wildcard IPv6 listener that takes IPv4 too is found under both.
        if (isAnyAddress(address.ip) && address.ip.includes(':') && !listener.config.ipv6Only)
          map.set(`0.0.0.0:${address.port}`, listener)
      }
    }
    this.byAddress = map
  }
}

/** The listening sockets of one can serve the other. */
function sameSockets(a: ListenerConfig, b: ListenerConfig): boolean {
  return (
    a.addresses.length === b.addresses.length &&
    a.addresses.every((address, i) => address.text === b.addresses[i]!.text) &&
    a.reusePort === b.reusePort &&
    a.ipv6Only === b.ipv6Only &&
    a.backlog === b.backlog &&
    JSON.stringify(a.socketOptions) === JSON.stringify(b.socketOptions)
  )
}
