// Bytes of a stream's header blocks, for the commands of log formats that print them. Few formats do: nothing is counted
// until one has been compiled in this thread.

import type { HeaderMap } from './header-map.ts'

const wanted = { headerBytes: false }

/** Called where a format is compiled that prints header bytes. */
export function wantHeaderBytes(): void {
  wanted.headerBytes = true
}

export class HeaderBytes {
  /** On the wire, frame headers of HTTP/2 included. */
  received = 0
  sent = 0
  /** Names and values. */
  decompressedReceived = 0
  decompressedSent = 0

  addAll(other: HeaderBytes): void {
    this.addReceived(other.received, other.decompressedReceived)
    this.addSent(other.sent, other.decompressedSent)
  }

  addReceived(wire: number, decompressed: number): void {
    this.received += wire
    this.decompressedReceived += decompressed
  }

  addSent(wire: number, decompressed: number): void {
    this.sent += wire
    this.decompressedSent += decompressed
  }
}

/** For a new stream; null while nobody wants them. */
export function newHeaderBytes(): HeaderBytes | null {
  return wanted.headerBytes ? new HeaderBytes() : null
}

/** Names and values of the regular headers, and `more` for each. */
export function fieldBytes({ list }: HeaderMap, more: number): number {
  let bytes = (list.length >> 1) * more
  for (let i = 0; i < list.length; i++) bytes += list[i]!.length
  return bytes
}
