import * as dgram from 'node:dgram'
import * as net from 'node:net'
import * as dnsPacket from 'dns-packet'
import type { Store } from '../cluster/index.ts'
import { lookUp } from './dns-records.ts'

const TTL_SECONDS = 5
/** RFC 1035 4.2.1: longer UDP answers are cut and marked, the client asks again over TCP. */
const MAX_UDP_BYTES = 512
const FLAG_TC = 1 << 9
const TCP_IDLE_MS = 10_000

const RCODE = { NOERROR: 0, FORMERR: 1, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const

/**
 * The answer to one DNS message; undefined for what is no query at all. Names outside the cluster's zone are
 * REFUSED: there is no way out of the mesh's private network, and a client that waits would not learn why.
 */
export function answer(store: Store, message: Buffer): Buffer | undefined {
  let query: dnsPacket.DecodedPacket
  try {
    query = dnsPacket.decode(message)
  } catch {
    return undefined
  }
  const question = query.questions?.[0]
  if (query.type !== 'query' || !question) return undefined
  const reply = (rcode: number, answers: dnsPacket.Answer[] = []) =>
    dnsPacket.encode({
      type: 'response',
      id: query.id,
      // dns-packet keeps the response code in the low bits of the flags.
      flags: dnsPacket.AUTHORITATIVE_ANSWER | dnsPacket.RECURSION_DESIRED | rcode,
      questions: query.questions,
      answers,
    })
  const { name, type } = question
  const found = lookUp(store, name, type)
  switch (found.kind) {
    case 'addresses':
      return reply(
        RCODE.NOERROR,
        found.addresses.map((data) => ({ type: 'A', name, ttl: TTL_SECONDS, data })),
      )
    case 'services':
      return reply(
        RCODE.NOERROR,
        found.services.map(({ port, target }) => ({
          type: 'SRV',
          name,
          ttl: TTL_SECONDS,
          data: { port, target, priority: 0, weight: 100 },
        })),
      )
    case 'alias':
      return reply(RCODE.NOERROR, [{ type: 'CNAME', name, ttl: TTL_SECONDS, data: found.target }])
    case 'empty':
      return reply(RCODE.NOERROR)
    case 'nonexistent':
      return reply(RCODE.NXDOMAIN)
    case 'outside':
      return reply(RCODE.REFUSED)
  }
}

/** Serves {@link answer} over UDP and TCP until closed. */
export async function startDnsServer(
  store: Store,
  host: string,
  port: number,
): Promise<{ port: number; close(): void }> {
  const tcp = net.createServer((socket) => serveTcp(store, socket))
  await new Promise<void>((resolve, reject) => tcp.once('error', reject).listen(port, host, resolve))
  const bound = (tcp.address() as net.AddressInfo).port
  const udp = dgram.createSocket('udp4')
  udp.on('message', (message, peer) => {
    let response = answer(store, message)
    if (!response) return
    if (response.length > MAX_UDP_BYTES) response = truncated(response)
    // A peer that is gone again is not our concern.
    udp.send(response, peer.port, peer.address, () => {})
  })
  await new Promise<void>((resolve, reject) => udp.once('error', reject).bind(bound, host, resolve))
  return {
    port: bound,
    close() {
      udp.close()
      tcp.close()
    },
  }
}

function truncated(response: Buffer): Buffer {
  const { id, flags, questions } = dnsPacket.decode(response)
  return dnsPacket.encode({ type: 'response', id, flags: (flags ?? 0) | FLAG_TC, questions })
}

/** RFC 1035 4.2.2: each message is preceded by its length in two bytes. */
function serveTcp(store: Store, socket: net.Socket): void {
  let buffered = Buffer.alloc(0)
  socket.setTimeout(TCP_IDLE_MS, () => socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk: Buffer) => {
    buffered = Buffer.concat([buffered, chunk])
    while (buffered.length >= 2) {
      const length = buffered.readUInt16BE(0)
      if (buffered.length < 2 + length) return
      const response = answer(store, buffered.subarray(2, 2 + length))
      if (!response) return void socket.destroy()
      buffered = buffered.subarray(2 + length)
      const prefix = Buffer.alloc(2)
      prefix.writeUInt16BE(response.length)
      socket.write(Buffer.concat([prefix, response]))
    }
  })
}
