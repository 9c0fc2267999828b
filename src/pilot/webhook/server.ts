// The HTTPS port (15017) that the API server calls: `/validate` and `/inject`.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { errorText, UserError } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import { type HttpPort, splitAddress } from '../debug/http.ts'
import type { PilotMetrics } from '../push/metrics.ts'
import { answerReview, type InjectPod, reviewConfiguration, reviewPod } from './review.ts'

/** A certificate with its key, in PEM. */
export interface WebhookCertificate {
  readonly certChainPem: string
  readonly keyPem: string
}

export interface WebhookOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly address: string
  readonly certificate: WebhookCertificate
  /** Left out: `/inject` answers 404. */
  readonly inject?: InjectPod
  readonly log: Logger
  readonly metrics: PilotMetrics
}

export interface WebhookPort extends HttpPort {
  /** Serves new connections with another certificate. */
  renew(certificate: WebhookCertificate): void
}

/** The API server's own limit of a request, with room to spare. */
const MAX_BODY_BYTES = 6 * 2 ** 20

/** Throws UserError when the address cannot be had. */
export async function serveWebhooks(options: WebhookOptions): Promise<WebhookPort> {
  const { certificate, log, address } = options
  const server = createServer({ cert: certificate.certChainPem, key: certificate.keyPem }, (request, response) => {
    answer(request, options).then(
      ({ status, body }) => respond(response, status, body),
      (error: unknown) => {
        log.error({ url: request.url, err: error }, 'webhook failed')
        respond(response, 500, errorText(error))
      },
    )
  })
  // A client's broken handshake is its own affair.
  server.on('tlsClientError', (error) => log.debug({ err: error }, 'webhook handshake failed'))
  const { host, port } = splitAddress(address)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(new UserError(`cannot listen on ${address}: ${error.message}`, 1, { cause: error })),
    )
    server.listen(port, host, () => resolve())
  })
  const bound = server.address() as AddressInfo
  return {
    address: `${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`,
    renew: (next) => server.setSecureContext({ cert: next.certChainPem, key: next.keyPem }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

interface Answer {
  readonly status: number
  readonly body: string | object
}

const failed = (status: number, body: string): Answer => ({ status, body })

async function answer(request: IncomingMessage, options: WebhookOptions): Promise<Answer> {
  const { pathname } = new URL(request.url ?? '/', 'https://webhook')
  if (pathname === '/httpsReady') return { status: 200, body: '' }
  // Istio appends `/cluster/NAME/net/NAME` to the injection path.
  const injecting = pathname === '/inject' || pathname.startsWith('/inject/')
  const { inject, metrics } = options
  if ((pathname !== '/validate' && !injecting) || (injecting && !inject)) return failed(404, 'no such webhook')
  if (request.method !== 'POST') return failed(405, 'must be POST')
  const type = request.headers['content-type']?.split(';', 1)[0]
  if (type !== 'application/json') return failed(415, 'invalid Content-Type, want `application/json`')
  const text = await readBody(request)
  if (text === null) return failed(413, `the request is larger than ${MAX_BODY_BYTES} bytes`)
  if (text === '') return failed(400, 'no body found')
  try {
    const body: unknown = JSON.parse(text)
    if (!injecting || !inject) {
      const review = answerReview(body, (asked) => {
        const { reason, ...response } = reviewConfiguration(asked)
        const { group = '', version = '', resource = '' } = asked.resource ?? {}
        if (reason === null) metrics.validated.inc({ group, version, resource })
        else metrics.invalidated.inc({ group, version, resource, reason })
        return response
      })
      return { status: 200, body: review }
    }
    return {
      status: 200,
      body: answerReview(body, (asked) => {
        const end = metrics.injectionTime.startTimer()
        const { injected, ...response } = reviewPod(asked, inject)
        end()
        metrics.injected(injected ? 'success' : response.allowed ? 'skip' : 'failure')
        return response
      }),
    }
  } catch (error) {
    return failed(400, `could not decode body: ${errorText(error)}`)
  }
}

/** Null: too large. */
async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function respond(response: ServerResponse, status: number, body: string | object): void {
  if (typeof body === 'string') response.writeHead(status, { 'content-type': 'text/plain' }).end(`${body}\n`)
  else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
