// `dns.cares.`: look-ups of names, of whatever resolver.

import type { Counter, Gauge, Scope } from '../../observe/stats.ts'

export class DnsStats {
  private readonly total: Counter
  private readonly pending: Gauge
  private readonly notFound: Counter
  private readonly timeouts: Counter
  private readonly failures: Counter

  /** `stats`: the root of a worker's. */
  constructor(stats: Scope) {
    const scope = stats.scope('dns.cares')
    this.total = scope.counter('resolve_total')
    this.pending = scope.gauge('pending_resolutions')
    this.notFound = scope.counter('not_found')
    this.timeouts = scope.counter('timeouts')
    this.failures = scope.counter('get_addr_failure')
    // The library looks to its channels itself.
    scope.counter('reinits')
  }

  /** `asked`: one look-up, of one family. */
  async count<T>(asked: Promise<T>): Promise<T> {
    this.total.inc()
    this.pending.inc()
    try {
      return await asked
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'ENOTFOUND' || code === 'ENODATA') this.notFound.inc()
      else if (code === 'ETIMEOUT') this.timeouts.inc()
      else this.failures.inc()
      throw error
    } finally {
      this.pending.dec()
    }
  }
}
