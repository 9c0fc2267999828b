// Scenarios played against real Envoy and our proxy: the same bytes to the client, the same log lines, the same stats.

import assert from 'node:assert/strict'
import type { Http2Server } from 'node:http2'
import { type AddressInfo, Server } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { isIdle } from './idle.ts'
import { type Outcome, play, type Scenario } from './play.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './proxies.ts'
import { linesOf, situationBootstrap, startUpstream, statsOf } from './situations.ts'

interface Options {
  /** Stats of scenario `i` that must agree, if any. */
  readonly counted?: (i: number, scenario: Scenario) => RegExp
  /** Of what the client got, what may be compared. */
  readonly told?: (received: string) => string
  /** Of a log line, what may be compared. */
  readonly logged?: (line: unknown) => unknown
  /** Added to the bootstrap. */
  readonly bootstrap?: (made: object) => object
}

const SKIP = envoyBinary() ? false : 'real Envoy is not installed'
/** Scenarios wait much and do little; where they wait for timeouts, fewer run at once: those must not meet a busy machine. */
const PARALLEL = 48
const PARALLEL_TIMED = 16
/** How long counters and logs may take to become equal: some are moved when connections end. */
const COUNTED_MS = 1500

async function assertCounted(envoy: RunningProxy, ours: RunningProxy, names: RegExp, among: string): Promise<void> {
  const until = Date.now() + COUNTED_MS
  for (;;) {
    const [theirs, mine] = await Promise.all([statsOf(envoy, names, among), statsOf(ours, names, among)])
    if (isDeepStrictEqual(mine, theirs)) return
    if (Date.now() > until) assert.deepEqual(mine, theirs)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function assertLogged(
  envoy: RunningProxy,
  ours: RunningProxy,
  i: number,
  logged: (line: unknown) => unknown,
): Promise<void> {
  const until = Date.now() + COUNTED_MS
  for (;;) {
    const theirs = (await linesOf(envoy, i, 1)).map(logged)
    const mine = (await linesOf(ours, i, theirs.length)).map(logged)
    if (isDeepStrictEqual(mine, theirs)) return
    // A line of a stream that has just ended may still be on its way.
    if (Date.now() > until) assert.deepEqual(mine, theirs)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const same = <T>(value: T): T => value

interface Side {
  readonly proxy: RunningProxy
  readonly listeners: readonly number[]
}

/** Real Envoy and our proxy with a listener for each scenario, and the scenarios' upstreams. */
interface Pair {
  readonly envoy: Side
  readonly ours: Side
  readonly servers: readonly (Server | Http2Server)[]
  stop(): Promise<void>
}

async function startPair(scenarios: readonly Scenario[], bootstrap: (made: object) => object): Promise<Pair> {
  const servers = await Promise.all(scenarios.map(startUpstream))
  const upstreams = servers.map((server) => (server.address() as AddressInfo).port)
  const start = async (name: 'envoy' | 'outrigger'): Promise<Side> => {
    const listeners = await Promise.all(scenarios.map(() => freePort()))
    const proxy = await startProxy(name, (ports) =>
      bootstrap(situationBootstrap(scenarios, 'HTTP1', ports, listeners, upstreams)),
    )
    return { proxy, listeners }
  }
  const envoy = await start('envoy')
  const ours = await start('outrigger')
  return {
    envoy,
    ours,
    servers,
    async stop() {
      await Promise.all([envoy.proxy.stop(), ours.proxy.stop()])
      for (const server of servers) server.close()
    },
  }
}

/** One test for each scenario. */
export function describeBeside(title: string, scenarios: readonly Scenario[], options: Options = {}): void {
  const { counted, told = same, logged = same, bootstrap = same } = options

  async function compare({ envoy, ours, servers }: Pair, i: number, scenario: Scenario): Promise<void> {
    // What other hosts than its own upstream get is not known here.
    const elsewhere = 'load_assignment' in (scenario.cluster ?? {})
    const own = servers[i] instanceof Server ? servers[i] : null
    const upstream = elsewhere ? 'elsewhere' : own
    const theirs = await play(envoy.listeners[i]!, scenario, null, (traffic) =>
      isIdle(envoy.proxy, i, traffic, upstream),
    )
    const mine = await play(ours.listeners[i]!, scenario, theirs)
    const seen = ({ received, closed }: Outcome): unknown => [told(received), closed]
    assert.deepEqual(seen(mine), seen(theirs))
    await assertLogged(envoy.proxy, ours.proxy, i, logged)
    const names = counted?.(i, scenario)
    if (names) await assertCounted(envoy.proxy, ours.proxy, names, `[.][acs]${i}[.]`)
  }

  let alone: Promise<unknown> = Promise.resolve()
  /** By fresh proxies that do nothing else, one scenario at a time. */
  function compareAlone(i: number, scenario: Scenario): Promise<void> {
    const turn = alone.then(async () => {
      const pair = await startPair(scenarios, bootstrap)
      await compare(pair, i, scenario).finally(() => pair.stop())
    })
    alone = turn.catch(() => {})
    return turn
  }

  describe(title, { skip: SKIP }, () => {
    let pair: Pair
    before(async () => {
      pair = await startPair(scenarios, bootstrap)
    })
    after(() => pair?.stop())

    const timed = scenarios.some(({ quietMs }) => quietMs !== undefined)
    describe('in parallel', { concurrency: timed ? PARALLEL_TIMED : PARALLEL }, () => {
      for (const [i, scenario] of scenarios.entries()) {
        it(scenario.name, async (context) => {
          try {
            await compare(pair, i, scenario)
          } catch (error) {
            if (!(error instanceof assert.AssertionError)) throw error
            // On a busy machine a timeout may come first at one of the two. A difference is what differs again.
            context.diagnostic(`played again, alone: ${error.message}`)
            await compareAlone(i, scenario)
          }
        })
      }
    })
  })
}
