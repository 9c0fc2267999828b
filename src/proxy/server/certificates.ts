// /certs: the certificates that secrets hold.

import { X509Certificate } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { anyUnpack, timestampFromDate } from '@bufbuild/protobuf/wkt'
import {
  type Certificate,
  type CertificateDetails,
  CertificateDetailsSchema,
  CertificateSchema,
  SubjectAlternateNameSchema,
} from '../../api/gen/envoy/admin/v3/certs_pb.js'
import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { readDataSource } from '../config/data-source.ts'
import { alternativeNames } from '../network/ssl-info.ts'
import type { ServerContext } from './start-proxy.ts'

const DAY_MS = 86_400_000

export function secretCertificates({ secrets }: ServerContext): Certificate[] {
  const dump = secrets.dump()
  const certificates: Certificate[] = []
  for (const one of [...dump.static, ...dump.active]) {
    const secret = anyUnpack(one.resource, SecretSchema)
    if (secret?.type.case === 'tlsCertificate') {
      certificates.push(create(CertificateSchema, { certChain: details(secret.type.value.certificateChain) }))
    } else if (secret?.type.case === 'validationContext') {
      certificates.push(create(CertificateSchema, { caCert: details(secret.type.value.trustedCa) }))
    }
  }
  return certificates
}

/** One entry for each certificate of a PEM bundle; Envoy shows the first of a chain and every CA. */
function details(source: DataSource | undefined): CertificateDetails[] {
  if (!source) return []
  const text = readDataSource(source, 'certificate').toString('latin1')
  const path = source.specifier.case === 'filename' ? source.specifier.value : '<inline>'
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => {
    const certificate = new X509Certificate(block)
    const names = alternativeNames(certificate.subjectAltName)
    const name = (kind: 'uri' | 'dns' | 'ipAddress', value: string) =>
      create(SubjectAlternateNameSchema, { name: { case: kind, value } })
    const daysLeft = Math.floor((certificate.validToDate.getTime() - Date.now()) / DAY_MS)
    return create(CertificateDetailsSchema, {
      path,
      serialNumber: certificate.serialNumber.toLowerCase(),
      subjectAltNames: [
        ...names.dns.map((value) => name('dns', value)),
        ...names.uri.map((value) => name('uri', value)),
        ...names.ip.map((value) => name('ipAddress', value)),
      ],
      daysUntilExpiration: BigInt(Math.max(0, daysLeft)),
      validFrom: timestampFromDate(certificate.validFromDate),
      expirationTime: timestampFromDate(certificate.validToDate),
    })
  })
}
