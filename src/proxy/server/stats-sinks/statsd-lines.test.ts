import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MergedStats } from '../../observe/merged-stats.ts'
import { StatsStore } from '../../observe/stats-store.ts'
import { TagExtractor } from '../../observe/tag-extraction.ts'
import { datagrams, Flushes, statsdLines } from './statsd-lines.ts'

const RULES = [{ name: 'envoy.cluster_name', regex: '^cluster\\.(([^.]+)\\.)', fixedValue: null }]

/** A store, and what each flush of it is. */
function flushing() {
  const store = new StatsStore()
  const merged = new MergedStats()
  const flushes = new Flushes(new TagExtractor(RULES))
  const flush = () => {
    merged.apply('main', store.takeDelta())
    merged.flushHistograms()
    return flushes.next(merged.all(), [])
  }
  return { scope: store.scope('cluster.up'), merged, flush }
}

test('counters are what was added since the last flush, gauges what they are; what was never used is not told', () => {
  const { scope, merged, flush } = flushing()
  const counter = scope.counter('rq')
  const gauge = scope.gauge('active')
  scope.counter('never')
  counter.add(3)
  gauge.set(2)
  assert.deepEqual(statsdLines(flush(), 'envoy', 'none').sort(), [
    'envoy.cluster.up.active:2|g',
    'envoy.cluster.up.rq:3|c',
  ])
  counter.add(2)
  assert.ok(statsdLines(flush(), 'p', 'dog').includes('p.cluster.rq:2|c|#envoy.cluster_name:up'))
  assert.ok(statsdLines(flush(), 'p', 'graphite').includes('p.cluster.rq;envoy.cluster_name=up:0|c'))
  merged.resetCounters()
  counter.add(4)
  assert.ok(statsdLines(flush(), 'p', 'none').includes('p.cluster.up.rq:4|c'))
})

test('values of histograms come once, with how often there were', () => {
  const { scope, flush } = flushing()
  const histogram = scope.histogram('time', 'ms')
  for (const value of [7, 42, 42, 42, 1234]) histogram.record(value)
  assert.deepEqual(statsdLines(flush(), 'e', 'dog').sort(), [
    'e.cluster.time:1250|ms|#envoy.cluster_name:up',
    'e.cluster.time:42|ms|@0.333333333|#envoy.cluster_name:up',
    'e.cluster.time:7|ms|#envoy.cluster_name:up',
  ])
  assert.deepEqual(statsdLines(flush(), 'e', 'none'), [])
})

test('datagrams hold as many lines as go into them', () => {
  const lines = ['aaaa', 'bbbb', 'cc', 'dddddddddddd', 'e']
  assert.deepEqual(datagrams(lines, 0), lines)
  assert.deepEqual(datagrams(lines, 10), ['aaaa\nbbbb', 'dddddddddddd', 'cc\ne'])
})
