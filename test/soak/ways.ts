// The clients of a soak run: each way takes one request or one conversation through the proxy and rejects with what went
// wrong.

import { Agent, type ClientRequest, type IncomingMessage, type RequestOptions, request } from 'node:http'
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2'
import { Agent as SecureAgent, request as secureRequest } from 'node:https'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { Client, credentials } from '@grpc/grpc-js'
import type { Ports } from './configuration.ts'
import { ECHO, LARGE_BYTES } from './upstreams.ts'

const SMALL = Buffer.alloc(512, 'a')
const BIG = Buffer.alloc(128 * 1024, 'b')
/** What is asked for, and how long the answer is. */
const KINDS: readonly [path: string, body: Buffer | null, length: number][] = [
  ['/', null, 2],
  ['/', null, 2],
  ['/large', null, LARGE_BYTES],
  ['/echo', SMALL, SMALL.length],
  ['/echo', BIG, BIG.length],
]

export type Way = readonly [name: string, go: (turn: number) => Promise<void>]

interface Result {
  readonly status: number
  readonly length: number
}

function expect({ status, length }: Result, expected: number): void {
  if (status !== 200 || length !== expected) throw new Error(`status ${status}, ${length} of ${expected} bytes`)
}

function answered(req: ClientRequest, body: Buffer | null): Promise<Result> {
  return new Promise((resolve, reject) => {
    req.on('response', (res: IncomingMessage) => {
      let length = 0
      res.on('data', (chunk: Buffer) => (length += chunk.length))
      res.on('end', () => resolve({ status: res.statusCode!, length }))
      res.on('error', reject)
    })
    req.on('error', reject)
    req.end(body ?? undefined)
  })
}

/** REFUSED_STREAM: nobody has seen the request (RFC 9113 §8.7). */
class Refused extends Error {}

/** One HTTP/2 connection for everybody, a new one after GOAWAY. */
class Http2Way {
  private readonly connect: () => ClientHttp2Session
  private session: ClientHttp2Session | null = null

  constructor(connect: () => ClientHttp2Session) {
    this.connect = connect
  }

  private current(): ClientHttp2Session {
    if (this.session !== null) return this.session
    const made = this.connect()
    const leave = (): void => {
      if (this.session === made) this.session = null
    }
    made.on('goaway', () => {
      leave()
      made.close()
    })
    made.on('close', leave)
    made.on('error', leave)
    this.session = made
    return made
  }

  async call(path: string, body: Buffer | null): Promise<Result> {
    const session = this.current()
    try {
      return await this.callOn(session, path, body)
    } catch (error) {
      // A request that a GOAWAY finds in the client's own queue is not sent: it goes to the next connection. That the proxy
      // itself refuses none is counted at the end.
      const unsent = error instanceof Refused && session !== this.session
      if (!unsent) throw error
      return this.call(path, body)
    }
  }

  private callOn(session: ClientHttp2Session, path: string, body: Buffer | null): Promise<Result> {
    return new Promise((resolve, reject) => {
      const stream = session.request({ ':path': path, ':method': body ? 'POST' : 'GET' })
      let status = 0
      let length = 0
      stream.on('response', (headers) => (status = Number(headers[':status'])))
      stream.on('data', (chunk: Buffer) => (length += chunk.length))
      stream.on('end', () => resolve({ status, length }))
      stream.on('error', (error) =>
        reject(stream.rstCode === constants.NGHTTP2_REFUSED_STREAM ? new Refused(error.message) : error),
      )
      stream.end(body ?? undefined)
    })
  }

  close(): void {
    this.session?.destroy()
  }
}

/** Serial numbers of the server certificates that clients have met. */
export class Ways {
  readonly met = new Set<string>()
  private readonly ports: Ports
  private readonly ca: string
  private readonly agent = new Agent({ keepAlive: true })
  private readonly secureAgent: SecureAgent
  private readonly plain: Http2Way
  private readonly secure: Http2Way
  private readonly grpc: Client

  constructor(ports: Ports, ca: string) {
    this.ports = ports
    this.ca = ca
    // Without a session of before, so that every connection shows the certificate of its time.
    this.secureAgent = new SecureAgent({ keepAlive: true, ca, servername: 'proxy.example', maxCachedSessions: 0 })
    this.plain = new Http2Way(() => connectHttp2(`http://127.0.0.1:${ports.http}`))
    this.secure = new Http2Way(() => {
      const session = connectHttp2(`https://127.0.0.1:${ports.tls}`, { ca, servername: 'proxy.example' })
      session.on('connect', () => this.meet(session.socket as TLSSocket))
      return session
    })
    this.grpc = new Client(`127.0.0.1:${ports.http}`, credentials.createInsecure())
  }

  /** Ways of single requests. */
  get requests(): readonly Way[] {
    const over =
      (call: (path: string, body: Buffer | null) => Promise<Result>, prefix = '') =>
      async (turn: number): Promise<void> => {
        const [path, body, length] = KINDS[turn % KINDS.length]!
        expect(await call(prefix + path, body), length)
      }
    const http1 = (path: string, body: Buffer | null): Promise<Result> => this.http1(this.ports.http, path, body)
    const http2 = (path: string, body: Buffer | null): Promise<Result> => this.plain.call(path, body)
    return [
      ['HTTP/1', over(http1)],
      ['HTTP/2', over(http2)],
      ['TCP', over((path, body) => this.http1(this.ports.tcp, path, body))],
      ['TLS HTTP/1', over((path, body) => this.https(path, body))],
      ['TLS HTTP/2', over((path, body) => this.secure.call(path, body))],
      ['HTTP/1 to mTLS', over(http1, '/secure')],
      ['HTTP/2 to mTLS', over(http2, '/secure')],
      ['gRPC', (turn) => this.unary(turn % 3 === 0 ? BIG : SMALL)],
    ]
  }

  /** Ways that last for seconds. */
  get conversations(): readonly Way[] {
    return [
      ['gRPC stream', () => this.stream()],
      ['websocket', (turn) => this.websocket(turn)],
    ]
  }

  close(): void {
    this.agent.destroy()
    this.secureAgent.destroy()
    this.plain.close()
    this.secure.close()
    this.grpc.close()
  }

  private meet(socket: TLSSocket): void {
    const { serialNumber } = socket.getPeerCertificate()
    if (serialNumber !== undefined) this.met.add(serialNumber)
  }

  private http1(port: number, path: string, body: Buffer | null): Promise<Result> {
    const options: RequestOptions = { port, host: '127.0.0.1', path, agent: this.agent, method: body ? 'POST' : 'GET' }
    return answered(request(options), body)
  }

  private https(path: string, body: Buffer | null): Promise<Result> {
    const req = secureRequest({
      port: this.ports.tls,
      host: '127.0.0.1',
      path,
      ca: this.ca,
      agent: this.secureAgent,
      method: body ? 'POST' : 'GET',
    })
    req.on('socket', (socket) => {
      if (!req.reusedSocket) socket.once('secureConnect', () => this.meet(socket as TLSSocket))
    })
    return answered(req, body)
  }

  private unary(message: Buffer): Promise<void> {
    const { path, requestSerialize, responseDeserialize } = ECHO.unary
    return new Promise((resolve, reject) => {
      this.grpc.makeUnaryRequest(path, requestSerialize, responseDeserialize, message, (error, reply?: Buffer) => {
        if (error) reject(error)
        else if (reply?.equals(message)) resolve()
        else reject(new Error(`${reply?.length} of ${message.length} bytes`))
      })
    })
  }

  /** Eight messages, each after the echo of the one before. */
  private stream(): Promise<void> {
    const { path, requestSerialize, responseDeserialize } = ECHO.stream
    const call = this.grpc.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
    return new Promise((resolve, reject) => {
      let echoed = 0
      const next = (): void => void (echoed < 8 ? call.write(echoed % 4 === 3 ? BIG : SMALL) : call.end())
      call.on('data', async (message: Buffer) => {
        const expected = echoed % 4 === 3 ? BIG : SMALL
        if (!message.equals(expected)) reject(new Error(`message ${echoed}: ${message.length} bytes`))
        echoed++
        await sleep(20)
        next()
      })
      call.on('error', reject)
      call.on('end', () => (echoed === 8 ? resolve() : reject(new Error(`ended after ${echoed} messages`))))
      next()
    })
  }

  /** A protocol switch, then echoes of several sizes for some seconds. */
  private websocket(turn: number): Promise<void> {
    const socket = connect({ port: this.ports.http, host: '127.0.0.1' })
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        socket.destroy()
        reject(new Error(why))
      }
      let head = ''
      let waiting = 0
      let rounds = 0
      const send = (): void => {
        waiting = 100 + ((turn * 31 + rounds * 977) % 60_000)
        socket.write(Buffer.alloc(waiting, rounds % 256))
      }
      const take = async (bytes: Buffer): Promise<void> => {
        if (bytes.some((byte) => byte !== rounds % 256)) return fail(`wrong bytes in round ${rounds}`)
        waiting -= bytes.length
        if (waiting < 0) return fail('more than was sent')
        if (waiting > 0) return
        rounds++
        await sleep(100)
        if (rounds < 30) send()
        else socket.end()
      }
      socket.on('data', (chunk: Buffer) => {
        if (head.endsWith('\r\n\r\n')) return void take(chunk)
        head += chunk.toString('latin1')
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        if (!head.startsWith('HTTP/1.1 101 ') || end + 4 < head.length) return fail(JSON.stringify(head.slice(0, 200)))
        send()
      })
      socket.on('error', (error) => fail(`${error.message} in round ${rounds}`))
      socket.on('close', () => (rounds === 30 ? resolve() : fail(`closed in round ${rounds}`)))
      socket.write('GET /websocket HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
    })
  }
}
