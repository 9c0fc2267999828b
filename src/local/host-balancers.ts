// The host's side of LoadBalancer Services: each has a loopback address of the host, with its own ports. Linux answers on
// all of 127.0.0.0/8, so nothing of the host's network is changed, and it ends with the supervisor.
import type { Server } from 'node:net'
import { errorText } from '../base/errors.ts'
import type { BalancedService } from './balanced-services.ts'
import type { LocalClient } from './client.ts'
import { relayPort } from './forward.ts'

/** Addresses 127.1.0.1 to 127.1.0.254: those of other meshes are passed over. */
const PREFIX = '127.1.0.'
const LAST = 254

/** A Service's address on the host. */
export interface HostBalancer {
  readonly namespace: string
  readonly name: string
  readonly address: string
  readonly ports: readonly number[]
}

interface Open extends HostBalancer {
  readonly relays: readonly Server[]
}

export interface HostBalancerOptions {
  readonly client: LocalClient
  readonly forwardSocket: string
  /** Told of all of them whenever they change. */
  changed(balancers: readonly HostBalancer[]): void
  say(line: string): void
}

export class HostBalancers {
  private readonly options: HostBalancerOptions
  private readonly open = new Map<string, Open>()
  private closed = false

  constructor(options: HostBalancerOptions) {
    this.options = options
  }

  /** Follows the mesh's Services until {@link close}, or until the mesh is gone. */
  async follow(): Promise<void> {
    let since = 0
    while (!this.closed) {
      let next: Awaited<ReturnType<typeof this.ask>>
      try {
        next = await this.ask(since)
      } catch {
        return // the mesh has ended, or ends
      }
      since = next.version
      if (!this.closed) await this.take(next.services)
    }
  }

  close(): void {
    this.closed = true
    for (const { relays } of this.open.values()) for (const relay of relays) relay.close()
    this.open.clear()
  }

  private ask(since: number) {
    return this.options.client.call('balancedServices', { since })
  }

  private async take(services: readonly BalancedService[]): Promise<void> {
    const wanted = new Map(services.map((service) => [`${service.namespace}/${service.name}`, service]))
    for (const [key, balancer] of this.open) {
      if (String(wanted.get(key)?.ports) === String(balancer.ports)) wanted.delete(key)
      else {
        for (const relay of balancer.relays) relay.close()
        this.open.delete(key)
      }
    }
    for (const [key, service] of wanted) {
      const opened = await this.listen(service)
      if (opened) this.open.set(key, opened)
    }
    if (!this.closed) this.options.changed([...this.open.values()].map(({ relays: _relays, ...rest }) => rest))
  }

  /** On the first address that is free; undefined, and a line, when none is. */
  private async listen({ namespace, name, ports }: BalancedService): Promise<Open | undefined> {
    const used = new Set([...this.open.values()].map(({ address }) => address))
    let reason = 'every address is taken'
    for (let i = 1; i <= LAST; i++) {
      const address = `${PREFIX}${i}`
      if (used.has(address)) continue
      const relays: Server[] = []
      try {
        for (const port of ports)
          relays.push(await relayPort(address, port, this.options.forwardSocket, { service: name, namespace, port }))
        return { namespace, name, address, ports, relays }
      } catch (error) {
        for (const relay of relays) relay.close()
        reason = errorText(error)
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') break
      }
    }
    this.options.say(`warning: Service ${namespace}/${name} has no address on this machine: ${reason}`)
    return undefined
  }
}
