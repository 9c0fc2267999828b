// The server side of a TLS handshake on a socket whose client hello has been peeked.

import { TLSSocket } from 'node:tls'
import type { Scope } from '../observe/stats.ts'
import { acceptTls } from './accept.ts'
import type { AcceptedSocket } from './accepted-socket.ts'
import { type ClientHello, parseClientHello } from './client-hello.ts'
import { reportFault } from './fault.ts'
import { type ListenerFilter, ListenerFilterStatus } from './listener-filter.ts'
import type { SocketConnection } from './socket-connection.ts'
import { tlsSslInfo } from './ssl-info.ts'
import type { DownstreamTlsFactory } from './tls/server-context.ts'

/** No client hello is longer; OpenSSL's own limit. */
const MAX_CLIENT_HELLO_BYTES = 131_396

/** Waits for the client hello where no tls_inspector has: certificate and ALPN are chosen by it. */
export class ClientHelloPeek implements ListenerFilter {
  onAccept(): ListenerFilterStatus {
    return ListenerFilterStatus.NeedMore
  }
  onData(bytes: Buffer): ListenerFilterStatus {
    const { kind } = parseClientHello(bytes, MAX_CLIENT_HELLO_BYTES)
    return kind === 'need-more' ? ListenerFilterStatus.NeedMore : ListenerFilterStatus.Continue
  }
}

/** Starts the handshake; `markConnected` or `failTransport` follows. null = refused before it began (stats say why). */
export function startHandshake(
  accepted: AcceptedSocket,
  factory: DownstreamTlsFactory,
  stats: Scope,
): SocketConnection | null {
  const parsed = parseClientHello(accepted.bytes, MAX_CLIENT_HELLO_BYTES)
  // What is no client hello goes to OpenSSL all the same: it knows the alert to answer with.
  const hello: ClientHello | null = parsed.kind === 'hello' ? parsed.hello : null
  const context = factory.contextFor(hello?.serverName ?? '', hello?.ecdsa ?? true)
  if (context === null) {
    stats.counter('downstream_context_secrets_not_ready').inc()
    return null
  }
  if (factory.config.requireSni && hello !== null && hello.serverName === '') {
    stats.counter('connection_error').inc()
    return null
  }
  const { info } = accepted
  const alpn = factory.chooseAlpn(hello?.alpn ?? [])
  const socket = new TLSSocket(accepted.release(true), {
    isServer: true,
    secureContext: context,
    requestCert: factory.requestsClientCertificate,
    // Makes OpenSSL refuse a client without certificate; what a certificate must be is checked in verify().
    rejectUnauthorized: factory.config.requireClientCertificate,
    // One protocol at most: with none in common Node would end the handshake, Envoy goes on without.
    ...(alpn === null ? {} : { ALPNProtocols: [alpn] }),
  })
  if (hello !== null) {
    info.requestedServerName = hello.serverName
    info.applicationProtocols = hello.alpn
  }
  info.transportProtocol = 'tls'
  const connection = acceptTls(socket, info)
  socket.once('secure', () => {
    try {
      finishHandshake(socket, connection, factory, stats)
    } catch (error) {
      // A certificate that node cannot read, for example.
      reportFault(error, `handshake of connection ${connection.id}`)
      connection.failTransport('')
    }
  })
  socket.once('_tlsError', (error: Error & { reason?: string }) => {
    const noCertificate = error.reason === 'peer did not return a certificate'
    stats.counter(noCertificate ? 'fail_verify_no_cert' : 'connection_error').inc()
  })
  return connection
}

function finishHandshake(
  socket: TLSSocket,
  connection: SocketConnection,
  factory: DownstreamTlsFactory,
  stats: Scope,
): void {
  const failure = factory.verifier?.verify(socket, factory.config.requireClientCertificate) ?? null
  if (failure !== null) {
    stats.counter(failure.counter).inc()
    connection.failTransport(failure.text)
    return
  }
  stats.counter('handshake').inc()
  if (socket.isSessionReused()) stats.counter('session_reused').inc()
  const { info } = connection
  info.sslSource = tlsSslInfo(socket)
  info.negotiatedProtocol = socket.alpnProtocol || ''
  const cipher = socket.getCipher()
  stats.counter(`ciphers.${cipher.name}`).inc()
  stats.counter(`versions.${socket.getProtocol()}`).inc()
  connection.markConnected()
}
