// Upstreams of a soak run: HTTP/1, the same behind mutual TLS, and gRPC. One that dies takes all its connections with it and
// comes back on its ports.

import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { Server as GrpcServer, ServerCredentials, type ServerDuplexStream, type ServiceDefinition } from '@grpc/grpc-js'

/** A server certificate, and the authority of the clients that are let in. */
export interface UpstreamIdentity {
  readonly cert: string
  readonly key: string
  readonly ca: string
}

export const LARGE_BYTES = 256 * 1024

const answer: RequestListener = (req, res) => {
  if (req.url === '/large') res.end(Buffer.alloc(LARGE_BYTES, 'x'))
  else if (req.method === 'POST') req.pipe(res)
  else res.end('ok')
}

/** A protocol switch to whatever the client asks for: from then on every byte comes back. */
function echo(req: { headers: { upgrade?: string } }, socket: Socket, head: Buffer): void {
  socket.on('error', () => {})
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${req.headers.upgrade}\r\n\r\n`)
  if (head.length > 0) socket.write(head)
  socket.pipe(socket)
}

const same = (bytes: Buffer): Buffer => bytes
const method = (path: string, stream: boolean) => ({
  path,
  requestStream: stream,
  responseStream: stream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
})
/** Echoes messages, one or many of them. */
export const ECHO = {
  unary: method('/soak.Echo/Unary', false),
  stream: method('/soak.Echo/Stream', true),
} satisfies ServiceDefinition

async function startGrpc(port: number): Promise<{ server: GrpcServer; port: number }> {
  const server = new GrpcServer()
  server.addService(ECHO, {
    unary: (call: { request: Buffer }, done: (error: null, message: Buffer) => void) => done(null, call.request),
    stream: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (message: Buffer) => call.write(message))
      call.on('end', () => call.end())
      call.on('error', () => {})
    },
  })
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, where) =>
      error ? reject(error) : resolve(where),
    )
  })
  return { server, port: bound }
}

export class Upstream {
  alive = false
  port = 0
  securePort = 0
  grpcPort = 0
  private readonly identity: UpstreamIdentity
  private readonly servers: Server[] = []
  private grpc: GrpcServer | null = null
  private readonly sockets = new Set<Socket>()

  constructor(identity: UpstreamIdentity) {
    this.identity = identity
  }

  async start(): Promise<void> {
    const { cert, key, ca } = this.identity
    this.port = await this.listen(createServer(answer), this.port, 'connection')
    const secure = createSecureServer({ cert, key, ca, requestCert: true, rejectUnauthorized: true }, answer)
    this.securePort = await this.listen(secure, this.securePort, 'secureConnection')
    const { server, port } = await startGrpc(this.grpcPort)
    this.grpc = server
    this.grpcPort = port
    this.alive = true
  }

  private async listen(server: Server, port: number, event: string): Promise<number> {
    server.keepAliveTimeout = 0
    server.on('upgrade', echo)
    server.on(event, (socket: Socket) => {
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket))
    })
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    this.servers.push(server)
    return (server.address() as AddressInfo).port
  }

  stop(): void {
    this.alive = false
    for (const server of this.servers.splice(0)) server.close()
    for (const socket of this.sockets) socket.destroy()
    // Calls last for a second and more: they finish, new ones are told to go elsewhere.
    const { grpc } = this
    this.grpc = null
    grpc?.tryShutdown(() => {})
  }
}
