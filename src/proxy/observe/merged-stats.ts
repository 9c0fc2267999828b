// The stats of the whole process, as the admin pages and sinks show them: every thread's deltas added up.

import { addBins, addToBin, type Bins } from './histogram-bins.ts'
import type { Histogram, StatTags } from './stats.ts'
import type { StatDefinition, StatKind, StatsDelta } from './stats-store.ts'

/** A merged stat. `used`: written since the start, also when back at 0. */
export interface MergedStat {
  readonly kind: StatKind
  readonly name: string
  readonly unit: Histogram['unit']
  /** Tags given with the stat, and its name without them; null = tags are cut out of the name. */
  readonly tags: StatTags | null
  readonly baseName: string
  used: boolean
  /** Counters and gauges. */
  value: number
  /** Text readouts. */
  text: string
  /** Histograms: recorded since the last flush, in the last full interval, and since the start. */
  readonly pending: Bins
  interval: Bins
  readonly cumulative: Bins
}

/** What one source (a worker, or the main thread itself) told about one of its stats. */
interface SourceStat {
  readonly stat: MergedStat
  /** The source's part of an accumulated gauge. */
  share: number
}

/** Adds up the deltas of all threads. */
export class MergedStats {
  private readonly stats = new Map<string, MergedStat>()
  /** How many sources have the stat of this name. */
  private readonly sourceCount = new Map<string, number>()
  private readonly sources = new Map<string, Map<number, SourceStat>>()

  /** Takes in one store's delta. `source` names the thread; its deltas must come in order. */
  apply(source: string, delta: StatsDelta): void {
    let known = this.sources.get(source)
    if (!known) this.sources.set(source, (known = new Map()))
    for (const definition of delta.defined) known.set(definition.id, { stat: this.define(definition), share: 0 })
    for (let i = 0; i < delta.counters.length; i += 2) {
      const entry = known.get(delta.counters[i]!)
      if (!entry) continue // defined and removed between two deltas
      entry.stat.value += delta.counters[i + 1]!
      entry.stat.used = true
    }
    for (let i = 0; i < delta.gauges.length; i += 3) {
      const entry = known.get(delta.gauges[i]!)
      if (!entry) continue
      const value = delta.gauges[i + 1]!
      if (delta.gauges[i + 2] === 1) entry.stat.value = value
      else entry.stat.value += value - entry.share
      entry.share = value
      entry.stat.used = true
    }
    for (const row of delta.histograms) {
      const entry = known.get(row[0]!)
      if (!entry) continue
      for (let i = 1; i < row.length; i += 2) addToBin(entry.stat.pending, row[i]!, row[i + 1]!)
      entry.stat.used = true
    }
    for (const [id, text] of delta.texts) {
      const entry = known.get(id)
      if (!entry) continue
      entry.stat.text = text
      entry.stat.used = true
    }
    for (const id of delta.removed) {
      const entry = known.get(id)
      if (!entry) continue
      known.delete(id)
      this.forget(entry.stat)
    }
  }

  /** Ends the histograms' interval (Envoy: each stats flush, 5 s): what was recorded in it becomes visible. */
  flushHistograms(): void {
    for (const stat of this.stats.values()) {
      if (stat.kind !== 'histogram') continue
      if (stat.pending.size === 0 && stat.interval.size === 0) continue
      stat.interval = new Map(stat.pending)
      addBins(stat.cumulative, stat.pending)
      stat.pending.clear()
    }
  }

  /** Sets every counter to 0 (`/reset_counters`). */
  resetCounters(): void {
    for (const stat of this.stats.values()) if (stat.kind === 'counter') stat.value = 0
  }

  get(name: string): MergedStat | undefined {
    return this.stats.get(name)
  }

  /** All stats, in no order. */
  all(): Iterable<MergedStat> {
    return this.stats.values()
  }

  private define(definition: StatDefinition): MergedStat {
    let stat = this.stats.get(definition.name)
    if (!stat) {
      stat = {
        kind: definition.kind,
        name: definition.name,
        unit: definition.unit,
        tags: definition.tags,
        baseName: definition.baseName,
        used: false,
        value: 0,
        text: '',
        pending: new Map(),
        interval: new Map(),
        cumulative: new Map(),
      }
      this.stats.set(definition.name, stat)
    }
    this.sourceCount.set(definition.name, (this.sourceCount.get(definition.name) ?? 0) + 1)
    return stat
  }

  private forget(stat: MergedStat): void {
    const sources = (this.sourceCount.get(stat.name) ?? 0) - 1
    if (sources > 0) {
      this.sourceCount.set(stat.name, sources)
      return
    }
    this.sourceCount.delete(stat.name)
    this.stats.delete(stat.name)
  }
}
