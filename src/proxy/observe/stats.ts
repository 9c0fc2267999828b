// Stats: counters, gauges, histograms and text readouts under Envoy's names. One store per thread, no locks;
// the main thread merges the workers' stores when somebody looks (admin, sinks).

/** Only ever grows, apart from /reset_counters. */
export interface Counter {
  readonly name: string
  value: number
  inc(): void
  add(amount: number): void
}

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
  record(value: number): void
}

export interface TextReadout {
  readonly name: string
  value: string
}

/** Names are joined with '.'; the same name gives the same object. */
export interface Scope {
  readonly prefix: string
  /** A scope below this one: `cluster.foo` + `.` + name. */
  scope(name: string): Scope
  counter(name: string): Counter
  gauge(name: string): Gauge
  histogram(name: string, unit: 'ms' | 'bytes' | 'unspecified'): Histogram
  textReadout(name: string): TextReadout
}
