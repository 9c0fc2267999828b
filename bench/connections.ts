// Memory of idle connections, and the time to start, beside Envoy: opens connections that each serve one request and
// stay. node bench/connections.ts [--connections 10000] [--no-envoy]

import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
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

/** One request and its whole answer; the connection stays open. */
function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let received = 0
    socket.on('error', reject)
    socket.on('data', (chunk) => {
      received += chunk.length
      if (received > 1024) resolve(socket)
    })
    socket.write('GET / HTTP/1.1\r\nhost: bench\r\n\r\n')
  })
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
    while (sockets.length < count)
      sockets.push(
        ...(await Promise.all(
          Array.from({ length: Math.min(AT_ONCE, count - sockets.length) }, () => open(own.listener)),
        )),
      )
    const after = subject.rssMb()
    console.log(
      `${command.name.padEnd(6)} ready in ${(subject.startMs / 1000).toFixed(2)} s  RSS ${before.toFixed(0)} MB, with ${count} connections ${after.toFixed(0)} MB:` +
        ` ${(((after - before) * 1024) / count).toFixed(1)} KiB a connection`,
    )
    for (const socket of sockets) socket.destroy()
    await subject.stop()
  }
} finally {
  up.stop()
  rmSync(dir, { recursive: true, force: true })
}
