// Counters and gauges of two proxies that served the same requests.

import type { RunningProxy } from '../harness/proxies.ts'

/** Why a statistic may differ: the moment or the order of things, not what was done. */
const EXPLAINED: readonly [pattern: RegExp, reason: string][] = [
  [
    /^cluster\.[^.]+\.(upstream_cx_(?!protocol_error)|.*upstream_rq_(pending_total|completed_connections))/,
    'how many connections a pool opens depends on what overlaps',
  ],
  [
    /^cluster\.[^.]+\.(lb_|membership_|update_|version|warming_state|assignment_|upstream_flow_control)/,
    'not moved by requests',
  ],
  [
    /^cluster\.[^.]+\.http[12]\.(tx_flush_timeout|pending_send_bytes|streams_active|deferred_stream_close|dropped_headers|outbound_|inbound_)/,
    'a moment of a connection',
  ],
  [/\.downstream_cx_.*bytes_(buffered|total)$/, 'the length of times and identifiers in headers'],
  [
    /\.downstream_cx_(delayed_close_timeout|destroy_local|destroy_remote)$/,
    'we end our direction at once, so that the client closes first; Envoy waits for it in silence',
  ],
  [/\.(worker_0|main_thread)\./, 'threads are not Envoy’s'],
  [/\.downstream_cx_length_ms/, 'a time'],
]

/** `name: value`, of the scopes that requests move. */
async function statsOf(proxy: RunningProxy): Promise<Map<string, number>> {
  const { stats } = JSON.parse(
    await proxy.admin('/stats?format=json&filter=^(cluster\\.|http\\.m|listener\\.l|vhost)'),
  ) as { stats: { name: string; value: unknown }[] }
  const out = new Map<string, number>()
  for (const { name, value } of stats) if (typeof value === 'number') out.set(name, value)
  return out
}

/** Lines that differ and have no explanation. Waits until no connection is left. */
export async function differingStats(envoy: RunningProxy, ours: RunningProxy): Promise<string[]> {
  for (const proxy of [envoy, ours]) {
    for (let tries = 0; tries < 200; tries++) {
      const stats = await statsOf(proxy)
      if (![...stats].some(([name, value]) => /downstream_cx_active|upstream_rq_active/.test(name) && value > 0)) break
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  const [a, b] = await Promise.all([statsOf(envoy), statsOf(ours)])
  const lines: string[] = []
  for (const name of new Set([...a.keys(), ...b.keys()])) {
    if ((a.get(name) ?? 0) === (b.get(name) ?? 0)) continue
    if (EXPLAINED.some(([pattern]) => pattern.test(name))) continue
    lines.push(`${name}: envoy ${a.get(name) ?? 'none'}, outrigger ${b.get(name) ?? 'none'}`)
  }
  return lines.sort()
}
