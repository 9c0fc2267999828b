// Service-account tokens that somebody else signs, an API server for example: verified by its public keys.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { decodeProtectedHeader } from 'jose'
import { ConfigError, errorText } from '../base/errors.ts'
import {
  type Algorithm,
  algorithmOf,
  DEFAULT_ISSUER,
  type ServiceAccount,
  type TokenVerifier,
  verifyToken,
} from './service-account-token.ts'

const PEM_BLOCK = /-----BEGIN [^-]+-----[^-]*-----END [^-]+-----/g

/** Verifies by any of several keys, as an API server whose keys are changed signs with one after the other. */
export class TokenKeys implements TokenVerifier {
  readonly #issuer: string
  readonly #keys: readonly { readonly key: KeyObject; readonly alg: Algorithm }[]

  /**
   * `pem`: public keys or certificates, RSA or ECDSA P-256 (private keys will do), one after the other. Throws ConfigError
   * when there is none or one cannot be read.
   */
  constructor(pem: string, issuer: string = DEFAULT_ISSUER) {
    this.#issuer = issuer
    this.#keys = (pem.match(PEM_BLOCK) ?? []).map(readPublicKey)
    if (this.#keys.length === 0) throw new ConfigError('service account keys', 'there is no PEM block')
  }

  async verify(token: string, audience: string): Promise<ServiceAccount> {
    const { alg: wanted } = decodeProtectedHeader(token)
    let reason: unknown = new Error(`no key is for the algorithm ${wanted}`)
    for (const { key, alg } of this.#keys) {
      if (alg !== wanted) continue
      try {
        return await verifyToken(token, key, { issuer: this.#issuer, audience, alg })
      } catch (error) {
        reason = error
      }
    }
    throw reason
  }
}

function readPublicKey(pem: string) {
  let key: KeyObject
  try {
    key = createPublicKey(pem)
  } catch (error) {
    throw new ConfigError('service account keys', errorText(error), { cause: error })
  }
  return { key, alg: algorithmOf(key) }
}
