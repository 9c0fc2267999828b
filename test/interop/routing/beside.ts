// Many short questions to real Envoy and our proxy: each request on a connection of its own, which its answer ends.

import assert from 'node:assert/strict'
import { type AddressInfo, connect, type Server } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { envoyBinary, freePort, type RunningProxy, startProxy } from '../harness/proxies.ts'
import { type Situation, situationBootstrap, startUpstream, statsOf } from '../harness/situations.ts'

/** A situation and the requests, which ask for the connection to close. */
export interface Questions extends Situation {
  readonly client: readonly string[]
}

/** A GET that is the last one of its connection; texts as UTF-8. */
export function get(path: string, headers: readonly string[] = [], host = 'a'): string {
  const lines = [`GET ${path} HTTP/1.1`, `host: ${host}`, ...headers, 'connection: close']
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`).toString('latin1')
}

function isWhole(answer: string): boolean {
  const end = answer.indexOf('\r\n\r\n')
  const length = /^content-length: (\d+)\r$/im.exec(answer.slice(0, end + 2))?.[1]
  return end >= 0 && length !== undefined && answer.length >= end + 4 + Number(length)
}

/** The whole answer, its date and time taken for upstream masked. */
export function ask(port: number, request: string): Promise<string> {
  return new Promise((resolve) => {
    let received = ''
    const socket = connect(port, '127.0.0.1')
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1')
      // A proxy leaves it to the client to close first, for a while.
      if (isWhole(received)) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () =>
      resolve(received.replace(/date: .*/gi, 'date: NOW').replace(/(x-envoy-upstream-service-time): \d+/gi, '$1: N')),
    )
    socket.write(request, 'latin1')
  })
}

interface Side {
  readonly proxy: RunningProxy
  readonly listeners: readonly number[]
}

/** One test for each situation. `counted`: stats that must be equal, too. */
export function describeQuestions(
  title: string,
  situations: readonly Questions[],
  options: { readonly bootstrap?: (made: object) => object; readonly counted?: RegExp } = {},
): void {
  const { bootstrap = (made) => made, counted } = options
  describe(title, { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
    let servers: Server[] = []
    const sides: Side[] = []
    before(async () => {
      servers = await Promise.all(situations.map(startUpstream))
      const upstreams = servers.map((server) => (server.address() as AddressInfo).port)
      for (const name of ['envoy', 'outrigger'] as const) {
        const listeners = await Promise.all(situations.map(() => freePort()))
        const proxy = await startProxy(name, (ports) =>
          bootstrap(situationBootstrap(situations, 'HTTP1', ports, listeners, upstreams)),
        )
        sides.push({ proxy, listeners })
      }
    })
    after(async () => {
      await Promise.all(sides.map(({ proxy }) => proxy.stop()))
      for (const server of servers) server.close()
    })
    for (const [i, { name, client }] of situations.entries()) {
      it(name, async () => {
        const told: unknown[] = []
        for (const { proxy, listeners } of sides) {
          const answers: [string, string][] = []
          for (const request of client) answers.push([request, await ask(listeners[i]!, request)])
          told.push({ answers, stats: counted ? await statsOf(proxy, counted, `[.][cs]${i}[.]`) : {} })
        }
        assert.deepEqual(told[1], told[0])
      })
    }
  })
}
