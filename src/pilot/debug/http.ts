// The control plane's HTTP ports: readiness, metrics, version and the debug pages.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { JsonValue } from '@bufbuild/protobuf'
import { errorText, UserError } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import type { Store } from '../../cluster/index.ts'
import { meshConfigJson } from '../../config/index.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Client, DiscoveryServer } from '../push/discovery-server.ts'
import type { EncodedCache } from '../push/encoded-cache.ts'
import type { PilotMetrics } from '../push/metrics.ts'
import { adsz, configDump, edsz, findProxy, syncz } from './proxies.ts'
import { configz, endpointShardz, registryz } from './registry.ts'

/** What the pages read. */
export interface DebugSources {
  readonly store: Store
  readonly discovery: DiscoveryServer
  readonly metrics: PilotMetrics
  readonly caches: Readonly<Record<string, EncodedCache<unknown>>>
  readonly log: Logger
  readonly version: string
  /** Refused resources: metric to key to what is wrong. */
  readonly pushStatus: () => JsonValue
  /** Pushes everything to everybody; returns to how many. */
  readonly forcePush: () => number
}

/** A page's answer: JSON, or text with its status. */
type Answer = { readonly json: JsonValue } | { readonly status: number; readonly type: string; readonly body: string }
type Page = (query: URLSearchParams, sources: DebugSources) => Answer | Promise<Answer>

const text = (status: number, body: string): Answer => ({ status, type: 'text/plain; charset=utf-8', body })

/** Pages for everybody. */
const OPEN_PAGES: Readonly<Record<string, Page>> = {
  '/ready': (_query, { discovery }) =>
    discovery.pushContext ? text(200, '') : text(503, 'configuration is still being read\n'),
  '/version': (_query, { version }) => text(200, `outrigger-pilot/${version}\n`),
  '/metrics': async (_query, { metrics }) => ({
    status: 200,
    type: metrics.registry.contentType,
    body: await metrics.registry.metrics(),
  }),
}

/** Pages for callers on this machine: they show the configuration of the whole mesh. */
const DEBUG_PAGES: Readonly<Record<string, Page>> = {
  '/debug/adsz': (query, { discovery, forcePush }) =>
    query.get('push') === 'true'
      ? text(200, `Pushed to ${forcePush()} servers\n`)
      : { json: adsz(discovery.connected()) },
  '/debug/syncz': (query, { discovery }) => ({ json: syncz(discovery.connected(), query.get('namespace')) }),
  '/debug/edsz': (query, sources) => ofProxy(query, sources, (client, push) => ({ json: edsz(client, push) })),
  '/debug/config_dump': (query, sources) =>
    ofProxy(query, sources, (client, push) => ({ json: configDump(client, push, query.has('include_eds')) })),
  '/debug/registryz': (_query, sources) => withPush(sources, (push) => ({ json: registryz(push) })),
  '/debug/endpointShardz': (_query, sources) => withPush(sources, (push) => ({ json: endpointShardz(push) })),
  '/debug/endpointz': (_query, sources) => withPush(sources, (push) => ({ json: endpointShardz(push) })),
  '/debug/configz': (_query, { store }) => ({ json: configz(store) }),
  '/debug/mesh': (_query, sources) => withPush(sources, (push) => ({ json: meshConfigJson(push.mesh) as JsonValue })),
  '/debug/push_status': (_query, { pushStatus }) => ({ json: pushStatus() }),
  '/debug/cachez': (_query, { caches }) => ({
    json: Object.fromEntries(
      Object.entries(caches).map(([name, c]) => [name, { size: c.size, hits: c.hits, misses: c.misses }]),
    ),
  }),
  '/debug/connections': (_query, { discovery }) => ({
    json: [...discovery.connected()].map((c) => ({
      connectionId: c.connection.id,
      address: c.connection.peer.address,
    })),
  }),
  '/debug/list': () => ({ json: Object.keys(DEBUG_PAGES).sort() }),
  '/debug': () => ({ status: 200, type: 'text/html; charset=utf-8', body: indexPage() }),
}

const NO_PROXY_ID = 'You must provide a proxyID in the query string'
const UNKNOWN_PROXY = 'Proxy not connected to this Pilot instance. It may be connected to another instance.'

function ofProxy(
  query: URLSearchParams,
  sources: DebugSources,
  page: (client: Client, push: PushContext) => Answer,
): Answer {
  const id = query.get('proxyID')
  if (!id) return text(400, `${NO_PROXY_ID}\n`)
  const client = findProxy(sources.discovery.connected(), id)
  if (!client) return text(404, `${UNKNOWN_PROXY}\n`)
  return withPush(sources, (push) => page(client, push))
}

function withPush(sources: DebugSources, page: (push: PushContext) => Answer): Answer {
  const push = sources.discovery.pushContext
  return push ? page(push) : text(503, 'configuration is still being read\n')
}

function indexPage(): string {
  const items = Object.keys(DEBUG_PAGES)
    .filter((path) => path !== '/debug')
    .sort()
  const links = items.map((path) => `<li><a href="${path}">${path}</a></li>`).join('\n')
  return `<!doctype html><title>Pilot debug</title>\n<h1>Pilot debug</h1>\n<ul>\n${links}\n</ul>\n`
}

/** A listening HTTP port. */
export interface HttpPort {
  /** `host:port` as bound. */
  readonly address: string
  close(): Promise<void>
}

/** Serves all pages on `host:port`. Throws UserError when the address cannot be had. */
export async function serveHttp(address: string, sources: DebugSources): Promise<HttpPort> {
  const server = createServer((request, response) => {
    answer(request, sources).then(
      (result) => respond(response, result, request.url ?? ''),
      (error: unknown) => {
        sources.log.error({ url: request.url, err: error }, 'debug page failed')
        respond(response, text(500, `${errorText(error)}\n`), '')
      },
    )
  })
  const { host, port } = splitAddress(address)
  await listen(server, host, port, address)
  const bound = server.address() as AddressInfo
  return {
    address: `${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Splits `host:port`; throws UserError when it is neither. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':')
  const port = Number(address.slice(colon + 1))
  if (colon < 0 || !Number.isInteger(port) || port < 0 || port > 65535) {
    throw new UserError(`"${address}" is not an address: write host:port, for example 127.0.0.1:15010`, 64)
  }
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, '') || '0.0.0.0', port }
}

/** Throws UserError when the address cannot be had. */
export function listen(server: Server, host: string, port: number, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new UserError(`cannot listen on ${address}: ${error.message}`, 1, { cause: error })),
    )
    server.listen(port, host, () => resolve())
  })
}

async function answer(request: IncomingMessage, sources: DebugSources): Promise<Answer> {
  const url = new URL(request.url ?? '/', 'http://pilot')
  const open = OPEN_PAGES[url.pathname]
  if (open) return open(url.searchParams, sources)
  const debug = DEBUG_PAGES[url.pathname]
  if (!debug) return text(404, 'no such page; /debug/list names them\n')
  if (!fromThisMachine(request)) return text(403, 'debug pages answer only on this machine\n')
  return debug(url.searchParams, sources)
}

/** The debug pages show the configuration of the whole mesh: to callers on this machine only. */
export function fromThisMachine(request: IncomingMessage): boolean {
  const { remoteAddress, localAddress } = request.socket
  if (remoteAddress === undefined) return false
  const address = remoteAddress.replace(/^::ffff:/, '')
  return address.startsWith('127.') || address === '::1' || remoteAddress === localAddress
}

function respond(response: ServerResponse, result: Answer, url: string): void {
  if ('json' in result) {
    const body = JSON.stringify(result.json, null, url.includes('pretty') ? 2 : undefined)
    response.writeHead(200, { 'content-type': 'application/json' }).end(`${body}\n`)
  } else response.writeHead(result.status, { 'content-type': result.type }).end(result.body)
}
