// /certs: the certificates that secrets hold.

import { X509Certificate } from 'node:crypto'
import { create, fromBinary } from '@bufbuild/protobuf'
import { timestampFromDate } from '@bufbuild/protobuf/wkt'
import {
  type Certificate,
  type CertificateDetails,
  CertificateDetailsSchema,
  CertificateSchema,
  SubjectAlternateNameSchema,
} from '../../api/gen/envoy/admin/v3/certs_pb.js'
import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { alternativeNames } from '../../base/alternative-names.ts'
import type { ServerContext } from './start-proxy.ts'

const DAY_MS = 86_400_000

/** Of the secrets in force, which may be older than what their files hold now. */
export function secretCertificates({ secrets }: Pick<ServerContext, 'secrets'>): Certificate[] {
  return secrets.loaded().flatMap(({ resource, secret: { certificate, validation } }) => {
    const { type } = fromBinary(SecretSchema, resource.body)
    if (certificate !== null && type.case === 'tlsCertificate') {
      const certChain = details(certificate.certificateChain, type.value.certificateChain)
      return [create(CertificateSchema, { certChain })]
    }
    if (validation !== null && type.case === 'validationContext')
      return [create(CertificateSchema, { caCert: details(validation.trustedCa, type.value.trustedCa) })]
    return []
  })
}

/** One entry for each certificate of a PEM bundle; Envoy shows the first of a chain and every CA. */
function details(text: string, source: DataSource | undefined): CertificateDetails[] {
  const path = source?.specifier.case === 'filename' ? source.specifier.value : '<inline>'
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
