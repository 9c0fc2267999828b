// What OpenSSL asks back during a handshake. One C function of each kind serves a thread: OpenSSL calls it only while a
// call of ours for one connection is on the stack, and that connection answers.

import { reportFault } from '../../fault.ts'
import { copyOf, nativeCallback, openssl, type Pointer, storeBytes, storePointer } from './library.ts'

/** The connection that a call is made for. */
export interface SslOwner {
  /** Judges the peer's chain, an X509_STORE_CTX: true = accepted, false = an error is set in it. */
  verifyPeer(store: Pointer): boolean
  /** The position of the chosen protocol in the client's list, or -1 for none. */
  chooseAlpn(offered: Buffer): number
  /** A session for resumption; true = it is kept and freed by the owner. */
  keepSession(session: Pointer): boolean
  /** The keys of its context: the first encrypts. */
  readonly ticketKeys: readonly TicketKey[]
}

/** A session ticket key, cut into its parts (see ticket-keys.ts). */
export interface TicketKey {
  readonly name: Buffer
  readonly hmac: Buffer
  readonly aes: Buffer
}

let running: SslOwner | null = null

/** Brackets every call that may call back. Returns what `leaveCall` wants. */
export function enterCall(owner: SslOwner): SslOwner | null {
  const outer = running
  running = owner
  return outer
}

export function leaveCall(outer: SslOwner | null): void {
  running = outer
}

/** Whom a callback works for. */
export function runningOwner(): SslOwner | null {
  return running
}

const ALPN_ACCEPTED = 0
const ALPN_NONE = 3

/** SSL_TLSEXT_ERR_OK: the response has been given to the connection before (SslSocket). */
const OCSP_STAPLED = 0

export interface NativeCallbacks {
  readonly verify: Pointer
  readonly alpn: Pointer
  readonly newSession: Pointer
  readonly forgiveExpiry: Pointer
  readonly ocspStatus: Pointer
  readonly rejectHello: Pointer
}

let callbacks: NativeCallbacks | undefined

/** Made once for a thread. */
export function nativeCallbacks(): NativeCallbacks {
  callbacks ??= {
    verify: nativeCallback('int outrigger_verify(void *store, void *argument)', onVerify),
    alpn: nativeCallback(
      'int outrigger_alpn(void *ssl, void *out, void *outlen, void *in, unsigned int inlen, void *argument)',
      onAlpn,
    ),
    newSession: nativeCallback('int outrigger_new_session(void *ssl, void *session)', onNewSession),
    forgiveExpiry: nativeCallback('int outrigger_forgive_expiry(int ok, void *store)', onExpiry),
    rejectHello: nativeCallback('int outrigger_reject_hello(void *ssl, void *alert, void *argument)', onRejectedHello),
    ocspStatus: nativeCallback('int outrigger_ocsp_status(void *ssl, void *argument)', () => OCSP_STAPLED),
  }
  return callbacks
}

function onVerify(store: Pointer): number {
  try {
    return running?.verifyPeer(store) ? 1 : 0
  } catch (error) {
    reportFault(error, 'verification of a peer certificate')
    return 0
  }
}

function onAlpn(_ssl: Pointer, out: Pointer, outLength: Pointer, offered: Pointer, length: number): number {
  try {
    const list = copyOf(offered, length)
    const at = running?.chooseAlpn(list) ?? -1
    if (at < 0) return ALPN_NONE
    storePointer(out, offered + BigInt(at + 1))
    storeBytes(outLength, list.subarray(at, at + 1))
    return ALPN_ACCEPTED
  } catch (error) {
    reportFault(error, 'choice of an application protocol')
    return ALPN_NONE
  }
}

/** Alert handshake_failure, an int; 0 = the handshake ends. */
function onRejectedHello(_ssl: Pointer, alert: Pointer): number {
  storeBytes(alert, HANDSHAKE_FAILURE)
  return 0
}

const HANDSHAKE_FAILURE = new Uint8Array(Int32Array.of(40).buffer)

function onNewSession(_ssl: Pointer, session: Pointer): number {
  return running?.keepSession(session) ? 1 : 0
}

/** X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED. */
const EXPIRY: ReadonlySet<number> = new Set([9, 10])

/** For allow_expired_certificate: the chain is judged as if it were in time. */
function onExpiry(ok: number, store: Pointer): number {
  if (ok === 1) return 1
  const lib = openssl()
  if (!EXPIRY.has(lib.X509_STORE_CTX_get_error(store))) return 0
  lib.X509_STORE_CTX_set_error(store, 0)
  return 1
}
