// What waits for what: a listener or cluster serves once everything it names is there or did not come in time
// (envoy-contract §3.3).

/** Something that has to come. */
export interface Need {
  /** `route:9080`, `secret:default`, `endpoints:outbound|…`. */
  readonly key: string
  /** After that it is given up; 0 = wait for ever. */
  readonly timeoutMs: number
  /** It is given up. */
  readonly onTimeout?: () => void
}

interface Item {
  readonly missing: Set<string>
  readonly timers: NodeJS.Timeout[]
  readonly ready: () => void
}

export class Warming {
  private readonly items = new Map<string, Item>()

  /**
   * Calls `ready` once when every need is satisfied or timed out: at once when there is none. An item of the same name
   * is replaced and never becomes ready.
   */
  wait(name: string, needs: readonly Need[], ready: () => void): void {
    this.cancel(name)
    if (needs.length === 0) {
      ready()
      return
    }
    const item: Item = { missing: new Set(needs.map((need) => need.key)), timers: [], ready }
    this.items.set(name, item)
    for (const { key, timeoutMs, onTimeout } of needs) {
      if (timeoutMs <= 0) continue
      const giveUp = (): void => {
        if (item.missing.has(key)) onTimeout?.()
        this.settle(name, item, key)
      }
      item.timers.push(setTimeout(giveUp, timeoutMs))
    }
  }

  cancel(name: string): void {
    const item = this.items.get(name)
    if (item === undefined) return
    this.items.delete(name)
    for (const timer of item.timers) clearTimeout(timer)
  }

  satisfied(key: string): void {
    for (const [name, item] of [...this.items]) this.settle(name, item, key)
  }

  waits(name: string): boolean {
    return this.items.has(name)
  }

  /** Names of what waits, with what each waits for (/init_dump). */
  unready(): { name: string; targets: string[] }[] {
    return [...this.items].map(([name, item]) => ({ name, targets: [...item.missing] }))
  }

  close(): void {
    for (const name of [...this.items.keys()]) this.cancel(name)
  }

  private settle(name: string, item: Item, key: string): void {
    if (this.items.get(name) !== item || !item.missing.delete(key) || item.missing.size > 0) return
    this.cancel(name)
    item.ready()
  }
}
