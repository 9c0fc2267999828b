// proxy-config cluster.

import { UserError } from '../../base/errors.ts'
import { tabulate } from '../tab-writer.ts'
import type { ConfigDump, Dumped } from './config-dump.ts'
import { goSort } from './go-sort.ts'
import { managedBy, object, string } from './json.ts'

export interface ClusterFilter {
  readonly fqdn: string
  readonly port: number
  readonly subset: string
  readonly direction: string
}

/** The parts of `direction|port|subset|fqdn`; null for other names. */
interface SubsetKey {
  readonly direction: string
  readonly port: number
  readonly subset: string
  readonly fqdn: string
}

function parseSubsetKey(name: string): SubsetKey | null {
  const parts = name.split('|')
  if (parts.length < 4) return null
  return { direction: parts[0]!, port: Number(parts[1]) || 0, subset: parts[2]!, fqdn: parts[3]! }
}

/** Clusters in istioctl's order. Throws UserError without any. */
export function clusters(dump: ConfigDump, filter: ClusterFilter): Dumped[] {
  const all = [
    ...dump.list('ClustersConfigDump', 'dynamic_active_clusters', 'cluster'),
    ...dump.list('ClustersConfigDump', 'static_clusters', 'cluster'),
  ]
  if (all.length === 0) throw new UserError('no clusters found')
  return byClusterName(all, ({ value }) => string(value, 'name')).filter((cluster) =>
    fits(string(cluster.value, 'name'), filter),
  )
}

/** In istioctl's order of cluster names: by host, subset, port and direction. */
export function byClusterName<T>(all: readonly T[], nameOf: (item: T) => string): T[] {
  const key = (item: T): SubsetKey => {
    const name = nameOf(item)
    return parseSubsetKey(name) ?? { direction: '', port: 0, subset: '', fqdn: name }
  }
  return goSort(all, (a, b) => {
    const [x, y] = [key(a), key(b)]
    if (x.fqdn !== y.fqdn) return x.fqdn < y.fqdn
    if (x.subset !== y.subset) return x.subset < y.subset
    return x.port !== y.port ? x.port < y.port : x.direction < y.direction
  })
}

/** As istioctl: each word anywhere in the cluster's name. */
function fits(name: string, { fqdn, port, subset, direction }: ClusterFilter): boolean {
  return [fqdn, subset, direction].every((word) => name.includes(word)) && (port === 0 || name.includes(`|${port}|`))
}

/** `named`: with a first column `cluster/NAME`, for the table of everything. */
export function clusterTable(list: readonly Dumped[], named = false): string {
  const rows = [[...(named ? ['NAME'] : []), 'SERVICE FQDN', 'PORT', 'SUBSET', 'DIRECTION', 'TYPE', 'DESTINATION RULE']]
  for (const { value } of list) {
    const name = string(value, 'name')
    const key = parseSubsetKey(name)
    const type = clusterType(value)
    const rule = managedBy(object(value, 'metadata'))
    const shown = named && name !== '' ? `cluster/${name}` : name
    const start = named && name !== '' ? [shown] : []
    if (key) rows.push([...start, key.fqdn, String(key.port), key.subset || '-', key.direction, type, rule])
    else rows.push([...start, shown, '-', '-', '-', type, rule])
  }
  return tabulate(rows, 5)
}

function clusterType(value: Dumped['value']): string {
  return string(object(value, 'cluster_type'), 'name') || string(value, 'type') || 'STATIC'
}
