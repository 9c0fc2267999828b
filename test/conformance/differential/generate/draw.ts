import { Random } from '../../../fuzz/random.ts'

/** Seeded choices: one seed always draws the same mesh. */
export class Draw extends Random {
  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** `low` … `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  /** What `make` makes with this probability, else nothing: a field left out. */
  maybe<T>(probability: number, make: () => T): T | undefined {
    return this.chance(probability) ? make() : undefined
  }

  /** One of these, made only when it is chosen. */
  either<T>(...makers: readonly (() => T)[]): T {
    return this.pick(makers)()
  }

  /** Between `low` and `high` different ones of `items`, in random order. */
  some<T>(items: readonly T[], low: number, high: number): T[] {
    const left = [...items]
    const out: T[] = []
    for (let count = Math.min(this.between(low, high), items.length); count > 0; count--) {
      out.push(...left.splice(this.below(left.length), 1))
    }
    return out
  }

  /** A list of `low` … `high` entries. */
  many<T>(low: number, high: number, make: (index: number) => T): T[] {
    return Array.from({ length: this.between(low, high) }, (_, index) => make(index))
  }

  /** A whole number of seconds, or now and then milliseconds. */
  duration(maximum = 60): string {
    return this.chance(0.8) ? `${this.between(1, maximum)}s` : `${this.between(1, 9) * 100}ms`
  }
}
