import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { murmur2, xxh64 } from '../../../base/hash.ts'
import { EdfScheduler } from './edf.ts'
import { buildMaglevTable } from './maglev.ts'
import { MersenneTwister } from './mersenne-twister.ts'
import { priorityLoads } from './priority-load.ts'
import { buildRing, chooseFromRing, type HashedHost } from './ring-hash.ts'

const equal = (keys: readonly string[]): HashedHost[] => keys.map((key) => ({ key, normalizedWeight: 1 / keys.length }))

describe('ring hash', () => {
  it('gives the lightest host a whole number of entries', () => {
    assert.equal(buildRing(equal(['a', 'b', 'c', 'd', 'e']), 1024, 8_388_608, xxh64).hashes.length, 1025)
  })
  it('wraps to the first entry', () => {
    const ring = buildRing(equal(['a', 'b']), 8, 100, xxh64)
    assert.equal(chooseFromRing(ring, 0xffff_ffff_ffff_ffffn, 0), ring.owners[0])
    assert.equal(chooseFromRing(ring, 0n, 1), ring.owners[1])
  })
})

describe('maglev', () => {
  it("fills the table of Envoy's own test for weights 1:2", () => {
    const table = buildMaglevTable(
      [
        { key: '127.0.0.1:90', normalizedWeight: 1 / 3 },
        { key: '127.0.0.1:91', normalizedWeight: 2 / 3 },
      ],
      17,
    )
    assert.deepEqual([...table], [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1])
  })
})

describe('murmur2', () => {
  it('differs from xxHash and is stable', () => {
    assert.notEqual(murmur2('foo'), xxh64('foo'))
    assert.equal(murmur2(''), murmur2(''))
  })
})

describe('Mersenne twister', () => {
  it('gives the numbers of the reference implementation', () => {
    const random = new MersenneTwister(5489)
    for (let i = 1; i < 10_000; i++) random.next()
    // The C++ standard (rand.predef) names the 10 000th.
    assert.equal(random.next(), 4_123_659_995)
  })
})

describe('EDF scheduler', () => {
  it('picks in proportion, without bursts', () => {
    const scheduler = new EdfScheduler<string>()
    const weights: Record<string, number> = { a: 1, b: 2, c: 3 }
    for (const [item, weight] of Object.entries(weights)) scheduler.add(item, weight)
    const picks = Array.from({ length: 600 }, () => scheduler.pick((item) => weights[item]!)!)
    for (const [item, weight] of Object.entries(weights)) {
      const count = picks.filter((p) => p === item).length
      assert.ok(Math.abs(count - weight * 100) <= 1, `${item} was picked ${count} times`)
    }
    assert.ok(!picks.join('').includes('ccc'))
  })
})

describe('priority loads', () => {
  const p = (healthyPercent: number) => ({
    hosts: 100,
    excluded: 0,
    healthy: healthyPercent,
    degraded: 0,
    weights: null,
    overprovisioningFactor: 140,
  })
  const table: [number[], number[]][] = [
    [
      [100, 100],
      [100, 0],
    ],
    [
      [72, 100],
      [100, 0],
    ],
    [
      [71, 100],
      [99, 1],
    ],
    [
      [50, 100],
      [70, 30],
    ],
    [
      [25, 100],
      [35, 65],
    ],
    [
      [0, 100],
      [0, 100],
    ],
    [
      [25, 25],
      [50, 50],
    ],
    [
      [25, 25, 20],
      // Envoy's documentation says 36/36/28; Envoy itself rounds down and gives the first what is left.
      [37, 35, 28],
    ],
  ]
  for (const [health, loads] of table) {
    it(`${health.join('/')} % healthy gives ${loads.join('/')}`, () => {
      assert.deepEqual(priorityLoads(health.map(p), 0).healthy, loads)
    })
  }
  it('panics only when the total is short and the priority is below the threshold', () => {
    assert.deepEqual(priorityLoads([p(25), p(25)], 50).panic, [true, true])
    assert.deepEqual(priorityLoads([p(25), p(100)], 50).panic, [false, false])
    assert.deepEqual(priorityLoads([p(0)], 0).panic, [false])
  })
  it('in panic everywhere go by numbers of hosts', () => {
    assert.deepEqual(
      priorityLoads(
        [
          { ...p(0), hosts: 2 },
          { ...p(0), hosts: 6 },
        ],
        50,
      ).healthy,
      [25, 75],
    )
  })
})
