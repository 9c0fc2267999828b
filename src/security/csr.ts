import { generateKeyPair, type KeyType, privateKeyPem, signatureAlgorithm, x509 } from './x509.ts'

/** A fresh private key and a request for it. */
export interface CertificateRequest {
  readonly csrPem: string
  readonly keyPem: string
}

/** Makes a key and a CSR that names `spiffeId` as URI SAN (the CA decides by authentication, not by this name). */
export async function createCertificateRequest(spiffeId: string, keyType: KeyType): Promise<CertificateRequest> {
  const keys = await generateKeyPair(keyType)
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: signatureAlgorithm(keys.privateKey),
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: spiffeId }])],
  })
  return { csrPem: `${csr.toString('pem')}\n`, keyPem: await privateKeyPem(keys.privateKey) }
}
