// Sends lines of statsd over UDP or TCP. What the other side does not take is lost, as it is with statsd.

import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { connect, isIPv6, type Socket } from 'node:net'
import type { Logger } from '../../../base/logger.ts'
import type { StatsdSinkData } from './config.ts'
import { datagrams, type FlushedStat, statsdLines } from './statsd-lines.ts'

/** What may wait for a server that reads slowly (Envoy's limit). */
const MAX_WAITING_BYTES = 16 * 1024 * 1024

export interface StatsSink {
  flush(stats: readonly FlushedStat[]): void
  close(): void
}

export function createStatsdSink({ prefix, tags, to }: StatsdSinkData, log: Logger): StatsSink {
  if (to.kind === 'tcp') return new TcpStatsd(prefix, to.host, to.port, log)
  return new UdpStatsd(prefix, tags, to, log)
}

class UdpStatsd implements StatsSink {
  private readonly socket: UdpSocket
  private readonly prefix: string
  private readonly tags: StatsdSinkData['tags']
  private readonly maxBytes: number
  private readonly ip: string
  private readonly port: number
  private readonly onSent: (error: Error | null) => void

  constructor(
    prefix: string,
    tags: StatsdSinkData['tags'],
    { ip, port, maxDatagramBytes }: Extract<StatsdSinkData['to'], { kind: 'udp' }>,
    log: Logger,
  ) {
    this.prefix = prefix
    this.tags = tags
    this.maxBytes = maxDatagramBytes
    // It is an address: nothing has to be looked up.
    const family = isIPv6(ip) ? 6 : 4
    this.socket = createSocket({ type: `udp${family}`, lookup: (host, _options, done) => done(null, host, family) })
    this.ip = ip
    this.port = port
    this.onSent = (error) => {
      if (error !== null) log.debug({ reason: error.message }, `stats were not sent to ${ip}`)
    }
    this.socket.on('error', this.onSent)
    this.socket.unref()
  }

  flush(stats: readonly FlushedStat[]): void {
    for (const datagram of datagrams(statsdLines(stats, this.prefix, this.tags), this.maxBytes))
      this.socket.send(datagram, this.port, this.ip, this.onSent)
  }

  close(): void {
    this.socket.close()
  }
}

class TcpStatsd implements StatsSink {
  private readonly prefix: string
  private readonly host: string
  private readonly port: number
  private readonly log: Logger
  private socket: Socket | null = null

  constructor(prefix: string, host: string, port: number, log: Logger) {
    this.prefix = prefix
    this.host = host
    this.port = port
    this.log = log
  }

  flush(stats: readonly FlushedStat[]): void {
    const socket = this.socket ?? this.open()
    if (socket.writableLength > MAX_WAITING_BYTES) return
    const lines = statsdLines(stats, this.prefix, 'none')
    if (lines.length > 0) socket.write(`${lines.join('\n')}\n`)
  }

  /** The next flush tries again. */
  private open(): Socket {
    const socket = connect(this.port, this.host)
    socket.unref()
    socket.on('error', (error) => this.log.debug({ reason: error.message }, `stats were not sent to ${this.host}`))
    socket.on('close', () => {
      if (this.socket === socket) this.socket = null
    })
    // Nothing is said back.
    socket.resume()
    this.socket = socket
    return socket
  }

  close(): void {
    this.socket?.destroy()
  }
}
