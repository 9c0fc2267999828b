// Slows one direction of a stream to a rate: what comes is kept and let go as tokens, one for a byte, fill up.

import { ownedTimeout } from '../../../base/fault-owner.ts'
import { createBucketMemory, SharedTokenBucket } from '../../../base/shared-token-bucket.ts'
import { keepChunk } from '../../../base/small-chunks.ts'
import { TokenBucket } from '../../../base/token-bucket.ts'
import { now } from '../../stream-info.ts'
import type { BodySink } from './body-sink.ts'

/** How often what has waited may go on, unless configured (Envoy's StreamRateLimiter). */
export const DEFAULT_FILL_INTERVAL_MS = 50

/** What a limiter takes tokens from. */
export type Tokens = Pick<TokenBucket, 'takeUpTo'>

/** Tokens of one interval at first, so that nothing comes as a burst. */
export function tokensFor(kibPerSecond: number): Tokens {
  const perSecond = kibPerSecond * 1024
  return new TokenBucket(perSecond, perSecond, 1000, now(), (perSecond * DEFAULT_FILL_INTERVAL_MS) / 1000)
}

/** The same, in memory that threads share (SharedTokenBucket). */
export function createTokenMemory(kibPerSecond: number, fillIntervalMs: number): SharedArrayBuffer {
  const perSecond = kibPerSecond * 1024
  return createBucketMemory(perSecond, perSecond, 1000, 1, (perSecond * fillIntervalMs) / 1000)
}

/** Of `memory` of createTokenMemory, for the same rate. */
export function sharedTokens(kibPerSecond: number, memory: SharedArrayBuffer): Tokens {
  const perSecond = kibPerSecond * 1024
  return new SharedTokenBucket(perSecond, perSecond, 1000, now(), memory)
}

/** Who wants to know how a body gets on. */
export interface LimiterWatch {
  /** So many bytes go on; `waiting`: there are more, without tokens. */
  onAllowed(bytes: number, waiting: boolean): void
  /** Before the end goes on; true when it has added trailers. */
  onEnd(): boolean
}

export class StreamRateLimiter {
  private readonly stream: BodySink
  private readonly tokens: Tokens
  private readonly fillIntervalMs: number
  private readonly bufferLimit: number
  private readonly watch: LimiterWatch | null
  private waiting: Buffer[] = []
  private waitingBytes = 0
  private paused = false
  private sawEnd = false
  private sawTrailers = false
  private timer: NodeJS.Timeout | null = null

  /** `bufferLimit`: bytes that may wait before the sender is paused. */
  constructor(
    stream: BodySink,
    tokens: Tokens,
    fillIntervalMs: number,
    bufferLimit: number,
    watch: LimiterWatch | null = null,
  ) {
    this.stream = stream
    this.tokens = tokens
    this.fillIntervalMs = fillIntervalMs
    this.bufferLimit = bufferLimit
    this.watch = watch
  }

  write(chunk: Buffer, endStream: boolean): void {
    if (chunk.length > 0) keepChunk(this.waiting, chunk)
    this.waitingBytes += chunk.length
    this.sawEnd = endStream
    if (!this.paused && this.waitingBytes > this.bufferLimit) {
      this.paused = true
      this.stream.pause(true)
    }
    // Not from within the call that brought the bytes: the chain has not yet noted that this filter keeps them.
    this.timer ??= ownedTimeout(onTokens, 0, this)
  }

  /** True when the trailers must wait for the body. */
  trailers(): boolean {
    this.sawEnd = true
    this.sawTrailers = true
    return this.waitingBytes > 0
  }

  destroy(): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = null
  }

  onFault(error: unknown): void {
    this.stream.onFault(error)
  }

  onTokens(): void {
    this.timer = null
    const chunk = this.take(this.tokens.takeUpTo(this.waitingBytes, now()))
    const rest = this.waitingBytes > 0
    if (rest) this.timer = ownedTimeout(onTokens, this.fillIntervalMs, this)
    if (this.paused && this.waitingBytes <= this.bufferLimit / 2) {
      this.paused = false
      this.stream.pause(false)
    }
    this.watch?.onAllowed(chunk.length, rest)
    const over = this.sawEnd && !rest
    const trailers = (over && this.watch?.onEnd()) || this.sawTrailers
    const end = over && !trailers
    if (chunk.length > 0 || end) this.stream.passOn(chunk, end)
    if (!rest && trailers) this.stream.passOnTrailers()
  }

  private take(bytes: number): Buffer {
    const taken: Buffer[] = []
    let left = bytes
    while (left > 0) {
      const first = this.waiting[0]!
      if (first.length <= left) {
        taken.push(first)
        this.waiting.shift()
      } else {
        taken.push(first.subarray(0, left))
        this.waiting[0] = first.subarray(left)
      }
      left -= taken.at(-1)!.length
    }
    this.waitingBytes -= bytes
    return taken.length === 1 ? taken[0]! : Buffer.concat(taken)
  }
}

function onTokens(limiter: StreamRateLimiter): void {
  limiter.onTokens()
}
