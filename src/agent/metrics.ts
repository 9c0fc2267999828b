// `/stats/prometheus` on 15020: the agent's, the proxy's and the application's metrics as one page.
import { Counter, Gauge, Registry } from 'prom-client'
import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { SecretManager } from '../security/secret-manager.ts'
import { localRequest } from './local-http.ts'
import { DEFAULT_SECRET } from './secret-source.ts'

export interface MetricsSources {
  /** Envoy's Prometheus listener. */
  readonly proxyPort: number
  readonly app: { readonly port: number; readonly path: string } | null
  readonly log: Logger
}

export type SecretCounts = Pick<SecretManager, 'current' | 'requests'>

/** The agent's own metrics (istio-contract 13.4), prefix `istio_agent_`. */
export class AgentMetrics {
  readonly registry = new Registry()
  readonly #scrapes = this.#counter('scrapes_total', 'Scrapes of the merged metrics page.')
  readonly #failures = new Counter({
    name: 'istio_agent_scrape_failures_total',
    help: 'Scrapes in which one source failed.',
    labelNames: ['type'],
    registers: [this.registry],
  })
  readonly #startup = new Gauge({
    name: 'istio_agent_startup_duration_seconds',
    help: 'From the start of the agent until it was first ready.',
    registers: [this.registry],
  })

  /** `secrets`: the workload's certificate and the requests for it. */
  constructor(secrets: SecretCounts) {
    const registers = [this.registry]
    const csr = { request_type: 'csr' }
    new Gauge({
      name: 'istio_agent_cert_expiry_seconds',
      help: 'Seconds until the certificate chain of the workload expires; below zero: it has.',
      labelNames: ['resource_name'],
      registers,
      collect() {
        const { current } = secrets
        if (current) this.set({ resource_name: DEFAULT_SECRET }, (current.notAfter.getTime() - Date.now()) / 1000)
      },
    })
    for (const [name, help, read] of [
      ['num_outgoing_requests', 'Requests to the certificate authority.', () => secrets.requests.total],
      ['num_failed_outgoing_requests', 'Failed requests to the authority.', () => secrets.requests.failed],
      ['outgoing_latency', 'Milliseconds of all requests to the authority.', () => secrets.requests.latencyMs],
    ] as const) {
      new Counter({
        name: `istio_agent_${name}`,
        help,
        labelNames: ['request_type'],
        registers,
        collect() {
          this.reset()
          if (read() > 0) this.inc(csr, read())
        },
      })
    }
  }

  #counter(name: string, help: string): Counter {
    return new Counter({ name: `istio_agent_${name}`, help, registers: [this.registry] })
  }

  /** From the start of the agent until it was first ready. */
  setStartupSeconds(seconds: number): void {
    this.#startup.set(seconds)
  }

  /**
   * The merged page. A source that fails is counted and left out. The application is asked with the scraper's own Accept
   * and its content type becomes the answer's, so that OpenMetrics reaches the scraper; its text comes last because it ends with `# EOF`.
   */
  async merged(sources: MetricsSources, accept: string | undefined): Promise<{ contentType: string; body: string }> {
    this.#scrapes.inc()
    const headers: Record<string, string> = accept === undefined ? {} : { accept }
    const fetch = async (
      type: 'envoy' | 'application',
      port: number,
      path: string,
      requestHeaders: Record<string, string>,
    ) => {
      try {
        const response = await localRequest(port, path, { headers: requestHeaders })
        if (response.status !== 200) throw new Error(`status ${response.status}`)
        return response
      } catch (error) {
        this.#failures.inc({ type })
        sources.log.debug({ type, port, path, reason: errorText(error) }, 'metrics source failed')
        return null
      }
    }
    const [proxy, app] = await Promise.all([
      fetch('envoy', sources.proxyPort, '/stats/prometheus', {}),
      sources.app === null ? null : fetch('application', sources.app.port, sources.app.path, headers),
    ])
    const parts = [await this.registry.metrics(), proxy?.body, app?.body].filter(
      (part) => part !== undefined && part !== '',
    )
    const contentType = app?.headers['content-type'] ?? 'text/plain; version=0.0.4; charset=utf-8'
    return { contentType, body: parts.map((part) => (part!.endsWith('\n') ? part : `${part}\n`)).join('') }
  }
}
