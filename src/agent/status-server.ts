// The agent's HTTP server on 15020 (istio-contract 13.4).
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { http } from '../base/node-http.ts'
import { type AppProbe, runProbe } from './app-probes.ts'
import { localRequest } from './local-http.ts'
import type { AgentMetrics, MetricsSources, SecretCounts } from './metrics.ts'
import { notReadyReason, parseStats, READINESS_STATS } from './readiness.ts'

export interface StatusServerOptions {
  /** 0 takes a free one (tests). */
  readonly port: number
  readonly adminPort: number
  readonly podIp: string
  readonly probes: ReadonlyMap<string, AppProbe>
  readonly metrics: Omit<MetricsSources, 'log'>
  readonly secrets: SecretCounts
  /** POST /quitquitquit from this pod. */
  readonly onQuit: () => void
  /** POST /drain from this pod. */
  readonly onDrain: () => void
  readonly log: Logger
}

export interface StatusServer {
  readonly port: number
  close(): Promise<void>
}

interface Answer {
  readonly status: number
  readonly body?: string
  readonly contentType?: string
}

/** Listens on every address: the kubelet and Prometheus come from outside the pod. */
export async function startStatusServer(options: StatusServerOptions): Promise<StatusServer> {
  const metrics = new LazyMetrics(options.secrets)
  const server = http.createServer((request, response) => {
    answer(request, options, metrics).then(
      ({ status, body = '', contentType = 'text/plain; charset=utf-8' }) => {
        response.writeHead(status, { 'content-type': contentType })
        response.end(body)
      },
      (error: unknown) => {
        options.log.error({ path: request.url, err: error }, 'status request failed')
        response.writeHead(500)
        response.end(errorText(error))
      },
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, () => {
      server.off('error', reject)
      resolve()
    })
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** The metrics library, 6 MB, loads with the first scrape: not every sidecar's metrics are asked for here. */
class LazyMetrics {
  readonly #secrets: SecretCounts
  readonly #startedMs = Date.now()
  #startupSeconds: number | null = null
  #loaded: Promise<AgentMetrics> | null = null

  constructor(secrets: SecretCounts) {
    this.#secrets = secrets
  }

  /** The first success is the start-up time. */
  becameReady(): void {
    if (this.#startupSeconds !== null) return
    const seconds = (Date.now() - this.#startedMs) / 1000
    this.#startupSeconds = seconds
    this.#loaded?.then(
      (metrics) => metrics.setStartupSeconds(seconds),
      // Told to whoever scrapes.
      () => {},
    )
  }

  load(): Promise<AgentMetrics> {
    this.#loaded ??= import('./metrics.ts').then(
      ({ AgentMetrics }) => {
        const metrics = new AgentMetrics(this.#secrets)
        if (this.#startupSeconds !== null) metrics.setStartupSeconds(this.#startupSeconds)
        return metrics
      },
      (error: unknown) => {
        // For want of a descriptor, perhaps: the next scrape tries again.
        this.#loaded = null
        throw error
      },
    )
    return this.#loaded
  }
}

async function answer(request: IncomingMessage, options: StatusServerOptions, metrics: LazyMetrics): Promise<Answer> {
  const path = (request.url ?? '/').split('?')[0]!
  switch (path) {
    case '/healthz/ready':
      return readiness(options, metrics)
    case '/stats/prometheus':
    case '/metrics':
      return {
        status: 200,
        ...(await (await metrics.load()).merged({ ...options.metrics, log: options.log }, request.headers.accept)),
      }
    case '/quitquitquit':
      return command(request, options.onQuit)
    case '/drain':
      return command(request, options.onDrain)
  }
  const probe = options.probes.get(path)
  if (probe !== undefined) {
    const { status, text } = await runProbe(probe, options.podIp, request.headers)
    return { status, body: text }
  }
  return { status: 404, body: `no such path: ${path}\n` }
}

async function readiness(options: StatusServerOptions, metrics: LazyMetrics): Promise<Answer> {
  let reason: string | null
  try {
    const stats = await localRequest(options.adminPort, `/stats?usedonly&filter=${encodeURIComponent(READINESS_STATS)}`)
    reason = notReadyReason(parseStats(stats.body))
  } catch (error) {
    reason = `failed to get readiness stats: ${errorText(error)}`
  }
  if (reason === null) {
    metrics.becameReady()
    return { status: 200 }
  }
  options.log.info({ reason }, 'proxy is NOT ready')
  return { status: 503, body: `${reason}\n` }
}

/** Commands are for this pod alone, and only by POST. */
function command(request: IncomingMessage, run: () => void): Answer {
  const peer = request.socket.remoteAddress ?? ''
  if (!/^(::ffff:)?127\.|^::1$/.test(peer)) return { status: 403, body: 'only requests from localhost are allowed\n' }
  if (request.method !== 'POST') return { status: 405, body: `HTTP POST is required, was ${request.method}\n` }
  run()
  return { status: 200, body: 'OK\n' }
}
