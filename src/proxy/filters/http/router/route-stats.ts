// Answers counted by route and by virtual cluster: `vhost.<virtual host>.route.<stat_prefix>.upstream_rq_*` and
// `vhost.<virtual host>.vcluster.<name>.upstream_rq_*`. Nothing for routes that ask for neither.

import type { Scope } from '../../../observe/stats.ts'
import type { Route } from '../../../route/route.ts'
import { CodeCounters } from '../../../upstream/cluster-stats.ts'

/** Name of the virtual cluster that takes what no other does. */
const CATCH_ALL = 'other'

export class RouteStats {
  private readonly root: Scope
  private readonly counters = new Map<string, CodeCounters>()

  constructor(root: Scope) {
    this.root = root
  }

  /** `virtualCluster` '' = the catch-all, where the virtual host has any. */
  count(route: Route, virtualCluster: string, status: number): void {
    const { name, hasVirtualClusters } = route.virtualHost
    if (route.statPrefix !== '') this.of(`vhost.${name}.route.${route.statPrefix}`).count(status)
    if (hasVirtualClusters) this.of(`vhost.${name}.vcluster.${virtualCluster || CATCH_ALL}`).count(status)
  }

  private of(prefix: string): CodeCounters {
    let counters = this.counters.get(prefix)
    if (!counters) {
      counters = new CodeCounters(this.root.scope(prefix), '')
      this.counters.set(prefix, counters)
    }
    return counters
  }
}
