// Stats: counters, gauges, histograms and text readouts under Envoy's names. One store per thread, no locks;
// the main thread merges the workers' stores when somebody looks (admin, sinks).

/** Only ever grows, apart from /reset_counters. */
export interface Counter {
  readonly name: string
  value: number
  inc(): void
  add(amount: number): void
}

/**
 * A current level. What several threads count up and down (`inc`, `dec`, `add`, `sub`) is summed when the stores are
 * merged; what is `set` is a fact that every thread knows alike (`membership_total`), and the latest one holds.
 */
export interface Gauge {
  readonly name: string
  value: number
  set(value: number): void
  inc(): void
  dec(): void
  add(amount: number): void
  sub(amount: number): void
}

export interface Histogram {
  readonly name: string
  readonly unit: 'ms' | 'bytes' | 'unspecified'
  /** Whole numbers, as in Envoy: fractions are cut off, negative values count as 0. */
  record(value: number): void
}

export interface TextReadout {
  readonly name: string
  value: string
}

/** Labels that are given with the stat instead of being cut out of its name. */
export type StatTags = readonly (readonly [name: string, value: string])[]

/**
 * Names are joined with '.'; the same name (and tags) gives the same object. The full name of a stat with tags has
 * `.tag.value` of each appended.
 */
export interface Scope {
  readonly prefix: string
  /** A scope below this one: `cluster.foo` + `.` + name. */
  scope(name: string): Scope
  counter(name: string, tags?: StatTags): Counter
  gauge(name: string, tags?: StatTags): Gauge
  histogram(name: string, unit: 'ms' | 'bytes' | 'unspecified', tags?: StatTags): Histogram
  textReadout(name: string): TextReadout
  /**
   * For names of stats that peers choose (a method, a cluster in a header): true for the first thousand of a scope that are
   * not too long, and for these as long as its stats live. What it refuses is to be counted without its name.
   */
  admits(name: string): boolean
  /** Gives this scope back; its stats vanish when every holder of the same prefix has (a removed cluster or listener). */
  release(): void
}

/** `prefix` of a statistic's name as configurations give it: with a dot behind it that may be there already (Envoy). */
export function prefixed(prefix: string, name: string): string {
  return prefix === '' || prefix.endsWith('.') ? prefix + name : `${prefix}.${name}`
}
