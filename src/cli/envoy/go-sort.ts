// The order in which Go's sort.Slice leaves equal elements. istioctl's tables show it: up to twelve elements keep their
// order, longer lists are shuffled by pattern-defeating quicksort (Orson Peters) as Go's library runs it.

type Less<T> = (a: T, b: T) => boolean

const INSERTION_LIMIT = 12
const Hint = { Unknown: 0, Increasing: 1, Decreasing: 2 } as const
type Hint = (typeof Hint)[keyof typeof Hint]

/** A sorted copy of `items`. */
export function goSort<T>(items: readonly T[], less: Less<T>): T[] {
  const data = [...items]
  new Sorter(data, less).sort()
  return data
}

class Sorter<T> {
  private readonly data: T[]
  private readonly lessThan: Less<T>

  constructor(data: T[], less: Less<T>) {
    this.data = data
    this.lessThan = less
  }

  sort(): void {
    this.quick(0, this.data.length, bitLength(this.data.length))
  }

  private less(i: number, j: number): boolean {
    return this.lessThan(this.data[i]!, this.data[j]!)
  }

  private swap(i: number, j: number): void {
    const kept = this.data[i]!
    this.data[i] = this.data[j]!
    this.data[j] = kept
  }

  /** Sorts [from, to). `badLeft` bounds how many unbalanced partitions are borne before heap sort. */
  private quick(start: number, end: number, badLeft: number): void {
    let [from, to, limit] = [start, end, badLeft]
    let wasBalanced = true
    let wasPartitioned = true
    for (;;) {
      const length = to - from
      if (length <= INSERTION_LIMIT) {
        this.insertion(from, to)
        return
      }
      if (limit === 0) {
        this.heap(from, to)
        return
      }
      if (!wasBalanced) {
        this.breakPatterns(from, to)
        limit--
      }
      let [pivot, hint] = this.choosePivot(from, to)
      if (hint === Hint.Decreasing) {
        this.reverse(from, to)
        pivot = to - 1 - (pivot - from)
        hint = Hint.Increasing
      }
      if (wasBalanced && wasPartitioned && hint === Hint.Increasing && this.partialInsertion(from, to)) return
      // Everything left of `from` is at most the pivot: equal elements can be set aside at once.
      if (from > 0 && !this.less(from - 1, pivot)) {
        from = this.partitionEqual(from, to, pivot)
        continue
      }
      const [middle, alreadyPartitioned] = this.partition(from, to, pivot)
      wasPartitioned = alreadyPartitioned
      const left = middle - from
      const right = to - middle
      const balanceThreshold = Math.floor(length / 8)
      if (left < right) {
        wasBalanced = left >= balanceThreshold
        this.quick(from, middle, limit)
        from = middle + 1
      } else {
        wasBalanced = right >= balanceThreshold
        this.quick(middle + 1, to, limit)
        to = middle
      }
    }
  }

  private insertion(from: number, to: number): void {
    for (let i = from + 1; i < to; i++) for (let j = i; j > from && this.less(j, j - 1); j--) this.swap(j, j - 1)
  }

  private siftDown(root: number, end: number, first: number): void {
    let at = root
    for (;;) {
      let child = 2 * at + 1
      if (child >= end) return
      if (child + 1 < end && this.less(first + child, first + child + 1)) child++
      if (!this.less(first + at, first + child)) return
      this.swap(first + at, first + child)
      at = child
    }
  }

  private heap(from: number, to: number): void {
    const length = to - from
    for (let i = Math.floor((length - 1) / 2); i >= 0; i--) this.siftDown(i, length, from)
    for (let i = length - 1; i >= 0; i--) {
      this.swap(from, from + i)
      this.siftDown(0, i, from)
    }
  }

  /** Puts the elements below data[pivot] before it; says where it ends up and whether nothing had to move. */
  private partition(from: number, to: number, pivot: number): [middle: number, alreadyPartitioned: boolean] {
    this.swap(from, pivot)
    let i = from + 1
    let j = to - 1
    while (i <= j && this.less(i, from)) i++
    while (i <= j && !this.less(j, from)) j--
    if (i > j) {
      this.swap(j, from)
      return [j, true]
    }
    this.swap(i++, j--)
    for (;;) {
      while (i <= j && this.less(i, from)) i++
      while (i <= j && !this.less(j, from)) j--
      if (i > j) break
      this.swap(i++, j--)
    }
    this.swap(j, from)
    return [j, false]
  }

  private partitionEqual(from: number, to: number, pivot: number): number {
    this.swap(from, pivot)
    let i = from + 1
    let j = to - 1
    for (;;) {
      while (i <= j && !this.less(from, i)) i++
      while (i <= j && this.less(from, j)) j--
      if (i > j) return i
      this.swap(i++, j--)
    }
  }

  /** Tries to finish a nearly sorted run with a few moves. */
  private partialInsertion(from: number, to: number): boolean {
    let i = from + 1
    for (let step = 0; step < 5; step++) {
      while (i < to && !this.less(i, i - 1)) i++
      if (i === to) return true
      if (to - from < 50) return false
      this.swap(i, i - 1)
      if (i - from >= 2) {
        for (let j = i - 1; j >= 1; j--) {
          if (!this.less(j, j - 1)) break
          this.swap(j, j - 1)
        }
      }
      if (to - i >= 2) {
        for (let j = i + 1; j < to; j++) {
          if (!this.less(j, j - 1)) break
          this.swap(j, j - 1)
        }
      }
    }
    return false
  }

  /** Scatters a few elements, pseudo-randomly by the length alone (xorshift). */
  private breakPatterns(from: number, to: number): void {
    const length = to - from
    if (length < 8) return
    const mask64 = (1n << 64n) - 1n
    let random = BigInt(length)
    const modulus = 2 ** bitLength(length)
    const index = from + Math.floor(length / 4) * 2 - 1
    for (let i = 0; i < 3; i++) {
      random ^= (random << 13n) & mask64
      random ^= random >> 7n
      random ^= (random << 17n) & mask64
      let other = Number(random & BigInt(modulus - 1))
      if (other >= length) other -= length
      this.swap(index - 1 + i, from + other)
    }
  }

  private choosePivot(from: number, to: number): [pivot: number, hint: Hint] {
    const length = to - from
    const swaps = { count: 0 }
    let i = from + Math.floor(length / 4)
    let j = from + Math.floor(length / 4) * 2
    let k = from + Math.floor(length / 4) * 3
    if (length >= 8) {
      if (length >= 50) {
        i = this.median(i - 1, i, i + 1, swaps)
        j = this.median(j - 1, j, j + 1, swaps)
        k = this.median(k - 1, k, k + 1, swaps)
      }
      j = this.median(i, j, k, swaps)
    }
    if (swaps.count === 0) return [j, Hint.Increasing]
    if (swaps.count === 12) return [j, Hint.Decreasing]
    return [j, Hint.Unknown]
  }

  private median(a: number, b: number, c: number, swaps: { count: number }): number {
    let [x, y, z] = [a, b, c]
    const order = (p: number, q: number): [number, number] => {
      if (!this.less(q, p)) return [p, q]
      swaps.count++
      return [q, p]
    }
    ;[x, y] = order(x, y)
    ;[y, z] = order(y, z)
    ;[x, y] = order(x, y)
    return y
  }

  private reverse(from: number, to: number): void {
    for (let i = from, j = to - 1; i < j; i++, j--) this.swap(i, j)
  }
}

function bitLength(value: number): number {
  return 32 - Math.clz32(value)
}
