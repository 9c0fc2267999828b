import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  addCounts,
  durationText,
  metricsHeader,
  metricsRow,
  noCounts,
  quantile,
  ratesBetween,
} from './workload-metrics.ts'

const labels = (code: string, workload: string, reporter = 'destination'): string =>
  `reporter="${reporter}",destination_workload="${workload}",destination_workload_namespace="default",response_code="${code}"`

function countsOf(lines: readonly string[]) {
  const counts = noCounts()
  addCounts(counts, lines.join('\n'), 'reviews', '')
  return counts
}

test('rates are of the server side of the named workload, errors are 4xx and 5xx', () => {
  const before = countsOf([`istio_requests_total{${labels('200', 'reviews-v1')}} 10`])
  const after = countsOf([
    '# TYPE istio_requests_total counter',
    `istio_requests_total{${labels('200', 'reviews-v1')}} 30`,
    `istio_requests_total{${labels('503', 'reviews-v2')}} 5`,
    `istio_requests_total{${labels('404', 'reviews-v2')}} 5`,
    `istio_requests_total{${labels('500', 'reviews-v2', 'source')}} 50`,
    `istio_requests_total{${labels('500', 'ratings-v1')}} 50`,
    `istio_request_duration_milliseconds_bucket{${labels('200', 'reviews-v1')},le="5"} 10`,
    `istio_request_duration_milliseconds_bucket{${labels('200', 'reviews-v1')},le="10"} 20`,
    `istio_request_duration_milliseconds_bucket{${labels('200', 'reviews-v1')},le="+Inf"} 20`,
  ])
  const rates = ratesBetween(before, after, 10)
  assert.deepEqual(rates, { totalRps: 3, errorRps: 1, p50: 5, p90: 9, p99: 9.9 })
})

test('a proxy that started anew counts from nothing', () => {
  const line = (value: number): string => `istio_requests_total{${labels('200', 'reviews-v1')}} ${value}`
  assert.equal(ratesBetween(countsOf([line(100)]), countsOf([line(4)]), 2).totalRps, 2)
})

test('a quantile above the last bound is that bound; without samples it is nothing', () => {
  assert.equal(
    quantile(0.99, [
      [5, 1],
      [Number.POSITIVE_INFINITY, 100],
    ]),
    5,
  )
  assert.equal(quantile(0.5, []), 0)
})

test('durations are as in Go', () => {
  assert.deepEqual([0, 25, 1500, 62_000, 3_600_000].map(durationText), ['0s', '25ms', '1.5s', '1m2s', '1h0m0s'])
})

test("the table is istioctl's", () => {
  const rates = { totalRps: 1.25, errorRps: 0, p50: 4.7, p90: 1500, p99: 1500 }
  assert.equal(
    metricsHeader() + metricsRow('reviews-v1', rates),
    '                                  WORKLOAD    TOTAL RPS    ERROR RPS  P50 LATENCY  P90 LATENCY  P99 LATENCY\n' +
      '                                reviews-v1        1.250        0.000          4ms         1.5s         1.5s\n',
  )
})
