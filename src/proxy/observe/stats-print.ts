// /stats as text and as JSON, in Envoy's layout.

import { type EndpointCounts, endpointStats } from './endpoint-stats.ts'
import {
  type Bins,
  binLeft,
  binWidth,
  cumulativeCounts,
  quantileValues,
  sampleCount,
  sortedBins,
} from './histogram-bins.ts'
import type { MergedStat, MergedStats } from './merged-stats.ts'
import { type StatsQuery, selectStats } from './stats-query.ts'

const QUANTILES: readonly number[] = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1]
const PERCENTILES: readonly number[] = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]

/** Bucket bounds of a histogram, by its name. */
export type BucketBounds = (name: string) => readonly number[]

/** `name: value` lines. */
export function statsText(
  stats: MergedStats,
  query: StatsQuery,
  bounds: BucketBounds,
  endpoints: readonly EndpointCounts[] = [],
): string {
  const { texts, numbers, histograms } = selectStats(stats, query)
  let out = ''
  for (const stat of texts) out += `${stat.name}: "${stat.text}"\n`
  for (const stat of numbers) out += `${stat.name}: ${stat.value}\n`
  for (const stat of endpointStats(endpoints, query)) out += `${stat.name}: ${stat.value}\n`
  for (const stat of histograms) out += histogramText(stat, query, bounds)
  return out
}

function histogramText(stat: MergedStat, query: StatsQuery, bounds: BucketBounds): string {
  if (sampleCount(stat.cumulative) === 0) return `${stat.name}: No recorded values\n`
  switch (query.buckets ?? 'summary') {
    case 'summary':
      return `${stat.name}: ${summaryText(stat)}\n`
    case 'detailed':
      return `${stat.name}:\n  totals=${binsText(stat.cumulative)}\n  intervals=${binsText(stat.interval)}\n  summary=${summaryText(stat)}\n`
    default: {
      const limits = bounds(stat.name)
      const mode = query.buckets === 'disjoint' ? 'disjoint' : 'cumulative'
      const interval = bucketCounts(stat.interval, limits, mode)
      const cumulative = bucketCounts(stat.cumulative, limits, mode)
      return `${stat.name}: ${limits.map((limit, i) => `B${general(limit)}(${interval[i]},${cumulative[i]})`).join(' ')}\n`
    }
  }
}

function summaryText(stat: MergedStat): string {
  const interval = quantileValues(stat.interval, QUANTILES)
  const cumulative = quantileValues(stat.cumulative, QUANTILES)
  const text = (value: number) => (Number.isNaN(value) ? 'nan' : String(value))
  return PERCENTILES.map((p, i) => `P${p}(${text(interval[i]!)},${text(cumulative[i]!)})`).join(' ')
}

function binsText(bins: Bins): string {
  return sortedBins(bins)
    .map((bin) => `${general(binLeft(bin))},${general(binWidth(bin))}:${bins.get(bin)}`)
    .join(', ')
}

function bucketCounts(bins: Bins, bounds: readonly number[], mode: 'cumulative' | 'disjoint'): number[] {
  const counts = cumulativeCounts(bins, bounds)
  return mode === 'cumulative' ? counts : counts.map((count, i) => count - (counts[i - 1] ?? 0))
}

/** `{"stats":[…]}`. */
export function statsJson(
  stats: MergedStats,
  query: StatsQuery,
  bounds: BucketBounds,
  endpoints: readonly EndpointCounts[] = [],
): string {
  const { texts, numbers, histograms } = selectStats(stats, query)
  const entries: string[] = []
  for (const stat of texts) entries.push(`{"name":${JSON.stringify(stat.name)},"value":${JSON.stringify(stat.text)}}`)
  for (const stat of [...numbers, ...endpointStats(endpoints, query)])
    entries.push(`{"name":${JSON.stringify(stat.name)},"value":${stat.value}}`)
  if (histograms.length > 0) entries.push(`{"histograms":${histogramsJson(histograms, query, bounds)}}`)
  return `{"stats":[${entries.join(',')}]}`
}

function histogramsJson(histograms: readonly MergedStat[], query: StatsQuery, bounds: BucketBounds): string {
  const percentiles = `[${PERCENTILES.join(',')}]`
  switch (query.buckets ?? 'summary') {
    case 'summary': {
      const values = histograms.map((h) => `{"name":${JSON.stringify(h.name)},"values":${quantilesJson(h)}}`)
      return `{"supported_quantiles":${percentiles},"computed_quantiles":[${values.join(',')}]}`
    }
    case 'detailed': {
      const details = histograms.map(
        (h) =>
          `{"name":${JSON.stringify(h.name)},"totals":${binsJson(h.cumulative)},"intervals":${binsJson(h.interval)},"percentiles":${quantilesJson(h)}}`,
      )
      return `{"supported_percentiles":${percentiles},"details":[${details.join(',')}]}`
    }
    default: {
      const mode = query.buckets === 'disjoint' ? 'disjoint' : 'cumulative'
      const rows = histograms.map((h) => {
        const limits = bounds(h.name)
        const interval = bucketCounts(h.interval, limits, mode)
        const cumulative = bucketCounts(h.cumulative, limits, mode)
        const buckets = limits.map(
          (limit, i) => `{"upper_bound":${shortest(limit)},"interval":${interval[i]},"cumulative":${cumulative[i]}}`,
        )
        return `{"name":${JSON.stringify(h.name)},"buckets":[${buckets.join(',')}]}`
      })
      return `[${rows.join(',')}]`
    }
  }
}

function quantilesJson(stat: MergedStat): string {
  const interval = quantileValues(stat.interval, QUANTILES)
  const cumulative = quantileValues(stat.cumulative, QUANTILES)
  const text = (value: number) => (Number.isNaN(value) ? 'null' : shortest(value))
  return `[${PERCENTILES.map((_, i) => `{"cumulative":${text(cumulative[i]!)},"interval":${text(interval[i]!)}}`).join(',')}]`
}

function binsJson(bins: Bins): string {
  const rows = sortedBins(bins).map(
    (bin) => `{"lower_bound":${shortest(binLeft(bin))},"width":${shortest(binWidth(bin))},"count":${bins.get(bin)}}`,
  )
  return `[${rows.join(',')}]`
}

/** C's `%g`: six significant digits, an exponent of at least two digits from 1e6 on. */
function general(value: number): string {
  if (value === 0) return '0'
  const [digits, exponentText] = value.toExponential(5).split('e') as [string, string]
  const exponent = Number(exponentText)
  if (exponent < -4 || exponent >= 6) return `${stripZeros(digits)}e${exponentSign(exponent)}`
  return stripZeros(value.toFixed(Math.max(0, 5 - exponent)))
}

/** The shorter of plain and exponent notation that reads back as the same number (C++ to_chars). */
function shortest(value: number): string {
  if (value === 0) return '0'
  const plain = String(value)
  const [digits, exponent] = value.toExponential().split('e') as [string, string]
  const scientific = `${digits}e${exponentSign(Number(exponent))}`
  return scientific.length < plain.length ? scientific : plain
}

function exponentSign(exponent: number): string {
  return `${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`
}

function stripZeros(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}
