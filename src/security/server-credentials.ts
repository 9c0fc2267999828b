import { experimental, type ServerCredentials } from '@grpc/grpc-js'
import type { ServerCertificate } from './ca.ts'

type CaListener = Parameters<experimental.CertificateProvider['addCaCertificateListener']>[0]
type IdentityListener = Parameters<experimental.CertificateProvider['addIdentityCertificateListener']>[0]

/** TLS for istiod's gRPC port, renewable without a restart. */
export interface RenewableServerCredentials {
  readonly credentials: ServerCredentials
  /** New connections use this certificate from now on. */
  renew(certificate: ServerCertificate): void
}

/**
 * Server credentials that ask for a client certificate and verify one when it comes (Go's VerifyClientCertIfGiven): a caller
 * without one, or with one of another root, has no TLS identity and must bring a token.
 */
export function createServerCredentials(
  certificate: ServerCertificate,
  clientRootPem: string,
): RenewableServerCredentials {
  const provider = new Provider(certificate, clientRootPem)
  return {
    credentials: experimental.createCertificateProviderServerCredentials(provider, provider, false),
    renew: (next) => provider.renew(next),
  }
}

class Provider implements experimental.CertificateProvider {
  readonly #caListeners = new Set<CaListener>()
  readonly #identityListeners = new Set<IdentityListener>()
  readonly #root: Buffer
  #certificate: ServerCertificate

  constructor(certificate: ServerCertificate, rootPem: string) {
    this.#certificate = certificate
    this.#root = Buffer.from(rootPem)
  }

  renew(certificate: ServerCertificate): void {
    this.#certificate = certificate
    for (const listener of this.#identityListeners) this.#tell(listener)
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#caListeners.add(listener)
    // grpc-js registers the server for updates only after this call returns.
    setImmediate(() => listener({ caCertificate: this.#root }))
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#caListeners.delete(listener)
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.add(listener)
    setImmediate(() => this.#tell(listener))
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.delete(listener)
  }

  #tell(listener: IdentityListener): void {
    listener({
      certificate: Buffer.from(this.#certificate.certChainPem),
      privateKey: Buffer.from(this.#certificate.keyPem),
    })
  }
}
