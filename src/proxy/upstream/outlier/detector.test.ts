import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { OutlierDetectionSchema } from '../../../api/gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import type { Scope } from '../../observe/stats.ts'
import { StatsStore } from '../../observe/stats-store.ts'
import { type OutlierConfig, parseOutlierDetection } from './config.ts'
import { type DetectorHooks, type HostMonitor, OutlierDetector } from './detector.ts'

let now: number
let changes: HostMonitor[]

function config(fields: MessageInitShape<typeof OutlierDetectionSchema>): OutlierConfig {
  return parseOutlierDetection(create(OutlierDetectionSchema, fields), 'outlier_detection')
}

/** Counts and judges, as the leading worker does. */
class CountingDetector extends OutlierDetector {
  private readonly settings: OutlierConfig

  constructor(settings: OutlierConfig, scope: Scope, hooks: DetectorHooks) {
    super(settings, scope, hooks)
    this.settings = settings
  }

  onResponse(host: HostMonitor, status: number): void {
    this.onOffenses(host, host.tally.countResponse(status, this.settings))
  }

  onLocalOriginFailure(host: HostMonitor, status: 503 | 504): void {
    this.onOffenses(host, host.tally.countLocalFailure(status, this.settings))
  }

  onLocalOriginSuccess(host: HostMonitor): void {
    host.tally.countLocalSuccess(this.settings)
  }
}

function detector(
  fields: MessageInitShape<typeof OutlierDetectionSchema>,
  hosts: number,
): { detector: CountingDetector; hosts: HostMonitor[]; stat: (name: string) => number } {
  const scope = new StatsStore().scope('cluster.c')
  const made = new CountingDetector(config(fields), scope, {
    nowMs: () => now,
    random: () => 0,
    onChange: (m) => changes.push(m),
  })
  return {
    detector: made,
    hosts: Array.from({ length: hosts }, () => made.addHost(null)),
    stat: (name) =>
      (name === 'ejections_active'
        ? scope.gauge(`outlier_detection.${name}`)
        : scope.counter(`outlier_detection.${name}`)
      ).value,
  }
}

describe('outlier detection', () => {
  beforeEach(() => {
    now = 0
    changes = []
  })

  it('ejects after consecutive 5xx and lets the host back after the base time', () => {
    const { detector: d, hosts, stat } = detector({ maxEjectionPercent: 100 }, 2)
    const host = hosts[0]!
    for (let i = 0; i < 4; i++) d.onResponse(host, 500)
    assert.equal(host.ejected, false)
    d.onResponse(host, 500)
    assert.equal(host.ejected, true)
    assert.equal(stat('ejections_enforced_consecutive_5xx'), 1)
    assert.equal(stat('ejections_active'), 1)
    now = 29_999
    d.onInterval()
    assert.equal(host.ejected, true)
    now = 30_000
    d.onInterval()
    assert.equal(host.ejected, false)
    assert.deepEqual(changes, [host, host])
  })

  it('a success in between starts the count anew', () => {
    const { detector: d, hosts } = detector({ maxEjectionPercent: 100 }, 1)
    for (let i = 0; i < 4; i++) d.onResponse(hosts[0]!, 503)
    d.onResponse(hosts[0]!, 200)
    for (let i = 0; i < 4; i++) d.onResponse(hosts[0]!, 503)
    assert.equal(hosts[0]!.ejected, false)
  })

  it('keeps to max_ejection_percent: 10 % of few hosts ejects nobody', () => {
    const { detector: d, hosts, stat } = detector({}, 5)
    for (let i = 0; i < 5; i++) d.onResponse(hosts[0]!, 500)
    assert.equal(hosts[0]!.ejected, false)
    assert.equal(stat('ejections_overflow'), 1)
  })

  it('always_eject_one_host overrides the percentage once', () => {
    const { detector: d, hosts } = detector({ alwaysEjectOneHost: true }, 5)
    for (const host of hosts) for (let i = 0; i < 5; i++) d.onResponse(host, 500)
    assert.deepEqual(
      hosts.map((h) => h.ejected),
      [true, false, false, false, false],
    )
  })

  it('gateway failures are only detected until they are enforced', () => {
    const { detector: d, hosts, stat } = detector({ maxEjectionPercent: 100, consecutiveGatewayFailure: 2 }, 1)
    d.onResponse(hosts[0]!, 503)
    d.onResponse(hosts[0]!, 502)
    assert.equal(stat('ejections_detected_consecutive_gateway_failure'), 1)
    assert.equal(hosts[0]!.ejected, false)
  })

  it('split local errors have a count of their own', () => {
    const { detector: d, hosts } = detector(
      { maxEjectionPercent: 100, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailure: 2 },
      1,
    )
    d.onLocalOriginFailure(hosts[0]!, 503)
    d.onLocalOriginSuccess(hosts[0]!)
    d.onLocalOriginFailure(hosts[0]!, 503)
    assert.equal(hosts[0]!.ejected, false)
    d.onLocalOriginFailure(hosts[0]!, 503)
    assert.equal(hosts[0]!.ejected, true)
  })

  it('success rate ejects the host far below the others', () => {
    const { detector: d, hosts } = detector({ maxEjectionPercent: 100, consecutive5xx: 1000 }, 5)
    for (const [i, host] of hosts.entries()) {
      for (let n = 0; n < 100; n++) d.onResponse(host, i === 4 && n % 2 === 0 ? 500 : 200)
    }
    d.onInterval()
    assert.deepEqual(
      hosts.map((h) => h.ejected),
      [false, false, false, false, true],
    )
    assert.equal(hosts[4]!.successRate, 50)
  })

  it('each ejection lasts longer, each healthy interval forgives one', () => {
    const { detector: d, hosts } = detector({ maxEjectionPercent: 100, consecutive5xx: 1 }, 1)
    const host = hosts[0]!
    d.onResponse(host, 500)
    now = 30_000
    d.onInterval()
    d.onResponse(host, 500)
    now = 60_000
    d.onInterval()
    assert.equal(host.ejected, true)
    now = 90_000
    d.onInterval()
    assert.equal(host.ejected, false)
    assert.equal(host.ejectTimeBackoff, 2)
    for (const expected of [1, 0, 0]) {
      now += 10_000
      d.onInterval()
      assert.equal(host.ejectTimeBackoff, expected)
    }
  })
})
