// When a proxy is ready, judged from its stats (istio-contract 13.4). A pure rule, and the fetch that feeds it.

/** Query of the admin's `/stats` that covers the rule. */
export const READINESS_STATS =
  '^(cluster_manager\\.cds\\.update_(success|rejected)|listener_manager\\.(lds\\.update_(success|rejected)|workers_started)|server\\.state)$'

/** Reads `name: value` lines. */
export function parseStats(text: string): Map<string, number> {
  const stats = new Map<string, number>()
  for (const line of text.split('\n')) {
    const at = line.lastIndexOf(': ')
    if (at > 0) stats.set(line.slice(0, at), Number(line.slice(at + 2)))
  }
  return stats
}

/** Null when ready, else why not. */
export function notReadyReason(stats: ReadonlyMap<string, number>): string | null {
  const value = (name: string) => stats.get(name) ?? 0
  const cds = value('cluster_manager.cds.update_success')
  const lds = value('listener_manager.lds.update_success')
  if (cds === 0 || lds === 0) {
    const rejected = `cds updates: ${cds} successful, ${value('cluster_manager.cds.update_rejected')} rejected; lds updates: ${lds} successful, ${value('listener_manager.lds.update_rejected')} rejected`
    return `config not fully received from XDS server: ${rejected}`
  }
  if (value('listener_manager.workers_started') !== 1) return 'workers have not yet started'
  const state = stats.get('server.state')
  // 0 LIVE, 1 DRAINING, 2 PRE_INITIALIZING, 3 INITIALIZING.
  if (state !== 0)
    return `server is not live, current state is: ${['LIVE', 'DRAINING', 'PRE_INITIALIZING', 'INITIALIZING'][state ?? 2]}`
  return null
}
