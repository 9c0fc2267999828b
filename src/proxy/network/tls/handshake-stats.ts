// The `ssl.` counters of a finished handshake (envoy-contract §16.6).

import type { Scope } from '../../observe/stats.ts'
import { cipherName, curveName, peerSignatureAlgorithm } from './handshake-facts.ts'
import { openssl } from './openssl/library.ts'
import type { SslSocket } from './ssl-socket.ts'

export function countHandshake(socket: SslSocket, stats: Scope): void {
  const ssl = socket.pointer
  if (ssl === null) return
  const lib = openssl()
  stats.counter('handshake').inc()
  if (socket.forgiven !== null) stats.counter(socket.forgiven).inc()
  if (lib.SSL_session_reused(ssl) === 1) stats.counter('session_reused').inc()
  stats.counter(`ciphers.${cipherName(ssl)}`).inc()
  const curve = curveName(ssl)
  if (curve !== '') stats.counter(`curves.${curve}`).inc()
  const signature = peerSignatureAlgorithm(ssl)
  if (signature !== '') stats.counter(`sigalgs.${signature}`).inc()
  stats.counter(`versions.${lib.SSL_get_version(ssl)}`).inc()
  if (lib.SSL_get0_peer_certificate(ssl) === null) stats.counter('no_certificate').inc()
}
