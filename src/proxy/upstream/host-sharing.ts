// One cluster's side of what workers tell each other about its hosts (peers.ts).

import { type Host, SHARED_HEALTH } from './host.ts'
import type { ClusterBoard, HostNews, Peers } from './peers.ts'

export class HostSharing {
  /** This worker checks, resolves and judges; else another one does and tells. */
  readonly leads: boolean
  /** Other workers wait for what this one finds out. */
  readonly tells: boolean
  private readonly peers: Peers
  private readonly cluster: number
  private readonly board: ClusterBoard | null

  /** `cluster`: ClusterData.id. `board`: what is told about it; asked for only where another worker leads. */
  constructor(peers: Peers, cluster: number, board: () => ClusterBoard) {
    this.peers = peers
    this.cluster = cluster
    this.leads = cluster === 0 || peers.leads
    this.tells = this.leads && cluster !== 0 && !peers.alone
    this.board = this.leads ? null : board()
  }

  // Leading.

  tellHost(key: string, host: Host): void {
    if (!this.tells) return
    const { cluster } = this
    const tally = host.monitor?.memory ?? null
    this.peers.tell({ kind: 'host', cluster, host: key, flags: host.flags & SHARED_HEALTH, tally })
  }

  tellName(target: number, addresses: readonly string[]): void {
    if (this.tells) this.peers.tell({ kind: 'name', cluster: this.cluster, target, addresses })
  }

  tellChecked(): void {
    if (this.tells) this.peers.tell({ kind: 'checked', cluster: this.cluster })
  }

  tellEnd(): void {
    if (this.tells) this.peers.tell({ kind: 'cluster-gone', cluster: this.cluster })
  }

  // Following.

  /** What has been told about a host; null = nothing yet, or that it is gone. */
  known(key: string): HostNews | null {
    const news = this.board?.hosts.get(key)
    return news === undefined || news.gone ? null : news
  }

  /** The leader has let go of the host, which this worker may not know yet. */
  isGone(key: string): boolean {
    return this.board?.hosts.get(key)?.gone === true
  }

  /** Answers so far, by place of the name. */
  get names(): Iterable<readonly [target: number, addresses: readonly string[]]> {
    return this.board?.names ?? []
  }

  /** The leader's first round of health checks is over. */
  get checked(): boolean {
    return this.board?.checked ?? false
  }

  reportOffenses(key: string, offenses: number): void {
    this.peers.report({ kind: 'offenses', cluster: this.cluster, host: key, offenses })
  }

  reportFailure(key: string): void {
    this.peers.report({ kind: 'immediate-failure', cluster: this.cluster, host: key })
  }

  // Both.

  /** This worker has let go of the host. */
  forget(key: string): void {
    if (this.tells) this.peers.tell({ kind: 'host-gone', cluster: this.cluster, host: key })
    if (this.isGone(key)) this.board?.hosts.delete(key)
  }

  /** The leader has let go of a host that this worker does not have. */
  forgetUnknown(key: string): void {
    this.board?.hosts.delete(key)
  }
}
