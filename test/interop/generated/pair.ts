// Real Envoy and our proxy on the same generated configuration, and what one batch of traffic made them do: bytes to the
// client, requests at the upstreams, access log lines and the growth of counters.

import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { freePort, type RunningProxy, startProxy } from '../harness/proxies.ts'
import { startRawHttp2Upstream } from '../harness/raw-http2-upstream.ts'
import { type RecordingUpstream, startRecordingUpstream } from '../harness/recording-upstream.ts'
import { generatedBootstrap } from './bootstrap.ts'
import { normal } from './normal.ts'
import { differingGrowth, isQuiet, type Stats, statsOf } from './stats.ts'

const PARALLEL = 48
/** How long differing log lines, forwarded requests or counters may still become equal, and when nothing is open. */
const SETTLE_MS = 1500
const QUIET_SETTLE_MS = 250

/** One kind of generated traffic. */
export interface Traffic<T> {
  readonly name: string
  generate(seed: number, count: number): T[]
  /** Sends one item, whose requests carry `x-case: id`, on a connection of its own (`socket`), and reads until it is over. */
  send(
    port: number,
    item: T,
    id: string,
    socket?: Socket,
  ): Promise<{ readonly text: string; readonly localPort: number }>
  /** Our lines without what a documented difference adds to Envoy's. */
  forgive?(theirs: readonly string[], ours: readonly string[]): readonly string[]
  /** Smaller items, largest step first, for shrinking. */
  smaller(item: T): Iterable<T>
  show(item: T): string
}

/** An item and the index of the listener that it goes to. */
export interface Entry<T> {
  readonly item: T
  readonly listener: number
}

/** What an entry made one proxy do. */
export interface Observation {
  readonly lines: readonly string[]
  readonly log: readonly string[]
}

export interface BatchResult {
  /** Of Envoy and ours, for each entry. */
  readonly observations: readonly (readonly [Observation, Observation])[]
  /** Counters that grew differently. */
  readonly stats: readonly string[]
}

export const same = ([a, b]: readonly [Observation, Observation]): boolean =>
  a.lines.join('\n') === b.lines.join('\n') && a.log.join('\n') === b.log.join('\n')

/** Index of the upstream that filters ask. */
const AUTHZ = 5

interface Side {
  readonly proxy: RunningProxy
  readonly listeners: readonly number[]
}

export class Pair {
  readonly #sides: readonly [Side, Side]
  readonly #upstreams: readonly RecordingUpstream[]
  #unique = 0

  private constructor(sides: readonly [Side, Side], upstreams: readonly RecordingUpstream[]) {
    this.#sides = sides
    this.#upstreams = upstreams
  }

  /** `transportSocket`: of every listener. */
  static async start(managers: readonly object[], transportSocket?: object): Promise<Pair> {
    const upstreams = await Promise.all([
      startRecordingUpstream(),
      startRawHttp2Upstream(false),
      startRecordingUpstream(),
      startRecordingUpstream(),
      startRawHttp2Upstream(true),
      startRecordingUpstream(),
    ])
    const ports = upstreams.map((u) => u.port) as [number, number, number, number, number, number]
    const [http1, http2, mirror, other, http2Once, authz] = ports
    const start = async (name: 'envoy' | 'outrigger'): Promise<Side> => {
      const listeners: number[] = []
      for (let i = 0; i < managers.length; i++) listeners.push(await freePort())
      const proxy = await startProxy(name, (ports) =>
        generatedBootstrap(
          managers,
          { http1, http2, mirror, other, http2Once, authz },
          listeners,
          ports,
          transportSocket,
        ),
      )
      return { proxy, listeners }
    }
    return new Pair([await start('envoy'), await start('outrigger')], upstreams)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#sides.map((s) => s.proxy.stop()), ...this.#upstreams.map((u) => u.close())])
  }

  /** Sends all entries to both and waits until nothing of them is left to come, or to become equal. */
  async batch<T>(traffic: Traffic<T>, entries: readonly Entry<T>[]): Promise<BatchResult> {
    const before = await Promise.all(this.#sides.map((s) => statsOf(s.proxy)))
    const logStarts = this.#sides.map((s) => logText(s.proxy).length)
    const runs: { id: string; port: number; text: string; key: string }[][] = [[], []]
    let next = 0
    const worker = async (): Promise<void> => {
      for (let i = next++; i < entries.length; i = next++) {
        const { item, listener } = entries[i]!
        // Ids have one length, so that neither a path nor a length depends on them.
        const number = String(this.#unique++).padStart(6, '0')
        await Promise.all(
          this.#sides.map(async (side, s) => {
            const port = side.listeners[listener]!
            const id = `${s}x${number}`
            const { text, localPort } = await traffic.send(port, item, id)
            runs[s]![i] = { id, port, text: normal(text, id, port), key: `${listener}:${localPort}` }
          }),
        )
      }
    }
    await Promise.all(Array.from({ length: PARALLEL }, worker))
    const collect = async (): Promise<{ result: BatchResult; quiet: boolean }> => {
      const now = await Promise.all(this.#sides.map((s) => statsOf(s.proxy)))
      const sides = this.#sides.map((side, s) => {
        const logs = logsByConnection(logText(side.proxy).slice(logStarts[s]), side.listeners)
        return runs[s]!.map(({ id, port, text, key }) => ({
          lines: [...text.split('\r\n'), ...this.#forwarded(id, port)],
          log: (logs.get(key) ?? []).map((line) => line.replaceAll(id, 'ID')),
        }))
      })
      const observations = entries.map((_, i): [Observation, Observation] => {
        const [theirs, ours] = [sides[0]![i]!, sides[1]![i]!]
        return [theirs, traffic.forgive ? { ...ours, lines: traffic.forgive(theirs.lines, ours.lines) } : ours]
      })
      const stats = differingGrowth(before as [Stats, Stats], now as [Stats, Stats])
      return { result: { observations, stats }, quiet: now.every(isQuiet) }
    }
    let deadline = Date.now() + SETTLE_MS
    for (;;) {
      const { result, quiet } = await collect()
      if (quiet && result.stats.length === 0 && result.observations.every(same)) return result
      if (quiet) deadline = Math.min(deadline, Date.now() + QUIET_SETTLE_MS)
      if (Date.now() >= deadline) return result
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  #forwarded(id: string, port: number): string[] {
    return this.#upstreams.flatMap((upstream, u) =>
      upstream.received(id).flatMap((r) => {
        // Envoy asks with the headers of an unordered map.
        const headers = u === AUTHZ ? r.headers.toSorted() : r.headers
        const text = [r.requestLine, ...headers, '', r.body, ...(r.trailers ?? [])].join('\r\n')
        return `> ${u} ${normal(text, id, port)}`.split('\r\n')
      }),
    )
  }
}

export function logText(proxy: RunningProxy): string {
  return readFileSync(proxy.ports.accessLog, 'utf8')
}

/** Log lines by `listener:client port`. The last line may still be half written. */
export function logsByConnection(text: string, listeners: readonly number[]): Map<string, string[]> {
  const byConnection = new Map<string, string[]>()
  for (const line of text.slice(0, text.lastIndexOf('\n') + 1).split('\n')) {
    if (line === '') continue
    const { connection, listener, ...rest } = JSON.parse(line) as Record<string, string>
    const key = `${listener!.slice(1)}:${String(connection).split(':').at(-1)}`
    const clean = normal(JSON.stringify(rest, Object.keys(rest).sort()), '?', listeners[Number(listener!.slice(1))]!)
    byConnection.set(key, [...(byConnection.get(key) ?? []), clean])
  }
  return byConnection
}
