// Codec counters (envoy-contract §5.9), rooted at `http2.` downstream and `cluster.<name>.http2.` upstream.

import type { Counter, Gauge, Scope } from '../../observe/stats.ts'

export class Http2Stats {
  /** Stays 0: cookies are limited with the other headers. */
  readonly cookiesTotalBytesTooLarge: Counter
  readonly droppedHeadersWithUnderscores: Counter
  readonly goawaySent: Counter
  readonly headerListSizeTooLarge: Counter
  readonly headerOverflow: Counter
  /** Stays 0: late HEADERS are skipped before any callback, which Envoy does not count either. */
  readonly headersCbNoStream: Counter
  readonly inboundEmptyFramesFlood: Counter
  readonly inboundPriorityFramesFlood: Counter
  readonly inboundWindowUpdateFramesFlood: Counter
  readonly keepaliveTimeout: Counter
  /** Stays 0: `allow_metadata`, without which Envoy skips METADATA frames too, is refused. */
  readonly metadataEmptyFrames: Counter
  readonly outboundControlFlood: Counter
  readonly outboundFlood: Counter
  readonly requestsRejectedWithUnderscoresInHeaders: Counter
  readonly rxMessagingError: Counter
  readonly rxReset: Counter
  readonly streamRefusedErrors: Counter
  readonly trailers: Counter
  readonly txFlushTimeout: Counter
  readonly txReset: Counter
  readonly streamsActive: Gauge
  readonly pendingSendBytes: Gauge

  /** `scope` is the root or the cluster's. */
  constructor(scope: Scope) {
    const at = scope.scope('http2')
    // Without a value, as Envoy's are as long as nothing at run time asks for them.
    for (const name of ['cookie_count', 'cookie_size', 'header_count', 'header_list_size'])
      at.histogram(name, 'unspecified')
    this.cookiesTotalBytesTooLarge = at.counter('cookies_total_bytes_too_large')
    this.droppedHeadersWithUnderscores = at.counter('dropped_headers_with_underscores')
    this.goawaySent = at.counter('goaway_sent')
    this.headerListSizeTooLarge = at.counter('header_list_size_too_large')
    this.headerOverflow = at.counter('header_overflow')
    this.headersCbNoStream = at.counter('headers_cb_no_stream')
    this.inboundEmptyFramesFlood = at.counter('inbound_empty_frames_flood')
    this.inboundPriorityFramesFlood = at.counter('inbound_priority_frames_flood')
    this.inboundWindowUpdateFramesFlood = at.counter('inbound_window_update_frames_flood')
    this.keepaliveTimeout = at.counter('keepalive_timeout')
    this.metadataEmptyFrames = at.counter('metadata_empty_frames')
    this.outboundControlFlood = at.counter('outbound_control_flood')
    this.outboundFlood = at.counter('outbound_flood')
    this.requestsRejectedWithUnderscoresInHeaders = at.counter('requests_rejected_with_underscores_in_headers')
    this.rxMessagingError = at.counter('rx_messaging_error')
    this.rxReset = at.counter('rx_reset')
    this.streamRefusedErrors = at.counter('stream_refused_errors')
    this.trailers = at.counter('trailers')
    this.txFlushTimeout = at.counter('tx_flush_timeout')
    this.txReset = at.counter('tx_reset')
    this.streamsActive = at.gauge('streams_active')
    this.pendingSendBytes = at.gauge('pending_send_bytes')
  }
}
