// What a connection with TLS tells the side that made it, server (tls-handshake.ts) or client (tls/client-context.ts).

import type { SocketConnectionInfo } from './connection-info.ts'
import type { SslSocket } from './tls/ssl-socket.ts'

export interface SecureTransport {
  /** The handshake is done, the peer accepted: fills in what `info` knows of it. */
  onHandshake(ssl: SslSocket, info: SocketConnectionInfo): void
  /** The handshake or a record has failed; `ssl` says why. */
  onFailure(ssl: SslSocket): void
}
