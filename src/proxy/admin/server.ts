// The admin listener. It is no data path, so node:http serves it, on the main thread.

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errorText } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import { http } from '../../base/node-http.ts'
import type { Scope } from '../observe/stats.ts'
import { AdminStats } from './admin-stats.ts'
import type { AdminResponse } from './response.ts'
import { handleAdmin, type PathFilter } from './router.ts'
import type { AdminSource } from './source.ts'

/** For an answer that is on its way. A connection that has not asked yet, or asks slowly, would hold up the end of the process. */
const CLOSE_MS = 1_000

/** Where to listen: a TCP address or the path of a Unix socket. */
export type AdminAddress = { readonly host: string; readonly port: number } | { readonly path: string }

export interface AdminServer {
  /** `ip:port`, or the socket's path. */
  readonly address: string
  close(): Promise<void>
}

/** Starts the admin listener; rejects when the address cannot be bound. `stats`: null = it is not counted. */
export async function startAdmin(
  address: AdminAddress,
  source: AdminSource,
  log: Logger,
  stats: Scope | null,
  allowed: PathFilter = null,
): Promise<AdminServer> {
  const server = http.createServer((request, response) => {
    request.resume()
    answer(request, source, allowed).then(
      (result) => send(request, response, result),
      (error: unknown) => {
        log.error({ path: request.url, error: errorText(error) }, 'admin request failed')
        send(request, response, {
          status: 500,
          contentType: 'text/plain; charset=UTF-8',
          body: `${errorText(error)}\n`,
        })
      },
    )
  })
  if (stats !== null) new AdminStats(stats).watch(server)
  await listen(server, address)
  const bound = server.address() as AddressInfo | string
  return {
    address:
      typeof bound === 'string'
        ? bound
        : bound.family === 'IPv6'
          ? `[${bound.address}]:${bound.port}`
          : `${bound.address}:${bound.port}`,
    close: () =>
      new Promise((resolve) => {
        const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS)
        server.close(() => {
          clearTimeout(timer)
          resolve()
        })
        server.closeIdleConnections()
      }),
  }
}

function answer(request: IncomingMessage, source: AdminSource, allowed: PathFilter): Promise<AdminResponse> {
  return handleAdmin(request.method ?? 'GET', request.url ?? '/', source, allowed)
}

function send(request: IncomingMessage, response: ServerResponse, result: AdminResponse): void {
  response.writeHead(result.status, {
    'content-type': result.contentType,
    'cache-control': 'no-cache, max-age=0',
    'x-content-type-options': 'nosniff',
    server: 'envoy',
  })
  response.end(request.method === 'HEAD' ? undefined : result.body)
}

function listen(server: Server, address: AdminAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(address, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
