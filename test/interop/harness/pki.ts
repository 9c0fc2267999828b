// Authorities for tests of certificate validation, by the openssl program: chains, revocation lists, OCSP responses.

import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Pair {
  readonly cert: string
  readonly key: string
}

/** One directory of keys and certificates. */
export class Pki {
  private readonly dir = mkdtempSync(join(tmpdir(), 'outrigger-pki-'))
  private made = 0

  /** `issuer` null = self-signed. */
  authority(issuer: Authority | null, name: string): Authority {
    const extensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign']
    return new Authority(this, this.sign(issuer, `/CN=${name}`, extensions))
  }

  sign(issuer: Authority | null, subject: string, extensions: readonly string[]): Pair {
    const file = `c${this.made++}`
    this.run('req', ...P256, '-nodes', '-keyout', `${file}.key`, '-out', `${file}.csr`, '-subj', subject)
    this.write(`${file}.ext`, `${extensions.join('\n')}\n`)
    if (issuer !== null) this.writePair('issuer', issuer.pair)
    const by = issuer === null ? ['-signkey', `${file}.key`] : ['-CA', 'issuer.pem', '-CAkey', 'issuer.key']
    const how = ['-req', '-in', `${file}.csr`, ...by, '-days', '30', '-extfile', `${file}.ext`]
    this.run('x509', ...how, '-set_serial', String(1000 + this.made), '-out', `${file}.pem`)
    return { cert: this.read(`${file}.pem`).toString('latin1'), key: this.read(`${file}.key`).toString('latin1') }
  }

  run(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.dir, stdio: 'pipe' })
  }

  read(name: string): Buffer {
    return readFileSync(join(this.dir, name))
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.dir, name), text)
  }

  writePair(name: string, { cert, key }: Pair): void {
    this.write(`${name}.pem`, cert)
    this.write(`${name}.key`, key)
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true })
  }
}

const P256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']

export class Authority {
  readonly pair: Pair
  private readonly pki: Pki

  constructor(pki: Pki, pair: Pair) {
    this.pki = pki
    this.pair = pair
  }

  get cert(): string {
    return this.pair.cert
  }

  /** `san` as openssl writes it. */
  issue(san: string, more: readonly string[] = []): Pair {
    return this.pki.sign(this, '/O=test', [`subjectAltName=critical,${san}`, ...more])
  }

  /** A list that names `revoked`. */
  revocationList(revoked: readonly Pair[]): string {
    const { pki } = this
    pki.writePair('ca', this.pair)
    pki.write('index.txt', revoked.map((pair) => indexLine('R', pair)).join(''))
    pki.write(
      'ca.cnf',
      '[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\ncertificate=ca.pem\nprivate_key=ca.key\ndefault_md=sha256\n',
    )
    pki.run('ca', '-gencrl', '-config', 'ca.cnf', '-crldays', '30', '-out', 'list.pem')
    return pki.read('list.pem').toString('latin1')
  }

  /** A good OCSP response; `expired`: its time is over (nobody here checks its signature); `open`: it does not say when it is. */
  ocsp(pair: Pair, until: 'future' | 'expired' | 'open' = 'future'): Buffer {
    const { pki } = this
    pki.writePair('ca', this.pair)
    pki.write('leaf.pem', pair.cert)
    pki.write('index.txt', indexLine('V', pair))
    const asks = ['-issuer', 'ca.pem', '-cert', 'leaf.pem']
    const answers = ['-index', 'index.txt', '-CA', 'ca.pem', '-rsigner', 'ca.pem', '-rkey', 'ca.key']
    if (until !== 'open') answers.push('-ndays', '20')
    pki.run('ocsp', ...asks, ...answers, '-respout', 'response.der')
    const response = pki.read('response.der')
    if (until !== 'expired') return response
    const next = response.lastIndexOf(Buffer.from('180f', 'hex'), response.indexOf(Buffer.from('a011180f', 'hex')) + 3)
    response.write('2020', next + 2, 'latin1')
    return response
  }
}

/** OpenSSL's database: standing, expiry, time of revocation, serial number. */
function indexLine(standing: 'V' | 'R', { cert }: Pair): string {
  const { serialNumber } = new X509Certificate(cert)
  return `${standing}\t401231235959Z\t${standing === 'R' ? '250101000000Z' : ''}\t${serialNumber}\tunknown\t/O=test\n`
}
