// The sinks of the bootstrap: each gets every flush.

import type { Logger } from '../../../base/logger.ts'
import { type EndpointCounts, endpointStats } from '../../observe/endpoint-stats.ts'
import type { MergedStats } from '../../observe/merged-stats.ts'
import { parseStatsQuery, type StatsQuery } from '../../observe/stats-query.ts'
import type { TagRule } from '../../observe/stats-settings.ts'
import { TagExtractor } from '../../observe/tag-extraction.ts'
import type { StatsdSinkData } from './config.ts'
import { Flushes } from './statsd-lines.ts'
import { createStatsdSink, type StatsSink } from './statsd-sink.ts'

const EVERYTHING = parseStatsQuery(new URLSearchParams()) as StatsQuery

export class StatsSinks {
  private readonly sinks: readonly StatsSink[]
  private readonly tags: TagExtractor
  private readonly flushes: Flushes

  constructor(sinks: readonly StatsdSinkData[], tags: readonly TagRule[], log: Logger) {
    this.sinks = sinks.map((sink) => createStatsdSink(sink, log))
    this.tags = new TagExtractor(tags)
    this.flushes = new Flushes(sinks.some((sink) => sink.tags !== 'none') ? this.tags : null)
  }

  get any(): boolean {
    return this.sinks.length > 0
  }

  flush(stats: MergedStats, endpoints: readonly EndpointCounts[]): void {
    this.tags.retain((name) => stats.get(name) !== undefined)
    const flushed = this.flushes.next(stats.all(), endpointStats(endpoints, EVERYTHING))
    for (const sink of this.sinks) sink.flush(flushed)
  }

  close(): void {
    for (const sink of this.sinks) sink.close()
  }
}
