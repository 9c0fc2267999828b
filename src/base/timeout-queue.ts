// Many timeouts of one duration behind one timer: arming and disarming are list operations, no timer per request.

import { now } from './clock.ts'
import type { FaultOwner } from './fault-owner.ts'

/** What a timeout belongs to. One entry is armed at most once at a time. */
export interface TimeoutEntry {
  onTimeout(): void
  /** Takes what onTimeout has thrown. Without it that is thrown on. */
  onFault?(error: unknown): void
}

/** One of several timeouts of an owner, which takes their faults. */
export class OwnedTimeout implements TimeoutEntry {
  private readonly owner: FaultOwner
  private readonly run: () => void
  constructor(owner: FaultOwner, run: () => void) {
    this.owner = owner
    this.run = run
  }
  onTimeout(): void {
    this.run()
  }
  onFault(error: unknown): void {
    this.owner.onFault(error)
  }
}

class Node {
  previous: Node | null = null
  next: Node | null = null
  deadline = 0
  owner: TimeoutEntry
  constructor(owner: TimeoutEntry) {
    this.owner = owner
  }
}

/** A handle made once per owner and kept: `arm` again moves it to the end. */
export type TimeoutHandle = Node

/** All its timeouts last `durationMs`, so the order of arming is the order of expiry. */
export class TimeoutQueue {
  readonly durationMs: number
  private first: Node | null = null
  private last: Node | null = null
  private timer: NodeJS.Timeout | null = null

  constructor(durationMs: number) {
    this.durationMs = durationMs
  }

  handle(owner: TimeoutEntry): TimeoutHandle {
    return new Node(owner)
  }

  arm(node: TimeoutHandle): void {
    if (node.deadline !== 0) this.unlink(node)
    node.deadline = now() + this.durationMs
    node.previous = this.last
    node.next = null
    if (this.last) this.last.next = node
    else this.first = node
    this.last = node
    // The timer may be early for this entry: it then looks again. It never keeps the process alive.
    this.timer ??= this.schedule(this.durationMs)
  }

  disarm(node: TimeoutHandle): void {
    if (node.deadline === 0) return
    this.unlink(node)
    node.deadline = 0
  }

  private unlink(node: Node): void {
    if (node.previous) node.previous.next = node.next
    else this.first = node.next
    if (node.next) node.next.previous = node.previous
    else this.last = node.previous
    node.previous = null
    node.next = null
  }

  private schedule(delayMs: number): NodeJS.Timeout {
    return setTimeout(expire, Math.max(1, Math.ceil(delayMs)), this).unref()
  }

  /** Fires what is due and waits for the next. A fault of one owner is thrown on; the others still get their turn. */
  expire(): void {
    this.timer = null
    const time = now()
    try {
      for (let node = this.first; node !== null && node.deadline <= time; node = this.first) {
        this.disarm(node)
        fire(node.owner)
      }
    } finally {
      if (this.first && !this.timer) this.timer = this.schedule(this.first.deadline - time)
    }
  }
}

function fire(owner: TimeoutEntry): void {
  try {
    owner.onTimeout()
  } catch (error) {
    if (owner.onFault === undefined) throw error
    owner.onFault(error)
  }
}

function expire(queue: TimeoutQueue): void {
  queue.expire()
}

const queues = new Map<number, TimeoutQueue>()
/** Durations may come from requests: further ones are not remembered. */
const MAX_QUEUES = 1000

/** The queue of a duration, shared by everything in this thread that waits that long. */
export function timeoutQueue(durationMs: number): TimeoutQueue {
  let queue = queues.get(durationMs)
  if (!queue) {
    queue = new TimeoutQueue(durationMs)
    if (queues.size < MAX_QUEUES) queues.set(durationMs, queue)
  }
  return queue
}
