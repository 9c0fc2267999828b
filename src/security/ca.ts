// The mesh's certificate authority: what istiod's built-in CA does.
import { createPublicKey, randomBytes, webcrypto } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError, errorText } from '../base/errors.ts'
import { GRPC_STATUS, GrpcStatusError } from '../base/grpc-status.ts'
import {
  certificatePem,
  generateKeyPair,
  importPrivateKey,
  type KeyType,
  parseCertificates,
  privateKeyPem,
  signatureAlgorithm,
  x509,
} from './x509.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** Workload certificates, unless the request asks otherwise. */
export const DEFAULT_CERT_TTL_MS = DAY_MS
/** No request gets more. */
export const MAX_CERT_TTL_MS = 90 * DAY_MS
/** Self-signed root. */
const ROOT_TTL_MS = 3650 * DAY_MS
/** Certificates start this long ago, for peers whose clocks run behind. */
const CLOCK_SKEW_MS = 120_000

/** File names of Istio's `cacerts` Secret. */
const FILES = { cert: 'ca-cert.pem', key: 'ca-key.pem', root: 'root-cert.pem', chain: 'cert-chain.pem' } as const

export interface CaMaterial {
  /** The signing certificate. */
  readonly certPem: string
  readonly keyPem: string
  /** What peers trust. */
  readonly rootPem: string
  /** Intermediates from the signing certificate towards the root, without the root; empty for a self-signed CA. */
  readonly chainPem: string
}

export interface ServerCertificate {
  /** Leaf and intermediates. */
  readonly certChainPem: string
  readonly keyPem: string
  readonly notAfter: Date
}

export class CertificateAuthority {
  /** PEM of the root certificate(s) that peers trust. */
  readonly rootPem: string
  readonly #material: CaMaterial
  readonly #certificate: x509.X509Certificate
  readonly #key: webcrypto.CryptoKey
  readonly #chain: readonly string[]

  /** Checks that the key belongs to the certificate; throws ConfigError otherwise. */
  static fromPem(material: CaMaterial): CertificateAuthority {
    const [certificate] = parseCertificates(material.certPem, FILES.cert)
    if (certificate === undefined) throw new ConfigError(FILES.cert, 'holds no certificate')
    if (parseCertificates(material.rootPem, FILES.root).length === 0)
      throw new ConfigError(FILES.root, 'holds no certificate')
    const key = importPrivateKey(material.keyPem, FILES.key)
    const constraints = certificate.getExtension(x509.BasicConstraintsExtension)
    if (constraints?.ca !== true)
      throw new ConfigError(FILES.cert, 'is not a CA certificate (basic constraints CA:TRUE)')
    const publicKey = createPublicKey(material.keyPem).export({ type: 'spki', format: 'der' })
    if (!publicKey.equals(Buffer.from(certificate.publicKey.rawData))) {
      throw new ConfigError(FILES.key, `does not belong to ${FILES.cert}`)
    }
    return new CertificateAuthority(material, certificate, key)
  }

  /** A new self-signed root that signs workloads directly, as istiod makes when it finds no `cacerts`. */
  static async createSelfSigned(options: {
    trustDomain: string
    keyType?: KeyType
    ttlMs?: number
  }): Promise<CertificateAuthority> {
    const keys = await generateKeyPair(options.keyType ?? 'RSA')
    const now = Date.now()
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: serialNumber(),
      name: [{ O: [options.trustDomain] }],
      notBefore: new Date(now - CLOCK_SKEW_MS),
      notAfter: new Date(now + (options.ttlMs ?? ROOT_TTL_MS)),
      signingAlgorithm: signatureAlgorithm(keys.privateKey),
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    })
    const pem = certificatePem(certificate)
    return CertificateAuthority.fromPem({
      certPem: pem,
      keyPem: await privateKeyPem(keys.privateKey),
      rootPem: pem,
      chainPem: '',
    })
  }

  /**
   * The CA kept in a folder under the names of Istio's `cacerts` (ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem);
   * an empty folder gets a new self-signed one. Throws ConfigError when the files are there but unusable.
   */
  static async loadOrCreate(
    dir: string,
    options: { trustDomain: string; keyType?: KeyType },
  ): Promise<CertificateAuthority> {
    if (!existsSync(join(dir, FILES.cert))) {
      const ca = await CertificateAuthority.createSelfSigned(options)
      await ca.save(dir)
      return ca
    }
    const read = async (file: string) => {
      try {
        return await readFile(join(dir, file), 'utf8')
      } catch (error) {
        throw new ConfigError(join(dir, file), errorText(error), { cause: error })
      }
    }
    const chainPem = existsSync(join(dir, FILES.chain)) ? await read(FILES.chain) : ''
    return CertificateAuthority.fromPem({
      certPem: await read(FILES.cert),
      keyPem: await read(FILES.key),
      rootPem: await read(FILES.root),
      chainPem,
    })
  }

  private constructor(material: CaMaterial, certificate: x509.X509Certificate, key: webcrypto.CryptoKey) {
    this.#material = material
    this.rootPem = material.rootPem
    this.#certificate = certificate
    this.#key = key
    // A self-signed CA is its own root: peers have it already, it is told once, at the end.
    const intermediates = parseCertificates(
      material.chainPem || (isSelfSigned(certificate) ? '' : material.certPem),
      FILES.chain,
    )
    this.#chain = intermediates.filter((c) => !isSelfSigned(c)).map(certificatePem)
  }

  /**
   * Writes the four files; keys are readable by the owner only. The certificate comes last and whole: its presence says
   * that the others are there, also after a crash or on a full disk.
   */
  async save(dir: string): Promise<void> {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    const { certPem, keyPem, rootPem, chainPem } = this.#material
    await writeFile(join(dir, FILES.key), keyPem, { mode: 0o600 })
    await writeFile(join(dir, FILES.root), rootPem)
    await writeFile(join(dir, FILES.chain), chainPem)
    const unfinished = join(dir, `${FILES.cert}.new`)
    await writeFile(unfinished, certPem)
    await rename(unfinished, join(dir, FILES.cert))
  }

  /**
   * Signs a workload's CSR. The names in the request do not count: the certificate carries `identities` (SPIFFE ids that
   * the caller was authenticated as) as URI SANs. Returns PEM blocks: leaf, intermediates, root.
   * Throws GrpcStatusError(INVALID_ARGUMENT) for an unreadable or wrongly signed request or a lifetime above the maximum.
   */
  async signCsr(csrPem: string, identities: readonly string[], ttlMs = DEFAULT_CERT_TTL_MS): Promise<string[]> {
    let request: x509.Pkcs10CertificateRequest
    try {
      request = new x509.Pkcs10CertificateRequest(csrPem)
    } catch (error) {
      throw new GrpcStatusError(GRPC_STATUS.INVALID_ARGUMENT, `unreadable CSR: ${errorText(error)}`, { cause: error })
    }
    if (!(await verifiesItself(request)))
      throw new GrpcStatusError(GRPC_STATUS.INVALID_ARGUMENT, 'the CSR is not signed by its own key')
    if (ttlMs > MAX_CERT_TTL_MS) {
      throw new GrpcStatusError(
        GRPC_STATUS.INVALID_ARGUMENT,
        `requested TTL ${ttlMs / 1000}s is greater than the max allowed TTL ${MAX_CERT_TTL_MS / 1000}s`,
      )
    }
    const names = identities.map((value) => ({ type: 'url' as const, value }))
    const leaf = await this.#sign(request.publicKey, names, ttlMs <= 0 ? DEFAULT_CERT_TTL_MS : ttlMs)
    return [certificatePem(leaf), ...this.#chain, this.rootPem]
  }

  /** A certificate for a server of the control plane, e.g. `istiod.istio-system.svc`. */
  async issueServerCertificate(
    dnsNames: readonly string[],
    ttlMs = 365 * DAY_MS,
    keyType: KeyType = 'RSA',
  ): Promise<ServerCertificate> {
    const keys = await generateKeyPair(keyType)
    const names = dnsNames.map((value) => ({ type: 'dns' as const, value }))
    const leaf = await this.#sign(new x509.PublicKey(await exportPublic(keys.publicKey)), names, ttlMs)
    return {
      certChainPem: [certificatePem(leaf), ...this.#chain].join(''),
      keyPem: await privateKeyPem(keys.privateKey),
      notAfter: leaf.notAfter,
    }
  }

  async #sign(publicKey: x509.PublicKey, names: x509.JsonGeneralNames, ttlMs: number): Promise<x509.X509Certificate> {
    const now = Date.now()
    // No certificate outlives its issuer.
    const notAfter = new Date(Math.min(now + ttlMs, this.#certificate.notAfter.getTime()))
    return x509.X509CertificateGenerator.create({
      serialNumber: serialNumber(),
      issuer: this.#certificate.subjectName,
      notBefore: new Date(now - CLOCK_SKEW_MS),
      notAfter,
      publicKey,
      signingKey: this.#key,
      signingAlgorithm: signatureAlgorithm(this.#key),
      extensions: [
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        new x509.BasicConstraintsExtension(false, undefined, true),
        await x509.AuthorityKeyIdentifierExtension.create(this.#certificate.publicKey),
        // RFC 5280 4.2.1.6: critical because the subject is empty.
        new x509.SubjectAlternativeNameExtension(names, true),
      ],
    })
  }
}

function exportPublic(key: webcrypto.CryptoKey): Promise<ArrayBuffer> {
  return webcrypto.subtle.exportKey('spki', key) as Promise<ArrayBuffer>
}

/** A CSR whose key and signature algorithm do not fit throws in the library; to us it is one that does not verify. */
async function verifiesItself(request: x509.Pkcs10CertificateRequest): Promise<boolean> {
  try {
    return await request.verify()
  } catch {
    return false
  }
}

function isSelfSigned(certificate: x509.X509Certificate): boolean {
  return certificate.subject === certificate.issuer
}

/** 127 random bits: positive, and unique without a register of what was issued. */
function serialNumber(): string {
  const bytes = randomBytes(16)
  bytes[0]! &= 0x7f
  bytes[0]! |= 0x40
  return bytes.toString('hex')
}
