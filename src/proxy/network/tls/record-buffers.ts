// OpenSSL's buffers for records: 34 KB a connection. Contexts have it give them back after every record, so that idle
// connections have none, but to get them four times a request is 0.3 µs. Connections that are busy keep theirs.

import { openssl, type Pointer } from './openssl/library.ts'

/** Connections of a thread that keep their buffers at one time: 4 MB. Any further ones do as idle ones do. */
const MOST = 128
const SWEEP_MS = 1_000
// openssl/ssl.h
const CTRL_MODE = 33
const CTRL_CLEAR_MODE = 78
const MODE_RELEASE_BUFFERS = 0x10

export interface BufferOwner {
  /** null once it is freed. */
  readonly pointer: Pointer | null
  /** Reads since the last sweep. */
  reads: number
  keepsBuffers: boolean
}

let keepers: BufferOwner[] = []
let timer: NodeJS.Timeout | null = null

/** From now on `owner` keeps its buffers, until it has not read for a while. Without effect when many do. */
export function keepBuffers(owner: BufferOwner): void {
  if (owner.pointer === null || keepers.length >= MOST) return
  openssl().SSL_ctrl(owner.pointer, CTRL_CLEAR_MODE, MODE_RELEASE_BUFFERS, null)
  owner.keepsBuffers = true
  keepers.push(owner)
  timer ??= setInterval(sweepBuffers, SWEEP_MS).unref()
}

/** Takes the buffers of the connections that have not read since the last time. */
export function sweepBuffers(): void {
  keepers = keepers.filter(staysBusy)
  if (keepers.length > 0 || timer === null) return
  clearInterval(timer)
  timer = null
}

function staysBusy(owner: BufferOwner): boolean {
  const { pointer } = owner
  if (pointer === null) return false
  if (owner.reads > 0) {
    owner.reads = 0
    return true
  }
  const lib = openssl()
  lib.SSL_ctrl(pointer, CTRL_MODE, MODE_RELEASE_BUFFERS, null)
  // A buffer with half a record in it stays until the record is whole: then OpenSSL gives it back itself.
  lib.SSL_free_buffers(pointer)
  owner.keepsBuffers = false
  return false
}
