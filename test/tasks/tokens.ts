// JSON Web Tokens of every algorithm that Envoy knows, and the key set that they are checked against.
import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

interface Signer {
  readonly algorithm: string
  readonly jwk: object
  sign(data: Buffer): Buffer
}

const base64 = (value: string | Buffer): string => Buffer.from(value).toString('base64url')

function asymmetric(algorithm: string, privateKey: KeyObject, how: object = {}): Signer {
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`
  return {
    algorithm,
    jwk: { ...createPublicKey(privateKey).export({ format: 'jwk' }), kid: algorithm, alg: algorithm },
    sign: (data) => sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363', ...how }),
  }
}

function makeSigners(): Signer[] {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const secret = randomBytes(64)
  return [
    ...['RS256', 'RS384', 'RS512'].map((name) => asymmetric(name, rsa)),
    ...['PS256', 'PS384', 'PS512'].map((name, i) => asymmetric(name, rsa, { padding: 6, saltLength: [32, 48, 64][i] })),
    ...[
      ['ES256', 'P-256'],
      ['ES384', 'P-384'],
      ['ES512', 'P-521'],
    ].map(([name, namedCurve]) => asymmetric(name!, generateKeyPairSync('ec', { namedCurve: namedCurve! }).privateKey)),
    asymmetric('EdDSA', generateKeyPairSync('ed25519').privateKey),
    ...['HS256', 'HS384', 'HS512'].map((algorithm) => ({
      algorithm,
      jwk: { kty: 'oct', k: base64(secret), kid: algorithm, alg: algorithm },
      sign: (data: Buffer) =>
        createHmac(`sha${algorithm.slice(2)}`, secret)
          .update(data)
          .digest(),
    })),
  ]
}

export class TokenIssuer {
  private readonly signers = makeSigners()
  readonly algorithms = this.signers.map(({ algorithm }) => algorithm)
  readonly keySet = JSON.stringify({ keys: this.signers.map(({ jwk }) => jwk) })

  /** A token of issuer `https://issuer.example.com`, valid for an hour. */
  token(claims: object = {}, algorithm = 'RS256'): string {
    const signer = this.signers.find((one) => one.algorithm === algorithm)!
    const header = base64(JSON.stringify({ alg: algorithm, kid: algorithm, typ: 'JWT' }))
    const exp = Math.floor(Date.now() / 1000) + 3600
    const payload = base64(JSON.stringify({ iss: 'https://issuer.example.com', sub: 'user', exp, ...claims }))
    const signature = signer.sign(Buffer.from(`${header}.${payload}`))
    return `${header}.${payload}.${base64(signature)}`
  }
}
