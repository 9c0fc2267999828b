// `*_cx_rx_bytes_buffered` and `*_cx_tx_bytes_buffered` of one connection, as Envoy moves them: what the last read has
// brought, until the next one or the end, and what the kernel has not taken of what was written.

import type { Gauge } from '../observe/stats.ts'

export class BufferedGauges {
  private readonly rx: Gauge
  private readonly tx: Gauge
  private received = 0
  private unsent = 0

  constructor(rx: Gauge, tx: Gauge) {
    this.rx = rx
    this.tx = tx
  }

  setReceived(bytes: number): void {
    if (bytes === this.received) return
    this.rx.add(bytes - this.received)
    this.received = bytes
  }

  /** The connection is closed, or counts elsewhere. */
  release(): void {
    this.setReceived(0)
    this.setUnsent(0)
  }

  setUnsent(bytes: number): void {
    if (bytes === this.unsent) return
    this.tx.add(bytes - this.unsent)
    this.unsent = bytes
  }
}
