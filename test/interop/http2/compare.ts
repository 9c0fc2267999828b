// Real Envoy and our proxy, the same frames from client and upstream: what either end gets, the access log and the
// counters must agree.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { explain, search } from '../generated/search.ts'
import { envoyBinary } from '../harness/proxies.ts'
import { drawLanes } from './configs.ts'
import { forgive } from './forgive.ts'
import { Lanes } from './lanes.ts'
import { type Script, showScript, smallerScripts } from './script.ts'
import { drawScripts } from './scripts.ts'

const LANES = 12
const skip = envoyBinary() ? false : 'real Envoy is not installed'

const SCRIPTS = {
  forgive,
  smaller: smallerScripts,
  show: showScript,
}

/** Registers the test: `count` scripts. What differs is told in its smallest form. */
export function compareScripts(seed: number, count: number): void {
  describe(`HTTP/2 frames, seed ${seed}`, { skip, concurrency: false }, () => {
    let lanes: Lanes
    before(async () => {
      lanes = await Lanes.start(drawLanes(seed, LANES))
    })
    after(() => lanes?.stop())

    it(`${count} scripts`, async (t) => {
      const entries = drawScripts(seed, count).map((item, i) => ({ item, listener: i % LANES }))
      const { findings, unrepeated } = await search(lanes, SCRIPTS, entries)
      for (const text of unrepeated) t.diagnostic(`only once: ${text}`)
      const shown = await explain<Script, typeof SCRIPTS>(lanes, SCRIPTS, findings)
      assert.equal(findings.length, 0, `${findings.length} of ${count} differ:\n${shown.join('\n---\n')}`)
    })
  })
}
