// The sockets of one listener in one worker: bound, taken over by the next version, not accepted from for a while.

import { lstatSync, unlinkSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import type { Logger } from '../../base/logger.ts'
import { ipAddress, pipePath } from './address.ts'
import type { Address } from './connection.ts'
import type { ListenerConfig } from './listener-config.ts'
import { boundSocket, closeDescriptor, duplicateDescriptor } from './socket-options.ts'

export class ListeningSockets {
  private readonly config: ListenerConfig
  private readonly log: Logger
  private readonly onAccept: (socket: Socket) => void
  private servers: Server[] = []
  /** Descriptors of sockets that nobody accepts from now; the kernel goes on queueing connections. */
  private waiting: number[] = []
  private paused = false

  constructor(config: ListenerConfig, log: Logger, onAccept: (socket: Socket) => void) {
    this.config = config
    this.log = log
    this.onAccept = onAccept
  }

  /** Binds every address and returns them as bound (port 0 resolved). Rejects with the system's error, and none is bound. */
  async bind(workerIndex: number): Promise<Address[]> {
    const bound: Address[] = []
    try {
      for (const address of this.config.addresses) {
        // What cannot be bound twice belongs to the first worker alone.
        const shared = this.config.reusePort && address.pipe === undefined
        bound.push(shared || workerIndex === 0 ? await this.bindOne(address) : address)
      }
    } catch (error) {
      // Of a listener that is refused no address may go on accepting.
      this.close()
      throw error
    }
    return bound
  }

  /** Takes over the sockets of an older version with the same addresses. */
  adopt(older: ListeningSockets): void {
    this.servers = older.servers
    this.waiting = older.waiting
    this.paused = older.paused
    older.servers = []
    older.waiting = []
    for (const server of this.servers) {
      server.removeAllListeners('connection')
      server.on('connection', this.onAccept)
    }
  }

  /**
   * Connections stay in the kernel's queue until resume(). Node cannot stop accepting: its handle is closed, and another
   * descriptor keeps the socket.
   */
  pause(): void {
    if (this.paused) return
    this.paused = true
    const kept: Server[] = []
    for (const server of this.servers) {
      const { fd } = (server as unknown as { _handle: { fd: number } })._handle
      const descriptor = duplicateDescriptor(fd)
      if (descriptor < 0) kept.push(server)
      else {
        server.close()
        this.waiting.push(descriptor)
      }
    }
    this.servers = kept
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    const descriptors = this.waiting
    this.waiting = []
    for (const fd of descriptors) {
      const server = this.createServer()
      this.keep(server)
      server.listen({ fd, backlog: this.config.backlog })
    }
  }

  close(): void {
    for (const server of this.servers) server.close()
    for (const fd of this.waiting) closeDescriptor(fd)
    this.servers = []
    this.waiting = []
  }

  private createServer(): Server {
    return createServer({ pauseOnConnect: true, allowHalfOpen: true }).on('connection', this.onAccept)
  }

  /** Accepting can fail for want of descriptors; the listener outlives it. */
  private keep(server: Server): void {
    server.on('error', (error) =>
      this.log.error({ listener: this.config.name, reason: error.message }, 'accept failed'),
    )
    this.servers.push(server)
  }

  private bindOne(address: Address): Promise<Address> {
    const server = this.createServer()
    const { config } = this
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.once('listening', () => {
        server.off('error', reject)
        this.keep(server)
        const where = server.address()
        resolve(typeof where === 'string' || where === null ? address : ipAddress(where.address, where.port))
      })
      if (address.pipe !== undefined) {
        removeStaleSocket(address.pipe)
        server.listen({ path: pipePath(address.pipe), backlog: config.backlog })
      } else if (config.socketOptions.length > 0) {
        server.listen({ fd: boundSocket(address, config.socketOptions, config.reusePort), backlog: config.backlog })
      } else {
        server.listen({
          host: address.ip,
          port: address.port,
          backlog: config.backlog,
          exclusive: true,
          reusePort: config.reusePort,
          ipv6Only: config.ipv6Only,
        })
      }
    })
  }
}

/** A socket file that an earlier process has left would keep the path taken (Envoy removes it too). */
function removeStaleSocket(path: string): void {
  if (!path.startsWith('@') && lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path)
}
