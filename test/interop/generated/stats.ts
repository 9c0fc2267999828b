// Counters and gauges of two proxies that served the same requests.

import type { RunningProxy } from '../harness/proxies.ts'

export type Stats = ReadonlyMap<string, number>

/** Statistics that may differ, and why; `more`: only by Envoy's counting more. */
export type Explanation = readonly [pattern: RegExp, reason: string, more?: 'more']

/** Why a statistic may differ: the moment or the order of things, not what was done. */
const EXPLAINED: readonly Explanation[] = [
  [
    /^cluster\.[^.]+\.(upstream_cx_((http\d_)?total|active|destroy|destroy_local|destroy_remote|[rt]x_bytes_\w+|max_requests)|upstream_rq_pending_total)$/,
    'how many connections a pool opens depends on what overlaps',
  ],
  [/^cluster\.refused\.upstream_cx_connect_fail$/, 'one for each connection: how many, depends on what overlaps'],
  [
    /^cluster\.[^.]+\.(lb_(?!healthy_panic)|ring_hash_lb|membership_|update_|version|warming_state|assignment_|upstream_flow_control)/,
    'not moved by requests',
  ],
  [
    /^cluster\.[^.]+\.http[12]\.(tx_flush_timeout|pending_send_bytes|streams_active|nghttp2_upstream_connections|deferred_stream_close|dropped_headers|outbound_|inbound_)/,
    'a moment of a connection',
  ],
  [/\.downstream_cx_.*bytes_(buffered|total)$/, 'the length of times and identifiers in headers'],
  [
    /\.downstream_cx_(delayed_close_timeout|destroy_local|destroy_remote)$/,
    'we end our direction at once, so that the client closes first; Envoy waits for it in silence',
  ],
  [
    /\.downstream_flow_control_(paused|resumed)_reading_total$/,
    'whether a body has to wait depends on whether a connection is ready',
  ],
  [/nghttp2_(up|down)stream_connections$/, 'counts uses of a library'],
  [/(^|^cluster\.[^.]+\.)http2\.goaway_sent$/, 'of malformed messages the peer is told (docs/differences.md)'],
  [
    /^cluster\.once2\.upstream_cx_protocol_error$/,
    'a connection that ends with its last request is none (docs/differences.md)',
    'more',
  ],
  [/\.(worker_0|main_thread)\./, 'threads are not Envoy’s'],
  [/\.downstream_cx_length_ms/, 'a time'],
]

/** Counters and gauges of the scopes that requests move. */
export async function statsOf(proxy: RunningProxy): Promise<Stats> {
  const { stats } = JSON.parse(
    await proxy.admin('/stats?format=json&filter=^(cluster\\.|http\\.m|listener\\.l|vhost|limit|http2\\.)'),
  ) as { stats: { name: string; value: unknown }[] }
  const out = new Map<string, number>()
  for (const { name, value } of stats) if (typeof value === 'number') out.set(name, value)
  return out
}

/** No connection of a client and no request is left. */
export function isQuiet(stats: Stats): boolean {
  return ![...stats].some(([name, value]) => /downstream_cx_active|upstream_rq_active/.test(name) && value > 0)
}

/** Statistics that moved differently and have no explanation, as lines; `[Envoy, ours]` each. */
export function differingGrowth(
  [a0, b0]: readonly [Stats, Stats],
  [a1, b1]: readonly [Stats, Stats],
  explained: readonly Explanation[] = EXPLAINED,
): string[] {
  const lines: string[] = []
  for (const name of new Set([...a1.keys(), ...b1.keys()])) {
    const theirs = (a1.get(name) ?? 0) - (a0.get(name) ?? 0)
    const mine = (b1.get(name) ?? 0) - (b0.get(name) ?? 0)
    if (theirs === mine) continue
    if (explained.some(([pattern, , more]) => pattern.test(name) && (!more || theirs > mine))) continue
    lines.push(`  ${name}: envoy ${theirs}, outrigger ${mine}`)
  }
  return lines.sort()
}
