// One listener of one proxy, its cluster's only host, and the scripts that are played through them one after another.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { Http2Peer } from './peer.ts'
import { encodeOp, type Op, type Script, settingsPayload } from './script.ts'

/** How long our proxy may take to have done what Envoy has. */
const CATCH_UP_MS = 700
/** Of the client's side, beyond all that scripts open. */
const IDLE_STREAM = 201

const MESSAGE = /headers|data|continuation|table size/i

/** A request that reached the upstream. */
interface Received {
  readonly peer: Http2Peer
  readonly stream: number
}

export interface Played {
  readonly lines: readonly string[]
  readonly localPort: number
  /** How much had come after each step. */
  readonly marks: readonly number[]
}

export class Lane {
  readonly port: number
  private readonly server: Server
  /** Silence that is to be expected before something comes of itself, in milliseconds. */
  private readonly quietMs: number
  private upstreams: Http2Peer[] = []
  private received: Received[] = []
  private upstreamSettings = ''
  private client: Http2Peer | null = null
  /** The client's streams by the number of their request. */
  private readonly opened = new Map<number, number>()
  /** Those requests that the client has ended. */
  private readonly ended = new Set<number>()
  /** The client has sent GOAWAY. */
  private goneAway = false

  private constructor(port: number, server: Server, quietMs: number) {
    this.port = port
    this.server = server
    this.quietMs = quietMs
  }

  /** `port`: of the proxy's listener. */
  static async start(port: number, quietMs: number): Promise<Lane> {
    const server = createServer((socket) =>
      lane.upstreams.push(
        new Http2Peer(socket, 'server', lane.upstreamSettings, (peer, stream) => lane.received.push({ peer, stream })),
      ),
    )
    const lane = new Lane(port, server, quietMs)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return lane
  }

  get upstreamPort(): number {
    return (this.server.address() as AddressInfo).port
  }

  stop(): void {
    for (const peer of this.upstreams) peer.destroy()
    this.server.close()
  }

  /** Lines and bytes of bodies that have come to either end. */
  private get progress(): number {
    let sum = 0
    for (const peer of [this.client!, ...this.upstreams]) sum += peer.progress
    return sum
  }

  /** `model`: of the other proxy, whose pace ours must not fall behind. */
  async play(script: Script, model: Played | null): Promise<Played> {
    this.received = []
    this.upstreams = []
    this.opened.clear()
    this.ended.clear()
    this.goneAway = false
    this.upstreamSettings = settingsPayload(script.upstreamSettings)
    const socket = connect(this.port, '127.0.0.1')
    await once(socket, 'connect')
    const client = new Http2Peer(socket, 'client', settingsPayload(script.clientSettings))
    this.client = client
    await client.fence()
    const marks: number[] = []
    let behind = false
    const mark = async (extraMs: number): Promise<void> => {
      const wanted = model?.marks[marks.length] ?? 0
      behind = !(await this.settle(behind ? 0 : wanted, extraMs))
      marks.push(this.progress)
    }
    for (const { at, ops } of script.steps) {
      if (at === 'client') this.writeClient(client, ops)
      else this.writeUpstream(ops)
      await mark(0)
    }
    await mark(script.lastMs)
    const told = client.lines.length
    client.end()
    await client.ended()
    await this.settle(0, 0)
    const lines = client.lines.slice(0, told).map((line) => `client: ${line}`)
    for (const [i, peer] of this.upstreams.entries()) lines.push(...peer.lines.map((line) => `upstream ${i}: ${line}`))
    for (const peer of this.upstreams) peer.end()
    await Promise.all(this.upstreams.map((peer) => peer.ended()))
    return { lines, localPort: client.localPort, marks }
  }

  private writeClient(client: Http2Peer, ops: readonly Op[]): void {
    let bytes = ''
    const streamOf = (to: number): number => this.opened.get(to) ?? 0
    for (const op of ops) {
      if ('to' in op && op.to >= 0 && !this.opened.has(op.to)) {
        // What a client asks behind its own GOAWAY is never answered by Envoy (docs/differences.md).
        if (op.op !== 'headers' || this.goneAway) continue
        // Ids rise in the order of use.
        this.opened.set(op.to, 2 * this.opened.size + 1)
      }
      // DATA and HEADERS of a stream that the client has ended end the connection (docs/differences.md).
      if ('to' in op && this.ended.has(op.to) && MESSAGE.test(op.op === 'raw' ? op.kind : op.op)) continue
      if (op.op === 'reset' || (op.op === 'raw' && /^RST|that end$/.test(op.kind))) this.ended.add(op.to)
      if ((op.op === 'headers' || op.op === 'data') && op.end) this.ended.add(op.to)
      if (op.op === 'goaway') this.goneAway = true
      if (op.op === 'close') {
        client.write(bytes)
        if (op.abort) client.abort()
        else client.end()
        return
      }
      if (op.op === 'reading') client.givesWindow = op.on
      bytes += encodeOp(op, {
        stream: streamOf('to' in op ? op.to : -1),
        next: IDLE_STREAM,
        streamOf,
        takeSizeUpdate: () => client.takeSizeUpdate(),
      })
    }
    client.write(bytes)
  }

  private writeUpstream(ops: readonly Op[]): void {
    const bytes = new Map<Http2Peer, string>()
    for (const op of ops) {
      const first = this.received[Math.max(0, 'to' in op ? op.to : 0)]
      if (first === undefined) continue
      const { peer, stream } = first
      if (op.op === 'close') {
        peer.write(bytes.get(peer) ?? '')
        bytes.delete(peer)
        if (op.abort) peer.abort()
        else peer.end()
        continue
      }
      if (op.op === 'reading') peer.givesWindow = op.on
      const streamOf = (to: number): number => this.received[to]?.stream ?? 0
      const frames = encodeOp(op, {
        stream: 'to' in op && op.to < 0 ? 0 : stream,
        next: IDLE_STREAM,
        streamOf,
        takeSizeUpdate: () => peer.takeSizeUpdate(),
      })
      bytes.set(peer, (bytes.get(peer) ?? '') + frames)
    }
    for (const [peer, text] of bytes) peer.write(text)
  }

  /** Until nothing comes any more of what was written; false when `wanted` was not reached. */
  private async settle(wanted: number, extraMs: number): Promise<boolean> {
    const deadline = Date.now() + CATCH_UP_MS + extraMs
    // What is asked in the same breath as a connection ends may count as a fault of the asker.
    await new Promise((resolve) => setTimeout(resolve, 2))
    for (;;) {
      const before = this.progress
      await this.client!.fence()
      await turn()
      await Promise.all(this.upstreams.map((peer) => peer.fence()))
      await turn()
      await this.client!.fence()
      if (this.progress !== before) continue
      const quietMs = this.quietMs + (wanted === 0 ? extraMs : 0)
      if (quietMs > 0) {
        await new Promise((resolve) => setTimeout(resolve, quietMs))
        if (this.progress !== before) continue
      }
      if (this.progress >= wanted) return true
      if (Date.now() >= deadline) return false
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}

/** Lets the event loop take what the kernel has. */
async function turn(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
}
