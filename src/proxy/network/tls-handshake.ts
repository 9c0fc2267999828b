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

const RECORD_ALERT = 21
/** Places in an alert's record (RFC 8446 §5.1, §6). */
const ALERT_LEVEL = 5
const ALERT_DESCRIPTION = 6
const FATAL = 2

/** A client that could not even begin says so. */
function isFatalAlert(bytes: Buffer): boolean {
  return bytes.length > ALERT_DESCRIPTION && bytes[0] === RECORD_ALERT && bytes[ALERT_LEVEL] === FATAL
}

/** The connection, which wants the peeked bytes next; null = refused before the handshake began (stats say why). */
export function acceptTls(accepted: AcceptedSocket, factory: DownstreamTlsFactory): SocketConnection | null {
  const parsed = parseClientHello(accepted.bytes, MAX_CLIENT_HELLO_BYTES)
  // What is no client hello goes to OpenSSL all the same: it knows the alert to answer with.
  const hello: ClientHello | null = parsed.kind === 'hello' ? parsed.hello : null
  const ssl = factory.createSocket(hello)
  if (ssl === null) return null
  const { info } = accepted
  // The server's name is told by a tls_inspector only (Envoy).
  if (hello !== null) info.applicationProtocols = hello.alpn
  else if (isFatalAlert(accepted.bytes)) ssl.noteAlert(accepted.bytes[ALERT_DESCRIPTION]!)
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
