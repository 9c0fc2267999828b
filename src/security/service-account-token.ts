// Kubernetes service-account tokens: what the local platform issues and the control plane verifies.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, type JWK, jwtVerify, SignJWT } from 'jose'
import { ConfigError, errorText } from '../base/errors.ts'

/** Audience of the tokens that agents present to the control plane. */
export const ISTIO_CA_AUDIENCE = 'istio-ca'
/** Issuer of a Kubernetes API server without another setting. */
export const DEFAULT_ISSUER = 'https://kubernetes.default.svc.cluster.local'

export interface ServiceAccount {
  readonly namespace: string
  readonly serviceAccount: string
}

export interface TokenRequest extends ServiceAccount {
  readonly audiences: readonly string[]
  /** Kubernetes projects agent tokens for 43200 s. */
  readonly expirationSeconds: number
  readonly pod?: { readonly name: string; readonly uid: string }
}

/** Proves a token; the seam where a Kubernetes TokenReview can stand instead. Throws an Error with the reason. */
export interface TokenVerifier {
  verify(token: string, audience: string): Promise<ServiceAccount>
}

/** What tokens are signed with. */
export type Algorithm = 'RS256' | 'ES256'

/** RS256 for RSA keys, ES256 for P-256. Throws ConfigError for others. */
export function algorithmOf(key: KeyObject): Algorithm {
  if (key.asymmetricKeyType === 'rsa') return 'RS256'
  if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'ES256'
  throw new ConfigError('service account key', `${key.asymmetricKeyType} is not supported; use RSA or ECDSA P-256`)
}

/** Whose token it is. Throws an Error with the reason when it does not hold. */
export async function verifyToken(
  token: string,
  key: KeyObject,
  { issuer, audience, alg }: { readonly issuer: string; readonly audience: string; readonly alg: Algorithm },
): Promise<ServiceAccount> {
  const { payload } = await jwtVerify(token, key, { issuer, audience, algorithms: [alg] })
  const match = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(payload.sub ?? '')
  if (match === null) throw new Error(`token subject "${payload.sub}" is not a service account`)
  return { namespace: match[1]!, serviceAccount: match[2]! }
}

/** Signs and verifies with one key: RS256 for RSA keys, ES256 for P-256. */
export class ServiceAccountTokens implements TokenVerifier {
  readonly issuer: string
  readonly #key: KeyObject
  readonly #public: KeyObject
  readonly #alg: Algorithm
  #jwk: JWK | null = null

  /** Without `keyPem` a new P-256 key is made. Throws ConfigError for a key that is neither RSA nor P-256. */
  constructor(options: { issuer?: string; keyPem?: string } = {}) {
    this.issuer = options.issuer ?? DEFAULT_ISSUER
    this.#key =
      options.keyPem === undefined
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
        : readKey(options.keyPem)
    this.#public = createPublicKey(this.#key)
    this.#alg = algorithmOf(this.#key)
  }

  /** PKCS #8, for keeping. */
  keyPem(): string {
    return this.#key.export({ type: 'pkcs8', format: 'pem' }) as string
  }

  async sign(request: TokenRequest): Promise<string> {
    const { namespace, serviceAccount, pod } = request
    const { kid } = await this.#publicJwk()
    const now = Math.floor(Date.now() / 1000)
    return new SignJWT({
      'kubernetes.io': { namespace, serviceaccount: { name: serviceAccount }, ...(pod === undefined ? {} : { pod }) },
    })
      .setProtectedHeader({ alg: this.#alg, kid: kid! })
      .setIssuer(this.issuer)
      .setSubject(subject(request))
      .setAudience([...request.audiences])
      .setJti(randomUUID())
      .setIssuedAt(now)
      .setNotBefore(now)
      .setExpirationTime(now + request.expirationSeconds)
      .sign(this.#key)
  }

  async verify(token: string, audience: string): Promise<ServiceAccount> {
    return verifyToken(token, this.#public, { issuer: this.issuer, audience, alg: this.#alg })
  }

  /** The public half as a JSON Web Key Set, for `/openid/v1/jwks`. */
  async jwks(): Promise<{ keys: JWK[] }> {
    return { keys: [await this.#publicJwk()] }
  }

  async #publicJwk(): Promise<JWK> {
    if (this.#jwk === null) {
      const jwk = await exportJWK(this.#public)
      this.#jwk = { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: this.#alg, use: 'sig' }
    }
    return this.#jwk
  }
}

/** `system:serviceaccount:<namespace>:<name>`. */
function subject(account: ServiceAccount): string {
  return `system:serviceaccount:${account.namespace}:${account.serviceAccount}`
}

function readKey(pem: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch (error) {
    throw new ConfigError('service account key', errorText(error), { cause: error })
  }
  algorithmOf(key)
  return key
}
