// Drain decisions (envoy-contract §4.5): when a response should close its connection.

import type { DrainState } from '../config/extension.ts'

/** Shared by a worker: what the whole server is doing. */
export class ServerDrain {
  readonly drainTimeMs: number
  readonly immediate: boolean
  /** /healthcheck/fail. */
  healthCheckFailed = false

  constructor(drainTimeMs: number, immediate: boolean) {
    this.drainTimeMs = drainTimeMs
    this.immediate = immediate
  }
}

/** One filter chain's, and through it its connections'. */
export class ChainDrain implements DrainState {
  private readonly server: ServerDrain
  private readonly followsHealth: boolean
  /** performance.now() of the start, -1 = not draining. */
  private startedMs = -1

  /** `followsHealth`: drain_type DEFAULT. */
  constructor(server: ServerDrain, followsHealth: boolean) {
    this.server = server
    this.followsHealth = followsHealth
  }

  get draining(): boolean {
    return this.startedMs >= 0
  }

  start(): void {
    if (this.startedMs < 0) this.startedMs = performance.now()
  }

  drainClose(): boolean {
    if (this.followsHealth && this.server.healthCheckFailed) return true
    if (this.startedMs < 0) return false
    if (this.server.immediate) return true
    return Math.random() * this.server.drainTimeMs < performance.now() - this.startedMs
  }
}
