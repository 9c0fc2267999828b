// What /stats was asked for, and the stats that fit.

import { RE2JS } from 're2js'
import type { MergedStat, MergedStats } from './merged-stats.ts'

export type StatType = 'All' | 'Counters' | 'Gauges' | 'Histograms' | 'TextReadouts'
export type BucketMode = 'summary' | 'cumulative' | 'disjoint' | 'detailed'
export type StatsFormat = 'text' | 'json' | 'prometheus' | 'html'

/** Parsed parameters of /stats and /stats/prometheus. */
export interface StatsQuery {
  readonly format: StatsFormat
  readonly usedOnly: boolean
  readonly type: StatType
  /** null: not said; text and JSON then print summaries, Prometheus buckets. */
  readonly buckets: BucketMode | null
  readonly textReadouts: boolean
  /** Unanchored; null = every name. */
  readonly filter: RE2JS | null
  readonly invertFilter: boolean
  /** Only what is hidden; here nothing is. */
  readonly hiddenOnly: boolean
}

/** Reads the query string; a string is the text of the 400 answer, in Envoy's words. */
export function parseStatsQuery(params: URLSearchParams): StatsQuery | string {
  const buckets = params.get('histogram_buckets') ?? ''
  if (!['', 'none', 'summary', 'cumulative', 'disjoint', 'detailed'].includes(buckets)) {
    return 'usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n'
  }
  const hidden = params.get('hidden') ?? ''
  if (!['', 'include', 'only', 'exclude'].includes(hidden)) return 'usage: /stats?hidden=(include|only|exclude)\n\n'
  let filter: RE2JS | null = null
  const expression = params.get('filter')
  if (expression) {
    try {
      filter = RE2JS.compile(expression)
    } catch (error) {
      return `Invalid re2 regex: ${error instanceof Error ? error.message : expression}`
    }
  }
  const format = params.get('format') ?? 'text'
  if (!['html', 'active-html', 'json', 'prometheus', 'text'].includes(format)) {
    return 'usage: /stats?format=(html|active-html|json|prometheus|text)\n\n'
  }
  if (format === 'prometheus' && (buckets === 'disjoint' || buckets === 'detailed'))
    return 'unsupported prometheus histogram bucket mode'
  const type = params.get('type') ?? 'All'
  if (!['All', 'Counters', 'Gauges', 'Histograms', 'TextReadouts'].includes(type)) return 'invalid &type= param'
  return {
    format: format === 'active-html' ? 'html' : (format as StatsFormat),
    usedOnly: params.has('usedonly'),
    type: type as StatType,
    buckets: buckets === '' || buckets === 'none' ? null : (buckets as BucketMode),
    textReadouts: params.has('text_readouts'),
    filter,
    invertFilter: params.has('invert_filter'),
    hiddenOnly: hidden === 'only',
  }
}

const KINDS: Record<StatType, readonly MergedStat['kind'][]> = {
  All: ['text', 'counter', 'gauge', 'histogram'],
  Counters: ['counter'],
  Gauges: ['gauge'],
  Histograms: ['histogram'],
  TextReadouts: ['text'],
}

/** The stats of one query in printing order: text readouts, counters and gauges together, histograms; each by name. */
export function selectStats(
  stats: MergedStats,
  query: StatsQuery,
): { texts: MergedStat[]; numbers: MergedStat[]; histograms: MergedStat[] } {
  const texts: MergedStat[] = []
  const numbers: MergedStat[] = []
  const histograms: MergedStat[] = []
  const kinds = query.hiddenOnly ? [] : KINDS[query.type]
  for (const stat of stats.all()) {
    if (!kinds.includes(stat.kind) || (query.usedOnly && !stat.used)) continue
    if (query.filter && query.filter.matcher(stat.name).find() === query.invertFilter) continue
    if (stat.kind === 'text') texts.push(stat)
    else if (stat.kind === 'histogram') histograms.push(stat)
    else numbers.push(stat)
  }
  texts.sort(byName)
  numbers.sort(byName)
  histograms.sort(byName)
  return { texts, numbers, histograms }
}

function byName(a: MergedStat, b: MergedStat): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
}
