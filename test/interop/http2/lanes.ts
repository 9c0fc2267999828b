// Real Envoy and our proxy with the same lanes, and what one batch of scripts made them do.

import { normal } from '../generated/normal.ts'
import { type BatchResult, type Entry, logsByConnection, logText, type Observation, same } from '../generated/pair.ts'
import { differingGrowth, type Explanation, isQuiet, type Stats, statsOf } from '../generated/stats.ts'
import { freePort, type RunningProxy, startProxy } from '../harness/proxies.ts'
import { type LaneConfig, lanesBootstrap } from './bootstrap.ts'
import { Lane, type Played } from './lane.ts'
import type { Script } from './script.ts'

/** How long differing log lines or counters may still become equal, and when nothing is open. */
const SETTLE_MS = 1500
const QUIET_SETTLE_MS = 250

/** Why a statistic may differ although scripts leave nothing to chance. */
const EXPLAINED: readonly Explanation[] = [
  [/^cluster\.[^.]+\.(lb_|membership_|update_|version|warming_state|assignment_)/, 'not moved by requests'],
  [/_ms$|upstream_cx_(rx|tx)_bytes/, 'a time, or the bytes of frames that either may choose'],
  [/\.downstream_cx_.*bytes_(buffered|total)$/, 'header bytes of another encoder'],
  [
    /\.downstream_cx_(delayed_close_timeout|destroy_local|destroy_remote)$/,
    'we end our direction at once, so that the client closes first; Envoy waits for it in silence',
  ],
  [
    /^cluster\.[^.]+\.upstream_cx_protocol_error$/,
    'an HTTP/2 connection that ends with its last stream is no fault of the upstream (docs/differences.md)',
    'more',
  ],
  [/nghttp2_(up|down)stream_connections$/, 'counts uses of a library'],
  [/http2\.goaway_sent$/, 'of malformed messages the client is told (docs/differences.md)'],
  [/\.(worker_0|main_thread)\./, 'threads are not Envoy’s'],
  [/deferred_stream_close|outbound_(control_)?frames_active|pending_send_bytes/, 'a moment of Envoy’s codec'],
]

/** What may be compared of our lines, where a documented difference adds to Envoy's. */
export interface Scripts {
  forgive(theirs: readonly string[], ours: readonly string[]): readonly string[]
}

interface Side {
  readonly proxy: RunningProxy
  readonly lanes: readonly Lane[]
}

export class Lanes {
  private readonly sides: readonly [Side, Side]

  private constructor(sides: readonly [Side, Side]) {
    this.sides = sides
  }

  static async start(configs: readonly LaneConfig[]): Promise<Lanes> {
    const start = async (name: 'envoy' | 'outrigger'): Promise<Side> => {
      const lanes: Lane[] = []
      for (const { quietMs } of configs) lanes.push(await Lane.start(await freePort(), quietMs))
      const [listeners, upstreams] = [lanes.map((l) => l.port), lanes.map((l) => l.upstreamPort)]
      const proxy = await startProxy(name, (ports) => lanesBootstrap(configs, listeners, upstreams, ports))
      return { proxy, lanes }
    }
    return new Lanes([await start('envoy'), await start('outrigger')])
  }

  async stop(): Promise<void> {
    for (const { lanes } of this.sides) for (const lane of lanes) lane.stop()
    await Promise.all(this.sides.map((side) => side.proxy.stop()))
  }

  /** Plays all entries, those of one lane one after another, and waits until nothing is left to become equal. */
  async batch(scripts: Scripts, entries: readonly Entry<Script>[]): Promise<BatchResult> {
    const before = await this.stats()
    const logStarts = this.sides.map((s) => logText(s.proxy).length)
    const played: [Played, Played][] = []
    const playLane = async (lane: number): Promise<void> => {
      for (const [i, { item, listener }] of entries.entries()) {
        if (listener !== lane) continue
        const theirs = await this.sides[0].lanes[lane]!.play(item, null)
        played[i] = [theirs, await this.sides[1].lanes[lane]!.play(item, theirs)]
      }
    }
    await Promise.all(this.sides[0].lanes.map((_, lane) => playLane(lane)))
    let deadline = Date.now() + SETTLE_MS
    for (;;) {
      const now = await this.stats()
      const logs = this.sides.map((side, s) =>
        logsByConnection(
          logText(side.proxy).slice(logStarts[s]),
          side.lanes.map((l) => l.port),
        ),
      )
      const observations = entries.map(({ listener }, i): [Observation, Observation] => {
        const seen = (s: 0 | 1): Observation => {
          const { lines, localPort } = played[i]![s]
          return {
            lines: normal(lines.join('\n'), 'ID', this.sides[s].lanes[listener]!.port).split('\n'),
            log: logs[s]!.get(`${listener}:${localPort}`) ?? [],
          }
        }
        const [theirs, ours] = [seen(0), seen(1)]
        return [theirs, { ...ours, lines: scripts.forgive(theirs.lines, ours.lines) }]
      })
      const stats = differingGrowth(before, now, EXPLAINED)
      if (stats.length === 0 && now.every(isQuiet) && observations.every(same)) return { observations, stats }
      if (now.every(isQuiet)) deadline = Math.min(deadline, Date.now() + QUIET_SETTLE_MS)
      if (Date.now() >= deadline) return { observations, stats }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  private stats(): Promise<[Stats, Stats]> {
    return Promise.all(this.sides.map((s) => statsOf(s.proxy))) as Promise<[Stats, Stats]>
  }
}
