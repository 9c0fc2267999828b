// The X.509 library behind one door: its reflection polyfill must load before it.
import 'reflect-metadata'
import { createPrivateKey, type KeyObject, webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { ConfigError, errorText } from '../base/errors.ts'

export { x509 }

/** Key kinds of workload and CA keys: RSA 2048 is Istio's default, ECDSA P-256 with ECC_SIGNATURE_ALGORITHM=ECDSA. */
export type KeyType = 'RSA' | 'ECDSA'

type SigningAlgorithm = {
  name: string
  hash: string
  namedCurve?: string
  modulusLength?: number
  publicExponent?: Uint8Array
}

const ALGORITHMS: Record<KeyType, SigningAlgorithm> = {
  RSA: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
  ECDSA: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
}

export function generateKeyPair(type: KeyType): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHMS[type], true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>
}

/** PKCS #8 PEM. */
export async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`
}

/** A signing key from PEM: PKCS #8, PKCS #1 (`RSA PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`). Throws ConfigError naming `path`. */
export function importPrivateKey(pem: string, path: string): webcrypto.CryptoKey {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch (error) {
    throw new ConfigError(path, `unreadable private key: ${errorText(error)}`, { cause: error })
  }
  return key.toCryptoKey(signingAlgorithm(key, path), true, ['sign'])
}

const CURVES: Record<string, { namedCurve: string; hash: string }> = {
  prime256v1: { namedCurve: 'P-256', hash: 'SHA-256' },
  secp384r1: { namedCurve: 'P-384', hash: 'SHA-384' },
}

function signingAlgorithm(key: KeyObject, path: string): SigningAlgorithm {
  if (key.asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  const curve = CURVES[key.asymmetricKeyDetails?.namedCurve ?? '']
  if (key.asymmetricKeyType === 'ec' && curve !== undefined) return { name: 'ECDSA', ...curve }
  throw new ConfigError(path, `unsupported key type ${key.asymmetricKeyType}; use RSA, ECDSA P-256 or ECDSA P-384`)
}

/** The algorithm a key signs with, in the form the X.509 generators want. */
export function signatureAlgorithm(key: webcrypto.CryptoKey): SigningAlgorithm {
  const { name } = key.algorithm
  if (name !== 'ECDSA') return { name, hash: 'SHA-256' }
  const { namedCurve } = key.algorithm as webcrypto.EcKeyAlgorithm
  return { name, hash: namedCurve === 'P-384' ? 'SHA-384' : 'SHA-256', namedCurve }
}

/** PEM of a certificate, ending in a newline so that files concatenate. */
export function certificatePem(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem')}\n`
}

/** The certificates of a PEM bundle, in order. Throws ConfigError naming `path`. */
export function parseCertificates(pem: string, path: string): x509.X509Certificate[] {
  try {
    return x509.PemConverter.decodeWithHeaders(pem)
      .filter((block) => block.type === 'CERTIFICATE')
      .map((block) => new x509.X509Certificate(block.rawData))
  } catch (error) {
    throw new ConfigError(path, `unreadable certificate: ${errorText(error)}`, { cause: error })
  }
}
