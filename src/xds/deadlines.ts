/** Named deadlines that share a callback: those that pass together are reported together. Restarting a name replaces its deadline. */
export class Deadlines {
  readonly #onPassed: (names: readonly string[]) => void
  readonly #timers = new Map<string, NodeJS.Timeout>()
  #passed: string[] = []

  constructor(onPassed: (names: readonly string[]) => void) {
    this.#onPassed = onPassed
  }

  /** Milliseconds from now; 0 means never. */
  set(name: string, afterMs: number): void {
    this.delete(name)
    if (afterMs <= 0) return
    this.#timers.set(
      name,
      setTimeout(() => this.#pass(name), afterMs),
    )
  }

  delete(name: string): void {
    clearTimeout(this.#timers.get(name))
    this.#timers.delete(name)
  }

  clear(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer)
    this.#timers.clear()
  }

  #pass(name: string): void {
    this.#timers.delete(name)
    this.#passed.push(name)
    if (this.#passed.length > 1) return
    setImmediate(() => {
      const names = this.#passed
      this.#passed = []
      this.#onPassed(names)
    })
  }
}
