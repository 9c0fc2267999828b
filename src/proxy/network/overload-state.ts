// What the overload manager has decided, as workers read it: one word of shared memory for each action.

/** Actions that workers act on, by their slot. */
export const OVERLOAD_SLOTS = {
  'envoy.overload_actions.stop_accepting_requests': 0,
  'envoy.overload_actions.disable_http_keepalive': 1,
  'envoy.overload_actions.reject_incoming_connections': 2,
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

  constructor(memory: SharedArrayBuffer) {
    this.words = new Int32Array(memory)
  }

  get stopAcceptingRequests(): boolean {
    return this.words[0] === SATURATED
  }

  get disableKeepalive(): boolean {
    return drawn(this.words[1]!)
  }

  get rejectConnections(): boolean {
    return drawn(this.words[2]!)
  }
}

function drawn(scale: number): boolean {
  return scale > 0 && Math.random() * SATURATED < scale
}
