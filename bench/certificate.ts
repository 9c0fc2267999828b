import { execFileSync } from 'node:child_process'
import { chmodSync } from 'node:fs'

/** Writes cert.pem and key.pem into `dir`: one self-signed pair for every side. nginx's worker must be able to read it. */
export function makeCertificate(dir: string): void {
  chmodSync(dir, 0o755)
  const subject = ['-subj', '/CN=localhost', '-days', '30']
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const files = ['-keyout', `${dir}/key.pem`, '-out', `${dir}/cert.pem`]
  execFileSync('openssl', ['req', '-x509', ...key, ...subject, ...files], { stdio: 'ignore' })
}
