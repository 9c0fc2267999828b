// OpenSSL's buffers for records: 34 KB a connection. Idle connections have none: theirs are given back at the end of every
// call. Connections that are busy keep theirs, as to get and return them costs 0.1 µs a record.
//
// SSL_MODE_RELEASE_BUFFERS would have OpenSSL give them back by itself, but OpenSSL 3.5 reads it when the handshake ends:
// a connection could not change its mind.

/** Connections of a thread that keep their buffers at one time: 4 MB. Any further ones do as idle ones do. */
const MOST = 128
const SWEEP_MS = 1_000

export interface BufferOwner {
  /** It is freed: its buffers are gone. */
  readonly freed: boolean
  /** Reads since the last sweep. */
  reads: number
  keepsBuffers: boolean
  /** Gives back what no record is in. */
  freeBuffers(): void
}

let keepers: BufferOwner[] = []
let timer: NodeJS.Timeout | null = null

/** From now on `owner` keeps its buffers, until it has not read for a while. Without effect when many do. */
export function keepBuffers(owner: BufferOwner): void {
  if (owner.freed || keepers.length >= MOST) return
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
  if (owner.freed) return false
  if (owner.reads > 0) {
    owner.reads = 0
    return true
  }
  owner.keepsBuffers = false
  owner.freeBuffers()
  return false
}
