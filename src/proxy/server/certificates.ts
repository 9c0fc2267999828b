// /certs, and what `server.*_expiring` tell: the certificates of every TLS context of listeners and clusters. A context
// whose secret has not come is none.

import { X509Certificate } from 'node:crypto'
import { isIPv6, SocketAddress } from 'node:net'
import { create } from '@bufbuild/protobuf'
import { timestampFromDate } from '@bufbuild/protobuf/wkt'
import {
  type Certificate,
  type CertificateDetails,
  CertificateDetails_OcspDetailsSchema,
  CertificateDetailsSchema,
  CertificateSchema,
  SubjectAlternateNameSchema,
} from '../../api/gen/envoy/admin/v3/certs_pb.js'
import { ProxyProtocolUpstreamTransportSchema } from '../../api/gen/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol_pb.js'
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { alternativeNames } from '../../base/alternative-names.ts'
import type { ParsedExtension } from '../config/extension.ts'
import type { ListenerConfig } from '../network/listener-config.ts'
import type { ProxyProtocolConfig } from '../network/proxy-protocol.ts'
import type { OcspStaple } from '../network/tls/ocsp.ts'
import { type ResolvedTls, resolveTls } from '../network/tls/secure-context.ts'
import type { DownstreamTlsConfig, UpstreamTlsConfig, ValidationConfig } from '../network/tls/tls-config.ts'
import type { ClusterData } from '../upstream/config.ts'
import type { ServerContext } from './start-proxy.ts'

const DAY_MS = 86_400_000
/** Where there is no certificate: the largest unsigned 32-bit integer (Envoy). */
const NEVER_DAYS = 4294967295

type Source = Pick<ServerContext, 'secrets' | 'listeners' | 'clusters'>

export interface Expiry {
  /** Whole days until the first certificate ends. */
  readonly days: number
  /** Whole seconds until the first OCSP response ends; 0 where there is none. */
  readonly ocspSeconds: number
}

export class Certificates {
  private readonly source: Source
  /** By PEM text: the same few certificates stand in very many contexts, and reading one costs. */
  private read = new Map<string, readonly X509Certificate[]>()

  constructor(source: Source) {
    this.source = source
  }

  /** One entry for each TLS context. */
  page(): Certificate[] {
    return this.contexts().map(({ certificates, validation }) =>
      create(CertificateSchema, {
        caCert: this.authorities(validation).map(({ certificate, origin }) => details(certificate, origin, null)),
        certChain: certificates.flatMap((one) => {
          const [leaf] = this.certificatesOf(one.certificateChain)
          return leaf === undefined ? [] : [details(leaf, one.certificateOrigin, one.ocspStaple)]
        }),
      }),
    )
  }

  expiry(nowMs = Date.now()): Expiry {
    const before = this.read
    this.read = new Map()
    let days = NEVER_DAYS
    let ocspSeconds = Number.POSITIVE_INFINITY
    for (const { certificates, validation } of this.contexts()) {
      for (const { certificate } of this.authorities(validation, before))
        days = Math.min(days, daysLeft(certificate, nowMs))
      for (const { certificateChain, ocspStaple } of certificates) {
        const [leaf] = this.certificatesOf(certificateChain, before)
        if (leaf !== undefined) days = Math.min(days, daysLeft(leaf, nowMs))
        if (ocspStaple !== null)
          ocspSeconds = Math.min(ocspSeconds, Math.floor(((ocspStaple.expiresAtMs ?? nowMs) - nowMs) / 1000))
      }
    }
    return { days, ocspSeconds: Number.isFinite(ocspSeconds) ? Math.max(0, ocspSeconds) : 0 }
  }

  private contexts(): ResolvedTls[] {
    const { secrets, listeners, clusters } = this.source
    return tlsConfigs(listeners.activeConfigs(), clusters.activeData()).flatMap(
      ({ common }) => resolveTls(common, { get: (name) => secrets.secret(name) }) ?? [],
    )
  }

  /** Of a SPIFFE validator the bundles of all trust domains, under the name of the last one (Envoy). */
  private authorities(
    validation: ValidationConfig | null,
    before = this.read,
  ): { certificate: X509Certificate; origin: string }[] {
    if (validation === null) return []
    const { trustDomains, trustedCa, trustedCaOrigin } = validation
    const last = trustDomains?.at(-1)
    const origin = last === undefined ? trustedCaOrigin : `${last.name}: ${last.origin}`
    const bundles = trustDomains === null ? [trustedCa] : trustDomains.map(({ bundle }) => bundle)
    return bundles
      .flatMap((bundle) => this.certificatesOf(bundle, before))
      .map((certificate) => ({ certificate, origin }))
  }

  private certificatesOf(text: string, before = this.read): readonly X509Certificate[] {
    let list = this.read.get(text) ?? before.get(text)
    if (list === undefined) {
      const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
      list = blocks.map((block) => new X509Certificate(block))
    }
    this.read.set(text, list)
    return list
  }
}

/** Of every transport socket with TLS. */
function tlsConfigs(
  listeners: readonly ListenerConfig[],
  clusters: readonly ClusterData[],
): (DownstreamTlsConfig | UpstreamTlsConfig)[] {
  const found: (DownstreamTlsConfig | UpstreamTlsConfig)[] = []
  const add = (socket: ParsedExtension | null): void => {
    if (socket === null) return
    if (socket.typeUrl === ProxyProtocolUpstreamTransportSchema.typeName)
      add((socket.config as ProxyProtocolConfig).inner)
    else if (socket.typeUrl === DownstreamTlsContextSchema.typeName) found.push(socket.config as DownstreamTlsConfig)
    else if (socket.typeUrl === UpstreamTlsContextSchema.typeName) found.push(socket.config as UpstreamTlsConfig)
  }
  for (const { filterChains, defaultFilterChain } of listeners) {
    for (const { transportSocket } of filterChains) add(transportSocket)
    add(defaultFilterChain?.transportSocket ?? null)
  }
  for (const { transportSocket, transportSocketMatches } of clusters) {
    add(transportSocket)
    for (const { socket } of transportSocketMatches) add(socket)
  }
  return found
}

function daysLeft(certificate: X509Certificate, nowMs: number): number {
  return Math.max(0, Math.floor((certificate.validToDate.getTime() - nowMs) / DAY_MS))
}

function details(certificate: X509Certificate, path: string, staple: OcspStaple | null): CertificateDetails {
  const names = alternativeNames(certificate.subjectAltName)
  const name = (kind: 'uri' | 'dns' | 'ipAddress', value: string) =>
    create(SubjectAlternateNameSchema, { name: { case: kind, value } })
  return create(CertificateDetailsSchema, {
    path,
    serialNumber: certificate.serialNumber.toLowerCase(),
    subjectAltNames: [
      ...names.dns.map((value) => name('dns', value)),
      ...names.uri.map((value) => name('uri', value)),
      ...names.ip.map((value) => name('ipAddress', canonicalIp(value))),
    ],
    daysUntilExpiration: BigInt(daysLeft(certificate, Date.now())),
    validFrom: timestampFromDate(certificate.validFromDate),
    expirationTime: timestampFromDate(certificate.validToDate),
    ...(staple && {
      ocspDetails: create(CertificateDetails_OcspDetailsSchema, {
        validFrom: timestampFromDate(new Date(staple.validFromMs)),
        // One that does not say when it ends has just ended (Envoy).
        expiration: timestampFromDate(new Date(staple.expiresAtMs ?? Date.now())),
      }),
    }),
  })
}

/** OpenSSL writes out every group of an IPv6 address. */
function canonicalIp(ip: string): string {
  return isIPv6(ip) ? new SocketAddress({ address: ip, family: 'ipv6' }).address : ip
}
