// Scripts by hand: real Envoy and ours, the same frames from client and upstream; the same frames to either, the same log
// lines, the same counters.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { same } from '../generated/pair.ts'
import { envoyBinary } from '../harness/proxies.ts'
import type { LaneConfig } from './bootstrap.ts'
import { forgive } from './forgive.ts'
import { Lanes } from './lanes.ts'
import type { Field } from './peer.ts'
import type { Op, RawKind, Script } from './script.ts'

/** Cases that are played side by side: they wait more than they compute. */
const AT_ONCE = 16

/** A script by hand, in a lane of its own. */
export interface Case extends Partial<LaneConfig> {
  readonly name: string
  readonly clientSettings?: Script['clientSettings']
  readonly upstreamSettings?: Script['upstreamSettings']
  /** Steps of the client and, with `u`, of the upstream. */
  readonly steps: readonly (readonly ['c' | 'u', ...Op[]])[]
}

export const request = (method: string, ...more: Field[]): Field[] => [
  [':method', method],
  [':authority', 'a'],
  [':scheme', 'http'],
  [':path', '/x'],
  ...more,
]
export const headers = (to: number, fields: readonly Field[], end = false, pieces = 1): Op => ({
  op: 'headers',
  to,
  fields,
  end,
  pieces,
})
export const get = (to = 0): Op => headers(to, request('GET'), true)
export const post = (to = 0): Op => headers(to, request('POST'))
export const status = (code: string, end = false, to = 0, ...more: Field[]): Op =>
  headers(to, [[':status', code], ...more], end)
export const data = (bytes: number, end = false, to = 0): Op => ({ op: 'data', to, bytes, end })
export const reset = (code: number, to = 0): Op => ({ op: 'reset', to, code })
export const raw = (kind: RawKind, count = 1, to = 0): Op => ({ op: 'raw', to, kind, count })
/** The connection ends, in order or by RST. */
export const close = (abort = false): Op => ({ op: 'close', to: 0, abort })
export const goaway = (last: number, code = 0): Op => ({ op: 'goaway', last, code })
export const CONNECT: Field[] = [
  [':method', 'CONNECT'],
  [':authority', 'a:80'],
]
export const WEBSOCKET = request('CONNECT', [':protocol', 'websocket'])
export const TUNNELS = {
  downstream: { allow_connect: true },
  upstream: { allow_connect: true },
  manager: { upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'CONNECT' }] },
  upstreamSettings: [[8, 1]] as const,
}
export const RETRIES = {
  route: {
    retry_policy: { retry_on: 'reset', num_retries: 1, retry_back_off: { base_interval: '0.001s' } },
  },
  quietMs: 12,
}

/** One test for each case. */
export function describeCases(title: string, cases: readonly Case[]): void {
  describe(title, { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
    let lanes: Lanes
    before(async () => {
      lanes = await Lanes.start(
        cases.map((c) => ({
          downstream: {},
          upstream: {},
          downstreamCommon: {},
          upstreamCommon: {},
          manager: {},
          route: {},
          cluster: {},
          quietMs: 0,
          ...c,
        })),
      )
    })
    after(() => lanes?.stop())

    const entries = cases.map(({ steps, clientSettings = [], upstreamSettings = [] }, listener) => ({
      item: {
        clientSettings,
        upstreamSettings,
        steps: steps.map(([at, ...ops]) => ({ at: at === 'c' ? ('client' as const) : ('upstream' as const), ops })),
        lastMs: 0,
      },
      listener,
    }))
    /** Cases that went the same way at both proxies, some at a time; the others are looked at alone. */
    const alike = new Set<number>()
    before(async () => {
      for (let start = 0; start < entries.length; start += AT_ONCE) {
        const { observations, stats } = await lanes.batch({ forgive }, entries.slice(start, start + AT_ONCE))
        if (stats.length > 0) continue
        for (const [i, observation] of observations.entries()) if (same(observation)) alike.add(start + i)
      }
    })

    for (const [i, { name }] of cases.entries()) {
      it(name, async () => {
        if (alike.has(i)) return
        const { observations, stats } = await lanes.batch({ forgive }, [entries[i]!])
        const [theirs, ours] = observations[0]!
        assert.deepEqual(ours, theirs)
        assert.deepEqual(stats, [])
      })
    }
  })
}
