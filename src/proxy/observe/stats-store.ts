// The stats of one thread, and what it tells the main thread about them.
//
// Hot path: the holder keeps the Counter object, so counting is one addition on a small object. Names are joined once,
// when a stat is first asked for. Deltas carry numbers only; a stat's name crosses the thread boundary once.

import { keepShape } from '../../base/changing-fields.ts'
import { addToBin, type Bins, binOf } from './histogram-bins.ts'
import type { Counter, Gauge, Histogram, Scope, StatTags, TextReadout } from './stats.ts'

export type StatKind = 'counter' | 'gauge' | 'histogram' | 'text'

/** First appearance of a stat in a delta; `id` is its number within its store. */
export interface StatDefinition {
  readonly id: number
  readonly kind: StatKind
  readonly name: string
  readonly unit: Histogram['unit']
  /** Set with `baseName` (the name without them) when the stat came with tags of its own. */
  readonly tags: StatTags | null
  readonly baseName: string
}

/** What changed in a store since the last delta; plain data for structured clone. */
export interface StatsDelta {
  readonly defined: StatDefinition[]
  /** [id, increase, …] */
  readonly counters: number[]
  /** [id, value, 1 when it was set rather than counted, …] */
  readonly gauges: number[]
  /** [id, bin, count, bin, count, …] each. */
  readonly histograms: number[][]
  readonly texts: [id: number, value: string][]
  /** Stats that are gone. */
  readonly removed: number[]
}

/** Says which stats are kept, by full name; see stats-matcher.ts. */
export type StatsFilter = (name: string) => boolean

class CounterStat implements Counter {
  readonly name: string
  readonly id: number
  value = 0
  /** Value at the last delta. */
  sent = 0
  constructor(name: string, id: number) {
    this.name = name
    this.id = id
  }
  inc(): void {
    this.value++
  }
  add(amount: number): void {
    this.value += amount
  }
}

class GaugeStat implements Gauge {
  readonly name: string
  readonly id: number
  value = 0
  sent = 0
  isSet = false
  /** Written since the last delta, even if to the same value (`usedonly` counts that). */
  touched = false
  constructor(name: string, id: number) {
    this.name = name
    this.id = id
  }
  set(value: number): void {
    this.value = value
    this.isSet = true
    this.touched = true
  }
  inc(): void {
    this.value++
    this.touched = true
  }
  dec(): void {
    this.value--
    this.touched = true
  }
  add(amount: number): void {
    this.value += amount
    this.touched = true
  }
  sub(amount: number): void {
    this.value -= amount
    this.touched = true
  }
}

class HistogramStat implements Histogram {
  readonly name: string
  readonly id: number
  readonly unit: Histogram['unit']
  readonly bins: Bins = new Map()
  constructor(name: string, id: number, unit: Histogram['unit']) {
    this.name = name
    this.id = id
    this.unit = unit
  }
  record(value: number): void {
    addToBin(this.bins, binOf(value), 1)
  }
}

class TextStat implements TextReadout {
  readonly name: string
  readonly id: number
  value = ''
  sent = ''
  constructor(name: string, id: number) {
    this.name = name
    this.id = id
  }
}

type Stat = CounterStat | GaugeStat | HistogramStat | TextStat

/** Of a scope: a peer that thinks up names must not fill the memory. */
const MAX_PEER_NAMES = 1000
const MAX_PEER_NAME_LENGTH = 256

/** Id of a stat that the matcher refused: it counts for its holder, but nobody is told. */
const UNLISTED = -1

// V8 keeps a number as a small integer until a field of its class has held another one. Gauges of bytes and days do so
// seconds after a start, counters after 2^31 bytes: then all stats would change their shape under load, and everything
// that counts would be compiled anew, which holds requests up. So they have their last shape from the first.
for (const stat of [new CounterStat('', UNLISTED), new GaugeStat('', UNLISTED)]) {
  stat.value = 0.5
  stat.sent = 0.5
  keepShape(stat)
}

/** All stats of one thread. The root of its scopes. */
export class StatsStore implements Scope {
  readonly prefix = ''
  private readonly keep: StatsFilter
  private readonly stats = new Map<string, Stat>()
  private readonly holders = new Map<string, number>()
  /** Names that peers chose, by prefix. */
  private readonly peerNames = new Map<string, Set<string>>()
  private defined: StatDefinition[] = []
  private removed: number[] = []
  private nextId = 0

  /** `keep` is the bootstrap's stats_matcher; without it everything is listed. */
  constructor(keep: StatsFilter = () => true) {
    this.keep = keep
  }

  scope(name: string): Scope {
    return this.hold(sanitizeStatsName(name))
  }

  counter(name: string, tags: StatTags | null = null): Counter {
    const full = tags ? withTags(name, tags) : name
    const found = this.stats.get(full)
    if (found instanceof CounterStat) return found
    return this.add(new CounterStat(full, this.idFor(full)), 'counter', 'unspecified', name, tags)
  }

  gauge(name: string, tags: StatTags | null = null): Gauge {
    const full = tags ? withTags(name, tags) : name
    const found = this.stats.get(full)
    if (found instanceof GaugeStat) return found
    return this.add(new GaugeStat(full, this.idFor(full)), 'gauge', 'unspecified', name, tags)
  }

  histogram(name: string, unit: Histogram['unit'], tags: StatTags | null = null): Histogram {
    const full = tags ? withTags(name, tags) : name
    const found = this.stats.get(full)
    if (found instanceof HistogramStat) return found
    return this.add(new HistogramStat(full, this.idFor(full), unit), 'histogram', unit, name, tags)
  }

  textReadout(name: string): TextReadout {
    const found = this.stats.get(name)
    if (found instanceof TextStat) return found
    return this.add(new TextStat(name, this.idFor(name)), 'text', 'unspecified', name, null)
  }

  admits(name: string): boolean {
    return this.admitsIn('', name)
  }

  /** As `admits` of the scope of that prefix. */
  admitsIn(prefix: string, name: string): boolean {
    let names = this.peerNames.get(prefix)
    if (names === undefined) this.peerNames.set(prefix, (names = new Set()))
    if (names.has(name)) return true
    if (names.size >= MAX_PEER_NAMES || name.length > MAX_PEER_NAME_LENGTH) return false
    names.add(name)
    return true
  }

  release(): void {
    throw new Error('the root scope lives as long as its thread')
  }

  /** Everything that happened since the last call, for MergedStats.apply. */
  takeDelta(): StatsDelta {
    const delta: StatsDelta = {
      defined: this.defined,
      counters: [],
      gauges: [],
      histograms: [],
      texts: [],
      removed: this.removed,
    }
    this.defined = []
    this.removed = []
    for (const stat of this.stats.values()) {
      if (stat.id === UNLISTED) continue
      if (stat instanceof CounterStat) {
        if (stat.value === stat.sent) continue
        delta.counters.push(stat.id, stat.value - stat.sent)
        stat.sent = stat.value
      } else if (stat instanceof GaugeStat) {
        if (!stat.touched && stat.value === stat.sent) continue
        delta.gauges.push(stat.id, stat.value, stat.isSet ? 1 : 0)
        stat.sent = stat.value
        stat.touched = false
      } else if (stat instanceof HistogramStat) {
        if (stat.bins.size === 0) continue
        const row = [stat.id]
        for (const [bin, count] of stat.bins) row.push(bin, count)
        stat.bins.clear()
        delta.histograms.push(row)
      } else if (stat.value !== stat.sent) {
        delta.texts.push([stat.id, stat.value])
        stat.sent = stat.value
      }
    }
    return delta
  }

  /** A scope by its full prefix; counted, so that an old and a new cluster of one name can overlap. */
  private hold(prefix: string): Scope {
    this.holders.set(prefix, (this.holders.get(prefix) ?? 0) + 1)
    return new ChildScope(
      this,
      prefix,
      (name) => this.hold(name),
      () => this.letGo(prefix),
    )
  }

  private letGo(prefix: string): void {
    const holders = this.holders.get(prefix) ?? 0
    if (holders > 1) {
      this.holders.set(prefix, holders - 1)
      return
    }
    this.holders.delete(prefix)
    this.peerNames.delete(prefix)
    const start = `${prefix}.`
    for (const other of this.holders.keys()) if (other.startsWith(start)) this.holders.delete(other)
    for (const other of this.peerNames.keys()) if (other.startsWith(start)) this.peerNames.delete(other)
    for (const [name, stat] of this.stats) {
      if (!name.startsWith(start)) continue
      this.stats.delete(name)
      if (stat.id !== UNLISTED) this.removed.push(stat.id)
    }
  }

  private idFor(name: string): number {
    return this.keep(name) ? this.nextId++ : UNLISTED
  }

  private add<S extends Stat>(
    stat: S,
    kind: StatKind,
    unit: Histogram['unit'],
    baseName: string,
    tags: StatTags | null,
  ): S {
    const other = this.stats.get(stat.name)
    if (other) throw new Error(`stat ${stat.name} is asked for as ${kind} and exists as another kind`)
    this.stats.set(stat.name, stat)
    if (stat.id !== UNLISTED) this.defined.push({ id: stat.id, kind, name: stat.name, unit, tags, baseName })
    return stat
  }
}

class ChildScope implements Scope {
  readonly prefix: string
  private readonly store: StatsStore
  private readonly open: (prefix: string) => Scope
  private readonly close: () => void
  private released = false

  constructor(store: StatsStore, prefix: string, open: (prefix: string) => Scope, close: () => void) {
    this.store = store
    this.prefix = prefix
    this.open = open
    this.close = close
  }
  scope(name: string): Scope {
    return this.open(`${this.prefix}.${sanitizeStatsName(name)}`)
  }
  counter(name: string, tags?: StatTags): Counter {
    return this.store.counter(`${this.prefix}.${name}`, tags)
  }
  gauge(name: string, tags?: StatTags): Gauge {
    return this.store.gauge(`${this.prefix}.${name}`, tags)
  }
  histogram(name: string, unit: Histogram['unit'], tags?: StatTags): Histogram {
    return this.store.histogram(`${this.prefix}.${name}`, unit, tags)
  }
  textReadout(name: string): TextReadout {
    return this.store.textReadout(`${this.prefix}.${name}`)
  }
  admits(name: string): boolean {
    return this.store.admitsIn(this.prefix, name)
  }
  release(): void {
    if (this.released) throw new Error(`scope ${this.prefix} is released twice`)
    this.released = true
    this.close()
  }
}

function withTags(name: string, tags: StatTags): string {
  let full = name
  for (const [tag, value] of tags) full += `.${tag}.${value}`
  return full
}

/** Scope names come from configuration: no dot at either end, `://`, `:/`, `:` and NUL become `_` (as Envoy does). */
export function sanitizeStatsName(name: string): string {
  let start = 0
  let end = name.length
  if (name.charCodeAt(end - 1) === 46) end--
  if (name.charCodeAt(0) === 46) start++
  const trimmed = name.slice(start, end)
  return trimmed.includes(':') || trimmed.includes('\0')
    ? trimmed.replaceAll('://', '_').replaceAll(':/', '_').replaceAll(':', '_').replaceAll('\0', '_')
    : trimmed
}
