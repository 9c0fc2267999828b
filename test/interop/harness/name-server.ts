// A DNS server on loopback for both proxies: its names are a table, one name is never answered.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { decode, encode } from 'dns-packet'

export interface NameServer {
  readonly port: number
  /** Name → IPv4 addresses; a name that is not there does not exist. */
  readonly names: Map<string, readonly string[]>
  close(): void
}

/** Answers `silent.*` never. */
export async function startNameServer(names: Readonly<Record<string, readonly string[]>>): Promise<NameServer> {
  const socket = createSocket('udp4')
  const table = new Map(Object.entries(names))
  socket.on('message', (message, from) => {
    const query = decode(message)
    const question = query.questions?.[0]
    if (question === undefined || question.name.startsWith('silent.')) return
    const addresses = table.get(question.name.toLowerCase())
    const answers =
      question.type === 'A'
        ? (addresses ?? []).map((data) => ({ type: 'A' as const, name: question.name, ttl: 30, data }))
        : []
    const flags = 0x180 | (addresses === undefined ? 3 : 0)
    socket.send(
      encode({ type: 'response', id: query.id ?? 0, flags, questions: query.questions ?? [], answers }),
      from.port,
      from.address,
    )
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return { port: socket.address().port, names: table, close: () => void socket.close() }
}
