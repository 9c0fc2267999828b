// Drain decisions (envoy-contract §4.5): when a response should close its connection.

import type { DrainState } from '../config/extension.ts'

/** Shared by a worker: what the whole server is doing. */
export class ServerDrain {
  readonly drainTimeMs: number
  readonly immediate: boolean
  /** /healthcheck/fail. */
  healthCheckFailed = false
  /** performance.now() of /drain_listeners?graceful, -1 = never asked for. */
  private startedMs = -1
  private inboundOnly = true

  constructor(drainTimeMs: number, immediate: boolean) {
    this.drainTimeMs = drainTimeMs
    this.immediate = immediate
  }

  /** Connections of all listeners, those to come too, are asked to end from now on. */
  start(inboundOnly: boolean): void {
    if (this.startedMs < 0) this.startedMs = performance.now()
    if (!inboundOnly) this.inboundOnly = false
  }

  /** Whether a connection of a listener ends now for what the server is doing. */
  drainClose(inbound: boolean): boolean {
    return (inbound || !this.inboundOnly) && this.isTime(this.startedMs)
  }

  /** Gradual: as likely as much of the drain time has passed. */
  isTime(startedMs: number): boolean {
    if (startedMs < 0) return false
    return this.immediate || Math.random() * this.drainTimeMs < performance.now() - startedMs
  }
}

/** One filter chain's, and through it its connections'. */
export class ChainDrain implements DrainState {
  private readonly server: ServerDrain
  private readonly followsHealth: boolean
  private readonly inbound: boolean
  /** performance.now() of the start, -1 = not draining. */
  private startedMs = -1

  /** `followsHealth`: drain_type DEFAULT. `inbound`: traffic_direction INBOUND. */
  constructor(server: ServerDrain, followsHealth: boolean, inbound: boolean) {
    this.server = server
    this.followsHealth = followsHealth
    this.inbound = inbound
  }

  get draining(): boolean {
    return this.startedMs >= 0
  }

  start(): void {
    if (this.startedMs < 0) this.startedMs = performance.now()
  }

  get healthCheckFailed(): boolean {
    return this.server.healthCheckFailed
  }

  drainClose(): boolean {
    if (this.followsHealth && this.server.healthCheckFailed) return true
    return this.server.isTime(this.startedMs) || this.server.drainClose(this.inbound)
  }
}
