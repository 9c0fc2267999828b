// What one attempt adds to a cluster's tracked stats, recorded once at its end.

import type { HeaderMap } from '../../../http/header-map.ts'
import { headerBlockBytes } from '../../../observe/format/header-operators.ts'
import { now } from '../../../stream-info.ts'
import type { ThreadLocalCluster } from '../../../upstream/cluster-manager.ts'
import { type BudgetStats, percentOf, type SizeStats } from '../../../upstream/tracked-stats.ts'

/** Pseudo-headers that a block has, which a HeaderMap keeps apart from the others. */
function pseudoHeaders(headers: HeaderMap): number {
  let count = headers.status > 0 ? 1 : 0
  for (const value of [headers.method, headers.path, headers.authority, headers.scheme, headers.protocol])
    if (value !== '') count++
  return count
}

export class AttemptStats {
  private readonly sizes: SizeStats | null
  private readonly budgets: BudgetStats | null
  private readonly request: HeaderMap
  private readonly perTryMs: number
  private requestBody = 0
  private response: { readonly size: number; readonly count: number } | null = null
  private responseBody = 0
  private done = false

  /** null where the cluster tracks nothing. */
  static of(cluster: ThreadLocalCluster, request: HeaderMap, perTryMs: number): AttemptStats | null {
    const { sizes, budgets } = cluster.stats
    return sizes === null && budgets === null ? null : new AttemptStats(sizes, budgets, request, perTryMs)
  }

  constructor(sizes: SizeStats | null, budgets: BudgetStats | null, request: HeaderMap, perTryMs: number) {
    this.sizes = sizes
    this.budgets = budgets
    this.request = request
    this.perTryMs = perTryMs
  }

  onRequestData(bytes: number): void {
    this.requestBody += bytes
  }

  /** Before anybody changes them. */
  onResponseHeaders(headers: HeaderMap): void {
    this.response = { size: headerBlockBytes(headers), count: headers.size + pseudoHeaders(headers) }
  }

  onResponseData(bytes: number): void {
    this.responseBody += bytes
  }

  /** `requestDoneAt`: when the request was complete, 0 = it is not. */
  finish(requestDoneAt: number): void {
    if (this.done) return
    this.done = true
    const { sizes, budgets, request, response } = this
    if (sizes !== null) {
      sizes.requestHeadersSize.record(headerBlockBytes(request))
      sizes.requestHeadersCount.record(request.size + pseudoHeaders(request))
      sizes.requestBodySize.record(this.requestBody)
      if (response !== null) {
        sizes.responseHeadersSize.record(response.size)
        sizes.responseHeadersCount.record(response.count)
        sizes.responseBodySize.record(this.responseBody)
      }
    }
    if (budgets !== null && requestDoneAt > 0)
      budgets.perTryUsed.record(percentOf(now() - requestDoneAt, this.perTryMs))
  }
}
