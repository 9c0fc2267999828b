// Request rates and latencies of workloads from the counters of their proxies: what istioctl asks Prometheus for, from two
// looks at `istio_requests_total` and `istio_request_duration_milliseconds`.

/** Sums over the series of one workload at one moment. */
export interface WorkloadCounts {
  requests: number
  errors: number
  /** Cumulative counts of the latency histogram, by upper bound in milliseconds. */
  readonly buckets: Map<number, number>
}

export function noCounts(): WorkloadCounts {
  return { requests: 0, errors: 0, buckets: new Map() }
}

const SERIES = /^(istio_requests_total|istio_request_duration_milliseconds_bucket)\{(.*)\} (\S+)$/
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g

/**
 * Adds the server-side series of a workload to `counts`. As in istioctl, names are prefixes: `reviews` is every version
 * of it.
 */
export function addCounts(counts: WorkloadCounts, stats: string, workload: string, namespace: string): void {
  for (const line of stats.split('\n')) {
    const found = SERIES.exec(line)
    if (!found) continue
    const [, name, labelText, valueText] = found as unknown as [string, string, string, string]
    const labels = new Map([...labelText.matchAll(LABEL)].map(([, key, value]) => [key!, value!]))
    if (labels.get('reporter') !== 'destination') continue
    if (!labels.get('destination_workload')?.startsWith(workload)) continue
    if (!labels.get('destination_workload_namespace')?.startsWith(namespace)) continue
    const value = Number(valueText)
    if (name === 'istio_requests_total') {
      counts.requests += value
      if (/^[45]\d\d$/.test(labels.get('response_code') ?? '')) counts.errors += value
    } else {
      const text = labels.get('le') ?? ''
      const bound = text === '+Inf' ? Number.POSITIVE_INFINITY : Number(text)
      counts.buckets.set(bound, (counts.buckets.get(bound) ?? 0) + value)
    }
  }
}

export interface WorkloadRates {
  /** Requests and answers with 4xx or 5xx, per second. */
  readonly totalRps: number
  readonly errorRps: number
  /** Milliseconds. */
  readonly p50: number
  readonly p90: number
  readonly p99: number
}

/** What happened between two looks. A counter that went back belongs to a proxy that started anew. */
export function ratesBetween(before: WorkloadCounts, after: WorkloadCounts, seconds: number): WorkloadRates {
  const grown = (then: number, now: number): number => (now >= then ? now - then : now)
  const buckets = [...after.buckets]
    .map(([bound, count]) => [bound, grown(before.buckets.get(bound) ?? 0, count)] as const)
    .sort(([a], [b]) => a - b)
  return {
    totalRps: grown(before.requests, after.requests) / seconds,
    errorRps: grown(before.errors, after.errors) / seconds,
    p50: quantile(0.5, buckets),
    p90: quantile(0.9, buckets),
    p99: quantile(0.99, buckets),
  }
}

/** Prometheus' histogram_quantile: linear within a bucket, the last bound for what lies above it; 0 without samples. */
export function quantile(q: number, buckets: readonly (readonly [bound: number, count: number])[]): number {
  const total = buckets.at(-1)?.[1] ?? 0
  if (total === 0) return 0
  const rank = q * total
  let [lower, below] = [0, 0]
  for (const [bound, count] of buckets) {
    if (count >= rank) {
      if (!Number.isFinite(bound)) return lower
      return count === below ? bound : lower + (bound - lower) * ((rank - below) / (count - below))
    }
    lower = bound
    below = count
  }
  return lower
}

const COLUMNS = ['TOTAL RPS', 'ERROR RPS', 'P50 LATENCY', 'P90 LATENCY', 'P99 LATENCY']

export function metricsHeader(): string {
  return row(['WORKLOAD'.padStart(40), ...COLUMNS])
}

export function metricsRow(workload: string, rates: WorkloadRates): string {
  const latencies = [rates.p50, rates.p90, rates.p99].map((ms) => durationText(Math.trunc(ms)))
  return row([workload.padStart(40), rates.totalRps.toFixed(3), rates.errorRps.toFixed(3), ...latencies])
}

/** Cells to the right, 13 wide at least, two blanks between them. */
function row(cells: readonly string[]): string {
  return `${cells.map((cell) => cell.padStart(Math.max(13, cell.length + 2))).join('')}\n`
}

/** Whole milliseconds as Go prints a time.Duration: 0s, 25ms, 1.5s, 1m2s. */
export function durationText(ms: number): string {
  if (ms === 0) return '0s'
  if (ms < 1000) return `${ms}ms`
  const hours = Math.floor(ms / 3_600_000)
  const minutes = Math.floor(ms / 60_000) % 60
  const seconds = `${(ms % 60_000) / 1000}s`
  return hours > 0 ? `${hours}h${minutes}m${seconds}` : minutes > 0 ? `${minutes}m${seconds}` : seconds
}
