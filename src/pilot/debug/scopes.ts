// ControlZ (9876): `/scopej`, the log scopes and their levels, as `istioctl admin log` reads and sets them.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isScopeLevel, type LogScopes } from '../../base/log-scopes.ts'
import { fromThisMachine, type HttpPort, listen, splitAddress } from './http.ts'

/** Names of scopes, those of istiod that mean something here, with what they say. */
export const SCOPES = {
  default: 'Unscoped logging messages.',
  ads: 'ads debugging',
  model: 'model',
  serverca: 'Citadel server log',
  validationServer: 'validation and injection webhooks',
} as const

const MAX_BODY_BYTES = 64 * 1024

/** Serves `/scopej` to callers on this machine. Throws UserError when the address cannot be had. */
export async function serveScopes(address: string, scopes: LogScopes): Promise<HttpPort> {
  const server = createServer((request, response) => {
    answer(request, scopes).then(
      ({ status, json }) => respond(response, status, json),
      (error: unknown) => respond(response, 400, { error: String(error) }),
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

async function answer(request: IncomingMessage, scopes: LogScopes): Promise<{ status: number; json?: unknown }> {
  if (!fromThisMachine(request)) return { status: 403, json: { error: 'answers only on this machine' } }
  const match = /^\/scopej(?:\/([^/?]*))?(?:\?|$)/.exec(request.url ?? '')
  if (!match) return { status: 404, json: { error: 'no such page; there is /scopej' } }
  const all = scopes.list().map(({ name, description, level }) => ({
    name,
    description,
    output_level: level,
    stack_trace_level: 'none',
    log_callers: false,
  }))
  const name = decodeURIComponent(match[1] ?? '')
  if (name === '') return { status: 200, json: all }
  const unknown = { status: 400, json: { error: `unknown scope name: ${name}` } }
  if (request.method !== 'PUT') {
    const scope = all.find((one) => one.name === name)
    return scope ? { status: 200, json: scope } : unknown
  }
  const { output_level: level } = (await readJson(request)) as { output_level?: unknown }
  if (level !== undefined && !isScopeLevel(level)) {
    return { status: 400, json: { error: `output_level must be none, error, warn, info or debug` } }
  }
  const found = level === undefined ? all.some((one) => one.name === name) : scopes.setLevel(name, level)
  return found ? { status: 202 } : unknown
}

async function readJson(request: IncomingMessage): Promise<object> {
  let text = ''
  for await (const chunk of request as AsyncIterable<Buffer>) {
    text += chunk.toString('utf8')
    if (text.length > MAX_BODY_BYTES) throw new Error('the body is too large')
  }
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null) throw new Error('the body must be an object')
  return value
}

function respond(response: ServerResponse, status: number, json: unknown): void {
  if (json === undefined) response.writeHead(status).end()
  else response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(json)}\n`)
}
