// What generation leaves out because something else is there already: counted and shown, never an error.

export const REMARK_METRICS = {
  pilot_conflict_inbound_listener: 'Proxies with two services of different protocols on one port.',
  pilot_conflict_outbound_listener_tcp_over_current_tcp:
    'Outbound listeners with TCP services that cannot be told apart.',
  pilot_envoy_filter_errors: 'Places where an EnvoyFilter could not be merged, as its message is of another type.',
  pilot_duplicate_envoy_clusters: 'Clusters of a name that another one has.',
  pilot_vservice_dup_domain: 'Virtual hosts with a name or domain that another one has.',
} as const

export interface Remark {
  readonly metric: keyof typeof REMARK_METRICS
  /** What it is about; a gauge counts how many there are. */
  readonly key: string
  readonly message: string
}

/** The remarks that stand: those of the last generation of each resource of each proxy. */
export class RemarkLog {
  private readonly standing = new Map<string, Map<string, readonly Remark[]>>()

  /** What generating `resource` for a proxy gave rise to, instead of what it did before. */
  set(proxy: string, resource: string, remarks: readonly Remark[]): void {
    const known = this.standing.get(proxy)
    if (remarks.length > 0) {
      if (known) known.set(resource, remarks)
      else this.standing.set(proxy, new Map([[resource, remarks]]))
    } else if (known?.delete(resource) && known.size === 0) this.standing.delete(proxy)
  }

  /** The proxy is gone. */
  forget(proxy: string): void {
    this.standing.delete(proxy)
  }

  *[Symbol.iterator](): Generator<Remark & { readonly proxy: string }> {
    for (const [proxy, resources] of this.standing) {
      for (const remarks of resources.values()) for (const remark of remarks) yield { ...remark, proxy }
    }
  }
}
