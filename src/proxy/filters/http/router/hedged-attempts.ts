// Attempts of one request that are late but may still answer first (hedge_on_per_try_timeout).

import type { UpstreamRequest } from './upstream-request.ts'

export class HedgedAttempts {
  private list: UpstreamRequest[] = []

  get all(): readonly UpstreamRequest[] {
    return this.list
  }

  add(request: UpstreamRequest): void {
    request.hedged = true
    this.list.push(request)
  }

  includes(request: UpstreamRequest): boolean {
    return this.list.includes(request)
  }

  /** There is one besides `request`. */
  hasOther(request: UpstreamRequest): boolean {
    return this.list.some((other) => other !== request)
  }

  forget(request: UpstreamRequest): void {
    this.list = this.list.filter((other) => other !== request)
  }

  /** Nobody waits for them any more. */
  abandon(): void {
    const { list } = this
    this.list = []
    for (const request of list) request.abandon()
  }
}
