// Which filter chain Envoy chose for a connection. The listener is ours, over real sockets: a PROXY header brings the
// recorded addresses, a client hello of OpenSSL the server name and ALPN, and each chain answers with its name.

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { connect as tlsConnect } from 'node:tls'
import { localAddress, respond, TYPE, testListeners } from '../../../src/proxy/network/testing.ts'
import type { Difference, Suite } from '../suite.ts'

/** A connection as its listener filters report it. */
export interface Call {
  readonly destinationPort: number
  readonly destinationIp: string
  readonly sni: string
  readonly transport: 'tls' | 'raw_buffer'
  readonly alpn: readonly string[]
  readonly sourceIp: string
  readonly sourcePort: number
}

interface Config {
  readonly filterChains: readonly { readonly name: string; readonly filterChainMatch: Record<string, unknown> }[]
  readonly defaultFilterChain: boolean
}

interface File {
  readonly configs: Record<string, Config>
  readonly cases: readonly {
    readonly id: string
    readonly config: string
    readonly call: Call
    readonly chain: string | null
  }[]
}

/** Fields that a configuration may write without brackets, as protobuf's YAML allows for a single element. */
const REPEATED = [
  'prefix_ranges',
  'server_names',
  'application_protocols',
  'direct_source_prefix_ranges',
  'source_prefix_ranges',
  'source_ports',
]

function listener(config: Config): object {
  const chain = (name: string, match: Record<string, unknown>): object => ({
    name,
    filter_chain_match: match,
    filters: [respond(name)],
  })
  const lists = (match: Record<string, unknown>): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(match).map(([key, value]) => [
        key,
        REPEATED.includes(key) && !Array.isArray(value) ? [value] : value,
      ]),
    )
  return {
    name: 'listener',
    address: localAddress(),
    listener_filters: [
      { name: 'proxy_protocol', typed_config: { '@type': TYPE.proxyProtocol } },
      { name: 'tls_inspector', typed_config: { '@type': TYPE.tlsInspector } },
    ],
    filter_chains: config.filterChains.map((one) => chain(one.name, lists(one.filterChainMatch))),
    ...(config.defaultFilterChain ? { default_filter_chain: chain('default', {}) } : {}),
  }
}

/** What OpenSSL sends first, caught before it reaches a network. */
async function clientHello(call: Call): Promise<Buffer> {
  const caught = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      this.emit('hello', chunk)
      done()
    },
  })
  const hello = once(caught, 'hello')
  const socket = tlsConnect({
    socket: caught,
    servername: call.sni,
    ALPNProtocols: [...call.alpn],
    checkServerIdentity: () => undefined,
  })
  socket.on('error', () => {})
  const [bytes] = (await hello) as [Buffer]
  socket.destroy()
  return bytes
}

async function firstBytes(call: Call): Promise<Buffer> {
  const family = call.destinationIp.includes(':') ? 'TCP6' : 'TCP4'
  const header = `PROXY ${family} ${call.sourceIp} ${call.destinationIp} ${call.sourcePort} ${call.destinationPort}\r\n`
  const rest = call.transport === 'tls' ? await clientHello(call) : Buffer.from('plain text')
  return Buffer.concat([Buffer.from(header), rest])
}

/** Connects to a listener with the proxy_protocol and tls_inspector filters: the chain's name, or null when the connection was closed without a word. */
export async function ask(port: number, call: Call): Promise<string | null> {
  const bytes = await firstBytes(call)
  const socket = connect({ port, host: '127.0.0.1' })
  const chunks: Buffer[] = []
  // A close with unread bytes is a reset; the answer has come before it.
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.write(bytes)
  await new Promise((resolve) => socket.once('close', resolve))
  return chunks.length === 0 ? null : Buffer.concat(chunks).toString()
}

export const suite: Suite = {
  name: 'filter-chain-match',
  async run(directory) {
    const file = JSON.parse(await readFile(join(directory, 'conformance/filter-chain-match.json'), 'utf8')) as File
    const differences: Difference[] = []
    for (const [name, config] of Object.entries(file.configs)) {
      const cases = file.cases.filter((one) => one.config === name)
      if (cases.length === 0) continue
      const cleanup: (() => void)[] = []
      const { apply } = testListeners({ after: (close) => cleanup.push(close) })
      const { port } = await apply(listener(config))
      for (const one of cases) {
        const got = await ask(port, one.call)
        if (got !== one.chain) differences.push({ id: one.id, message: `chose ${got}, Envoy chose ${one.chain}` })
      }
      for (const close of cleanup) close()
    }
    return { total: file.cases.length, differences }
  },
}
