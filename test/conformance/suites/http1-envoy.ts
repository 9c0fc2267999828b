// Raw HTTP/1 bytes through the whole proxy: status, close, details and what reaches the upstream as Envoy has it, with
// the bytes in one piece and one by one.

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Ports, startProxy } from '../../interop/harness/proxies.ts'
import type { Difference, Suite } from '../suite.ts'

interface UpstreamRequest {
  readonly line: string
  readonly headers: readonly (readonly [string, string])[]
  readonly bodyB64: string
  readonly incomplete?: boolean
}

interface Case {
  readonly id: string
  readonly inputB64: string
  readonly envoy: {
    readonly statuses: readonly number[]
    readonly closed: boolean
    readonly details: readonly string[]
    readonly flags: readonly (string | null)[]
    readonly bodies: readonly string[]
    readonly connection: readonly (string | null)[]
    readonly upstreamRequests: readonly UpstreamRequest[]
  }
}

interface File {
  readonly config: Record<string, unknown>
  readonly cases: readonly Case[]
}

/** Cases run side by side, each lane with a listener and an upstream of its own. */
const LANES = 12
/** How long all that Envoy did may take. */
const LIMIT_MS = 10_000
/** When that much has been done: time for more than that. */
const EXTRA_MS = 100
const POLL_MS = 10

/** An upstream that answers each complete request with 200 and keeps what it got. */
class Lane {
  private readonly server: Server
  private received = Buffer.alloc(0)
  private readonly requests: UpstreamRequest[] = []
  constructor() {
    this.server = createServer((socket) => {
      this.received = Buffer.alloc(0)
      socket.on('error', () => {})
      socket.on('data', (chunk) => {
        this.received = Buffer.concat([this.received, chunk])
        for (;;) {
          const { request, length } = parseRequest(this.received)
          if (request === null || request.incomplete) return
          this.requests.push(request)
          this.received = this.received.subarray(length)
          socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
        }
      })
    })
  }
  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    return (this.server.address() as AddressInfo).port
  }
  /** What has come, an unfinished request included. */
  get seen(): readonly UpstreamRequest[] {
    const { request } = parseRequest(this.received)
    return request === null ? this.requests : [...this.requests, request]
  }
  clear(): void {
    this.received = Buffer.alloc(0)
    this.requests.length = 0
  }
  close(): void {
    this.server.close()
  }
}

function parseRequest(bytes: Buffer): { request: UpstreamRequest | null; length: number } {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd < 0) return { request: null, length: 0 }
  const [line = '', ...rest] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n')
  const headers = rest.map((header): [string, string] => {
    const colon = header.indexOf(':')
    return [header.slice(0, colon), header.slice(colon + 2)]
  })
  const value = (name: string): string | undefined => headers.find(([n]) => n === name)?.[1]
  let at = headEnd + 4
  const body: Buffer[] = []
  let incomplete = false
  if (value('transfer-encoding') === 'chunked') {
    for (;;) {
      const lineEnd = bytes.indexOf('\r\n', at)
      const size = lineEnd < 0 ? Number.NaN : Number.parseInt(bytes.subarray(at, lineEnd).toString('latin1'), 16)
      if (!(lineEnd + 2 + size + 2 <= bytes.length)) {
        incomplete = true
        break
      }
      body.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size))
      at = lineEnd + 2 + size + 2
      if (size === 0) break
    }
  } else {
    const end = at + Number(value('content-length') ?? 0)
    incomplete = end > bytes.length
    body.push(bytes.subarray(at, end))
    at = end
  }
  const bodyB64 = Buffer.concat(body).toString('base64')
  return { request: { line, headers, bodyB64, ...(incomplete ? { incomplete } : {}) }, length: at }
}

interface Answer {
  readonly statuses: number[]
  readonly bodies: string[]
  readonly connection: (string | null)[]
}

function parseAnswers(bytes: Buffer): Answer {
  const answer: Answer = { statuses: [], bodies: [], connection: [] }
  for (let at = 0; at < bytes.length; ) {
    const headEnd = bytes.indexOf('\r\n\r\n', at)
    if (headEnd < 0) break
    const head = bytes.subarray(at, headEnd).toString('latin1')
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
    at = headEnd + 4 + length
    answer.statuses.push(Number(head.split(' ')[1]))
    answer.connection.push(/\r\nconnection: (.*)/i.exec(head)?.[1] ?? null)
    answer.bodies.push(bytes.subarray(headEnd + 4, at).toString('latin1'))
  }
  return answer
}

/** The client's side of one case. */
class Client {
  closed = false
  private readonly socket: Socket
  private readonly chunks: Buffer[] = []

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    this.socket.on('data', (chunk: Buffer) => this.chunks.push(chunk))
    const end = (): void => {
      this.closed = true
    }
    this.socket.on('end', end)
    this.socket.on('error', end)
  }

  async send(bytes: Buffer, split: boolean): Promise<void> {
    await once(this.socket, 'connect')
    if (!split) {
      this.socket.write(bytes)
      return
    }
    for (const byte of bytes) {
      if (!this.socket.writable) break
      this.socket.write(Buffer.from([byte]))
      // One segment for each byte: the proxy reads them one by one.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  get answers(): Answer {
    return parseAnswers(Buffer.concat(this.chunks))
  }

  destroy(): void {
    this.socket.destroy()
  }
}

function bootstrap(
  ports: Ports,
  hcm: Record<string, unknown>,
  listeners: readonly number[],
  upstreams: readonly number[],
): object {
  const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } })
  return {
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: listeners.map((port, i) => ({
        name: `lane-${i}`,
        address: address(port),
        filter_chains: [
          {
            filters: [
              {
                name: 'envoy.filters.network.http_connection_manager',
                typed_config: {
                  '@type':
                    'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                  ...(JSON.parse(JSON.stringify(hcm).replaceAll('"cluster":"up"', `"cluster":"up-${i}"`)) as object),
                  access_log: [
                    {
                      name: 'envoy.access_loggers.file',
                      typed_config: {
                        '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
                        path: ports.accessLog,
                        log_format: {
                          json_format: {
                            lane: String(i),
                            details: '%RESPONSE_CODE_DETAILS%',
                            flags: '%RESPONSE_FLAGS%',
                          },
                        },
                      },
                    },
                  ],
                },
              },
            ],
          },
        ],
      })),
      clusters: upstreams.map((port, i) => ({
        name: `up-${i}`,
        type: 'STATIC',
        load_assignment: {
          cluster_name: `up-${i}`,
          endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }],
        },
      })),
    },
  }
}

/** `split`: byte by byte the head of a request that turns out faulty may have gone upstream before the fault came. */
function traffic(
  { envoy }: Case,
  split: boolean,
  { closed, answers }: Client,
  upstream: readonly UpstreamRequest[],
): string | null {
  const sent = (requests: readonly UpstreamRequest[]): readonly UpstreamRequest[] =>
    split ? requests.filter((request) => !request.incomplete) : requests
  return firstDifference([
    ['statuses', answers.statuses, envoy.statuses],
    ['closed', closed, envoy.closed],
    ['bodies', answers.bodies, envoy.bodies],
    ['connection', answers.connection, envoy.connection],
    ['upstream', sent(upstream), sent(envoy.upstreamRequests)],
  ])
}

interface LogLine {
  readonly details: string | null
  readonly flags: string | null
}

function logged({ envoy }: Case, log: readonly LogLine[]): string | null {
  const flags = log.map((line) => (line.flags === '-' ? null : line.flags))
  return firstDifference([
    ['details', log.map((line) => line.details), envoy.details],
    ['flags', flags, envoy.flags],
  ])
}

function firstDifference(pairs: readonly (readonly [what: string, ours: unknown, theirs: unknown])[]): string | null {
  for (const [what, ours, theirs] of pairs) {
    const [a, b] = [JSON.stringify(ours), JSON.stringify(theirs)]
    if (a !== b) return `${what} ${a}; Envoy: ${b}`
  }
  return null
}

/** `difference()` when it has become null, or at the end of all patience. */
async function settle(difference: () => string | null): Promise<string | null> {
  const until = Date.now() + LIMIT_MS
  for (;;) {
    const message = difference()
    if (message === null || Date.now() > until) return message
    await sleep(POLL_MS)
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

export const suite: Suite = {
  name: 'http1-envoy',
  async run(dataDirectory) {
    const file = JSON.parse(await readFile(join(dataDirectory, 'conformance/http1-envoy.json'), 'utf8')) as File
    const lanes = Array.from({ length: LANES }, () => new Lane())
    const upstreams = await Promise.all(lanes.map((lane) => lane.listen()))
    const listeners = await freePorts(LANES)
    const proxy = await startProxy('outrigger', (ports) => bootstrap(ports, file.config, listeners, upstreams))
    const differences: Difference[] = []
    const work = file.cases.flatMap((test) => [false, true].map((split) => ({ test, split })))
    /** Lines of each lane that were taken already. */
    const taken = new Array<number>(LANES).fill(0)
    const linesOf = (lane: number): LogLine[] =>
      proxy
        .logLines()
        .map((line) => JSON.parse(line) as LogLine & { lane: string })
        .filter((line) => line.lane === String(lane))
    const runLane = async (i: number): Promise<void> => {
      for (let next = work.shift(); next; next = work.shift()) {
        const { test, split } = next
        const client = new Client(listeners[i]!)
        await client.send(Buffer.from(test.inputB64, 'base64'), split)
        const seen = (): string | null => traffic(test, split, client, lanes[i]!.seen)
        let message = await settle(seen)
        if (message === null && !client.closed) {
          await sleep(EXTRA_MS)
          message = seen()
        }
        // The lines come with the end of their streams, at the latest when the client has gone.
        client.destroy()
        message ??= await settle(() => logged(test, linesOf(i).slice(taken[i])))
        taken[i] = linesOf(i).length
        lanes[i]!.clear()
        if (message !== null) differences.push({ id: split ? `${test.id} (byte by byte)` : test.id, message })
      }
    }
    await Promise.all(lanes.map((_, i) => runLane(i)))
    await proxy.stop()
    for (const lane of lanes) lane.close()
    return { total: file.cases.length * 2, differences }
  },
}
