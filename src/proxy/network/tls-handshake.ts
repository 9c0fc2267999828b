// The server side of TLS on a socket whose client hello has been peeked.

import { acceptSocket } from './accept.ts'
import type { AcceptedSocket } from './accepted-socket.ts'
import { type ClientHello, parseClientHello } from './client-hello.ts'
import { CloseType } from './connection.ts'
import { type ListenerFilter, ListenerFilterStatus } from './listener-filter.ts'
import type { SocketConnection } from './socket-connection.ts'
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

/** The connection, which wants the peeked bytes next; null = refused before the handshake began (stats say why). */
export function acceptTls(accepted: AcceptedSocket, factory: DownstreamTlsFactory): SocketConnection | null {
  const parsed = parseClientHello(accepted.bytes, MAX_CLIENT_HELLO_BYTES)
  // What is no client hello goes to OpenSSL all the same: it knows the alert to answer with.
  const hello: ClientHello | null = parsed.kind === 'hello' ? parsed.hello : null
  const ssl = factory.createSocket(hello)
  if (ssl === null) return null
  const { info } = accepted
  if (hello !== null) {
    info.requestedServerName = hello.serverName
    info.applicationProtocols = hello.alpn
  }
  info.transportProtocol = 'tls'
  const connection = acceptSocket(accepted.release(), info, factory)
  try {
    connection.startTls(ssl, false)
  } catch (error) {
    connection.close(CloseType.NoFlush)
    throw error
  }
  return connection
}
