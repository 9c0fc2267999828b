// The ports of a control plane that have certificates: xDS over TLS and the webhooks.
import { X509Certificate } from 'node:crypto'
import { Server, type ServerCredentials } from '@grpc/grpc-js'
import { UserError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import {
  type AuthenticatorOptions,
  createAuthenticator,
  createServerCredentials,
  mountCertificateService,
} from '../security/index.ts'
import { XDS_SERVER_OPTIONS, type XdsServer } from '../xds/server.ts'
import { splitAddress } from './debug/http.ts'
import type { MeshSources } from './mesh-sources.ts'
import type { PilotOptions, SecureGrpcOptions } from './options.ts'
import type { PilotMetrics } from './push/metrics.ts'
import { serveWebhooks, type WebhookCertificate, type WebhookPort } from './webhook/server.ts'

/** Renewed when a third of the server certificate's life is left. */
const RENEW_SHARE = 2 / 3

/** Who may ask, by the trust domain in force. */
export function authenticatorOptions({ tokens }: SecureGrpcOptions, settings: MeshSources): AuthenticatorOptions {
  return {
    tokens,
    get trustDomain() {
      return settings.mesh.trustDomain
    },
  }
}

/** `renewals` are told of every new certificate. */
export async function startSecure(
  secure: SecureGrpcOptions,
  xds: XdsServer,
  metrics: PilotMetrics,
  settings: MeshSources,
  log: Logger,
  renewals: readonly ((certificate: WebhookCertificate) => void)[],
  closing: (() => Promise<void> | void)[],
): Promise<{ address: string; certificate: WebhookCertificate }> {
  const { ca, serverNames } = secure
  const authenticate = createAuthenticator(authenticatorOptions(secure, settings))
  const certificate = await ca.issueServerCertificate([...serverNames])
  const tls = createServerCredentials(certificate, ca.rootPem)
  const server = new Server(XDS_SERVER_OPTIONS)
  xds.mount(server, 'ads', authenticate)
  mountCertificateService(server, { ca, authenticate, log, observe: (outcome) => metrics.certificate(outcome) })
  metrics.authorityExpires(new Date(new X509Certificate(ca.rootPem).validTo))
  const address = await bind(server, secure.address, tls.credentials)
  let timer: NodeJS.Timeout
  const renewAt = (notAfter: Date): void => {
    const delayMs = Math.min(Math.max((notAfter.getTime() - Date.now()) * RENEW_SHARE, 1000), 2 ** 31 - 1)
    timer = setTimeout(() => {
      ca.issueServerCertificate([...serverNames]).then(
        (next) => {
          tls.renew(next)
          for (const renew of renewals) renew(next)
          renewAt(next.notAfter)
        },
        (error: unknown) => {
          log.error({ err: error }, 'server certificate could not be renewed; trying again in a minute')
          renewAt(new Date(Date.now() + 60_000 / RENEW_SHARE))
        },
      )
    }, delayMs)
    timer.unref()
  }
  renewAt(certificate.notAfter)
  closing.push(() => {
    clearTimeout(timer)
    server.forceShutdown()
  })
  return { address, certificate }
}

/** `issued` is the certificate authority's, where the settings name none. */
export async function startWebhooks(
  { webhooks, log }: PilotOptions,
  issued: WebhookCertificate | undefined,
  metrics: PilotMetrics,
  renewals: ((certificate: WebhookCertificate) => void)[],
): Promise<WebhookPort> {
  const { address, certificate = issued, inject } = webhooks!
  if (!certificate) throw new UserError('webhooks need a certificate: there is no certificate authority to issue one')
  const port = await serveWebhooks({ address, certificate, inject, log, metrics })
  if (!webhooks!.certificate) renewals.push((next) => port.renew(next))
  return port
}

/** Starts to listen; the address as bound. */
export function bind(server: Server, address: string, credentials: ServerCredentials): Promise<string> {
  const { host, port } = splitAddress(address)
  const target = host.includes(':') ? `[${host}]` : host
  return new Promise((resolve, reject) => {
    server.bindAsync(`${target}:${port}`, credentials, (error, bound) => {
      if (error) reject(new UserError(`cannot listen on ${address}: ${error.message}`, 1, { cause: error }))
      else resolve(`${target}:${bound}`)
    })
  })
}
