// The control plane's HTTP ports: readiness, metrics, version and the debug pages.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errorText, UserError } from '../../base/errors.ts'
import { mayRead, provedNamespace, type Reach, reachOf } from './access.ts'
import { type Answer, answerText, type DebugSources, debugPage, indexPage, textAnswer } from './pages.ts'

/** Who a caller from elsewhere is: its SPIFFE ids, from a bearer token. Throws when it proves nothing. */
export type AuthenticateHttp = (authorization: string) => Promise<readonly string[]>

export interface HttpSources extends DebugSources {
  /** Left out: the debug pages answer on this machine only. */
  readonly authenticate?: AuthenticateHttp
  /** Whose workloads may read everything. */
  readonly systemNamespace: () => string
}

type OpenPage = (sources: HttpSources) => Answer | Promise<Answer>

/** Pages for everybody. */
const OPEN_PAGES: Readonly<Record<string, OpenPage>> = {
  '/ready': ({ discovery }) =>
    discovery.pushContext ? textAnswer(200, '') : textAnswer(503, 'configuration is still being read\n'),
  '/version': ({ version }) => textAnswer(200, version),
  '/metrics': async ({ metrics }) => ({
    status: 200,
    type: metrics.registry.contentType,
    body: await metrics.registry.metrics(),
  }),
}

/** A listening HTTP port. */
export interface HttpPort {
  /** `host:port` as bound. */
  readonly address: string
  close(): Promise<void>
}

/** Serves all pages on `host:port`. Throws UserError when the address cannot be had. */
export async function serveHttp(address: string, sources: HttpSources): Promise<HttpPort> {
  const server = createServer((request, response) => {
    answer(request, sources).then(
      (result) => respond(response, result, urlOf(request).searchParams),
      (error: unknown) => {
        sources.log.error({ url: request.url, err: error }, 'debug page failed')
        respond(response, textAnswer(500, `${errorText(error)}\n`), new URLSearchParams())
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

const NO_SUCH_PAGE = '404 page not found\n'

async function answer(request: IncomingMessage, sources: HttpSources): Promise<Answer> {
  const url = urlOf(request)
  const open = OPEN_PAGES[url.pathname]
  if (open) return open(sources)
  if (!url.pathname.startsWith('/debug')) return textAnswer(404, NO_SUCH_PAGE)
  const caller = await callerOf(request, sources)
  if ('refused' in caller) return caller.refused
  const { reach } = caller
  if (url.pathname === '/debug') return reach === null ? indexPage(sources) : FORBIDDEN
  const name = url.pathname.replace(/^\/debug\//, '')
  if (!mayRead(name, reach)) return FORBIDDEN
  return debugPage(name, url.searchParams, sources, reach) ?? textAnswer(404, NO_SUCH_PAGE)
}

const FORBIDDEN = textAnswer(
  403,
  'this page is for callers on this machine and for workloads of the namespace of the control plane\n',
)

/** The reach of a caller: everything for one on this machine; of others, what a bearer token proves. */
async function callerOf(
  request: IncomingMessage,
  sources: HttpSources,
): Promise<{ readonly reach: Reach } | { readonly refused: Answer }> {
  if (fromThisMachine(request)) return { reach: null }
  const { authorization } = request.headers
  if (!sources.authenticate || authorization === undefined) {
    const how = sources.authenticate ? ' and to callers with a service-account token' : ''
    return {
      refused: textAnswer(sources.authenticate ? 401 : 403, `debug pages answer on this machine${how} only\n`),
    }
  }
  let identities: readonly string[]
  try {
    identities = await sources.authenticate(authorization)
  } catch (error) {
    return { refused: textAnswer(401, `${errorText(error)}\n`) }
  }
  const namespace = provedNamespace(identities)
  return namespace === null ? { refused: FORBIDDEN } : { reach: reachOf(namespace, sources.systemNamespace()) }
}

/** The debug pages show the configuration of the whole mesh: to callers on this machine only, unless they prove who they are. */
export function fromThisMachine(request: IncomingMessage): boolean {
  const { remoteAddress, localAddress } = request.socket
  if (remoteAddress === undefined) return false
  const address = remoteAddress.replace(/^::ffff:/, '')
  return address.startsWith('127.') || address === '::1' || remoteAddress === localAddress
}

/** istioctl asks for `//version`, which Go's servers take for `/version`. */
function urlOf({ url = '/' }: IncomingMessage): URL {
  return new URL(url.replace(/^\/+/, '/'), 'http://pilot')
}

function respond(response: ServerResponse, result: Answer, query: URLSearchParams): void {
  const { status, type, body } = answerText(result, query)
  // A line for who reads it in a terminal; other answers are istiod's to the byte.
  response.writeHead(status, { 'content-type': type }).end(type === 'application/json' ? `${body}\n` : body)
}
