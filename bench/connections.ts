// Memory of idle connections, and the time to start, beside Envoy: opens connections that each serve one request, stay
// idle, and then serve another, which shows that all of them were alive. node bench/connections.ts [--connections 10000] [--no-envoy]

import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { makeCertificate } from './certificate.ts'
import { freePorts } from './free-ports.ts'
import { startUpstream } from './load.ts'
import { bootstrap } from './shapes.ts'
import { type Command, startSubject } from './subject.ts'

/** Connections that are being opened at one time. */
const AT_ONCE = 100

const { values } = parseArgs({
  options: { connections: { type: 'string', default: '10000' }, 'no-envoy': { type: 'boolean', default: false } },
})
const count = Number(values.connections)
const root = resolve(import.meta.dirname, '..')
const commands: Command[] = [{ name: 'ours', argv: [process.execPath, 'bin/outrigger.js', 'proxy'], cwd: root }]
if (!values['no-envoy']) commands.push({ name: 'envoy', argv: ['envoy', '--base-id', String(process.pid)], cwd: root })

const IDLE_MS = 3_000

/** Connections whose answer has not come yet. */
const waiting = new Map<Socket, { received: number; resolve: () => void; reject: (error: Error) => void }>()

/** One request and its whole answer; the connection stays open. */
function request(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    waiting.set(socket, { received: 0, resolve, reject })
    socket.write('GET / HTTP/1.1\r\nhost: bench\r\n\r\n')
  })
}

function open(port: number): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('data', (chunk) => {
    const one = waiting.get(socket)
    if (one === undefined) return
    one.received += chunk.length
    if (one.received <= 1024) return
    waiting.delete(socket)
    one.resolve()
  })
  socket.on('error', (error) => waiting.get(socket)?.reject(error))
  socket.on('close', () => waiting.get(socket)?.reject(new Error('the proxy closed a connection')))
  return socket
}

/** Some at a time. */
async function requestAll(sockets: readonly Socket[]): Promise<void> {
  for (let i = 0; i < sockets.length; i += AT_ONCE) await Promise.all(sockets.slice(i, i + AT_ONCE).map(request))
}

const dir = mkdtempSync(join(tmpdir(), 'connections-bench-'))
makeCertificate(dir)
const ports = await freePorts(3 + 2 * commands.length)
const upstreams = { upstream: ports[0]!, upstreamH2: ports[1]!, upstreamMtls: ports[2]! }
const up = startUpstream(dir, upstreams, 1)
try {
  for (const [i, command] of commands.entries()) {
    const own = { listener: ports[3 + 2 * i]!, admin: ports[4 + 2 * i]! }
    const subject = await startSubject(command, bootstrap('plain', { ...upstreams, ...own }, dir), own, dir, 0)
    const before = subject.rssMb()
    const sockets: Socket[] = []
    while (sockets.length < count) {
      const some = Array.from({ length: Math.min(AT_ONCE, count - sockets.length) }, () => open(own.listener))
      await requestAll(some)
      sockets.push(...some)
    }
    await sleep(IDLE_MS)
    const after = subject.rssMb()
    console.log(
      `${command.name.padEnd(6)} ready in ${(subject.startMs / 1000).toFixed(2)} s  RSS ${before.toFixed(0)} MB, with ${count} connections ${after.toFixed(0)} MB:` +
        ` ${(((after - before) * 1024) / count).toFixed(1)} KiB a connection`,
    )
    await requestAll(sockets)
    for (const socket of sockets) socket.destroy()
    await subject.stop()
  }
} finally {
  up.stop()
  rmSync(dir, { recursive: true, force: true })
}
