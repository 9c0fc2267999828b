// Reads many sockets at once while a thread is busy.
//
// A read that libuv makes comes to us through a dozen layers of Node: some 1.2 µs, as much as a third of what a request
// costs in JavaScript. So connections that are read often also stand in an epoll instance of the thread's own, and while
// there is much to read, an immediate asks it what is ready and receives from those sockets by libc, through koffi.
//
// libuv goes on watching the same sockets, and stays the one that knows of their ends, of errors and of pauses: whatever
// is not simply bytes for a connection that wants them is left alone here, and libuv finds it in its next turn. Events
// are edges, so what is left alone does not come again. A thread that is not busy asks for nothing.

import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { READ_BUFFER } from './read-buffer.ts'
import { flushBatch } from './write-buffer.ts'

export interface BulkReader {
  /** Bytes for it may be received from `fd` now: it is open, wants them, and the descriptor is still its own. */
  wantsBytes(fd: number): boolean
  /** The socket's bytes are in READ_BUFFER. */
  receiveFromSocket(length: number): void
  /** The socket has failed since it was ready; the error is told once, and this was the time. */
  onReadError(errno: number): void
}

/** Of one call. */
const MAX_EVENTS = 256
/** Calls in a row; then timers, new connections and whatever else libuv has get their turn. */
const MAX_ROUNDS = 8
/** Reads through libuv without a question after questions that found nothing. */
const MAX_PATIENCE = 64

// sys/epoll.h
const EPOLL_CLOEXEC = 0x80000
const EPOLL_CTL_ADD = 1
const EPOLLIN = 0x1
const EPOLLERR = 0x8
const EPOLLHUP = 0x10
const EPOLLET = 1 << 31
/** struct epoll_event is packed on x86-64 alone: events, (padding,) descriptor, 0. */
const EVENT_INTS = process.arch === 'x64' ? 3 : 4
const FD_INT = process.arch === 'x64' ? 1 : 2

const { EAGAIN, EINTR } = constants.errno

interface Poll {
  readonly epoll: number
  epoll_ctl(epoll: number, operation: number, fd: number, event: Int32Array): number
  epoll_wait(epoll: number, events: Int32Array, max: number, timeoutMs: number): number
  recv(fd: number, bytes: Buffer, length: number, flags: number): number
  /** Of the last call. */
  errno(): number
}

/** undefined = not loaded yet, null = this system has no epoll. */
let loaded: Poll | null | undefined
const events = new Int32Array(MAX_EVENTS * EVENT_INTS)
const event = new Int32Array(EVENT_INTS)
/** By descriptor. */
const readers: (BulkReader | null)[] = []
let members = 0
let scheduled = false
let patience = 0
let waited = 0

function load(): Poll | null {
  if (process.platform !== 'linux') return null
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
  const libc = koffi.load(null)
  const epoll = libc.func('int epoll_create1(int flags)')(EPOLL_CLOEXEC) as number
  if (epoll < 0) return null
  return {
    epoll,
    epoll_ctl: libc.func('int epoll_ctl(int epoll, int operation, int fd, void *event)') as Poll['epoll_ctl'],
    epoll_wait: libc.func('int epoll_wait(int epoll, void *events, int max, int timeout)') as Poll['epoll_wait'],
    recv: libc.func('long recv(int fd, void *bytes, size_t length, int flags)') as Poll['recv'],
    errno: koffi.errno,
  }
}

/** `reader` has been read often. Until it leaves; it must, before its descriptor is another's. */
export function joinBulkReads(fd: number, reader: BulkReader): void {
  if (loaded === undefined) loaded = load()
  if (loaded === null) return
  event[0] = EPOLLIN | EPOLLET
  event[FD_INT] = fd
  if (loaded.epoll_ctl(loaded.epoll, EPOLL_CTL_ADD, fd, event) !== 0) return
  while (readers.length <= fd) readers.push(null)
  if (readers[fd] === null) members++
  readers[fd] = reader
}

/** The kernel forgets a descriptor that is closed by itself. */
export function leaveBulkReads(fd: number, reader: BulkReader): void {
  if (readers[fd] !== reader) return
  readers[fd] = null
  members--
}

/** libuv has read a socket: there may be more to read. */
export function noteRead(): void {
  if (members === 0 || scheduled) return
  if (waited < patience) {
    waited++
    return
  }
  scheduled = true
  setImmediate(readReady)
}

function readReady(): void {
  scheduled = false
  waited = 0
  let rounds = 0
  while (rounds < MAX_ROUNDS && readRound(loaded!)) rounds++
  if (rounds === 0) {
    patience = Math.min(patience * 2 + 1, MAX_PATIENCE)
    return
  }
  patience = 0
  scheduled = true
  setImmediate(readReady)
}

/** False when nothing was ready. */
function readRound(poll: Poll): boolean {
  const count = poll.epoll_wait(poll.epoll, events, MAX_EVENTS, 0)
  for (let i = 0; i < count; i++) {
    const fd = events[i * EVENT_INTS + FD_INT]!
    const reader = readers[fd]
    if ((events[i * EVENT_INTS]! & (EPOLLERR | EPOLLHUP)) !== 0 || !reader?.wantsBytes(fd)) continue
    const length = poll.recv(fd, READ_BUFFER, READ_BUFFER.length, 0)
    if (length > 0) reader.receiveFromSocket(length)
    else if (length < 0) {
      const errno = poll.errno()
      if (errno !== EAGAIN && errno !== EINTR) reader.onReadError(errno)
    }
  }
  if (count <= 0) return false
  // What these reads had to say on connections that batch their writes.
  flushBatch()
  return true
}
