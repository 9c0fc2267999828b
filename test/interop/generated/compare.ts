// Real Envoy and our proxy, the same generated configurations (connection manager settings and route tables), the same
// generated traffic: what the client gets, what the upstreams get, the access log and the counters must agree.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { envoyBinary } from '../harness/proxies.ts'
import { Pair, type Traffic } from './pair.ts'
import { explain, search } from './search.ts'
import { generateManagers } from './tables.ts'

const MANAGERS = 12
const skip = envoyBinary() ? false : 'real Envoy is not installed'

/** Registers the tests: `count` items of each traffic. What differs is told in its smallest form. */
export function compareGenerated(
  seed: number,
  count: number,
  // biome-ignore lint/suspicious/noExplicitAny: each kind of traffic has items of its own
  kinds: readonly Traffic<any>[],
  transportSocket?: object,
): void {
  describe(`generated configurations, seed ${seed}`, { skip, concurrency: false }, () => {
    let pair: Pair
    before(async () => {
      pair = await Pair.start(generateManagers(seed, MANAGERS), transportSocket)
    })
    after(() => pair?.stop())

    for (const traffic of kinds) {
      it(`${count} of ${traffic.name}`, async (t) => {
        const entries = traffic.generate(seed, count).map((item, i) => ({ item, listener: i % MANAGERS }))
        const { findings, unrepeated } = await search(pair, traffic, entries)
        for (const text of unrepeated) t.diagnostic(`only once: ${text}`)
        const shown = await explain(pair, traffic, findings)
        assert.equal(findings.length, 0, `${findings.length} of ${count} differ:\n${shown.join('\n---\n')}`)
      })
    }
  })
}
