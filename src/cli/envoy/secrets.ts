// proxy-config secret.

import { X509Certificate } from 'node:crypto'
import { UserError } from '../../base/errors.ts'
import { tabulate } from '../tab-writer.ts'
import { type ConfigDump, type Json, snakeCase } from './config-dump.ts'
import { list, object, string } from './json.ts'

interface SecretRow {
  readonly name: string
  readonly type: string
  readonly state: string
  readonly certificate: X509Certificate | null
  readonly trustDomain: string
}

/** `named`: the names are `secret/NAME`. Columns: RESOURCE NAME, TYPE, STATUS, VALID CERT, SERIAL NUMBER, NOT AFTER, NOT BEFORE, and TRUST DOMAIN when one has it. */
export function secretTable(dump: ConfigDump, now: Date, named = false): string {
  const rows = secretRows(dump)
  if (rows.length === 0) return 'No active or warming secrets found.\n'
  const withDomain = rows.some((row) => row.trustDomain !== '')
  const header = ['RESOURCE NAME', 'TYPE', 'STATUS', 'VALID CERT', 'SERIAL NUMBER', 'NOT AFTER', 'NOT BEFORE']
  if (withDomain) header.push('TRUST DOMAIN')
  const cells = rows.map((row) => {
    const certificate = row.certificate
    const text = certificate
      ? [
          String(now >= new Date(certificate.validFrom) && now <= new Date(certificate.validTo)),
          certificate.serialNumber.toLowerCase().replace(/^0+(?=.)/, ''),
          isoSeconds(new Date(certificate.validTo)),
          isoSeconds(new Date(certificate.validFrom)),
        ]
      : ['false', '', '', '']
    return [
      `${named ? 'secret/' : ''}${row.name}`,
      row.type,
      row.state,
      ...text,
      ...(withDomain ? [row.trustDomain] : []),
    ]
  })
  return tabulate([header, ...cells], 5)
}

function isoSeconds(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z')
}

function secretRows(dump: ConfigDump): SecretRow[] {
  const section = snakeCase(dump.section('SecretsConfigDump')) as Json
  const rows: SecretRow[] = []
  for (const [list_, state] of [
    ['dynamic_active_secrets', 'ACTIVE'],
    ['dynamic_warming_secrets', 'WARMING'],
    ['static_secrets', 'ACTIVE'],
  ] as const) {
    for (const entry of list(section, list_)) rows.push(...rowsOf(entry, state))
  }
  return rows
}

function rowsOf(entry: Json, state: string): SecretRow[] {
  const name = string(entry, 'name')
  const secret = object(entry, 'secret')
  const chain = object(secret, 'tls_certificate', 'certificate_chain')
  if (chain) return [{ name, type: 'Cert Chain', state, certificate: firstCertificate(chain), trustDomain: '' }]
  const context = object(secret, 'validation_context')
  // SPIRE's secrets have an empty trusted_ca beside the bundles of the trust domains.
  const bundles = list(object(context, 'custom_validator_config', 'typed_config'), 'trust_domains')
  if (bundles.length > 0) {
    return bundles.map((bundle) => ({
      name,
      type: 'CA',
      state,
      certificate: firstCertificate(object(bundle, 'trust_bundle')),
      trustDomain: string(bundle, 'name'),
    }))
  }
  const roots = object(context, 'trusted_ca')
  return roots ? [{ name, type: 'CA', state, certificate: firstCertificate(roots), trustDomain: '' }] : []
}

/** The certificates of the secret ROOTCA, each as its fingerprint. Throws UserError when there is none. */
export function rootCertificates(dump: ConfigDump): string[] {
  const section = snakeCase(dump.section('SecretsConfigDump')) as Json
  const entry = list(section, 'dynamic_active_secrets').find((one) => string(one, 'name') === 'ROOTCA')
  const source = entry && object(object(object(entry, 'secret'), 'validation_context'), 'trusted_ca')
  const bytes = string(source, 'inline_bytes')
  const pem = bytes ? Buffer.from(bytes, 'base64').toString() : string(source, 'inline_string')
  const found = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? []
  if (found.length === 0) throw new UserError('cannot find ROOTCA from secret')
  return found.map((one) => new X509Certificate(one).fingerprint256)
}

function firstCertificate(source: Json | undefined): X509Certificate | null {
  const bytes = string(source, 'inline_bytes')
  const pem = bytes ? Buffer.from(bytes, 'base64') : string(source, 'inline_string')
  try {
    return new X509Certificate(pem)
  } catch {
    return null // a secret whose certificate does not parse is shown as not valid
  }
}
