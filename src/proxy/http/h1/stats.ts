// Codec counters, rooted at `http1.` downstream and `cluster.<name>.http1.` upstream.

import type { Counter, Scope } from '../../observe/stats.ts'

export class Http1Stats {
  readonly droppedHeadersWithUnderscores: Counter
  /** Stays 0: there is no METADATA to be sent (`allow_metadata` is refused). */
  readonly metadataNotSupportedError: Counter
  readonly requestsRejectedWithUnderscoresInHeaders: Counter
  /** Stays 0: the next request is looked at when the response before it is written. */
  readonly responseFlood: Counter

  /** `scope` is the root or the cluster's. */
  constructor(scope: Scope) {
    const at = scope.scope('http1')
    this.droppedHeadersWithUnderscores = at.counter('dropped_headers_with_underscores')
    this.metadataNotSupportedError = at.counter('metadata_not_supported_error')
    this.requestsRejectedWithUnderscoresInHeaders = at.counter('requests_rejected_with_underscores_in_headers')
    this.responseFlood = at.counter('response_flood')
  }
}
