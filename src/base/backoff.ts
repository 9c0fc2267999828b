export interface BackoffOptions {
  /** First window, milliseconds. */
  readonly baseMs: number
  /** Largest window, milliseconds. */
  readonly maxMs: number
  /** [0, 1); Math.random unless a test gives its own. */
  readonly random?: () => number
}

/** Exponential back-off with full jitter, as Envoy's: a random wait inside a window that doubles up to the cap. */
export class Backoff {
  readonly #options: BackoffOptions
  #windowMs: number

  constructor(options: BackoffOptions) {
    this.#options = options
    this.#windowMs = options.baseMs
  }

  /** Milliseconds to wait before the next attempt. */
  next(): number {
    const wait = Math.floor((this.#options.random ?? Math.random)() * this.#windowMs)
    this.#windowMs = Math.min(this.#windowMs * 2, this.#options.maxMs)
    return wait
  }

  /** The last attempt succeeded. */
  reset(): void {
    this.#windowMs = this.#options.baseMs
  }
}
