// Credentials for this folder's tests: real ones, because what cannot be read is refused.
import { CertificateAuthority } from '../../security/index.ts'

const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'test', keyType: 'ECDSA' })
const { certChainPem, keyPem } = await ca.issueServerCertificate(['web.example'], undefined, 'ECDSA')

/** A TLS Secret, as a document of a manifest. */
export function secretYaml(name: string, namespace: string): string {
  const data = JSON.stringify({ 'tls.crt': certChainPem, 'tls.key': keyPem })
  return `\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: ${namespace}}\nstringData: ${data}\n`
}

/** A ConfigMap with an authority, as a document of a manifest. */
export function configMapYaml(name: string, namespace: string): string {
  const data = JSON.stringify({ 'ca.crt': ca.rootPem })
  return `\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: ${namespace}}\ndata: ${data}\n`
}
