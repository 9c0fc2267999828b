// /stats/prometheus: the exposition format as Envoy writes it.

import { type EndpointCounts, type EndpointStat, endpointStats } from './endpoint-stats.ts'
import { cumulativeCounts, quantileValues, sampleCount, sampleSum } from './histogram-bins.ts'
import type { MergedStat, MergedStats } from './merged-stats.ts'
import type { BucketBounds } from './stats-print.ts'
import { type StatsQuery, selectStats } from './stats-query.ts'
import type { TagExtractor, TaggedName } from './tag-extraction.ts'

/** Names of these families are exported without `envoy_`: filters choose them whole (istio_requests_total). */
const CUSTOM_NAMESPACES = ['istiocustom.', 'wasmcustom.']
const SUMMARY_QUANTILES: readonly number[] = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1]

type TaggedStat = Pick<MergedStat, 'name' | 'baseName' | 'tags'>

interface Series<Stat> {
  readonly stat: Stat
  readonly labels: string
}

/** Counters, then gauges, text readouts when asked for, histograms; families by name, series by the stat's full name. */
export function statsPrometheus(
  stats: MergedStats,
  query: StatsQuery,
  tags: TagExtractor,
  bounds: BucketBounds,
  endpoints: readonly EndpointCounts[] = [],
): string {
  tags.retain((name) => stats.get(name) !== undefined)
  const { texts, numbers, histograms } = selectStats(stats, query)
  const parts: string[] = []
  const number = (stat: MergedStat, name: string, labels: string) => `${name}{${labels}} ${stat.value}\n`
  const counters = numbers.filter((stat) => stat.kind === 'counter')
  const gauges = numbers.filter((stat) => stat.kind === 'gauge')
  writeFamilies(parts, 'counter', counters, tags, number)
  writeFamilies(parts, 'gauge', gauges, tags, number)
  if (query.textReadouts) {
    writeFamilies(parts, 'gauge', texts, tags, (stat, name, labels) => {
      return `${name}{${joinLabels(labels, `text_value="${escapeLabel(stat.text)}"`)}} 0\n`
    })
  }
  if (query.buckets === 'summary') {
    writeFamilies(parts, 'summary', histograms, tags, summarySeries)
  } else {
    writeFamilies(parts, 'histogram', histograms, tags, (stat, name, labels) =>
      histogramSeries(stat, name, labels, bounds(stat.name)),
    )
  }
  const ofEndpoints = endpointStats(endpoints, query)
  const value = (stat: EndpointStat, name: string, labels: string) => `${name}{${labels}} ${stat.value}\n`
  for (const kind of ['counter', 'gauge'] as const)
    writeFamilies(parts, kind, ofEndpoints.filter((stat) => stat.kind === kind).sort(byAddress), tags, value)
  return parts.join('')
}

/** Of one cluster by address, whatever the order of its hosts. */
function byAddress(a: EndpointStat, b: EndpointStat): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
}

function writeFamilies<Stat extends TaggedStat>(
  parts: string[],
  type: string,
  stats: readonly Stat[],
  tags: TagExtractor,
  write: (stat: Stat, name: string, labels: string) => string,
): void {
  const families = new Map<string, Series<Stat>[]>()
  for (const stat of stats) {
    const tagged: TaggedName = stat.tags ? { name: stat.baseName, tags: stat.tags } : tags.extract(stat.name)
    const labels = tagged.tags.map(([name, value]) => `${sanitize(name)}="${escapeLabel(value)}"`).join(',')
    const series = families.get(tagged.name)
    if (series) series.push({ stat, labels })
    else families.set(tagged.name, [{ stat, labels }])
  }
  for (const name of [...families.keys()].sort(byWords)) {
    const exported = metricName(name)
    if (exported === null) continue
    parts.push(`# TYPE ${exported} ${type}\n`)
    for (const { stat, labels } of families.get(name)!) parts.push(write(stat, exported, labels))
  }
}

function histogramSeries(stat: MergedStat, name: string, labels: string, bounds: readonly number[]): string {
  const counts = cumulativeCounts(stat.cumulative, bounds)
  const total = sampleCount(stat.cumulative)
  let out = ''
  for (const [i, bound] of bounds.entries())
    out += `${name}_bucket{${joinLabels(labels, `le="${decimal(bound)}"`)}} ${counts[i]}\n`
  out += `${name}_bucket{${joinLabels(labels, 'le="+Inf"')}} ${total}\n`
  return `${out}${name}_sum{${labels}} ${decimal(sampleSum(stat.cumulative))}\n${name}_count{${labels}} ${total}\n`
}

function summarySeries(stat: MergedStat, name: string, labels: string): string {
  const values = quantileValues(stat.interval, SUMMARY_QUANTILES)
  let out = ''
  for (const [i, q] of SUMMARY_QUANTILES.entries()) {
    const value = Number.isNaN(values[i]) ? 'nan' : decimal(values[i]!)
    out += `${name}{${joinLabels(labels, `quantile="${q}"`)}} ${value}\n`
  }
  return `${out}${name}_sum{${labels}} ${decimal(sampleSum(stat.interval))}\n${name}_count{${labels}} ${sampleCount(stat.interval)}\n`
}

function joinLabels(labels: string, more: string): string {
  return labels === '' ? more : `${labels},${more}`
}

/** `envoy_` + name in Prometheus characters; a custom namespace goes; null = not exportable (starts with a digit). */
function metricName(name: string): string | null {
  for (const namespace of CUSTOM_NAMESPACES) {
    if (!name.startsWith(namespace)) continue
    const rest = sanitize(name.slice(namespace.length))
    return /^[a-zA-Z_]/.test(rest) ? rest : null
  }
  return `envoy_${sanitize(name)}`
}

function sanitize(name: string): string {
  return name.replace(/[^a-zA-Z0-9_]/g, '_')
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
}

/** Up to 32 significant digits of the exact binary value, without trailing zeros (C's `%.32g` for our range). */
function decimal(value: number): string {
  if (Number.isInteger(value)) return String(value)
  return value.toPrecision(32).replace(/0+$/, '')
}

/** Order of names word by word, as Envoy's symbol table compares them. */
function byWords(a: string, b: string): number {
  const left = a.split('.')
  const right = b.split('.')
  for (let i = 0; i < left.length && i < right.length; i++) {
    if (left[i]! !== right[i]!) return left[i]! < right[i]! ? -1 : 1
  }
  return left.length - right.length
}
