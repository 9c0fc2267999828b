// A downstream or upstream connection as filters, codecs and pools see it; the socket is behind it.

import type { FaultOwner } from '../../base/fault-owner.ts'
import type { Gauge } from '../observe/stats.ts'
import type { DetectedClose } from './close.ts'
import type { FilterState } from './filter.ts'

/** An address as Envoy prints it: `ip:port`, `[v6]:port`, or a pipe path. */
export interface Address {
  readonly ip: string
  readonly port: number
  /** Set for Unix sockets; ip is then ''. */
  readonly pipe?: string
  /** The printed form, computed once. */
  readonly text: string
}

/** Hex, lower case. */
export interface CertificateDigest {
  readonly sha256: string
  readonly sha1: string
  readonly serial: string
}

/** TLS facts of a connection, computed once after the handshake and only when asked for. */
export interface SslInfo {
  readonly version: string
  readonly cipher: string
  /** The key exchange group in BoringSSL's words: `X25519`. */
  readonly group: string
  readonly sni: string
  readonly alpn: string
  readonly peerCertificatePresented: boolean
  readonly peerCertificateValidated: boolean
  readonly uriSanPeer: readonly string[]
  readonly dnsSanPeer: readonly string[]
  readonly ipSanPeer: readonly string[]
  readonly emailSanPeer: readonly string[]
  readonly otherNameSanPeer: readonly string[]
  /** RFC 2253. */
  readonly subjectPeer: string
  readonly issuerPeer: string
  readonly serialPeer: string
  /** Hex, lower case. */
  readonly sha256Peer: string
  readonly sha1Peer: string
  /** URL-encoded PEM, and the chain of them. */
  readonly pemPeer: string
  readonly pemChainPeer: string
  /** Of each certificate that the peer sent, its own first. */
  readonly chainPeer: readonly CertificateDigest[]
  /** Of the certificate above the peer's in the verified chain. */
  readonly issuerDigest: CertificateDigest | null
  readonly validFromPeer: string
  readonly expirationPeer: string
  readonly uriSanLocal: readonly string[]
  readonly dnsSanLocal: readonly string[]
  readonly ipSanLocal: readonly string[]
  readonly emailSanLocal: readonly string[]
  readonly otherNameSanLocal: readonly string[]
  readonly subjectLocal: string
  readonly sessionId: string
}

/** Addresses and handshake results (Envoy's ConnectionInfoProvider). Filters may rewrite what is not readonly. */
export interface ConnectionInfo {
  /** Restored original destination where there is one. */
  localAddress: Address
  readonly directLocalAddress: Address
  /** Client address, after PROXY protocol. */
  remoteAddress: Address
  readonly directRemoteAddress: Address
  /** True once original_dst or proxy_protocol replaced localAddress. */
  localAddressRestored: boolean
  requestedServerName: string
  /** Fingerprints of the client hello, where the TLS inspector makes them; absent or '' = none. */
  ja3Hash?: string
  ja4Hash?: string
  /** `tls` or `raw_buffer`, as detected. */
  transportProtocol: string
  /** What the client offers (ALPN), or what the http inspector found. */
  applicationProtocols: readonly string[]
  /** ALPN's result; '' before the handshake, without TLS and when nothing was in common. */
  negotiatedProtocol: string
  readonly connectionId: number
  readonly startTimeMs: number
  ssl(): SslInfo | null
  /** `now()` values; absent or 0 = not reached. The first two only of connections that we open. */
  readonly connectStart?: number
  readonly connectEnd?: number
  readonly handshakeEnd?: number
  filterChainName: string
  listenerName: string
  /** filter_metadata of the listener, for `%METADATA(LISTENER:…)%`. */
  listenerMetadata?: Readonly<Record<string, unknown>> | null
  connectionTerminationDetails: string
  downstreamTransportFailureReason: string
  /** original_src: where upstream connections for this one come from; absent or null = the system's choice. */
  upstreamSource?: UpstreamSource | null
  /** Of a connection to a host: what the cluster's network filters found out. */
  filterState?: FilterState | null
}

/** A local address that upstream connections take on, although it may not be this machine's. */
export interface UpstreamSource {
  /** Port 0 = any. */
  readonly address: Address
  /** SO_MARK; 0 = none. */
  readonly mark: number
}

export const CloseType = {
  /** Write what is buffered, then close. */
  FlushWrite: 0,
  /** Write, half-close, wait up to the delayed close timeout for the peer. */
  FlushWriteAndDelay: 1,
  NoFlush: 2,
  /** RST. */
  AbortReset: 3,
} as const
export type CloseType = (typeof CloseType)[keyof typeof CloseType]

export const ConnectionEvent = { RemoteClose: 0, LocalClose: 1, Connected: 2 } as const
export type ConnectionEvent = (typeof ConnectionEvent)[keyof typeof ConnectionEvent]

/** What the owner of a connection is told. */
export interface ConnectionCallbacks {
  /** Bytes arrived; BORROWED until return. `endStream`: the peer half-closed after them (chunk may be empty). */
  onData(chunk: Buffer, endStream: boolean): void
  onEvent(event: ConnectionEvent): void
  onAboveWriteBufferHighWatermark(): void
  onBelowWriteBufferLowWatermark(): void
}

/** One TCP or TLS connection. A fault of its owner's code ends it at once, with the reason `internal_error`. */
export interface Connection extends FaultOwner {
  readonly id: number
  readonly info: ConnectionInfo
  /**
   * Queues bytes. They are copied into the connection's write buffer and leave in one write at the end of the current
   * read callback (see flushPendingWrites); so head and body, or many H2 frames, cost one system call. Chunks of
   * 16 KiB and more go straight to the socket. Takes borrowed chunks. `endStream` half-closes after them.
   */
  write(chunk: Buffer, endStream: boolean): void
  /**
   * `size` writable bytes at the end of the write buffer for an encoder to fill in place; call `commit(used)` before
   * any other write. Avoids a copy for heads and frames.
   */
  reserve(size: number): Buffer
  commit(used: number): void
  /** Offset in the buffer that reserve() returned at which the encoder starts. */
  readonly reserveOffset: number
  flush(): void
  /**
   * Set on a connection that carries many streams: what is written leaves once all sockets that are ready have been
   * read, instead of at the end of each read callback.
   */
  batchWrites: boolean
  /** Counted. */
  readDisable(disable: boolean): void
  close(type: CloseType, details?: string): void
  readonly open: boolean
  /** TCP connect or TLS handshake is not done yet. Bytes written meanwhile wait. */
  readonly connecting: boolean
  /** The connect timeout ended it (its event is LocalClose). */
  readonly connectTimedOut: boolean
  /** Its local address could not be had (its event is LocalClose). */
  readonly bindFailed: boolean
  /** It was closed with bytes unsent, or the peer had not closed, for a whole delayed_close_timeout. */
  readonly delayedCloseTimedOut: boolean
  /** Why somebody outside its filters closes it, in Envoy's words; set before close(), '' = nobody did. */
  localCloseReason: string
  /** Bytes not yet taken by the kernel. */
  readonly bufferedBytes: number
  readonly aboveHighWatermark: boolean
  setBufferLimits(bytes: number): void
  /** Has it move these gauges from now on (see buffered-gauges.ts). */
  countBuffered(rx: Gauge, tx: Gauge): void
  /** Exactly one owner at a time; set before the first byte can arrive. */
  callbacks: ConnectionCallbacks
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly detectedClose: DetectedClose
  /** Why the transport failed, in Envoy's words (e.g. `delayed connect error: Connection refused`), or ''. */
  readonly transportFailureReason: string
  setNoDelay(on: boolean): void
  /**
   * For the closes that flush: how long the peer may take no byte, and with FlushWriteAndDelay how long it is waited for
   * once everything is written. 0 (unless set) = no limit, and no wait.
   */
  setDelayedCloseTimeoutMs(timeoutMs: number): void
}
