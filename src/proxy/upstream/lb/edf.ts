// Earliest-deadline-first scheduling: weighted round robin without bursts (envoy-contract §13.3).

interface Entry<T> {
  deadline: number
  /** Ties go to the older insertion. */
  order: number
  readonly item: T
}

/** Picks items in proportion to their weights. Weights must be > 0. */
export class EdfScheduler<T> {
  private readonly heap: Entry<T>[] = []
  private time = 0
  private order = 0

  get size(): number {
    return this.heap.length
  }

  add(item: T, weight: number): void {
    this.push({ deadline: this.time + 1 / weight, order: this.order++, item })
  }

  /** The item whose turn it is; it goes back with the weight it has now. Undefined when empty. */
  pick(weightOf: (item: T) => number): T | undefined {
    const entry = this.pop()
    if (!entry) return undefined
    this.time = entry.deadline
    entry.deadline = this.time + 1 / weightOf(entry.item)
    entry.order = this.order++
    this.push(entry)
    return entry.item
  }

  private push(entry: Entry<T>): void {
    const heap = this.heap
    let at = heap.length
    heap.push(entry)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(entry, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = entry
  }

  private pop(): Entry<T> | undefined {
    const heap = this.heap
    const top = heap[0]
    const last = heap.pop()
    if (!top || !last || heap.length === 0) return top
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return top
  }
}

function before<T>(a: Entry<T>, b: Entry<T>): boolean {
  return a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order)
}
