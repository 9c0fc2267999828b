// What the overload manager has decided, as workers read it: one word of shared memory for each action.

import type { Scope } from '../observe/stats.ts'

/** Actions and load shed points that workers act on, by their slot. */
export const OVERLOAD_SLOTS = {
  'envoy.overload_actions.stop_accepting_requests': 0,
  'envoy.overload_actions.disable_http_keepalive': 1,
  'envoy.overload_actions.reject_incoming_connections': 2,
  'envoy.load_shed_points.tcp_listener_accept': 3,
  'envoy.load_shed_points.http_connection_manager_decode_headers': 4,
} as const

/** Made on the main thread, seen by every worker. */
export function createOverloadMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(Object.keys(OVERLOAD_SLOTS).length * Int32Array.BYTES_PER_ELEMENT)
}

/** The value of a slot whose action is saturated. */
export const SATURATED = 1000

/** Slots hold how far an action goes, of SATURATED. Where Envoy lets chance decide in between, so does this. */
export class OverloadState {
  private readonly words: Int32Array
  private readonly stats: Scope

  /** `stats`: the worker's; the main thread has made the counters of what is configured. */
  constructor(memory: SharedArrayBuffer, stats: Scope) {
    this.words = new Int32Array(memory)
    this.stats = stats
  }

  private sheds(point: string, scale: number): boolean {
    if (!drawn(scale)) return false
    this.stats.counter(`overload.envoy.load_shed_points.${point}.shed_load_count`).inc()
    return true
  }

  get stopAcceptingRequests(): boolean {
    return this.words[0] === SATURATED || this.sheds('http_connection_manager_decode_headers', this.words[4]!)
  }

  get disableKeepalive(): boolean {
    return drawn(this.words[1]!)
  }

  get rejectConnections(): boolean {
    return drawn(this.words[2]!) || this.sheds('tcp_listener_accept', this.words[3]!)
  }
}

function drawn(scale: number): boolean {
  return scale > 0 && Math.random() * SATURATED < scale
}
