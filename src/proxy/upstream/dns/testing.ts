// A DNS server on loopback for tests: its names are a table, one name is never answered.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { decode, encode } from 'dns-packet'

export const NXDOMAIN = 3
export const SERVFAIL = 2

export interface NameServer {
  readonly port: number
  /** Name → IPv4 addresses; a name that is not there does not exist. */
  readonly names: Map<string, readonly string[]>
  /** Not 0: the answer to every question. */
  rcode: number
  ttlS: number
  /** Questions so far. */
  queries: number
  close(): void
}

/** Answers `silent.*` never. TTLs are 30 seconds unless a test wants others. */
export async function startNameServer(names: Readonly<Record<string, readonly string[]>>): Promise<NameServer> {
  const socket = createSocket('udp4')
  const server: NameServer = {
    get port() {
      return socket.address().port
    },
    names: new Map(Object.entries(names)),
    rcode: 0,
    ttlS: 30,
    queries: 0,
    close: () => void socket.close(),
  }
  socket.on('message', (message, from) => {
    server.queries++
    const query = decode(message)
    const question = query.questions?.[0]
    if (question === undefined || question.name.startsWith('silent.')) return
    const addresses = server.names.get(question.name.toLowerCase())
    const rcode = server.rcode || (addresses === undefined ? NXDOMAIN : 0)
    const answers =
      question.type === 'A' && rcode === 0
        ? (addresses ?? []).map((data) => ({ type: 'A' as const, name: question.name, ttl: server.ttlS, data }))
        : []
    socket.send(
      encode({ type: 'response', id: query.id ?? 0, flags: 0x180 | rcode, questions: query.questions ?? [], answers }),
      from.port,
      from.address,
    )
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return server
}
