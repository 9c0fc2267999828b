// Real Envoy and our proxy, the same generated configurations (connection manager settings and route tables), the same
// generated traffic: what the client gets, what the upstreams get, the access log and the counters must agree. A part of
// it runs always (generated.test.ts).
// `INTEROP_SEED=N INTEROP_REQUESTS=N INTEROP_TRAFFIC=NAME npm run interop:generated`.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { envoyBinary } from '../harness/proxies.ts'
import { HTTP1 } from './http1-traffic.ts'
import { HTTP2 } from './http2-traffic.ts'
import { Pair, type Traffic } from './pair.ts'
import { explain, search } from './search.ts'
import { generateManagers } from './tables.ts'

const COUNT = Number(process.env.INTEROP_REQUESTS ?? 1500)
const SEED = Number(process.env.INTEROP_SEED ?? 20260822)
const MANAGERS = 12
const TRAFFIC = [HTTP1, HTTP2] as unknown as readonly Traffic<unknown>[]

const skip = envoyBinary() ? false : 'real Envoy is not installed'
describe(`generated configurations, seed ${SEED}`, { skip, concurrency: false }, () => {
  const managers = generateManagers(SEED, MANAGERS)
  let pair: Pair
  before(async () => {
    pair = await Pair.start(managers)
  })
  after(() => pair?.stop())

  for (const traffic of TRAFFIC) {
    if (process.env.INTEROP_TRAFFIC && process.env.INTEROP_TRAFFIC !== traffic.name) continue
    it(`${COUNT} of ${traffic.name}`, async (t) => {
      const entries = traffic.generate(SEED, COUNT).map((item, i) => ({ item, listener: i % MANAGERS }))
      const { findings, unrepeated } = await search(pair, traffic, entries)
      for (const text of unrepeated) t.diagnostic(`only once: ${text}`)
      const shown = await explain(pair, traffic, findings)
      assert.equal(findings.length, 0, `${findings.length} of ${COUNT} differ:\n${shown.join('\n---\n')}`)
    })
  }
})
