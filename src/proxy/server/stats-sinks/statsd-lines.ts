// What a flush tells of the stats, in lines of statsd: counters by what was added since the last flush, gauges as they
// are. Of histograms each value of the interval is a line, with how often it came as its sample rate: a store that keeps
// two significant digits (as Envoy's histograms do) knows no single values.

import type { EndpointStat } from '../../observe/endpoint-stats.ts'
import { type Bins, binLeft, binWidth } from '../../observe/histogram-bins.ts'
import type { MergedStat } from '../../observe/merged-stats.ts'
import type { TagExtractor, TaggedName } from '../../observe/tag-extraction.ts'

/** Where tags stand: in the name; behind the value (DogStatsD); behind the name (Graphite). */
export type TagStyle = 'none' | 'dog' | 'graphite'

/** A stat as a flush has it. */
export interface FlushedStat {
  readonly tagged: TaggedName
  readonly name: string
  readonly kind: 'counter' | 'gauge' | 'histogram'
  /** Counters: since the last flush. */
  readonly value: number
  readonly bins: Bins | null
}

/** What was there at the last flush. */
export class Flushes {
  /** null = nobody asks for tags. */
  private readonly tags: TagExtractor | null
  private counters = new Map<string, number>()

  constructor(tags: TagExtractor | null) {
    this.tags = tags
  }

  /** Of the stats that have been written since the start (Envoy), and of every host that is counted. */
  next(stats: Iterable<MergedStat>, endpoints: readonly EndpointStat[]): FlushedStat[] {
    const flushed: FlushedStat[] = []
    const counters = new Map<string, number>()
    const since = (name: string, value: number): number => {
      counters.set(name, value)
      const before = this.counters.get(name) ?? 0
      // /reset_counters begins anew.
      return value >= before ? value - before : value
    }
    for (const stat of stats) {
      const { name, kind, value, used } = stat
      if (!used || kind === 'text') continue
      const tagged = stat.tags
        ? { name: stat.baseName, tags: stat.tags }
        : (this.tags?.extract(name) ?? { name, tags: [] })
      if (kind === 'histogram') {
        if (stat.interval.size > 0) flushed.push({ tagged, name, kind, value: 0, bins: stat.interval })
      } else flushed.push({ tagged, name, kind, value: kind === 'counter' ? since(name, value) : value, bins: null })
    }
    for (const { name, baseName, kind, tags, value } of endpoints)
      flushed.push({
        tagged: { name: baseName, tags },
        name,
        kind,
        value: kind === 'counter' ? since(name, value) : value,
        bins: null,
      })
    this.counters = counters
    return flushed
  }
}

export function statsdLines(stats: readonly FlushedStat[], prefix: string, style: TagStyle): string[] {
  const lines: string[] = []
  for (const { tagged, name, kind, value, bins } of stats) {
    const shown = style === 'none' ? name : tagged.name
    const head = `${prefix}.${shown}${style === 'graphite' ? tagText(tagged, ';', '=', ';') : ''}:`
    const tail = style === 'dog' ? tagText(tagged, '|#', ':', ',') : ''
    if (kind === 'counter') lines.push(`${head}${value}|c${tail}`)
    else if (kind === 'gauge') lines.push(`${head}${value}|g${tail}`)
    else for (const [bin, count] of bins!) lines.push(`${head}${middleOf(bin)}|ms${sampled(count)}${tail}`)
  }
  return lines
}

function tagText({ tags }: TaggedName, start: string, assign: string, separator: string): string {
  if (tags.length === 0) return ''
  return start + tags.map(([name, value]) => name + assign + value).join(separator)
}

/** Wide bins by their middle. */
function middleOf(bin: number): number {
  const width = binWidth(bin)
  return width <= 1 ? Math.round(binLeft(bin)) : Math.round(binLeft(bin) + width / 2)
}

function sampled(count: number): string {
  return count === 1 ? '' : `|@${Number((1 / count).toPrecision(9))}`
}

/** As many lines in a datagram as go into `maxBytes`; 0 = one. A line that is longer has one of its own. */
export function datagrams(lines: readonly string[], maxBytes: number): string[] {
  if (maxBytes === 0) return [...lines]
  const packed: string[] = []
  let current = ''
  for (const line of lines) {
    if (line.length >= maxBytes) packed.push(line)
    else if (current === '') current = line
    else if (current.length + line.length + 1 > maxBytes) {
      packed.push(current)
      current = line
    } else current += `\n${line}`
  }
  if (current !== '') packed.push(current)
  return packed
}
