// Stats of a TLS transport socket (envoy-contract §16.6): `ssl.` and `{server,client}_ssl_socket_factory.` of a listener or
// cluster.

import { X509Certificate } from 'node:crypto'
import { secretName } from '../../config/secret-key.ts'
import type { Counter, Scope } from '../../observe/stats.ts'
import { cipherName, curveName, peerSignatureAlgorithm } from './handshake-facts.ts'
import type { OcspAction } from './ocsp.ts'
import { openssl } from './openssl/library.ts'
import type { ResolvedTls } from './secure-context.ts'
import type { SslSocket } from './ssl-socket.ts'
import type { CommonTlsConfig } from './tls-config.ts'

/** Made with the transport socket: Envoy shows them from the start, as 0. */
const COUNTERS = [
  'connection_error',
  'handshake',
  'session_reused',
  'no_certificate',
  'fail_verify_no_cert',
  'fail_verify_error',
  'fail_verify_san',
  'fail_verify_cert_hash',
  'ocsp_staple_failed',
  'ocsp_staple_omitted',
  'ocsp_staple_responses',
  'ocsp_staple_requests',
] as const
type CounterName = (typeof COUNTERS)[number]

const OCSP_COUNTER = {
  staple: 'ocsp_staple_responses',
  omit: 'ocsp_staple_omitted',
  fail: 'ocsp_staple_failed',
} as const

/** Envoy's names for certificates that no secret names: the digest is that of nothing. */
const UNNAMED = 'unnamed_cert_e3b0c442'
const UNNAMED_CA = 'unnamed_ca_cert_e3b0c442'

export class SslStats {
  /** Connections refused for want of a secret. */
  readonly secretsNotReady: Counter
  readonly contextUpdates: Counter
  private readonly ssl: Scope
  private readonly counters = new Map<CounterName, Counter>()

  /** `scope` is the listener's or the cluster's. */
  constructor(scope: Scope, side: 'server' | 'client') {
    this.ssl = scope.scope('ssl')
    for (const name of COUNTERS) this.counters.set(name, this.ssl.counter(name))
    const factory = scope.scope(`${side}_ssl_socket_factory`)
    this.contextUpdates = factory.counter('ssl_context_update_by_sds')
    const [downstream, upstream] = [
      factory.counter('downstream_context_secrets_not_ready'),
      factory.counter('upstream_context_secrets_not_ready'),
    ]
    this.secretsNotReady = side === 'server' ? downstream : upstream
  }

  count(name: CounterName): void {
    this.counters.get(name)!.inc()
  }

  countHandshake(socket: SslSocket): void {
    const ssl = socket.pointer
    if (ssl === null) return
    const lib = openssl()
    this.count('handshake')
    if (socket.forgiven !== null) this.count(socket.forgiven)
    if (lib.SSL_session_reused(ssl) === 1) this.count('session_reused')
    if (lib.SSL_get0_peer_certificate(ssl) === null) this.count('no_certificate')
    this.ssl.counter(`ciphers.${cipherName(ssl)}`).inc()
    this.ssl.counter(`versions.${lib.SSL_get_version(ssl)}`).inc()
    const curve = curveName(ssl)
    if (curve !== '') this.ssl.counter(`curves.${curve}`).inc()
    const signature = peerSignatureAlgorithm(ssl)
    if (signature !== '') this.ssl.counter(`sigalgs.${signature}`).inc()
  }

  countOcsp(action: OcspAction): void {
    if (action === 'not asked') return
    this.count('ocsp_staple_requests')
    this.count(OCSP_COUNTER[action])
  }

  countFailure(socket: SslSocket): void {
    if (socket.failureCounter !== null) this.count(socket.failureCounter)
  }

  /** When what is in use now expires. */
  showExpiration(config: CommonTlsConfig, { certificates, validation }: ResolvedTls): void {
    certificates.forEach((certificate, i) => {
      const key = config.certificateSecrets[i - config.certificates.length]
      this.showOne(key === undefined ? UNNAMED : secretName(key), certificate.certificateChain)
    })
    if (validation !== null && validation.trustedCa !== '')
      this.showOne(secretName(config.validationSecret) || UNNAMED_CA, validation.trustedCa)
    for (const [i, { bundle }] of (validation?.trustDomains ?? []).entries())
      this.showOne(`unnamed_ca_cert_${i}`, bundle)
  }

  private showOne(name: string, pem: string): void {
    const { validToDate } = new X509Certificate(pem)
    this.ssl.gauge(`certificate.${name}.expiration_unix_time_seconds`).set(Math.floor(validToDate.getTime() / 1000))
  }
}
