// What the four services share: an HTTP server that ends well, calls to each other, and trace headers passed on.
import * as http from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * Request headers that a service must copy from the request it serves to the requests it makes, so that the spans of
 * all services join one trace and routing by user works at every hop. The sidecars cannot do it: only the program
 * knows which outgoing request belongs to which incoming one.
 */
const PASSED_ON = [
  'x-request-id',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-flags',
  'b3',
  'traceparent',
  'tracestate',
  'x-ot-span-context',
  'x-datadog-trace-id',
  'x-datadog-parent-id',
  'x-datadog-sampling-priority',
  'x-cloud-trace-context',
  'grpc-trace-bin',
  'sw8',
  'end-user',
  'user-agent',
  'cookie',
  'authorization',
  'jwt',
]

export function passedOnHeaders(request: http.IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const name of PASSED_ON) {
    const value = request.headers[name]
    if (typeof value === 'string') headers[name] = value
  }
  return headers
}

export type Handler = (request: http.IncomingMessage, response: http.ServerResponse, url: URL) => Promise<void> | void

/** Serves on the port of the command line until SIGTERM; a handler that fails answers 500. */
export function serve(name: string, handler: Handler): void {
  const port = Number(process.argv[2] ?? 9080)
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://service')
    if (url.pathname === '/health') return sendJson(response, 200, { status: `${name} is healthy` })
    Promise.resolve(handler(request, response, url)).catch((error: unknown) => {
      console.error(`${name}: ${request.method} ${url.pathname}: ${String(error)}`)
      if (!response.headersSent) sendJson(response, 500, { error: 'internal error' })
      else response.destroy()
    })
  })
  // Longer than the sidecar keeps idle connections would be a race over who closes first.
  server.keepAliveTimeout = 3_660_000
  server.listen(port, () => console.log(`${name} listens on ${(server.address() as AddressInfo).port}`))
  process.on('SIGTERM', () => {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  })
}

export function sendJson(response: http.ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

const agent = new http.Agent({ keepAlive: true })

export interface Answer {
  readonly status: number
  /** The parsed body; undefined when it is not JSON. */
  readonly body: unknown
  readonly milliseconds: number
}

/** GET with a limit on the whole exchange; rejects when there is no answer in time. */
export function getJson(url: string, headers: Record<string, string>, timeoutMs: number): Promise<Answer> {
  const started = performance.now()
  return new Promise((resolve, reject) => {
    const request = http.get(url, { headers, agent }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        clearTimeout(timer)
        const milliseconds = Math.round(performance.now() - started)
        resolve({
          status: response.statusCode ?? 0,
          body: parseJson(Buffer.concat(chunks).toString('utf8')),
          milliseconds,
        })
      })
    })
    const timer = setTimeout(
      () => request.destroy(new Error(`no answer from ${url} within ${timeoutMs} ms`)),
      timeoutMs,
    )
    request.on('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `/reviews/7` under `/reviews/` → 7; undefined when that is not a number. */
export function idAfter(prefix: string, path: string): number | undefined {
  const rest = path.startsWith(prefix) ? path.slice(prefix.length) : ''
  return /^\d+$/.test(rest) ? Number(rest) : undefined
}

/** Address of another service; the environment can point elsewhere. */
export function serviceUrl(name: string): string {
  const variable = name.toUpperCase()
  const domain = process.env.SERVICES_DOMAIN ? `.${process.env.SERVICES_DOMAIN}` : ''
  const host = process.env[`${variable}_HOSTNAME`] ?? name
  const port = process.env[`${variable}_SERVICE_PORT`] ?? '9080'
  return `http://${host}${domain}:${port}`
}
