// per_endpoint_stats: what a cluster counts of each host, as stats that exist while somebody looks (Envoy).

import type { StatTags } from './stats.ts'
import type { StatsQuery } from './stats-query.ts'

/** A host of a cluster with per_endpoint_stats. */
export interface EndpointCounts {
  /** Of the cluster: its observability name. */
  readonly cluster: string
  /** Its observability name, or its address as text. */
  readonly endpoint: string
  /** '' = it has none. */
  readonly hostname: string
  readonly healthy: boolean
  readonly counts: Readonly<Record<CountName, number>>
}

type CountName = (typeof COUNTERS)[number] | (typeof GAUGES)[number]

export interface EndpointStat {
  readonly kind: 'counter' | 'gauge'
  readonly name: string
  readonly baseName: string
  readonly tags: StatTags
  readonly value: number
}

/** In Envoy's order. */
const COUNTERS = ['cx_connect_fail', 'cx_total', 'rq_error', 'rq_success', 'rq_timeout', 'rq_total'] as const
const GAUGES = ['cx_active', 'rq_active', 'rq_pending_active'] as const

/** Those that `query` asks for. For Prometheus its type does not matter (Envoy). */
export function endpointStats(hosts: readonly EndpointCounts[], query: StatsQuery): EndpointStat[] {
  const found: EndpointStat[] = []
  const { type, format } = query
  if (query.hiddenOnly) return found
  const every = type === 'All' || format === 'prometheus'
  for (const { cluster, endpoint, hostname, healthy, counts } of hosts) {
    const prefix = `cluster.${cluster}.endpoint.${endpoint.replaceAll(':', '_')}`
    const tags: StatTags = [
      ['envoy.cluster_name', cluster],
      ['envoy.endpoint_address', endpoint],
      ...hostnameTag(hostname),
    ]
    const add = (kind: EndpointStat['kind'], metric: string, value: number): void => {
      const name = `${prefix}.${metric}`
      if (query.filter && query.filter.matcher(name).find() === query.invertFilter) return
      found.push({ kind, name, baseName: `cluster.endpoint.${metric}`, tags, value })
    }
    if (every || type === 'Counters') for (const name of COUNTERS) add('counter', name, counts[name])
    if (!every && type !== 'Gauges') continue
    for (const name of GAUGES) add('gauge', name, counts[name])
    add('gauge', 'healthy', healthy ? 1 : 0)
  }
  return found
}

function hostnameTag(hostname: string): [string, string][] {
  return hostname === '' ? [] : [['envoy.endpoint_hostname', hostname]]
}
