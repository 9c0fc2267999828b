// Certificates of a connection, out of OpenSSL.

import { addressOf, openssl, type Pointer } from './openssl/library.ts'

/** DER of an X509. */
export function derOf(certificate: Pointer): Buffer {
  const lib = openssl()
  const der = Buffer.allocUnsafeSlow(Math.max(0, lib.i2d_X509(certificate, null)))
  lib.i2d_X509(certificate, BigUint64Array.of(addressOf(der)))
  return der
}

/** What the peer sent, DER, its own certificate first; empty without one. A resumed session knows that one only. */
export function peerCertificates(ssl: Pointer): Buffer[] {
  const lib = openssl()
  const leaf = lib.SSL_get0_peer_certificate(ssl)
  if (leaf === null) return []
  const certificates = [derOf(leaf)]
  const stack = lib.SSL_get_peer_cert_chain(ssl)
  const count = stack === null ? 0 : lib.OPENSSL_sk_num(stack)
  for (let i = 0; i < count; i++) {
    const der = derOf(lib.OPENSSL_sk_value(stack!, i))
    // A client's list begins with the leaf, a server's does not.
    if (i > 0 || !der.equals(certificates[0]!)) certificates.push(der)
  }
  return certificates
}

/** The certificate that issued the peer's, in the chain that was verified; null where none was (a resumed session). */
export function peerIssuer(ssl: Pointer): Buffer | null {
  const lib = openssl()
  const chain = lib.SSL_get0_verified_chain(ssl)
  return chain === null || lib.OPENSSL_sk_num(chain) < 2 ? null : derOf(lib.OPENSSL_sk_value(chain, 1))
}
