// TLS of one connection: bytes of the socket in, bytes of the application out, and back. Synchronous; it owns no socket.
//
// In: all connections of a thread share one memory BIO to read from. OpenSSL takes whatever it holds, a part of a record
// too, before it asks for more, so the BIO is empty between calls. Out: OpenSSL writes straight to the descriptor, so a
// record costs one write(2) and no copy. When the kernel takes no more, or the stream has something queued already, it
// writes to a memory BIO (shared too) whose bytes the owner queues in the stream.

import { FirstBytes, READ_BUFFER } from '../read-buffer.ts'
import { alertText, tlsErrorText } from '../transport-error.ts'
import { enterCall, leaveCall, type SslOwner, type TicketKey } from './openssl/callbacks.ts'
import { configurationError, takeErrors } from './openssl/errors.ts'
import { addressOf, type Memory, type OpenSsl, openssl, type Pointer, storeBytes } from './openssl/library.ts'
import { type BufferOwner, keepBuffers } from './record-buffers.ts'
import { rejectingContext, type SslContext } from './secure-context.ts'
import { NOT_VALIDATED, type PeerVerifier, type VerifyCounter } from './verify.ts'

export const SslState = {
  Handshake: 0,
  Established: 1,
  /** The peer has said close_notify: it sends no more, and may still read. */
  PeerClosed: 2,
  /** Garbage, a refused peer or an alert; what was to be said about it has been said. */
  Failed: 3,
} as const
export type SslState = (typeof SslState)[keyof typeof SslState]

/** The `ssl.` counter of a failure; null where Envoy counts none (the socket just ended). */
export type SslFailureCounter = VerifyCounter | 'fail_verify_no_cert' | 'connection_error' | null

export interface SslSettings {
  readonly context: SslContext
  /** null = any certificate, and none, is accepted. */
  readonly verifier: PeerVerifier | null
  /** Server: in order of preference. Client: what it offers. */
  readonly alpnProtocols: readonly string[]
}

export interface ClientSslSettings extends SslSettings {
  /** '' = no SNI. */
  readonly serverName: string
  /** A session to resume; stays the caller's. */
  readonly session: Pointer | null
  /** Takes ownership of a session when it returns true; null = none are kept. */
  readonly keepSession: ((session: Pointer) => boolean) | null
}

/** One read of 64 KiB and the record that an earlier one left unfinished, with room for a whole record at the end. */
const PLAIN_BYTES = 96 * 1024
/** More is given in several calls, which bounds the memory BIOs. */
const MAX_CALL_BYTES = 64 * 1024
/** What receive() has decrypted, for all connections of the thread: borrowed until the next receive(). */
export const PLAIN_BUFFER = Buffer.allocUnsafeSlow(PLAIN_BYTES)
const plainViews = new FirstBytes(PLAIN_BUFFER)

/** The first `length` bytes of PLAIN_BUFFER. */
export function plainBytes(length: number): Buffer {
  return plainViews.view(length)
}

// openssl/ssl.h, openssl/bio.h
const CTRL_SET_TLSEXT_HOSTNAME = 55
const CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP = 71
const BIO_CTRL_RESET = 1
const BIO_CTRL_PENDING = 10
const ERROR_WANT_READ = 2
const ERROR_WANT_WRITE = 3
const ERROR_SYSCALL = 5
const ERROR_ZERO_RETURN = 6
const RECORD_HEADER_BYTES = 5
/** A power of two: every so many reads a connection is busy. */
const BUSY_READS = 16

/** The memory BIOs of a thread. What every record needs has a field of its own: `lib` is large, and slow to look into. */
interface Shared {
  readonly lib: OpenSsl
  readonly BIO_write: OpenSsl['BIO_write']
  readonly SSL_read: OpenSsl['SSL_read']
  readonly SSL_write: OpenSsl['SSL_write']
  readonly ERR_peek_error: OpenSsl['ERR_peek_error']
  readonly input: Pointer
  readonly output: Pointer
  readonly readAddress: Pointer
  readonly plainAddress: Pointer
}

let sharedOfThread: Shared | undefined

function shared(): Shared {
  if (sharedOfThread !== undefined) return sharedOfThread
  const lib = openssl()
  const [input, output] = [lib.BIO_new(lib.BIO_s_mem()), lib.BIO_new(lib.BIO_s_mem())]
  if (input === null || output === null) throw configurationError('BIO_new')
  const { BIO_write, SSL_read, SSL_write, ERR_peek_error } = lib
  const [readAddress, plainAddress] = [addressOf(READ_BUFFER), addressOf(PLAIN_BUFFER)]
  sharedOfThread = { lib, BIO_write, SSL_read, SSL_write, ERR_peek_error, input, output, readAddress, plainAddress }
  return sharedOfThread
}

export class SslSocket implements SslOwner, BufferOwner {
  /** What it was made with; the context may have been replaced since for new connections. */
  readonly context: SslContext
  state: SslState = SslState.Handshake
  /** Bytes of PLAIN_BUFFER that the last receive() has filled. */
  plainLength = 0
  /** Stays true: what fails later is not the handshake. */
  handshakeDone = false
  /** Envoy's text of the failure, or ''. */
  failureText = ''
  failureCounter: SslFailureCounter = null
  /** What was wrong with a peer that is accepted all the same (ACCEPT_UNTRUSTED): Envoy counts it. */
  forgiven: VerifyCounter | null = null
  reads = 0
  keepsBuffers = false
  private readonly shared: Shared = shared()
  /** 0n once freed. */
  private ssl: Pointer
  private descriptor: Pointer | null = null
  /** OpenSSL writes to the descriptor. */
  private direct = false
  /** Of the record that is coming in: bytes of its header that are here, its length so far, bytes of its body to come. */
  private headerBytes = 0
  private lengthSoFar = 0
  private bodyBytesToCome = 0
  private output: Buffer | null = null
  private readonly verifier: PeerVerifier | null
  private readonly alpnProtocols: readonly string[]
  private readonly sessionSink: ((session: Pointer) => boolean) | null

  private constructor(settings: SslSettings, keepSession: ((session: Pointer) => boolean) | null) {
    this.context = settings.context
    this.verifier = settings.verifier
    this.alpnProtocols = settings.alpnProtocols
    this.sessionSink = keepSession
    const { lib, input, output } = this.shared
    const ssl = lib.SSL_new(settings.context.pointer)
    if (ssl === null) throw configurationError('SSL_new')
    this.ssl = ssl
    lib.BIO_up_ref(input)
    lib.SSL_set0_rbio(ssl, input)
    lib.BIO_up_ref(output)
    lib.SSL_set0_wbio(ssl, output)
  }

  /** The server's order of ciphers and groups decides, but for the ciphers of TLS 1.3: `tls13Suites`, '' = the server's too. */
  static server(settings: SslSettings, tls13Suites: string): SslSocket {
    const socket = new SslSocket(settings, null)
    const { lib } = socket.shared
    lib.SSL_set_accept_state(socket.ssl)
    if (tls13Suites !== '') lib.SSL_set_ciphersuites(socket.ssl, tls13Suites)
    return socket
  }

  /** A server that ends the handshake after the client hello. */
  static rejecting(): SslSocket {
    const socket = new SslSocket({ context: rejectingContext(), verifier: null, alpnProtocols: [] }, null)
    socket.shared.lib.SSL_set_accept_state(socket.ssl)
    socket.failureText = tlsErrorText('CONNECTION_REJECTED')
    socket.failureCounter = 'connection_error'
    return socket
  }

  /** A server's OCSP response for this connection, before its handshake. */
  staple(response: Uint8Array): void {
    const { lib } = this.shared
    // Freed with the connection, by OpenSSL.
    const memory = lib.CRYPTO_malloc(response.length, '', 0)
    if (memory === null) return
    storeBytes(memory, response)
    lib.SSL_ctrl(this.ssl, CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP, response.length, memory)
  }

  static client(settings: ClientSslSettings): SslSocket {
    const socket = new SslSocket(settings, settings.keepSession)
    const { lib } = socket.shared
    lib.SSL_set_connect_state(socket.ssl)
    if (settings.serverName !== '') lib.SSL_ctrl(socket.ssl, CTRL_SET_TLSEXT_HOSTNAME, 0, settings.serverName)
    const offered = alpnList(settings.alpnProtocols)
    if (offered.length > 0) lib.SSL_set_alpn_protos(socket.ssl, offered, offered.length)
    if (settings.session !== null) lib.SSL_set_session(socket.ssl, settings.session)
    return socket
  }

  /** The TCP connection stands. `fd` -1 = everything goes through takeOutput(). */
  attach(fd: number): void {
    if (fd >= 0) this.descriptor = this.shared.lib.BIO_new_socket(fd, 0)
  }

  /** A client's first flight. */
  startHandshake(direct: boolean): void {
    this.writeDirectly(direct)
    this.handshake()
    if (!this.direct) this.collectOutput()
  }

  /** Takes what the socket has brought: moves the handshake on, then decrypts into PLAIN_BUFFER. At most 64 KiB. */
  receive(buffer: Buffer, from: number, length: number, direct: boolean): void {
    this.plainLength = 0
    if (this.state >= SslState.PeerClosed) return
    if ((++this.reads & (BUSY_READS - 1)) === 0 && !this.keepsBuffers) keepBuffers(this)
    this.writeDirectly(direct)
    const { shared } = this
    const { lib, input, readAddress } = shared
    const source: Memory = buffer === READ_BUFFER && from === 0 ? readAddress : buffer.subarray(from, from + length)
    shared.BIO_write(input, source, length)
    const oneRecord =
      this.bodyBytesToCome === 0 &&
      this.headerBytes === 0 &&
      this.state === SslState.Established &&
      length > RECORD_HEADER_BYTES &&
      length === RECORD_HEADER_BYTES + ((buffer[from + 3]! << 8) | buffer[from + 4]!)
    if (!oneRecord) this.followRecords(buffer, from, from + length)
    if (this.state === SslState.Handshake) this.handshake()
    if (this.state === SslState.Established) this.decrypt(oneRecord)
    if (this.state >= SslState.PeerClosed) lib.BIO_ctrl(input, BIO_CTRL_RESET, 0, null)
    if (!this.direct) this.collectOutput()
    if (!this.keepsBuffers) this.freeBuffers()
  }

  /** Where records end. OpenSSL does not say: it calls a record of which it has taken the header nothing that is pending. */
  private followRecords(buffer: Buffer, from: number, end: number): void {
    for (let at = from; at < end; ) {
      if (this.bodyBytesToCome > 0) {
        const bytes = Math.min(this.bodyBytesToCome, end - at)
        this.bodyBytesToCome -= bytes
        at += bytes
        continue
      }
      // Its last two bytes are the length.
      this.lengthSoFar = ((this.lengthSoFar << 8) | buffer[at++]!) & 0xffff
      if (++this.headerBytes < RECORD_HEADER_BYTES) continue
      this.headerBytes = 0
      this.bodyBytesToCome = this.lengthSoFar
    }
  }

  /** Encrypts all of it; false = it cannot be (the connection is broken). Refers to `buffer` no more afterwards. */
  write(buffer: Buffer, from: number, to: number, direct: boolean): boolean {
    if (this.state === SslState.Failed || this.state === SslState.Handshake) return false
    this.writeDirectly(direct)
    const { shared } = this
    for (let at = from; at < to; at += MAX_CALL_BYTES) {
      const length = Math.min(MAX_CALL_BYTES, to - at)
      const source = at === 0 ? buffer : buffer.subarray(at, at + length)
      if (shared.SSL_write(this.ssl, source, length) <= 0) {
        // The kernel takes no more (the rest of the record goes the other way), or the socket is broken: then the stream
        // meets the same error and reports it the ordinary way.
        this.toMemory()
        if (shared.SSL_write(this.ssl, source, length) <= 0) {
          takeErrors()
          return false
        }
      }
      if (!this.direct) this.collectOutput()
    }
    if (!this.keepsBuffers) this.freeBuffers()
    return true
  }

  /** A record that is not whole yet, or not written, stays. */
  freeBuffers(): void {
    this.shared.lib.SSL_free_buffers(this.ssl)
  }

  /** What the descriptor did not take, to be queued in the stream; null = nothing. */
  takeOutput(): Buffer | null {
    const { output } = this
    this.output = null
    return output
  }

  /** Says close_notify, once. */
  shutdown(direct: boolean): void {
    if (this.state !== SslState.Established && this.state !== SslState.PeerClosed) return
    this.writeDirectly(direct)
    const { lib } = this.shared
    if (lib.SSL_shutdown(this.ssl) < 0) {
      if (this.direct) {
        this.toMemory()
        lib.SSL_shutdown(this.ssl)
      }
      lib.ERR_clear_error()
    }
    if (!this.direct) this.collectOutput()
  }

  /** For facts about the connection (ssl-info.ts); null once it is freed. */
  get pointer(): Pointer | null {
    return this.ssl === 0n ? null : this.ssl
  }

  get freed(): boolean {
    return this.ssl === 0n
  }

  /** Gives OpenSSL's memory back. Nothing may be called afterwards. */
  free(): void {
    if (this.ssl === 0n) return
    const { lib } = this.shared
    lib.SSL_free(this.ssl)
    this.ssl = 0n
    if (this.descriptor !== null) lib.BIO_free(this.descriptor)
    this.descriptor = null
    this.output = null
  }

  // What OpenSSL asks during a call.

  verifyPeer(store: Pointer): boolean {
    const failure = this.verifier?.verify(store) ?? null
    if (failure === null) {
      if (this.verifier === null) this.shared.lib.X509_STORE_CTX_set_error(store, NOT_VALIDATED)
      return true
    }
    if (failure.accepted) {
      this.forgiven = failure.counter
      return true
    }
    this.failureText = failure.text
    this.failureCounter = failure.counter
    return false
  }

  chooseAlpn(offered: Buffer): number {
    for (const protocol of this.alpnProtocols) {
      for (let at = 0; at < offered.length; at += 1 + offered[at]!) {
        if (offered.toString('latin1', at + 1, at + 1 + offered[at]!) === protocol) return at
      }
    }
    return -1
  }

  keepSession(session: Pointer): boolean {
    return this.sessionSink?.(session) ?? false
  }

  get ticketKeys(): readonly TicketKey[] {
    return this.context.ticketKeys
  }

  private handshake(): void {
    const { lib } = this.shared
    lib.ERR_clear_error()
    const outer = enterCall(this)
    let result = lib.SSL_do_handshake(this.ssl)
    if (result !== 1 && this.cannotWrite(lib.SSL_get_error(this.ssl, result))) {
      this.toMemory()
      lib.ERR_clear_error()
      result = lib.SSL_do_handshake(this.ssl)
    }
    leaveCall(outer)
    if (result === 1) {
      this.handshakeDone = true
      this.state = SslState.Established
    } else if (lib.SSL_get_error(this.ssl, result) !== ERROR_WANT_READ) this.fail()
  }

  private decrypt(oneRecord: boolean): void {
    const { shared } = this
    const { lib, plainAddress } = shared
    const outer = enterCall(this)
    // SSL_get_error looks at the queue, in which others may have left something. A glance costs half of emptying it.
    if (shared.ERR_peek_error() !== 0) lib.ERR_clear_error()
    let filled = 0
    for (;;) {
      const to = filled === 0 ? plainAddress : plainAddress + BigInt(filled)
      const length = shared.SSL_read(this.ssl, to, PLAIN_BYTES - filled)
      if (length > 0) {
        filled += length
        if (oneRecord) break
        continue
      }
      const error = lib.SSL_get_error(this.ssl, length)
      if (this.cannotWrite(error)) {
        // An answer to what was read: a key update, an alert.
        this.toMemory()
        lib.ERR_clear_error()
        continue
      }
      if (error === ERROR_ZERO_RETURN) this.state = SslState.PeerClosed
      else if (error !== ERROR_WANT_READ) this.fail()
      break
    }
    this.plainLength = filled
    leaveCall(outer)
  }

  /** The kernel takes no more, or the socket is broken, which the stream will find out when it is given the bytes. */
  private cannotWrite(error: number): boolean {
    return this.direct && (error === ERROR_WANT_WRITE || error === ERROR_SYSCALL)
  }

  /** The peer sends an alert in place of a handshake: the connection will fail over it. */
  noteAlert(description: number): void {
    this.failureText = alertText(description)
    this.failureCounter = 'connection_error'
  }

  private fail(): void {
    this.state = SslState.Failed
    const { reasons } = takeErrors()
    if (this.failureText !== '' || reasons.length === 0) return
    const noCertificate = reasons[0] === 'peer did not return a certificate'
    // What is no handshake at all is a record that nobody waits for.
    const reason = this.reads === 1 && reasons[0] === 'unexpected message' ? 'unexpected record' : reasons[0]!
    this.failureText = tlsErrorText(reason, noCertificate ? 'peer did not provide required client certificate:' : '')
    // The first that this side hears is that it cannot be: to a client that says more.
    if (this.reads === 1 && this.failureText === HANDSHAKE_FAILURE) this.failureText = HANDSHAKE_FAILURE_ON_CLIENT_HELLO
    this.failureCounter = noCertificate ? 'fail_verify_no_cert' : 'connection_error'
  }

  private writeDirectly(direct: boolean): void {
    if (direct === this.direct || (direct && this.descriptor === null)) return
    if (!direct) {
      this.toMemory()
      return
    }
    const { lib } = this.shared
    lib.BIO_up_ref(this.descriptor!)
    lib.SSL_set0_wbio(this.ssl, this.descriptor!)
    this.direct = true
  }

  private toMemory(): void {
    const { lib, output } = this.shared
    if (!this.direct) return
    lib.BIO_up_ref(output)
    lib.SSL_set0_wbio(this.ssl, output)
    this.direct = false
  }

  /** Empties the shared output BIO, which another connection may use next. */
  private collectOutput(): void {
    const { lib, output } = this.shared
    const pending = lib.BIO_ctrl(output, BIO_CTRL_PENDING, 0, null)
    if (pending <= 0) return
    const bytes = Buffer.allocUnsafeSlow(pending)
    lib.BIO_read(output, bytes, pending)
    this.output = this.output === null ? bytes : Buffer.concat([this.output, bytes])
  }
}

const HANDSHAKE_FAILURE = tlsErrorText('SSLV3_ALERT_HANDSHAKE_FAILURE')
const HANDSHAKE_FAILURE_ON_CLIENT_HELLO = HANDSHAKE_FAILURE.replace(
  ':TLS_error_end',
  '|268435610:SSL routines:OPENSSL_internal:HANDSHAKE_FAILURE_ON_CLIENT_HELLO:TLS_error_end',
)

/** RFC 7301 §3.1: each with its length in front. */
function alpnList(protocols: readonly string[]): Buffer {
  return Buffer.concat(protocols.map((name) => Buffer.from(String.fromCharCode(name.length) + name, 'latin1')))
}
